// What the tide is doing: every model's queue and workers, and for one of them why the fleet grew.
import { Badge, Button, Card, Code, Group, Paper, SegmentedControl, SimpleGrid, Stack, Table, Text, Title, UnstyledButton } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { useSearchParams } from "wouter";
import { api, ask, type Decision, type Model } from "../api/client";
import { useModels } from "../api/jobs";
import { duration, when } from "../parts/format";
import { Loading } from "../parts/loading";
import { type Figures, figureName, said, saidReason, shown } from "../parts/said";
import { titleOf } from "../parts/title";
import { Operate } from "./operate";
import { Timeline } from "./timeline";
import { COLOURS, type Used, usedBy, useWorkers, Workers } from "./workers";

const SPANS_S = { "1h": 3600, "6h": 21_600, "24h": 86_400 } as const;
type Span = keyof typeof SPANS_S;
const LISTED = 6; // decisions at first: more would push the workers off the screen

export function Fleet() {
  const { t } = useTranslation();
  const models = useModels();
  const [search, setSearch] = useSearchParams();
  const workers = useWorkers(); // for operators only
  if (models.data === undefined) return <Loading query={models} />;
  const chosen = models.data.find((model) => model.name === search.get("model")) ?? busiest(models.data);
  const choose = (name: string) => setSearch((now) => { now.set("model", name); return now; }, { replace: true });
  return (
    <Stack>
      <div><Title order={1} size="h2">{t("nav.fleet")}</Title><Text c="dimmed">{t("fleet.lead")}</Text></div>
      <SimpleGrid cols={{ base: 2, md: 4, lg: 5 }} spacing="xs">
        {models.data.map((model) => <Tile key={model.name} model={model} used={usedBy(model.name, workers.data ?? [])} active={model === chosen} onChoose={() => choose(model.name)} />)}
      </SimpleGrid>
      {chosen && <Story key={chosen.name} model={chosen} />}
    </Stack>
  );
}

const busiest = (models: Model[]) => [...models].sort((a, b) => weight(b) - weight(a))[0];
const weight = (model: Model) => (model.live ? model.live.queued * 10 + model.live.running + model.live.workers.busy + model.live.workers.ready * 0.1 : 0);

function Tile({ model, used, active, onChoose }: { model: Model; used: Used | null; active: boolean; onChoose: () => void }) {
  const { t } = useTranslation();
  const live = model.live;
  const workers = live?.workers;
  return (
    <UnstyledButton onClick={onChoose} aria-pressed={active}>
      <Card withBorder padding="xs" h="100%" style={active ? { borderColor: "var(--mantine-primary-color-filled)", borderWidth: 2 } : {}}>
        <Text fw={600} size="sm">{titleOf(t, model)}</Text>
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
            {used && <Text size="xs" c="dimmed" mt={4}>{used.gpu === null ? t("fleet.usedCpu", used.shown) : t("fleet.usedGpu", used.shown)}</Text>}
            {model.paused && <Badge size="sm" mt={4} color="orange" variant="light" tt="none">{t("operate.isPaused")}</Badge>}
            {live.problem && <Text size="xs" c="red" mt={4} title={live.problem.message}>{saidReason(live.problem).text}</Text>}
          </>
        )}
      </Card>
    </UnstyledButton>
  );
}

