// Inputs for who has no photo or recording at hand: the engines' own samples, and a sentence where one is asked for.
import { type Model, read } from "../api/client";
import type { Field } from "../api/schema-fields";
import type { Inputs } from "../api/submit";
import { fits } from "./files";

const SAMPLES = [["image/jpeg", "portrait.jpg"], ["audio/ogg", "speech.ogg"], ["video/mp4", "clip.mp4"]] as const;
const CUE = "1\n00:00:00,200 --> 00:00:01,500\nSpringtide\n";
const TEXTS: Record<string, Inputs> = { watermark: { text: "Springtide" }, subtitles: { text: CUE } };
const BY_WORDS = new Set(["video"]); // shown by a sentence, though they take a picture too
const SHOWN = new Set(["image", "video"]); // one of them is what such a model is about
const LEAST = 2; // films to join

export type Example = { files: Record<string, File[]>; inputs: Inputs };

export function hasExample(model: Model, fields: Field[]): boolean {
  return wanted(model, fields).length > 0 || BY_WORDS.has(model.name);
}

/** sentences: in the page's language, by field. */
export async function exampleOf(model: Model, fields: Field[], sentences: Record<string, string>): Promise<Example> {
  const files: Record<string, File[]> = {};
  for (const field of wanted(model, fields)) {
    const [type, name] = sampleFor(field)!;
    const file = new File([await (await read(`/assets/examples/${name}`)).blob()], name, { type });
    files[field.name] = field.many ? Array<File>(LEAST).fill(file) : [file];
  }
  const asked = fields.filter((field) => field.name in sentences && (field.required || BY_WORDS.has(model.name))).map((field) => [field.name, sentences[field.name]]);
  return { files, inputs: { ...TEXTS[model.name], ...Object.fromEntries(asked) } };
}

/** What is required; of a picture or a film, of which either will do, the first. */
function wanted(model: Model, fields: Field[]): Field[] {
  const known = fields.filter((field) => field.kind === "file" && sampleFor(field) !== undefined);
  const shown = known.filter((field) => SHOWN.has(field.name));
  const chosen = shown.some((field) => field.required) || BY_WORDS.has(model.name) ? [] : shown.slice(0, 1);
  return [...known.filter((field) => field.required), ...chosen];
}

const sampleFor = (field: Field) => SAMPLES.find(([type]) => field.accept.some((kind) => fits(type, kind)));
