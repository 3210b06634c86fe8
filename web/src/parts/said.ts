// What the server says by codes and figures, in the language of the page. Its own sentence stands in where a code is new.
import i18n from "../i18n";
import en from "../i18n/codes.en.json";
import zh from "../i18n/codes.zh.json";
import { duration, figure } from "./format";

export type Figures = Record<string, number>;
export type Said = { text: string; own: string | null };
type Group = keyof typeof en;
type Words = Record<string, Record<string, string | string[]>>;

const SHARES = new Set(["utilization", "gpu_memory", "memory_utilization"]);
const HOLE = /\{\{(\w+)\}\}/g;

/** `own`: the server's sentence, where the code says less than it does. */
export function said(groups: Group[], code: string, message: string, figures: Figures = {}): Said {
  for (const group of groups) {
    const found = sentence(group, code, figures);
    if (found !== null) return { text: found.text, own: found.isWhole || !message ? null : message };
  }
  return { text: message, own: null };
}

/** Why a job waits, or what became of it. */
export const saidReason = (reason: { code: string; message: string; figures?: Figures }): Said => said(["why", "fault"], reason.code, reason.message, reason.figures);
export const saidFault = (code: string, message: string): Said => said(["fault", "why"], code, message);

/** What would help, by the code; else by whether the same would do another time. */
export function helps(code: string, retryable: boolean | null): string | null {
  return (sentence("helps", code, {}) ?? (retryable === null ? null : sentence("helps", retryable ? "retry" : "change", {})))?.text ?? null;
}

export function figureName(name: string): string {
  return sentence("figure", name, {})?.text ?? name.replaceAll("_", " ");
}

/** Seconds, shares and counts by their names, as people read them. */
export function shown(name: string, value: number): string {
  if (SHARES.has(name)) return `${Math.round(value * 100)} %`;
  if (name.endsWith("_jobs")) return String(Math.round(value));
  return /_s(_p\d+)?$/.test(name) ? duration(value) : figure(value);
}

/** The first of the code's sentences whose figures are all there. */
function sentence(group: Group, code: string, figures: Figures): { text: string; isWhole: boolean } | null {
  const catalogue = (i18n.language === "zh" ? zh : en) as Words;
  const known = catalogue[group]?.[code];
  if (known === undefined) return null;
  for (const each of Array.isArray(known) ? known : [known]) {
    const holes = [...each.matchAll(HOLE)].map((hole) => hole[1]!);
    if (holes.every((name) => figures[name] !== undefined)) {
      return { text: each.replace(HOLE, (_, name: string) => shown(name, figures[name]!)), isWhole: holes.length > 0 };
    }
  }
  return null;
}
