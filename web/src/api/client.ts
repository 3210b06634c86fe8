// The one way to the server: typed by its own OpenAPI document, errors as its problem documents.
import createClient, { type Middleware } from "openapi-fetch";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];
// Two figures always; the client's types give up the length of a tuple.
type Bands = { eta_range_s?: number[] | null; eta_likely_s?: number[] | null };
export type Job = Omit<Schemas["JobView"], keyof Bands> & Bands;
export type Model = Schemas["ModelView"];
export type Decision = Schemas["DecisionView"];
/** A file of a result: outputs are the model's own, so the document does not name it. */
export type FileView = { id: string; url: string; signed_url: string; media_type: string; bytes: number; sha256: string; name?: string | null };
export type FieldProblem = Schemas["FieldProblem"];

const KEY = "springtide.key";

/** The API key of this browser, if the server asks for one. Kept until the person signs out. */
export const apiKey = {
  get: (): string | null => localStorage.getItem(KEY),
  set(value: string | null): void {
    if (value) localStorage.setItem(KEY, value);
    else localStorage.removeItem(KEY);
  },
};

/** An answer that is an error: `code` is stable, `message` is a sentence for people. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly errors: FieldProblem[] = [],
  ) {
    super(message);
  }
}

type Body = { code?: string; detail?: string; title?: string; errors?: FieldProblem[] };

export function problemOf(status: number, text: string): Problem {
  let body: Body = {};
  try {
    body = JSON.parse(text) as Body;
  } catch {
    // a proxy's page, or nothing
  }
  if (status === 401) window.dispatchEvent(new Event("springtide:key-wanted"));
  return new Problem(status, body.code ?? `http_${status}`, body.detail ?? body.title ?? `HTTP ${status}`, body.errors ?? []);
}

/** Whether the server answered the last time it was asked, for the frame of the page. */
export const reach = {
  answers: true,
  watchers: new Set<() => void>(),
  tell(answers: boolean): void {
    if (answers === reach.answers) return;
    reach.answers = answers;
    for (const watcher of reach.watchers) watcher();
  },
};

const asProblem: Middleware = {
  onRequest({ request }) {
    const key = apiKey.get();
    if (key) request.headers.set("authorization", `Bearer ${key}`);
    return request;
  },
  async onResponse({ response }) {
    reach.tell(true);
    if (!response.ok) throw problemOf(response.status, await response.text());
  },
  onError() {
    reach.tell(false);
    return new Problem(0, "unreachable", "unreachable");
  },
};

export const api = createClient<paths>({ baseUrl: "/" });
api.use(asProblem);

/** What openapi-fetch gives is data or a thrown Problem: errors never come back as values here. */
export async function ask<T>(call: Promise<{ data?: T }>): Promise<T> {
  return (await call).data as T;
}

/** A file of a result, or another answer that is no JSON of the document's. */
export async function read(url: string): Promise<Response> {
  const key = apiKey.get();
  const answer = await fetch(url, key ? { headers: { authorization: `Bearer ${key}` } } : {}).catch(() => {
    throw new Problem(0, "unreachable", "unreachable");
  });
  if (!answer.ok) throw problemOf(answer.status, await answer.text());
  return answer;
}
