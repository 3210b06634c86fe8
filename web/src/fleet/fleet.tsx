// What the tide is doing: every model's queue and workers, and for one of them why the fleet grew.
import { Badge, Card, Code, Group, Loader, Paper, SegmentedControl, SimpleGrid, Stack, Table, Text, Title, UnstyledButton } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { useSearchParams } from "wouter";
import { api, ask, type Decision, type Model } from "../api/client";
import { useModels } from "../api/jobs";
import { Failed } from "../parts/failed";
import { duration, when } from "../parts/format";
import { Operate } from "./operate";
import { Timeline } from "./timeline";
import { useWorkers, Workers } from "./workers";

const SPANS_S = { "1h": 3600, "6h": 21_600, "24h": 86_400 } as const;
type Span = keyof typeof SPANS_S;

export function Fleet() {
  const { t } = useTranslation();
  const models = useModels();
  const [search, setSearch] = useSearchParams();
  if (models.isPending) return <Loader mx="auto" my="xl" />;
  if (models.isError) return <Failed error={models.error} retry={() => void models.refetch()} />;
  const chosen = models.data.find((model) => model.name === search.get("model")) ?? busiest(models.data);
  const choose = (name: string) => setSearch((now) => { now.set("model", name); return now; }, { replace: true });
  return (
    <Stack>
      <div><Title order={1} size="h2">{t("nav.fleet")}</Title><Text c="dimmed">{t("fleet.lead")}</Text></div>
      <SimpleGrid cols={{ base: 2, md: 3, lg: 4 }}>
        {models.data.map((model) => <Tile key={model.name} model={model} active={model === chosen} onChoose={() => choose(model.name)} />)}
      </SimpleGrid>
      {chosen && <Story key={chosen.name} model={chosen} />}
    </Stack>
  );
}

const busiest = (models: Model[]) => [...models].sort((a, b) => weight(b) - weight(a))[0];
const weight = (model: Model) => (model.live ? model.live.queued * 10 + model.live.running + model.live.workers.busy + model.live.workers.ready * 0.1 : 0);

function Tile({ model, active, onChoose }: { model: Model; active: boolean; onChoose: () => void }) {
  const { t } = useTranslation();
  const live = model.live;
  const workers = live?.workers;
  return (
    <UnstyledButton onClick={onChoose} aria-pressed={active}>
      <Card withBorder padding="sm" h="100%" style={active ? { borderColor: "var(--mantine-primary-color-filled)", borderWidth: 2 } : {}}>
        <Text fw={600} size="sm">{t(`model.${model.name}.title`, { defaultValue: model.title })}</Text>
        {!live || !workers ? <Text size="xs" c="dimmed">{t("fleet.noFigures")}</Text> : (
          <>
            <Text size="sm">{t("fleet.queue", { queued: live.queued, running: live.running })}</Text>
            <Text size="xs" c="dimmed">{live.oldest_wait_s == null ? t("fleet.nobodyWaits") : t("fleet.oldest", { wait: duration(live.oldest_wait_s) })}</Text>
            <Group gap={4} mt={6}>
              {(["ready", "busy", "starting", "draining", "unloaded", "failing"] as const).filter((state) => (workers[state] ?? 0) > 0).map((state) => (
                <Badge key={state} size="sm" variant="light" tt="none" color={COLOURS[state]}>{t(`worker.${state}`, { count: workers[state] ?? 0 })}</Badge>
              ))}
              {Object.values(workers).every((count) => !count) && <Badge size="sm" variant="light" color="gray" tt="none">{t("worker.none")}</Badge>}
            </Group>
            {model.paused && <Badge size="sm" mt={4} color="orange" variant="light" tt="none">{t("operate.isPaused")}</Badge>}
            {live.problem && <Text size="xs" c="red" mt={4}>{live.problem.message}</Text>}
          </>
        )}
      </Card>
    </UnstyledButton>
  );
}

export const COLOURS = { ready: "teal", busy: "cyan", starting: "yellow", draining: "orange", unloaded: "gray", failing: "red" } as const;

