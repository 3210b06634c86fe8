// A model's JSON Schema as the list of fields a form shows.
import type { Model } from "./client";

type Json = Record<string, unknown>;

export type Field = {
  name: string;
  kind: "file" | "choice" | "toggle" | "number" | "list" | "text" | "colour";
  required: boolean;
  nullable: boolean;
  integer: boolean;
  many: boolean;
  accept: string[];
  choices: (string | number)[];
  initial: unknown;
  min: number | undefined;
  max: number | undefined;
  maxLength: number | undefined;
  description: string;
  examples: unknown[];
};

/** Files first, then what is required, then the rest as the schema has them. */
export function fieldsOf(model: Model): Field[] {
  const schema = model.input_schema as Json;
  const required = new Set((schema.required as string[] | undefined) ?? []);
  const files = new Map(model.input_files.map((file) => [file.name, file]));
  const fields = Object.entries((schema.properties as Record<string, Json> | undefined) ?? {}).map(([name, raw]) => {
    const { node, nullable } = resolved(raw, (schema.$defs as Record<string, Json> | undefined) ?? {});
    const file = files.get(name);
    return {
      name,
      kind: file ? "file" : kindOf(node),
      required: file ? file.required : required.has(name),
      nullable,
      integer: node.type === "integer",
      many: file?.many ?? false,
      accept: file?.media_types ?? [],
      choices: (node.enum as (string | number)[] | undefined) ?? [],
      initial: raw.default ?? undefined,
      min: (node.minimum ?? node.exclusiveMinimum) as number | undefined,
      max: (node.maximum ?? node.exclusiveMaximum) as number | undefined,
      maxLength: node.maxLength as number | undefined,
      description: String(raw.description ?? node.description ?? ""),
      examples: (raw.examples as unknown[] | undefined) ?? [],
    } satisfies Field;
  });
  const rank = (field: Field) => (field.kind === "file" ? 0 : field.required ? 1 : 2);
  return fields.map((field, place) => ({ field, place })).sort((a, b) => rank(a.field) - rank(b.field) || a.place - b.place)
    .map(({ field }) => field);
}

function resolved(raw: Json, defs: Record<string, Json>): { node: Json; nullable: boolean } {
  const options = raw.anyOf as Json[] | undefined;
  const nullable = options?.some((option) => option.type === "null") ?? false;
  const chosen = options?.find((option) => option.type !== "null") ?? raw;
  const reference = chosen.$ref as string | undefined;
  const node = reference ? (defs[reference.slice("#/$defs/".length)] ?? {}) : chosen;
  return { node, nullable };
}

function kindOf(node: Json): Field["kind"] {
  if (node.enum) return "choice";
  if (node.type === "boolean") return "toggle";
  if (node.type === "integer" || node.type === "number") return "number";
  if (node.type === "array") return "list";
  return String(node.pattern ?? "").includes("0-9a-fA-F") ? "colour" : "text";
}
