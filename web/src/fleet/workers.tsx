// The workers of a model: what each runs and uses, and a way to send one away.
import { Anchor, Badge, Button, Progress, Stack, Table, Text, Title } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { Link } from "wouter";
import { api, ask, type Schemas } from "../api/client";
import { Ask } from "../parts/ask";
import { duration } from "../parts/format";
import { COLOURS } from "./fleet";

type Worker = Schemas["WorkerRow"];

/** Every worker; an error where the caller is no operator. */
export function useWorkers() {
  return useQuery({ queryKey: ["workers"], queryFn: async () => (await ask(api.GET("/v1/workers"))).data, refetchInterval: 3_000 });
}

export function Workers({ model, workers }: { model: string; workers: Worker[] }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [leaving, setLeaving] = useState<string | null>(null);
  const drain = useMutation({
    mutationFn: (id: string) => ask(api.POST("/v1/workers/{worker_id}/drain", { params: { path: { worker_id: id } } })),
    onError: (error) => notifications.show({ color: "red", title: t("error.title"), message: error.message }),
    onSettled: () => { setLeaving(null); void client.invalidateQueries({ queryKey: ["workers"] }); },
  });
  const own = workers.filter((worker) => worker.models.some((each) => each.model === model));
  return (
    <Stack gap="xs" mt="lg">
      <Title order={3} size="h5">{t("workers.title")}</Title>
      {own.length === 0 ? <Text size="sm" c="dimmed">{t("workers.none")}</Text> : (
        <Table.ScrollContainer minWidth={720}>
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
  const share = (value: number | null | undefined) => (value == null ? "–" : `${Math.round(value * 100)} %`);
  return (
    <Table.Tr>
      <Table.Td ff="monospace" fz="xs">{worker.id}</Table.Td>
      <Table.Td><Badge size="sm" variant="light" tt="none" color={leaves ? COLOURS.draining : (COLOURS[worker.state as keyof typeof COLOURS] ?? "gray")}>{t(`workers.${leaves ? "draining" : worker.state}`)}</Badge></Table.Td>
      <Table.Td miw={160}>
        {worker.jobs.length === 0 ? <Text size="xs" c="dimmed">–</Text> : worker.jobs.slice(0, 3).map((job) => (
          <div key={job.job}>
            <Anchor component={Link} href={`/?model=${encodeURIComponent(job.model)}&job=${job.job}`} size="xs" underline="always">…{job.job.slice(-8)}</Anchor> <Text span size="xs" c="dimmed">{job.running_s == null ? "" : duration(job.running_s)} {job.stage ?? ""}</Text>
            <Progress size="xs" value={(job.fraction ?? 0) * 100} aria-label={job.job} />
          </div>
        ))}
        {worker.jobs.length > 3 && <Text size="xs" c="dimmed">{t("workers.more", { count: worker.jobs.length - 3 })}</Text>}
      </Table.Td>
      <Table.Td ta="right">{share(usage?.cpu)}</Table.Td>
      <Table.Td ta="right">{usage?.memory_mb == null ? "–" : `${Math.round(usage.memory_mb)} MB`}</Table.Td>
      <Table.Td ta="right">{share(usage?.gpu)}</Table.Td>
      <Table.Td ta="right">{share(usage?.gpu_memory)}</Table.Td>
      <Table.Td><Button size="compact-xs" variant="subtle" color="red" disabled={leaves} onClick={onDrain} aria-label={`${t("workers.drain")} ${worker.id}`}>{t("workers.drain")}</Button></Table.Td>
    </Table.Tr>
  );
}
