// One WebSocket for every job on the page (docs/reference/live.md). A broken connection is made again, and each job
// goes on after the last event seen of it: nothing is told twice, nothing is missed.
import { notifyManager } from "@tanstack/react-query";
import { useSyncExternalStore } from "react";
import { apiKey, reach } from "./client";

export type JobEvent = {
  kind: string;
  job: string;
  id?: string;
  at_s?: number;
  status?: string;
  attempt?: number;
  progress?: number | null;
  stage?: string | null;
  code?: string;
  message?: string;
  figures?: Record<string, number>;
};
type Listener = (event: JobEvent) => void;

export const ENDS = new Set(["completed", "failed", "cancelled", "expired"]);
const RETRY_MS = [250, 500, 1000, 2000, 5000];

class Live {
  private socket: WebSocket | null = null;
  private listeners = new Map<string, Set<Listener>>();
  private everybody = new Set<Listener>();
  private seen = new Map<string, string>();
  private failures = 0;
  private retry: number | undefined;
  private watchers = new Set<() => void>();
  connected = true; // while nobody has asked for anything

  constructor() {
    // A socket may stay open for minutes after the network is gone, and a wait for the next try is in vain once it is back.
    window.addEventListener("offline", () => {
      if (!this.socket) return;
      this.socket.onclose = this.socket.onmessage = null; // nobody answers its farewell
      this.socket.close();
      this.lost();
    });
    window.addEventListener("online", () => {
      window.clearTimeout(this.retry);
      this.retry = undefined;
      this.failures = 0;
      if (this.isWanted()) this.open();
    });
  }

  follow(job: string, listener: Listener): () => void {
    const known = this.listeners.get(job);
    if (known) known.add(listener);
    else {
      this.listeners.set(job, new Set([listener]));
      this.send({ type: "subscribe", jobs: [this.place(job)] });
    }
    this.open();
    return () => {
      const left = this.listeners.get(job);
      left?.delete(listener);
      if (left?.size === 0) {
        this.listeners.delete(job);
        this.seen.delete(job);
        this.send({ type: "unsubscribe", jobs: [job] });
        this.rest();
      }
    };
  }

  followAll(listener: Listener): () => void {
    this.everybody.add(listener);
    if (this.everybody.size === 1) this.send({ type: "subscribe", all: true });
    this.open();
    return () => {
      this.everybody.delete(listener);
      if (this.everybody.size === 0) this.send({ type: "unsubscribe", all: true });
      this.rest();
    };
  }

  watch(watcher: () => void): () => void {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  }

  private place(job: string): string | { job: string; after: string } {
    const after = this.seen.get(job);
    return after === undefined ? job : { job, after };
  }

  private send(message: unknown): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  private open(): void {
    if (this.socket || this.retry !== undefined) return;
    const key = apiKey.get();
    const url = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/live`;
    const socket = key ? new WebSocket(url, ["springtide.v1", `springtide.key.${key}`]) : new WebSocket(url);
    this.socket = socket;
    socket.onopen = () => {
      this.failures = 0;
      this.tell(true);
      const jobs = [...this.listeners.keys()].map((job) => this.place(job));
      if (jobs.length) this.send({ type: "subscribe", jobs });
      if (this.everybody.size) this.send({ type: "subscribe", all: true });
    };
    socket.onmessage = (message) => {
      const events = JSON.parse(String(message.data)) as JobEvent[];
      notifyManager.batch(() => events.forEach((event) => this.deliver(event))); // one drawing for what came together
    };
    socket.onclose = () => this.lost();
  }

  private lost(): void {
    this.socket = null;
    this.tell(!this.isWanted());
    if (!this.isWanted()) return;
    const wait = RETRY_MS[Math.min(this.failures++, RETRY_MS.length - 1)]!;
    this.retry = window.setTimeout(() => {
      this.retry = undefined;
      this.open();
    }, wait);
  }

  private isWanted(): boolean {
    return this.listeners.size > 0 || this.everybody.size > 0;
  }

  /** Nobody follows anything any more: a socket that is away is no loss. */
  private rest(): void {
    if (this.isWanted() || this.socket) return;
    window.clearTimeout(this.retry);
    this.retry = undefined;
    this.tell(true);
  }

  private deliver(event: JobEvent): void {
    if (event.job && event.id && this.listeners.has(event.job)) this.seen.set(event.job, event.id);
    for (const listener of [...(this.listeners.get(event.job) ?? []), ...this.everybody]) listener(event);
  }

  private tell(connected: boolean): void {
    this.connected = connected;
    for (const watcher of this.watchers) watcher();
  }
}

export const live = new Live();

/** Whether the server answers, and live events flow where somebody has asked for them. */
export function useConnected(): boolean {
  return useSyncExternalStore(watch, () => live.connected && reach.answers);
}

function watch(changed: () => void): () => void {
  const stop = live.watch(changed);
  reach.watchers.add(changed);
  return () => { stop(); reach.watchers.delete(changed); };
}
