// Cost and wait of each policy side by side, how it went over time, and the settings that won.
import "@mantine/charts/styles.css";
import { BarChart, LineChart } from "@mantine/charts";
import { Alert, Button, Code, Group, Paper, SimpleGrid, Stack, Table, Text, Title } from "@mantine/core";
import { IconFileText } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { type FileView, type Job, read } from "../api/client";
import i18n from "../i18n";
import { Copy } from "../parts/copy";
import { duration, figure } from "../parts/format";
import { here, linkTo } from "../studio/results";

type Figures = { policy: string; replica_hours: number; used: number; wait_mean_s: number; wait_p50_s: number; wait_p95_s: number; wait_p99_s: number; attained: number; keeps: boolean; peak: number; scale_events: number; stopped_busy: number };
type Found = { trace: string; jobs: number; span_s: number; load: number; note: string; bound_hours: number; policies: Figures[]; best: string | null; settings: { lines: string; keeps: boolean; attained: number; replica_hours: number; tried: number } | null; curves: FileView; report: FileView };
type Curves = Record<string, { rows: number[][]; within: [number, number][] }>;
const COLOURS = ["cyan.7", "red.6", "yellow.7", "indigo.5", "grape.6", "gray.6", "orange.7", "lime.8", "pink.6", "teal.6", "blue.7", "violet.6"];
const BAR = 34; // px for each policy

export function Outcome({ job }: { job: Job }) {
  const { t } = useTranslation();
  const found = job.outputs as unknown as Found;
  const wish = job.inputs as { wait_s: number; share: number; invent?: string | null };
  const best = found.policies.find((each) => each.policy === found.best);
  const runnerUp = best && [...found.policies].filter((each) => each.keeps && each !== best).sort((a, b) => a.replica_hours - b.replica_hours)[0];
  const nearest = [...found.policies].sort((a, b) => b.attained - a.attained)[0];
  return (
    <Stack>
      <div>
        <Title order={2} size="h4">{found.trace}</Title>
        <Text size="sm" c="dimmed">{t("whatif.about", { jobs: figure(found.jobs), span: duration(found.span_s), load: figure(found.load), share: percent(wish.share), wait: duration(wish.wait_s) })}</Text>
        {wish.invent ? <Text size="xs" c="dimmed">{t("whatif.invented", { family: t(`familyName.${wish.invent}`), days: figure(found.span_s / 86_400) })}</Text> : <Text size="xs" c="dimmed">{found.note}</Text>}
      </div>
      <Alert color={best ? "teal" : "orange"}>
        {best
          ? t(runnerUp ? "whatif.wins" : "whatif.winsAlone", { policy: best.policy, attained: percent(best.attained), hours: figure(best.replica_hours), less: percent(runnerUp ? 1 - best.replica_hours / runnerUp.replica_hours : 0), other: runnerUp?.policy ?? "" })
          : t("whatif.nobody", { policy: nearest?.policy ?? "", attained: percent(nearest?.attained ?? 0) })}
      </Alert>
      <SimpleGrid cols={{ base: 1, md: 2 }}>
        <Bars title={t("whatif.cost")} unit={t("whatif.hours")} rows={found.policies.map((each) => [each.policy, each.replica_hours])} />
        <Bars title={t("whatif.wait")} unit={t("whatif.seconds")} rows={found.policies.map((each) => [each.policy, each.wait_p95_s])} />
      </SimpleGrid>
      <Compared found={found} />
      {found.settings && <Won settings={found.settings} />}
      <OverTime found={found} wait_s={wish.wait_s} />
      <Button component="a" href={linkTo(found.report)} download={found.report.name ?? "what-if.html"} variant="default" size="xs" w="fit-content" leftSection={<IconFileText size={16} />}>{t("whatif.report")}</Button>
    </Stack>
  );
}

function Bars({ title, unit, rows }: { title: string; unit: string; rows: [string, number][] }) {
  return (
    <Paper withBorder p="sm">
      <Text size="sm" fw={600} mb={4}>{title}</Text>
      <BarChart
        h={rows.length * BAR + 50}
        data={rows.map(([policy, value], place) => ({ policy, value, color: COLOURS[place % COLOURS.length] }))}
        dataKey="policy"
        orientation="vertical"
        series={[{ name: "value", label: unit, color: "cyan.7" }]}
        withBarValueLabel
        valueFormatter={figure}
        xAxisLabel={unit}
        yAxisProps={{ width: 84 }}
        barChartProps={{ margin: { right: 44, bottom: 22 } }}
        barProps={{ isAnimationActive: false }}
        aria-label={title}
      />
    </Paper>
  );
}

