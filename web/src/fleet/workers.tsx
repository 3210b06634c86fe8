// The workers of a model: what each runs and uses, and a way to send one away.
import { Anchor, Badge, Button, Progress, Stack, Table, Text, Title } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { Link } from "wouter";
import { api, ask, type Schemas } from "../api/client";
import { placeOf } from "../api/jobs";
import { Ask } from "../parts/ask";
import { tellFailure } from "../parts/failed";
import { bytes, duration } from "../parts/format";

export const COLOURS = { ready: "teal", busy: "cyan", starting: "yellow", draining: "orange", unloaded: "gray", failing: "red" } as const;

type Worker = Schemas["WorkerRow"];

/** Every worker; an error where the caller is no operator. */
export function useWorkers() {
  return useQuery({ queryKey: ["workers"], queryFn: async () => (await ask(api.GET("/v1/workers"))).data, refetchInterval: 3_000 });
}

export type Used = { gpu: number | null; shown: { gpu: string; gpuMemory: string; cpu: string; memory: string } };

/** What the workers of a model use, in the mean and in all; null where none has said. */
export function usedBy(model: string, workers: Worker[]): Used | null {
  const told = workers.flatMap((worker) => worker.models.filter((each) => each.model === model).map((each) => each.usage)).filter((usage) => usage != null);
  if (told.length === 0) return null;
  const mean = (pick: (usage: (typeof told)[number]) => number | null | undefined) => {
    const known = told.map(pick).filter((value): value is number => value != null);
    return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
  };
  const [gpu, memory_mb] = [mean((usage) => usage.gpu), mean((usage) => usage.memory_mb)];
  return { gpu, shown: { gpu: share(gpu), gpuMemory: share(mean((usage) => usage.gpu_memory)), cpu: share(mean((usage) => usage.cpu)), memory: memory_mb === null ? "–" : bytes(memory_mb * 1_048_576) } };
}

const share = (value: number | null | undefined) => (value == null ? "–" : `${Math.round(value * 100)} %`);

export function Workers({ model, workers }: { model: string; workers: Worker[] }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [leaving, setLeaving] = useState<string | null>(null);
  const drain = useMutation({
    mutationFn: (id: string) => ask(api.POST("/v1/workers/{worker_id}/drain", { params: { path: { worker_id: id } } })),
    onError: tellFailure,
    onSettled: () => { setLeaving(null); void client.invalidateQueries({ queryKey: ["workers"] }); },
  });
  const own = workers.filter((worker) => worker.models.some((each) => each.model === model));
  return (
    <Stack gap="xs" mt="lg">
      <Title order={3} size="h5">{t("workers.title")}</Title>
      {own.length === 0 ? <Text size="sm" c="dimmed">{t("workers.none")}</Text> : (
        <Table.ScrollContainer className="cards" type="native" minWidth={720}>
          <Table fz="sm" highlightOnHover style={{ fontVariantNumeric: "tabular-nums" }}>
            <Table.Thead><Table.Tr><Table.Th>{t("workers.worker")}</Table.Th><Table.Th>{t("workers.state")}</Table.Th><Table.Th>{t("workers.runs")}</Table.Th>{["cpu", "memory", "gpu", "gpuMemory"].map((name) => <Table.Th key={name} ta="right">{t(`workers.${name}`)}</Table.Th>)}<Table.Th aria-label={t("history.actions")} /></Table.Tr></Table.Thead>
            <Table.Tbody>{own.map((worker) => <Row key={worker.id} worker={worker} model={model} onDrain={() => setLeaving(worker.id)} />)}</Table.Tbody>
          </Table>
        </Table.ScrollContainer>
      )}
      <Ask opened={leaving !== null} title={t("workers.drain")} what={t("workers.drainAsk", { id: leaving ?? "" })} confirm={t("workers.drain")} busy={drain.isPending} onConfirm={() => leaving && drain.mutate(leaving)} onClose={() => setLeaving(null)} />
    </Stack>
  );
}

function Row({ worker, model, onDrain }: { worker: Worker; model: string; onDrain: () => void }) {
  const { t } = useTranslation();
  const usage = worker.models.find((each) => each.model === model)?.usage ?? worker.models.find((each) => each.usage)?.usage;
  const leaves = worker.drain_asked_at_s != null || worker.state === "draining";
  return (
    <Table.Tr>
      <Table.Td data-label={t("workers.worker")} ff="monospace" fz="xs">{worker.id}</Table.Td>
      <Table.Td data-label={t("workers.state")}><Badge size="sm" variant="light" tt="none" color={leaves ? COLOURS.draining : (COLOURS[worker.state as keyof typeof COLOURS] ?? "gray")}>{t(`workers.${leaves ? "draining" : worker.state}`)}</Badge></Table.Td>
      <Table.Td data-label={t("workers.runs")} miw={160}>
        {worker.jobs.length === 0 ? <Text size="xs" c="dimmed">–</Text> : worker.jobs.slice(0, 3).map((job) => (
          <div key={job.job}>
            <Anchor component={Link} href={placeOf(job.model, job.job)} size="xs" underline="always">…{job.job.slice(-8)}</Anchor> <Text span size="xs" c="dimmed">{job.running_s == null ? "" : duration(job.running_s)} {job.stage ?? ""}</Text>
            <Progress size="xs" value={(job.fraction ?? 0) * 100} aria-label={job.job} />
          </div>
        ))}
        {worker.jobs.length > 3 && <Text size="xs" c="dimmed">{t("workers.more", { count: worker.jobs.length - 3 })}</Text>}
      </Table.Td>
      <Table.Td data-label={t("workers.cpu")} ta="right">{share(usage?.cpu)}</Table.Td>
      <Table.Td data-label={t("workers.memory")} ta="right">{usage?.memory_mb == null ? "–" : `${Math.round(usage.memory_mb)} MB`}</Table.Td>
      <Table.Td data-label={t("workers.gpu")} ta="right">{share(usage?.gpu)}</Table.Td>
      <Table.Td data-label={t("workers.gpuMemory")} ta="right">{share(usage?.gpu_memory)}</Table.Td>
      <Table.Td><Button size="compact-xs" variant="subtle" color="red" disabled={leaves} onClick={onDrain} aria-label={`${t("workers.drain")} ${worker.id}`}>{t("workers.drain")}</Button></Table.Td>
    </Table.Tr>
  );
}