function Story({ model }: { model: Model }) {
  const { t } = useTranslation();
  const [span, setSpan] = useState<Span>("1h");
  const [picked, setPicked] = useState<number | null>(null);
  const workers = useWorkers(); // for operators only
  const scaling = useQuery({
    queryKey: ["scaling", model.name, span],
    queryFn: async () => {
      const since_s = Math.round(Date.now() / 1000) - SPANS_S[span];
      const found = await ask(api.GET("/v1/models/{name}/scaling", { params: { path: { name: model.name }, query: { limit: 200, since_s } } }));
      return { ...found, since_s, decisions: found.decisions.filter((each) => each.at_s >= since_s) };
    },
    refetchInterval: 5_000,
  });
  if (scaling.isPending) return <Loader mx="auto" my="xl" />;
  if (scaling.isError) return <Failed error={scaling.error} retry={() => void scaling.refetch()} />;
  const { decisions, samples, pool, since_s } = scaling.data;
  const newest = [...decisions].sort((a, b) => b.at_s - a.at_s);
  return (
    <Paper withBorder p="md">
      <Group justify="space-between" mb="sm">
        <div>
          <Title order={2} size="h4">{t(`model.${model.name}.title`, { defaultValue: model.title })}</Title>
          {pool && <Text size="xs" c="dimmed">{t("fleet.pool", { pool })}</Text>}
        </div>
        <SegmentedControl value={span} onChange={(value) => setSpan(value as Span)} data={(Object.keys(SPANS_S) as Span[]).map((value) => ({ value, label: t(`fleet.${value}`) }))} aria-label={t("fleet.span")} />
      </Group>
      {workers.data && <Operate key={model.name} model={model} />}
      {samples.length < 2 ? <Text c="dimmed" ta="center" py="xl">{t("fleet.noSamples")}</Text> : (
        <Timeline samples={samples} decisions={newest} since_s={since_s} picked={picked} onPick={setPicked} />
      )}
      {workers.data && <Workers model={model.name} workers={workers.data} />}
      <Title order={3} size="h5" mt="lg" mb="xs">{t("fleet.decisions")}</Title>
      {newest.length === 0 ? <Text size="sm" c="dimmed">{t("fleet.noDecisions")}</Text> : (
        <Table.ScrollContainer minWidth={560}>
          <Table fz="sm" highlightOnHover>
            <Table.Thead><Table.Tr><Table.Th>{t("fleet.when")}</Table.Th><Table.Th>{t("fleet.change")}</Table.Th><Table.Th>{t("fleet.reason")}</Table.Th></Table.Tr></Table.Thead>
            <Table.Tbody>{newest.slice(0, 50).map((each) => <DecisionRow key={each.at_s} decision={each} open={picked === each.at_s} onToggle={() => setPicked(picked === each.at_s ? null : each.at_s)} />)}</Table.Tbody>
          </Table>
        </Table.ScrollContainer>
      )}
    </Paper>
  );
}

function DecisionRow({ decision, open, onToggle }: { decision: Decision; open: boolean; onToggle: () => void }) {
  const { t } = useTranslation();
  const figures = Object.entries(decision.figures as Record<string, number>);
  return (
    <Table.Tr {...(open ? { bg: "var(--mantine-primary-color-light)" } : {})}>
      <Table.Td style={{ verticalAlign: "top", whiteSpace: "nowrap" }}>{when(decision.at_s)}</Table.Td>
      <Table.Td style={{ verticalAlign: "top", whiteSpace: "nowrap" }}>{decision.before} → {decision.replicas}</Table.Td>
      <Table.Td>
        <UnstyledButton onClick={onToggle} aria-expanded={open} fz="sm"><Badge size="sm" variant="light" color="gray" tt="none" mr={6}>{decision.reason}</Badge>{decision.message}</UnstyledButton>
        {open && (
          <Group gap="xs" mt={6}>
            <Text size="xs" c="dimmed">{t("fleet.wish", { wish: decision.wish })}</Text>
            {figures.map(([name, value]) => <Text key={name} size="xs"><Text span size="xs" c="dimmed">{name}</Text> <Code>{Number(value.toFixed(3))}</Code></Text>)}
          </Group>
        )}
      </Table.Td>
    </Table.Tr>
  );
}
