// What was used, by day and model, and how much of today's quotas is left.
import "@mantine/charts/styles.css";
import { BarChart } from "@mantine/charts";
import { Group, Paper, Progress, SegmentedControl, SimpleGrid, Stack, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { api, ask, type Schemas } from "../api/client";
import i18n from "../i18n";
import { bytes, duration } from "../parts/format";
import { useTitles } from "../parts/title";
import { Loading } from "../parts/loading";

type Row = Schemas["UsageRow"];
type Quota = NonNullable<Schemas["UsageView"]["quota"]>;
type Measure = "seconds" | "jobs" | "bytes";
const COLOURS = ["cyan.7", "yellow.7", "grape.6", "teal.6", "red.6", "gray.6"];
const SHOWN = 5; // models with a colour of their own
const DAY_MS = 86_400_000;

const jobsOf = (row: Row) => row.completed + row.failed + row.cancelled + row.expired;
const valueOf: Record<Measure, (row: Row) => number> = { seconds: (row) => row.seconds, jobs: jobsOf, bytes: (row) => row.uploaded_bytes };

export function Usage({ tenant }: { tenant: string | null }) {
  const { t } = useTranslation();
  const [days, setDays] = useState("30");
  const [measure, setMeasure] = useState<Measure>("seconds");
  const since = new Date(Date.now() - (Number(days) - 1) * DAY_MS).toISOString().slice(0, 10);
  const usage = useQuery({
    queryKey: ["usage", tenant, since],
    queryFn: () => ask(api.GET("/v1/usage", { params: { query: { since, ...(tenant ? { tenant } : {}) } } })),
    refetchInterval: 30_000,
  });
  if (usage.data === undefined) return <Loading query={usage} />;
  const { data, quota, total } = usage.data;
  return (
    <Stack>
      {quota && <Limits quota={quota} />}
      <Group justify="space-between">
        <Text size="sm">{t("usage.total", { count: total.jobs, seconds: duration(total.seconds), bytes: bytes(total.uploaded_bytes) })}</Text>
        <Group gap="xs">
          <SegmentedControl size="xs" value={measure} onChange={(value) => setMeasure(value as Measure)} data={(["seconds", "jobs", "bytes"] as const).map((value) => ({ value, label: t(`usage.${value}`) }))} aria-label={t("usage.measure")} />
          <SegmentedControl size="xs" value={days} onChange={setDays} data={["7", "30", "90"].map((value) => ({ value, label: t("keys.days", { count: Number(value) }) }))} aria-label={t("fleet.span")} />
        </Group>
      </Group>
      {data.length === 0 ? <Paper withBorder p="xl"><Text ta="center" c="dimmed">{t("usage.none")}</Text></Paper> : <><ByDay rows={data} since={since} days={Number(days)} measure={measure} /><ByModel rows={data} /></>}
    </Stack>
  );
}

function Limits({ quota }: { quota: Quota }) {
  const { t } = useTranslation();
  const waiting = quota.gpu_seconds_waiting > 0 ? ` ${t("usage.waiting", { seconds: duration(quota.gpu_seconds_waiting) })}` : "";
  return (
    <SimpleGrid cols={{ base: 1, xs: 2, lg: 4 }}>
      <Limit name={t("usage.seconds")} used={quota.gpu_seconds_today} most={quota.gpu_seconds_per_day} shown={duration} note={waiting} />
      <Limit name={t("usage.bytes")} used={quota.upload_bytes_today} most={quota.upload_bytes_per_day} shown={bytes} note="" />
      <Fact name={t("usage.requests")} value={quota.requests_per_minute === null ? t("usage.noLimit") : t("usage.perMinute", { count: quota.requests_per_minute })} />
      <Fact name={t("usage.ceiling")} value={t(`priority.${quota.priority_ceiling}`, { defaultValue: quota.priority_ceiling })} />
    </SimpleGrid>
  );
}

function Limit({ name, used, most, shown, note }: { name: string; used: number; most: number | null; shown: (value: number) => string; note: string }) {
  const { t } = useTranslation();
  const share = most ? (used / most) * 100 : 0;
  return (
    <Paper withBorder p="sm">
      <Text size="xs" c="dimmed">{t("usage.today", { what: name })}</Text>
      <Text fw={600}>{most === null ? shown(used) : t("usage.of", { used: shown(used), most: shown(most) })}</Text>
      {most === null ? <Text size="xs" c="dimmed">{t("usage.noLimit")}{note}</Text> : <><Progress value={share} color={share > 90 ? "red" : share > 70 ? "orange" : "cyan"} mt={6} aria-label={name} />{note && <Text size="xs" c="dimmed">{note}</Text>}</>}
    </Paper>
  );
}

function Fact({ name, value }: { name: string; value: string }) {
  return <Paper withBorder p="sm"><Text size="xs" c="dimmed">{name}</Text><Text fw={600}>{value}</Text></Paper>;
}

function ByDay({ rows, since, days, measure }: { rows: Row[]; since: string; days: number; measure: Measure }) {
  const { t } = useTranslation();
  const title = useTitles();
  const of = valueOf[measure];
  const name = (row: Row) => row.model ?? t("usage.noModel");
  const sums = new Map<string, number>();
  for (const row of rows) sums.set(name(row), (sums.get(name(row)) ?? 0) + of(row));
  const models = [...sums].filter(([, sum]) => sum > 0).sort((a, b) => b[1] - a[1]).map(([model]) => model);
  const shown = new Set(models.slice(0, SHOWN));
  const others = t("usage.others");
  const first = Date.parse(since);
  const format = new Intl.DateTimeFormat(i18n.language, { month: "numeric", day: "numeric", timeZone: "UTC" });
  const data = Array.from({ length: days }, (_, place) => {
    const day = new Date(first + place * DAY_MS).toISOString().slice(0, 10);
    const values: Record<string, string | number> = { day: format.format(first + place * DAY_MS) };
    for (const row of rows) if (row.day === day) { const key = shown.has(name(row)) ? name(row) : others; values[key] = Number(values[key] ?? 0) + of(row); }
    return values;
  });
  const series = [...shown, ...(models.length > SHOWN ? [others] : [])].map((model, place) => ({ name: model, label: model === others || model === t("usage.noModel") ? model : title(model), color: COLOURS[place]! }));
  const figure = (value: number) => (measure === "bytes" ? bytes(value) : new Intl.NumberFormat(i18n.language, { notation: "compact", maximumFractionDigits: 1 }).format(value));
  return (
    <Paper withBorder p="sm">
      <Text size="sm" fw={600} mb={4}>{t(`usage.byDay.${measure}`)}</Text>
      {series.length === 0 ? <Text c="dimmed" size="sm">{t("usage.nothing")}</Text> : (
        <BarChart h={260} data={data} dataKey="day" type="stacked" series={series} withLegend valueFormatter={figure} yAxisLabel={t(`usage.unit.${measure}`)} xAxisLabel={t("usage.days")} maxBarWidth={36} yAxisProps={{ width: measure === "bytes" ? 70 : 56 }} barProps={{ isAnimationActive: false }} aria-label={t(`usage.byDay.${measure}`)} />
      )}
    </Paper>
  );
}

function ByModel({ rows }: { rows: Row[] }) {
  const { t } = useTranslation();
  const title = useTitles();
  const groups = new Map<string, { tenant: string; model: string | null; jobs: number; completed: number; seconds: number; bytes: number }>();
  for (const row of rows) {
    const key = `${row.tenant} ${row.model ?? ""}`;
    const group = groups.get(key) ?? { tenant: row.tenant, model: row.model, jobs: 0, completed: 0, seconds: 0, bytes: 0 };
    groups.set(key, { ...group, jobs: group.jobs + jobsOf(row), completed: group.completed + row.completed, seconds: group.seconds + row.seconds, bytes: group.bytes + row.uploaded_bytes });
  }
  return (
    <Table.ScrollContainer className="cards" type="native" minWidth={520}>
      <Table fz="sm" highlightOnHover style={{ fontVariantNumeric: "tabular-nums" }}>
        <Table.Thead><Table.Tr><Table.Th>{t("tenants.tenant")}</Table.Th><Table.Th>{t("history.model")}</Table.Th>{["jobs", "completed", "seconds", "bytes"].map((name) => <Table.Th key={name} ta="right">{t(`usage.${name}`)}</Table.Th>)}</Table.Tr></Table.Thead>
        <Table.Tbody>
          {[...groups.values()].sort((a, b) => b.seconds - a.seconds).map((each) => (
            <Table.Tr key={`${each.tenant} ${each.model}`}>
              <Table.Td data-label={t("tenants.tenant")}>{each.tenant}</Table.Td>
              <Table.Td data-label={t("history.model")}>{each.model === null ? t("usage.noModel") : title(each.model)}</Table.Td>
              <Table.Td data-label={t("usage.jobs")} ta="right">{each.jobs}</Table.Td><Table.Td data-label={t("usage.completed")} ta="right">{each.completed}</Table.Td><Table.Td data-label={t("usage.seconds")} ta="right">{duration(each.seconds)}</Table.Td><Table.Td data-label={t("usage.bytes")} ta="right">{bytes(each.bytes)}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}
