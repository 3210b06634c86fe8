// Results as one archive, packed in the browser: stored, not compressed, since media hardly shrink.
import { downloadZip } from "client-zip";
import { read } from "../api/client";

type Entry = { name: string; kind: string; url: string };

export async function zip(entries: Entry[], name: string, onShare: (share: number) => void): Promise<void> {
  let done = 0;
  const used = new Map<string, number>();
  async function* parts() {
    for (const entry of entries) {
      const answer = await read(entry.url);
      const seen = used.get(entry.name) ?? 0;
      used.set(entry.name, seen + 1);
      yield { name: `${entry.name}${seen ? `-${seen + 1}` : ""}.${(entry.kind.split("/")[1] ?? "bin").replace("jpeg", "jpg").replace("x-subrip", "srt").replace("plain", "txt")}`, input: answer };
      onShare(++done / entries.length);
    }
  }
  const archive = await downloadZip(parts()).blob();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(archive);
  link.download = name;
  link.click();
  window.setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
