// What is dropped on a batch: files, folders with their paths, and lists of addresses.
import type { Field } from "../api/schema-fields";
import { fits } from "../studio/files";

export type Given = { name: string; file: File | null; url: string | null };
const MOST_LISTED_BYTES = 5_000_000;
const LIST = /\.(txt|csv|urls)$/i;
const ADDRESS = /https?:\/\/[^\s,;"']+/g;

/** What the field takes, and the names of what it does not. A list becomes an item for each address in it. */
export async function sorted(files: File[], field: Field): Promise<{ given: Given[]; others: string[] }> {
  const given: Given[] = [];
  const others: string[] = [];
  for (const file of files) {
    const name = pathOf(file);
    if (field.accept.some((kind) => fits(file.type, kind))) given.push({ name, file, url: null });
    else if (LIST.test(file.name) && file.size <= MOST_LISTED_BYTES) {
      const urls = (await file.text()).match(ADDRESS) ?? [];
      given.push(...urls.map((url) => ({ name: lastPart(url), file: null, url })));
      if (urls.length === 0) others.push(name);
    } else if (!file.name.startsWith(".")) others.push(name);
  }
  return { given, others };
}

/** Within the folder that was dropped or chosen. */
function pathOf(file: File): string {
  const path = file.webkitRelativePath || (file as File & { path?: string }).path || file.name;
  return path.replace(/^(\.?\/)+/, "");
}

function lastPart(url: string): string {
  return decodeURIComponent(new URL(url).pathname.split("/").filter(Boolean).at(-1) ?? "file");
}
