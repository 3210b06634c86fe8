// What counts of a file before it is sent: kind, size, pixels and seconds, as the browser reads them.
import type { Schemas } from "./client";

export type Facts = Partial<Schemas["FileFacts"]>;
const known = new WeakMap<File, Promise<Facts | null>>();
const LONGEST_LOOK_MS = 5_000;

/** Null where the browser cannot read the file: then nothing can be told of it before it is sent. */
export function factsOf(file: File): Promise<Facts | null> {
  const found = known.get(file) ?? look(file);
  known.set(file, found);
  return found;
}

async function look(file: File): Promise<Facts | null> {
  const facts: Facts = { media_type: file.type || "application/octet-stream", bytes: file.size };
  const kind = file.type.split("/")[0];
  if (kind !== "image" && kind !== "audio" && kind !== "video") return facts;
  const url = URL.createObjectURL(file);
  try {
    return { ...facts, ...(kind === "image" ? await picture(url) : await sound(url, kind)) };
  } catch {
    return null;
  } finally {
    URL.revokeObjectURL(url);
  }
}

function picture(url: string): Promise<Facts> {
  const image = new Image();
  return soon((resolve, reject) => {
    image.onload = () => resolve({ width: image.naturalWidth, height: image.naturalHeight });
    image.onerror = reject;
    image.src = url;
  });
}

function sound(url: string, kind: "audio" | "video"): Promise<Facts> {
  const player = document.createElement(kind);
  return soon((resolve, reject) => {
    const told = () => {
      if (!Number.isFinite(player.duration)) {
        player.currentTime = 1e9; // a recording of the browser's own says how long it is once its end was sought
        return;
      }
      const film = player instanceof HTMLVideoElement && player.videoWidth > 0 ? { width: player.videoWidth, height: player.videoHeight } : {};
      resolve({ duration_s: player.duration, ...film });
    };
    player.onloadedmetadata = told;
    player.ondurationchange = () => { if (Number.isFinite(player.duration)) told(); };
    player.onerror = reject;
    player.preload = "metadata";
    player.src = url;
  });
}

function soon<T>(work: (resolve: (value: T) => void, reject: () => void) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    window.setTimeout(reject, LONGEST_LOOK_MS);
    work(resolve, reject);
  });
}