function Story({ model }: { model: Model }) {
  const { t } = useTranslation();
  const [span, setSpan] = useState<Span>("1h");
  const [picked, setPicked] = useState<number | null>(null);
  const [most, setMost] = useState(LISTED);
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
  if (scaling.data === undefined) return <Loading query={scaling} />;
  const { decisions, samples, pool, since_s } = scaling.data;
  const newest = [...decisions].sort((a, b) => b.at_s - a.at_s);
  const listed = newest.slice(0, most);
  const told = newest.find((each) => each.at_s === picked) ?? newest.find((each) => each.replicas > each.before) ?? newest[0];
  return (
    <Paper withBorder p="md">
      <Group justify="space-between" mb="sm">
        <div>
          <Title order={2} size="h4">{titleOf(t, model)}</Title>
          {pool && <Text size="xs" c="dimmed">{t("fleet.pool", { pool })}</Text>}
        </div>
        <SegmentedControl value={span} onChange={(value) => setSpan(value as Span)} data={(Object.keys(SPANS_S) as Span[]).map((value) => ({ value, label: t(`fleet.${value}`) }))} aria-label={t("fleet.span")} />
      </Group>
      {workers.data && <Operate key={model.name} model={model} />}
      {told && <Why decision={told} whole={told.at_s === picked} />}
      {samples.length < 2 ? <Text c="dimmed" ta="center" py="xl">{t("fleet.noSamples")}</Text> : (
        <Timeline samples={samples} decisions={newest} since_s={since_s} picked={picked} onPick={setPicked} />
      )}
      <Title order={3} size="h5" mt="lg">{t("fleet.decisions")}</Title>
      <Text size="xs" c="dimmed" mb="xs">{newest.length === 0 ? t("fleet.noDecisions") : t("fleet.marks")}</Text>
      {newest.length > 0 && (
        <Table.ScrollContainer className="cards" type="native" minWidth={560}>
          <Table fz="sm" highlightOnHover>
            <Table.Thead><Table.Tr><Table.Th>{t("fleet.when")}</Table.Th><Table.Th>{t("fleet.change")}</Table.Th><Table.Th>{t("fleet.reason")}</Table.Th></Table.Tr></Table.Thead>
            <Table.Tbody>{listed.map((each) => <DecisionRow key={each.at_s} decision={each} open={picked === each.at_s} onToggle={() => setPicked(picked === each.at_s ? null : each.at_s)} />)}</Table.Tbody>
          </Table>
        </Table.ScrollContainer>
      )}
      {listed.length < newest.length && <Button variant="subtle" size="xs" mt="xs" onClick={() => setMost(newest.length)}>{t("fleet.moreDecisions", { count: newest.length - listed.length })}</Button>}
      {workers.data && <Workers model={model.name} workers={workers.data} />}
    </Paper>
  );
}

/** What was decided and why, beside the chart; with its figures where it was asked for. */
function Why({ decision, whole }: { decision: Decision; whole: boolean }) {
  const { t } = useTranslation();
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => { if (whole) place.current?.scrollIntoView({ block: "nearest" }); }, [whole, decision.at_s]);
  const why = saidDecision(decision);
  return (
    <Paper ref={place} bg="var(--mantine-color-default-hover)" p="xs" mb="xs" role="status">
      <Group gap="xs">
        <Text size="sm">{when(decision.at_s)}</Text>
        <Text size="sm" fw={700}>{changeOf(decision)}</Text>
        <Badge size="sm" variant="light" color="gray" tt="none">{decision.reason}</Badge>
        <Text size="sm">{why.text}</Text>
      </Group>
      {why.own && <Text size="xs" c="dimmed">{why.own}</Text>}
      {whole && (
        <Group gap="xs" mt={4} data-testid="figures">
          <Text size="xs" c="dimmed">{t("fleet.wish", { wish: decision.wish })}</Text>
          {Object.entries(decision.figures as Figures).map(([name, value]) => <Text key={name} size="xs" title={name}><Text span size="xs" c="dimmed">{figureName(name)}</Text> <Code>{shown(name, value)}</Code></Text>)}
        </Group>
      )}
    </Paper>
  );
}

const changeOf = ({ before, replicas }: Decision) => (before === replicas ? String(replicas) : `${before} → ${replicas}`);
const saidDecision = ({ reason, message, figures, before, replicas, wish }: Decision) => said(["decision"], reason, message, { ...(figures as Figures), before, replicas, wish });

function DecisionRow({ decision, open, onToggle }: { decision: Decision; open: boolean; onToggle: () => void }) {
  const { t } = useTranslation();
  return (
    <Table.Tr {...(open ? { bg: "var(--mantine-primary-color-light)" } : {})}>
      <Table.Td data-label={t("fleet.when")} style={{ whiteSpace: "nowrap" }}>{when(decision.at_s)}</Table.Td>
      <Table.Td data-label={t("fleet.change")} style={{ whiteSpace: "nowrap" }}>{changeOf(decision)}</Table.Td>
      <Table.Td>
        <UnstyledButton onClick={onToggle} aria-pressed={open} fz="sm"><Badge size="sm" variant="light" color="gray" tt="none" mr={6}>{decision.reason}</Badge>{saidDecision(decision).text}</UnstyledButton>
      </Table.Td>
    </Table.Tr>
  );
}