function Compared({ found }: { found: Found }) {
  const { t } = useTranslation();
  const heads = ["policy", "replicaHours", "bound", "inTime", "p95", "p99", "used", "peak", "changes"] as const;
  return (
    <Table.ScrollContainer className="cards" type="native" minWidth={560}>
      <Table fz="sm" highlightOnHover horizontalSpacing={7} style={{ fontVariantNumeric: "tabular-nums", whiteSpace: "nowrap" }}>
        <Table.Thead><Table.Tr>{heads.map((name) => <Table.Th key={name} ta={name === "policy" ? "left" : "right"} title={t(`whatif.${name}Help`, { defaultValue: "" })}>{t(`whatif.${name}`)}</Table.Th>)}</Table.Tr></Table.Thead>
        <Table.Tbody>
          {found.policies.map((each) => (
            <Table.Tr key={each.policy} {...(each.policy === found.best ? { bg: "var(--mantine-color-teal-light)" } : {})}>
              <Table.Td fw={each.policy === found.best ? 700 : 400}>{each.policy}</Table.Td>
              <Table.Td data-label={t("whatif.hours")} ta="right">{figure(each.replica_hours)}</Table.Td>
              <Table.Td data-label={t("whatif.bound")} ta="right">{found.bound_hours ? figure(each.replica_hours / found.bound_hours) : "–"}</Table.Td>
              <Table.Td data-label={t("whatif.inTime")} ta="right" c={each.keeps ? "teal.9" : "red.9"} className="tone">{each.keeps ? "✓ " : "✗ "}{percent(each.attained)}</Table.Td>
              {([["p95", each.wait_p95_s], ["p99", each.wait_p99_s]] as const).map(([name, value]) => <Table.Td key={name} data-label={t(`whatif.${name}`)} ta="right">{figure(value)} s</Table.Td>)}
              <Table.Td data-label={t("whatif.used")} ta="right">{percent(each.used)}</Table.Td>
              <Table.Td data-label={t("whatif.peak")} ta="right">{each.peak}</Table.Td>
              <Table.Td data-label={t("whatif.changes")} ta="right">{figure(each.scale_events)}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}

function Won({ settings }: { settings: NonNullable<Found["settings"]> }) {
  const { t } = useTranslation();
  return (
    <Paper withBorder p="md">
      <Group justify="space-between" mb="xs">
        <Title order={3} size="h5">{t("whatif.settings")}</Title>
        <Copy text={settings.lines} label="TOML" />
      </Group>
      <Text size="sm" c="dimmed" mb="xs">{t(settings.keeps ? "whatif.settingsKeep" : "whatif.settingsMiss", { tried: settings.tried, attained: percent(settings.attained), hours: figure(settings.replica_hours) })}</Text>
      <Code block>{settings.lines}</Code>
    </Paper>
  );
}

function OverTime({ found, wait_s }: { found: Found; wait_s: number }) {
  const { t } = useTranslation();
  const curves = useQuery({ queryKey: ["curves", found.curves.id], queryFn: async () => (await (await read(here(found.curves.url))).json()) as Curves, staleTime: Infinity });
  if (!curves.data) return null;
  const names = found.policies.map((each) => each.policy);
  const series = names.map((name, place) => ({ name, label: name, color: COLOURS[place % COLOURS.length]! }));
  const first = curves.data[names[0]!]!.rows;
  const unit_s = found.span_s > 2 * 86_400 ? 86_400 : found.span_s > 7200 ? 3600 : 60;
  const x = t(unit_s === 86_400 ? "whatif.inDays" : unit_s === 3600 ? "whatif.inHours" : "whatif.inMinutes");
  // Each policy looks at times of its own: its rows are laid on those of the first.
  const at = (name: string, until_s: number, column: number) => curves.data[name]!.rows.find((row) => row[0]! >= until_s)?.[column] ?? null;
  const lay = (column: number) => first.map((row) => ({ x: row[0]! / unit_s, ...Object.fromEntries(names.map((name) => [name, at(name, row[0]!, column)])) }));
  const within = curves.data[names[0]!]!.within.map(([seconds], place) => ({ x: seconds, ...Object.fromEntries(names.map((name) => [name, curves.data[name]!.within[place]![1] * 100])) }));
  const shared = { h: 240, dataKey: "x", withLegend: true, withDots: false, curveType: "linear", strokeWidth: 1.5, xAxisProps: { type: "number", domain: [0, "dataMax"], tickCount: 9, tickFormatter: figure }, valueFormatter: figure, series, lineProps: { isAnimationActive: false } } as const;
  return (
    <>
      {([["replicas", 4], ["waiting", 6]] as const).map(([name, column]) => (
        <Paper key={name} withBorder p="sm">
          <Text size="sm" fw={600} mb={4}>{t(`whatif.${name}`)}</Text>
          <LineChart {...shared} data={lay(column)} xAxisLabel={x} yAxisLabel={t(`whatif.${name}Unit`)} aria-label={t(`whatif.${name}`)} />
        </Paper>
      ))}
      <Paper withBorder p="sm">
        <Text size="sm" fw={600} mb={4}>{t("whatif.within")}</Text>
        <LineChart {...shared} data={within} xAxisLabel={t("whatif.seconds")} yAxisLabel="%" yAxisProps={{ domain: ["auto", 100] }} referenceLines={[{ x: wait_s, label: t("whatif.objective"), color: "gray.6" }]} aria-label={t("whatif.within")} />
      </Paper>
    </>
  );
}

function percent(share: number): string {
  return new Intl.NumberFormat(i18n.language, { style: "percent", maximumFractionDigits: 2 }).format(share);
}
