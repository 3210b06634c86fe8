// A call as one would paste it. Files are named, not included; a key is taken from the environment, never shown.
const quote = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;

export function curlOf(model: string, inputs: Record<string, unknown>, files: Record<string, string>): string {
  const lines = [`curl ${location.origin}/v1/jobs -H 'Prefer: wait=60' -H "Authorization: Bearer $SPRINGTIDE_API_KEY"`, `-F model=${quote(model)}`];
  for (const [name, file] of Object.entries(files)) lines.push(`-F ${quote(`${name}=@${file}`)}`);
  for (const [name, value] of Object.entries(inputs)) lines.push(`-F ${quote(`${name}=${typeof value === "string" ? value : JSON.stringify(value)}`)}`);
  return lines.join(" \\\n  ");
}

export function pythonOf(model: string, inputs: Record<string, unknown>, files: Record<string, string>): string {
  const fields = Object.entries(inputs).map(([name, value]) => `${JSON.stringify(name)}: ${literal(value)}`);
  const opened = Object.entries(files).map(([name, file]) => `${JSON.stringify(name)}: open(${JSON.stringify(file)}, "rb")`);
  return [
    "import os, httpx",
    "",
    `answer = httpx.post("${location.origin}/v1/jobs", timeout=90, headers={"Prefer": "wait=60", "Authorization": f"Bearer {os.environ.get('SPRINGTIDE_API_KEY', '')}"},`,
    `    data={${[`"model": ${JSON.stringify(model)}`, ...fields].join(", ")}},`,
    `    files={${opened.join(", ")}})`,
    "print(answer.raise_for_status().json())",
  ].join("\n");
}

/** As the form wants it: text as it is, anything else as JSON. */
function literal(value: unknown): string {
  return JSON.stringify(typeof value === "string" ? value : JSON.stringify(value));
}
