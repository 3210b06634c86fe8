// Arrivals, queue, replicas and waits over one time, with a mark for each decision.
import "@mantine/charts/styles.css";
import { CompositeChart } from "@mantine/charts";
import { useTranslation } from "react-i18next";
import type { Decision, Schemas } from "../api/client";
import i18n from "../i18n";

type Sample = Schemas["SampleView"];
const POINTS = 180; // more would be narrower than a bar

type Props = { samples: Sample[]; decisions: Decision[]; since_s: number; picked: number | null; onPick: (at_s: number) => void };

export function Timeline({ samples, decisions, since_s, picked, onPick }: Props) {
  const { t } = useTranslation();
  const end_s = samples.at(-1)!.at_s;
  const begin_s = Math.max(since_s, samples[0]!.at_s);
  const data = thinned(samples, begin_s, end_s);
  const width_s = (end_s - begin_s) / POINTS;
  const nearest = (at_s: number) => data.reduce((best, row) => (Math.abs(row.at_s - at_s) < Math.abs(best.at_s - at_s) ? row : best)).time;
  const marks = decisions.filter((each) => each.at_s >= begin_s - width_s);
  return (
    <CompositeChart
      h={300}
      data={data}
      dataKey="time"
      withLegend
      withDots={false}
      curveType="stepAfter"
      maxBarWidth={8}
      yAxisLabel={t("fleet.jobs")}
      rightYAxisLabel={t("fleet.seconds")}
      withRightYAxis
      yAxisProps={{ allowDecimals: false }} // there is no half of a job
      tickLine="xy"
      valueFormatter={(value) => new Intl.NumberFormat(i18n.language, { maximumFractionDigits: 1 }).format(value)}
      series={[
        { name: "arrived", label: t("fleet.arrived"), type: "bar", color: "gray.5" },
        { name: "queued", label: t("fleet.queued"), type: "area", color: "yellow.7" },
        { name: "replicas", label: t("fleet.replicas"), type: "line", color: "cyan.7" },
        { name: "busy", label: t("fleet.busy"), type: "line", color: "teal.7" },
        { name: "wait", label: t("fleet.wait"), type: "line", color: "red.7", yAxisId: "right" },
      ]}
      referenceLines={marks.map((each) => ({ x: nearest(each.at_s), color: each.replicas > each.before ? "teal.7" : "orange.7", strokeWidth: picked === each.at_s ? 3 : 1 }))}
      composedChartProps={{
        onClick: (state) => {
          const row = data.find((each) => each.time === state.activeLabel);
          const mark = row && marks.reduce<Decision | null>((best, each) => (best && Math.abs(best.at_s - row.at_s) <= Math.abs(each.at_s - row.at_s) ? best : each), null);
          if (mark) onPick(mark.at_s);
        },
      }}
      aria-label={t("fleet.timeline")}
    />
  );
}

type Row = { time: string; at_s: number; arrived: number; queued: number | null; replicas: number; busy: number; wait: number | null };

/** At most POINTS rows: arrivals summed, the rest as it was at its worst. */
function thinned(samples: Sample[], begin_s: number, end_s: number): Row[] {
  const clock = new Intl.DateTimeFormat(i18n.language, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
  const size = Math.max(1, Math.ceil(samples.length / POINTS));
  const rows: Row[] = [];
  for (let place = 0; place < samples.length; place += size) {
    const group = samples.slice(place, place + size).filter((each) => each.at_s >= begin_s && each.at_s <= end_s);
    const last = group.at(-1);
    if (!last) continue;
    const most = (pick: (each: Sample) => number | null | undefined) => {
      const known = group.map(pick).filter((value): value is number => value != null);
      return known.length ? Math.max(...known) : null;
    };
    rows.push({
      time: clock.format(last.at_s * 1000),
      at_s: last.at_s,
      arrived: group.reduce((sum, each) => sum + (each.arrived ?? 0), 0),
      queued: most((each) => each.queued),
      replicas: most((each) => each.ready + each.loading + each.draining) ?? 0,
      busy: most((each) => each.busy) ?? 0,
      wait: most((each) => each.wait_s_p95),
    });
  }
  return rows;
}
