// Jobs as the page holds them: read once, then moved on by live events; read again at the end, for the outputs.
import { type QueryClient, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import { api, ask, type Job, type Model } from "./client";
import { ENDS, type JobEvent, live } from "./live";

export const SIMULATOR = "what-if"; // a model with a page of its own

/** Where a job is looked at. */
export const placeOf = (model: string, id: string): string => (model === SIMULATOR ? `/what-if?job=${id}` : `/?model=${encodeURIComponent(model)}&job=${id}`);

export const isOver = (job: Pick<Job, "status">): boolean => ENDS.has(job.status);

export function useModels() {
  return useQuery({
    queryKey: ["models"],
    queryFn: async () => (await ask(api.GET("/v1/models"))).data as Model[],
    refetchInterval: 5_000,
  });
}

const LOOK_MS = 5_000;

/** A job, followed live until its end; looked at again now and then, for the ETA shrinks. */
export function useJob(id: string | null, look_ms: number = LOOK_MS) {
  const client = useQueryClient();
  const found = useQuery({
    queryKey: ["job", id],
    queryFn: () => ask(api.GET("/v1/jobs/{job_id}", { params: { path: { job_id: id! } } })),
    enabled: id !== null,
    refetchInterval: (query) => (query.state.data && isOver(query.state.data) ? false : look_ms),
  });
  const follows = found.data !== undefined && !isOver(found.data);
  useEffect(() => {
    if (id === null || !follows) return undefined;
    return live.follow(id, (event) => apply(client, id, event));
  }, [client, id, follows]);
  return found;
}

function apply(client: QueryClient, id: string, event: JobEvent): void {
  if (ENDS.has(event.kind) || (event.kind === "snapshot" && ENDS.has(event.status ?? ""))) {
    void client.invalidateQueries({ queryKey: ["job", id] });
    void client.invalidateQueries({ queryKey: ["jobs"] });
    return;
  }
  client.setQueryData<Job>(["job", id], (job) => job && moved(job, event));
}

/** The job after one of its events. */
export function moved(job: Job, event: JobEvent): Job {
  switch (event.kind) {
    case "waiting":
      return { ...job, waiting: { code: event.code ?? "", message: event.message ?? "", figures: event.figures ?? {} } };
    case "queued":
    case "retrying":
      return { ...job, status: "queued", progress: null, stage: null };
    case "cancelling":
      return { ...job, status: "cancelling" };
    case "started":
    case "progress":
    case "snapshot":
      return {
        ...job,
        status: event.status ?? "in_progress",
        waiting: null,
        started_at_s: job.started_at_s ?? event.at_s ?? null,
        progress: event.progress ?? job.progress ?? null,
        stage: event.stage ?? job.stage ?? null,
      };
    default:
      return job;
  }
}

export function useCancel() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (id: string) => ask(api.POST("/v1/jobs/{job_id}/cancel", { params: { path: { job_id: id } } })),
    onSettled: (_data, _error, id) => {
      void client.invalidateQueries({ queryKey: ["job", id] });
      void client.invalidateQueries({ queryKey: ["jobs"] });
    },
  });
}
