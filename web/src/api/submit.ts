// Submits with files and a progress of the upload, which fetch cannot tell.
import { apiKey, Problem, problemOf, type Schemas } from "./client";

export type Accepted = Schemas["AcceptedView"];
export type Inputs = Record<string, unknown>;

/** Submit a job: files as parts of a form, everything else as JSON in one part. `key` makes a repeat harmless. */
export function submit(
  model: string,
  inputs: Inputs,
  files: Record<string, File[]>,
  key: string,
  onUpload: (share: number) => void,
): Promise<Accepted> {
  const form = new FormData();
  form.append("model", model);
  for (const [name, value] of Object.entries(inputs)) {
    if (value === undefined || value === "") continue;
    form.append(name, typeof value === "string" ? value : JSON.stringify(value));
  }
  for (const [name, given] of Object.entries(files)) for (const file of given) form.append(name, file, file.name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/jobs");
    request.setRequestHeader("idempotency-key", `"${key}"`);
    const secret = apiKey.get();
    if (secret) request.setRequestHeader("authorization", `Bearer ${secret}`);
    request.upload.onprogress = (event) => event.lengthComputable && onUpload(event.loaded / event.total);
    request.onerror = () => reject(new Problem(0, "unreachable", "unreachable"));
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) resolve(JSON.parse(request.responseText) as Accepted);
      else reject(problemOf(request.status, request.responseText));
    };
    request.send(form);
  });
}

/** Random and unguessable also on plain http, where `crypto.randomUUID` is missing. */
export function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
