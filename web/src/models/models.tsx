// What is served: version, licence, what was measured here, how busy it is.
import { Alert, Anchor, Badge, Button, Code, Collapse, Group, Paper, Progress, SimpleGrid, Stack, Table, Text, Title } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { Link } from "wouter";
import type { TFunction } from "i18next";
import type { Model, Schemas } from "../api/client";
import { useModels } from "../api/jobs";
import { Copy } from "../parts/copy";
import { bytes, duration, when } from "../parts/format";
import { Loading } from "../parts/loading";
import { saidReason } from "../parts/said";
import { curlOf, pythonOf } from "../parts/snippets";
import { Told } from "../parts/told";
import { titleOf } from "../parts/title";

export function Models() {
  const { t } = useTranslation();
  const models = useModels();
  if (models.data === undefined) return <Loading query={models} />;
  return (
    <Stack>
      <Title order={1} size="h2">{t("nav.models")}</Title>
      <SimpleGrid cols={{ base: 1, lg: 2 }}>{models.data.map((model) => <One key={model.name} model={model} />)}</SimpleGrid>
    </Stack>
  );
}

function One({ model }: { model: Model }) {
  const { t } = useTranslation();
  const { live, measured } = model;
  const facts: [string, ReactNode][] = [
    [t("models.version"), model.version],
    [t("models.engine"), model.engine],
    [t("models.weights"), model.weights.length ? <Text key="files" span size="xs">{model.weights.map((each) => <span key={each.path} style={{ display: "block" }}>{each.path} ({bytes(each.bytes)})</span>)}</Text> : t("studio.none")],
    [t("models.license"), model.license],
    [t("models.load"), measured?.load_s == null ? null : duration(measured.load_s)],
    [t("models.run"), measured?.run_s == null ? null : duration(measured.run_s)],
    [t("models.memory"), measured?.peak_memory_mb == null ? null : `${Math.round(measured.peak_memory_mb)} MB`],
    [t("models.limit"), duration(model.timeout_s)],
  ];
  return (
    <Paper withBorder p="md">
      <Group justify="space-between" align="start">
        <div>
          <Anchor component={Link} href={`/?model=${encodeURIComponent(model.name)}`} fw={600}>{titleOf(t, model)}</Anchor>
          <Text size="sm" c="dimmed">{model.name}</Text>
        </div>
        <Group gap={6}>
          {model.generative && <Badge color="orange" variant="light" tt="none">{t("result.generative")}</Badge>}
          {model.commercial_use === "no" && <Badge color="red" variant="light" tt="none">{t("models.nonCommercial")}</Badge>}
        </Group>
      </Group>
      {live?.problem && <div><Told said={saidReason(live.problem)} c="red" /></div>}
      <Table mt="sm" withRowBorders={false} verticalSpacing={2} fz="sm">
        <Table.Tbody>
          {live && (
            <Table.Tr><Table.Td c="dimmed" w={{ base: 100, xs: 160 }} style={{ verticalAlign: "top" }}>{t("models.now")}</Table.Td><Table.Td>{t("models.figures", { queued: live.queued, running: live.running, ready: live.workers.ready, busy: live.workers.busy, loading: live.workers.starting })}</Table.Td></Table.Tr>
          )}
          {facts.filter(([, value]) => value !== null).map(([name, value]) => (
            <Table.Tr key={name}><Table.Td c="dimmed" w={{ base: 100, xs: 160 }} style={{ verticalAlign: "top" }}>{name}</Table.Td><Table.Td style={{ overflowWrap: "anywhere" }}>{value}</Table.Td></Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
      <Versions model={model} />
      <Example model={model} />
    </Paper>
  );
}

type Rollout = Schemas["RolloutView"];
const COLOURS: Record<string, string> = { stable: "teal", canary: "yellow", aborted: "red", retired: "gray", declared: "gray" };

/** Which versions there are and how the jobs are divided; nothing for the one version that most models have. */
function Versions({ model }: { model: Model }) {
  const { t } = useTranslation();
  const { versions, rollout } = model;
  if (versions.length < 2 && !rollout) return null;
  const measured = rollout?.compared;
  const figures = (each: { jobs: number; failure_rate: number | null; run_s_p95: number | null }) => t("models.measured", { count: each.jobs, failed: each.failure_rate == null ? "–" : `${(each.failure_rate * 100).toFixed(1)} %`, p95: each.run_s_p95 == null ? "–" : duration(each.run_s_p95) });
  return (
    <Stack gap="xs" mt="sm">
      {rollout && (
        <Alert color={rollout.state === "aborted" ? "red" : rollout.state === "running" ? "yellow" : "teal"} styles={{ title: { color: "var(--mantine-color-text)" } }} title={t(`models.rollout.${rollout.state}`, { stable: rollout.stable, canary: rollout.canary, at: when(rollout.ended_at_s ?? rollout.started_at_s) })}>
          {rollout.reason && <Text size="sm">{whyAborted(rollout, t) ?? rollout.reason}</Text>}
          {measured && <Text size="xs">{rollout.stable}: {figures(measured.stable)} · {rollout.canary}: {figures(measured.canary)}</Text>}
        </Alert>
      )}
      <Table.ScrollContainer className="cards" type="native" minWidth={0}>
      <Table fz="sm" verticalSpacing={4}>
        <Table.Thead><Table.Tr><Table.Th>{t("models.version")}</Table.Th><Table.Th>{t("models.state")}</Table.Th><Table.Th w={120}>{t("models.weight")}</Table.Th><Table.Th>{t("models.engine")}</Table.Th><Table.Th ta="right">{t("models.queue")}</Table.Th></Table.Tr></Table.Thead>
        <Table.Tbody>
          {versions.map((each) => (
            <Table.Tr key={each.version}>
              <Table.Td data-label={t("models.version")}>{each.version}</Table.Td>
              <Table.Td data-label={t("models.state")}><Badge size="sm" miw="max-content" variant="light" tt="none" color={COLOURS[each.state] ?? "gray"}>{t(`models.states.${each.state}`)}</Badge></Table.Td>
              <Table.Td data-label={t("models.weight")}><Group gap={6} wrap="nowrap" w="100%"><Progress value={each.weight} style={{ flex: 1 }} aria-label={`${t("models.weight")} ${each.version}`} /><Text size="xs">{Number(each.weight.toFixed(1))} %</Text></Group></Table.Td>
              <Table.Td data-label={t("models.engine")}>{each.engine}</Table.Td>
              <Table.Td data-label={t("models.queue")} ta="right">{each.queued ?? "–"} / {each.running ?? "–"}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
      </Table.ScrollContainer>
    </Stack>
  );
}

/** What the comparison says in figures; null where a person ended it, whose note stands for itself. */
function whyAborted(rollout: Rollout, t: TFunction): string | null {
  const { compared, margins } = rollout;
  if (!rollout.is_automatic || !compared) return null;
  const [ours, theirs] = [compared.canary, compared.stable];
  const more = (ours.failure_rate ?? 0) - (theirs.failure_rate ?? 0);
  if (more > margins.max_failure_rate_margin) return t("models.failedMore", { failed: ours.failed, jobs: ours.jobs, otherFailed: theirs.failed, otherJobs: theirs.jobs, margin: share(margins.max_failure_rate_margin) });
  if (ours.run_s_p95 == null || theirs.run_s_p95 == null) return null;
  return t("models.ranLonger", { p95: duration(ours.run_s_p95), other: duration(theirs.run_s_p95), margin: share(margins.max_p95_margin) });
}
const share = (value: number) => `${Number((value * 100).toFixed(1))} %`;

function Example({ model }: { model: Model }) {
  const { t } = useTranslation();
  const [open, { toggle }] = useDisclosure(false);
  const curl = curlOf(model.name, exampleOf(model), filesOf(model));
  return (
    <div>
      <Group gap="xs" mt="sm">
        <Button size="compact-sm" variant="subtle" onClick={toggle} aria-expanded={open}>{t("models.example")}</Button>
        <Copy text={curl} label="curl" />
        <Copy text={pythonOf(model.name, exampleOf(model), filesOf(model))} label="Python" />
      </Group>
      <Collapse expanded={open}><Code block mt="xs">{curl}</Code></Collapse>
    </div>
  );
}

const NAMES: Record<string, string> = { image: "photo.jpg", audio: "talk.mp3", video: "clip.mp4" };

function filesOf(model: Model): Record<string, string> {
  const wanted = model.input_files.filter((file) => file.required);
  const chosen = wanted.length ? wanted : model.input_files.slice(0, 1);
  return Object.fromEntries(chosen.map((file) => [file.name, NAMES[file.media_types[0]?.split("/")[0] ?? ""] ?? "file.bin"]));
}

function exampleOf(model: Model): Record<string, unknown> {
  const schema = model.input_schema as { required?: string[]; properties?: Record<string, { examples?: unknown[]; default?: unknown }> };
  const files = new Set(model.input_files.map((file) => file.name));
  const names = (schema.required ?? []).filter((name) => !files.has(name));
  return Object.fromEntries(names.map((name) => [name, schema.properties?.[name]?.examples?.[0] ?? schema.properties?.[name]?.default ?? "…"]));
}
