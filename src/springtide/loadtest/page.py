"""A load test as one HTML file: the verdict first, then the curves, then how it was made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape

import msgspec

from springtide.loadtest.bounds import MOST_JOBS, MOST_RATE, MOST_SECONDS
from springtide.loadtest.expecting import Verdict
from springtide.loadtest.figures import Bin, Figures, LaneFigures, busy, by_time, percentiles
from springtide.loadtest.record import Look, Run
from springtide.loadtest.scenarios import Plan, Scenario
from springtide.report.charts import Line, chart, legend, nice
from springtide.report.page import COLOURS, INK_BLUE, document, section, tiles, time_ticks

GROWTH_SHOWN = 40
ERROR = COLOURS[1]
LOSS_TOLD = "After the last end the server was asked for every job that it had accepted, by listing them."
RECOVERY_TOLD = (
    "By SIGKILL, without a word. Ran again: the last of the jobs that ran there had begun its next attempt. Workers "
    "back: as many as before were ready; they are looked at once a second."
)
TOLD = {
    Scenario.BURST: "Half of all jobs within moments, a quiet load before and after.",
    Scenario.RAMP: "From nothing to twice the mean rate, in a line.",
    Scenario.SUSTAINED: "The same rate throughout.",
    Scenario.CONTENTION: "One tenant floods two models, another asks both now and then.",
    Scenario.FAILOVER: "The same rate throughout, while workers are killed.",
}


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A load test that is over: what the JSON holds, and what the page shows."""

    scenario: Scenario
    server: str
    command: str
    date_utc: str
    machine: Mapping[str, str]
    plan: Plan
    figures: Figures
    verdicts: tuple[Verdict, ...]
    run: Run

    @property
    def kept(self) -> bool:
        """Nothing was lost, and every expectation was kept."""
        return self.figures.lost == 0 and all(one.kept for one in self.verdicts)


def page(result: Result) -> str:
    """The whole file."""
    found, run = result.figures, result.run
    cards = [
        _tiles(result),
        *([section("What was expected", "", _verdicts(result.verdicts))] if result.verdicts else []),
        section("What was lost", LOSS_TOLD, _loss(found)),
        section("Arrivals and ends", "Jobs a second: accepted by the server, and ended there.", _rates(result)),
        section("Queue", "Jobs that wait for a worker, and jobs that run.", _queue(result)),
        section("Workers", "Up (those that load included) and, shaded, those that run a job.", _workers(result)),
        section("Latency over time", "Accepted to ended, of the jobs accepted at that time.", _latency(result)),
        section("Latency and waiting", "Share of the jobs that took no longer than so many seconds.", _shares(result)),
        section("Utilisation", "Share of the workers that are up and run a job.", _utilization(result)),
        section("Errors", _errors_told(found), _errors(result)),
        *([section("Kills and recovery", RECOVERY_TOLD, _recoveries(found))] if found.recoveries else []),
        section("By stream", "A model, for a tenant. Wait: until the attempt that ended it began.", _lanes(found)),
        *([section("Why the fleet moved", "", _growth(run))] if run.growth else []),
        section("How this was made", "", _made(result)),
    ]
    where = f"{result.date_utc} · {result.server} · {', '.join(f'{k} {v}' for k, v in result.machine.items())}"
    return document(f"Load test: {result.scenario}", subtitle=where, lead=_summary(result), body=cards)


def span(seconds: float) -> str:
    """A time as people read it."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:,.0f} s"


def _summary(result: Result) -> str:
    found = result.figures
    ended = f"{found.completed:,} of {found.submitted:,} jobs completed"
    lost = "none was lost" if not found.lost else f"{found.lost:,} WERE LOST"
    kills = f", {len(found.recoveries)} workers killed meanwhile" if found.recoveries else ""
    quick = f"half within {span(found.latency.p50)}, 95 % within {span(found.latency.p95)}"
    broken = " It was interrupted: the figures are of what had happened until then." if result.run.interrupted else ""
    return f"{ended} ({found.success:.1%}){kills}; {lost}. From accepted to done {quick}.{broken}"


def _tiles(result: Result) -> str:
    found = result.figures
    used = "–" if found.utilization is None else f"{found.utilization:.0%}"
    cells: list[tuple[str, str, bool | None]] = [
        ("jobs lost", f"{found.lost:,}", found.lost == 0),
        ("completed", f"{found.completed:,}", None if found.completed == found.submitted else False),
        ("latency P50", span(found.latency.p50), None),
        ("latency P95", span(found.latency.p95), None),
        ("wait P95", span(found.wait.p95), None),
        ("jobs a second", f"{found.throughput:.2f}", None),
        ("workers at most", f"{found.peak_workers}", None),
        ("utilisation", used, None),
    ]
    if found.recovery_s is not None:
        cells.append(("recovery, longest", span(found.recovery_s), None))
    return tiles(cells)


def _verdicts(verdicts: Sequence[Verdict]) -> str:
    rows = [
        (
            escape(one.expectation),
            "not measured" if one.measured is None else f"{one.measured:,.4g}",
            '<span class="kept">kept</span>' if one.kept else '<span class="missed">MISSED</span>',
        )
        for one in verdicts
    ]
    return _table(("expected", "measured (s, or as counted)", "verdict"), rows)


def _loss(found: Figures) -> str:
    rows = [
        ("submitted", f"{found.submitted:,}"),
        ("accepted by the server", f"{found.accepted:,}"),
        ("refused, or never answered", f"{found.refused:,}"),
        ("sent again with the same idempotency key, accepted once", f"{found.repeated:,}"),
        ("completed", f"{found.completed:,}"),
        ("failed, cancelled or expired", f"{found.failed:,}"),
        ("had not ended when the test was over", f"{found.unfinished:,}"),
        ("needed another attempt", f"{found.attempts_again:,}"),
        (
            "accepted and not on record: lost",
            f'<span class="{"missed" if found.lost else "kept"}">{found.lost or "nothing"}</span>',
        ),
    ]
    return _table(("jobs", "number"), rows)


def _rates(result: Result) -> str:
    bins = result.figures.bins
    lines = [
        Line(label="accepted", colour=INK_BLUE, points=_steps(bins, lambda one: one.arrived), filled=True),
        Line(label="ended", colour=COLOURS[0], points=_steps(bins, lambda one: one.ended)),
    ]
    return _over_time(result, lines)


def _queue(result: Result) -> str:
    lines = [
        Line(label="waiting", colour=COLOURS[2], points=_summed(result.run, lambda one: one.queued), filled=True),
        Line(label="running", colour=COLOURS[0], points=_summed(result.run, lambda one: one.running)),
    ]
    return _over_time(result, lines)


def _workers(result: Result) -> str:
    run = result.run
    lines = [
        Line(label="busy", colour=COLOURS[0], points=busy(run), filled=True),
        Line(label="loading", colour=COLOURS[2], points=_summed(run, lambda one: one.starting), stepped=True),
        Line(label="up", colour=COLOURS[3], points=_summed(run, lambda one: one.workers), stepped=True, width=2.0),
    ]
    return _over_time(result, lines)


def _latency(result: Result) -> str:
    bins = result.figures.bins
    kinds: tuple[tuple[str, str, Callable[[Bin], float | None]], ...] = (
        ("P99", COLOURS[1], lambda one: one.p99),
        ("P95", COLOURS[2], lambda one: one.p95),
        ("P50", COLOURS[0], lambda one: one.p50),
    )
    lines = [
        Line(
            label=label, colour=colour, points=[(one.until_s, value) for one in bins if (value := of(one)) is not None]
        )
        for label, colour, of in kinds
    ]
    return _over_time(result, lines, figure=lambda value: f"{value:g} s")


def _shares(result: Result) -> str:
    ended = [one for one in result.run.entries if one.finished_s is not None]
    kinds = (
        ("accepted to ended", COLOURS[0], [(one.finished_s or 0.0) - one.created_s for one in ended]),
        ("waiting", COLOURS[2], [one.started_s - one.created_s for one in ended if one.started_s is not None]),
    )
    most = max((percentiles(values).max for _, _, values in kinds), default=0.0) or 1.0
    lines = [Line(label=label, colour=colour, points=_within(values, most)) for label, colour, values in kinds]
    step = nice(most / 8)
    ticks = [(number * step, f"{number * step:g} s") for number in range(int(most / step) + 1)]
    return legend(lines) + chart(lines, x_ticks=ticks, figure=lambda share: f"{share:.0%}", top=1.0)


def _within(values: Sequence[float], most: float) -> list[tuple[float, float]]:
    ordered = sorted(values)
    if not ordered:
        return []
    points = [(0.0, 0.0)] if ordered[0] > 0 else []
    keep = max(1, len(ordered) // 300)  # as many points as can be seen
    points += [
        (max(0.0, value), (number + 1) / len(ordered)) for number, value in enumerate(ordered) if number % keep == 0
    ]
    return [*points, (ordered[-1], 1.0), (most, 1.0)]


def _utilization(result: Result) -> str:
    run = result.run
    up = {at_s: sum(one.workers for one in looks) for at_s, looks in by_time(run.looks)}
    points = [(at_s, min(1.0, value / up[at_s])) for at_s, value in busy(run) if up[at_s]]
    if not points:
        return "<p>No worker was seen.</p>"
    line = Line(label="busy", colour=COLOURS[0], points=points, filled=True)
    return _over_time(result, [line], figure=lambda share: f"{share:.0%}", top=1.0, named=False)


def _errors_told(found: Figures) -> str:
    if not found.problems and not found.errors:
        return "None: every submit was accepted at once, and every job that ended completed."
    return "A second: submits that were not accepted at once, and jobs that failed."


def _errors(result: Result) -> str:
    found = result.figures
    if not found.problems and not found.errors:
        return ""
    line = Line(label="errors", colour=ERROR, points=_steps(found.bins, lambda one: one.errors), filled=True)
    rows = [
        *(("submit", escape(code), f"{count:,}") for code, count in found.problems.items()),
        *(("job", escape(code), f"{count:,}") for code, count in found.errors.items()),
    ]
    return _over_time(result, [line], named=False) + _table(("what", "why", "number"), rows)


def _recoveries(found: Figures) -> str:
    rows = [
        (
            f"{one.at_s:.1f}&nbsp;s",
            escape(one.what),
            f"{one.hit}",
            "–" if one.resumed_s is None else span(one.resumed_s),
            "not within the test" if one.workers_s is None else span(one.workers_s),
        )
        for one in found.recoveries
    ]
    return _table(("at", "killed", "jobs hit", "ran again after", "workers back after"), rows)


def _lanes(found: Figures) -> str:
    head = ("stream", "accepted", "completed", "failed", "wait P50", "wait P95", "latency P50", "latency P95", "P99")
    return _table(head, [_lane(one) for one in found.lanes])


def _lane(one: LaneFigures) -> tuple[str, ...]:
    times = (one.wait.p50, one.wait.p95, one.latency.p50, one.latency.p95, one.latency.p99)
    counts = (f"{one.accepted:,}", f"{one.completed:,}", f"{one.failed:,}")
    return (escape(one.label), *counts, *map(span, times))


def _growth(run: Run) -> str:
    rows = "".join(
        f"<tr><td>{one.at_s:.0f}&nbsp;s</td><td>{escape(one.model)}</td><td>{one.before} → {one.replicas}</td>"
        f'<td class="words">{escape(one.message)}</td></tr>'
        for one in run.growth[:GROWTH_SHOWN]
    )
    more = len(run.growth) - GROWTH_SHOWN
    told = f'<p class="soft">and {more} more</p>' if more > 0 else ""
    head = '<tr><th>at</th><th>model</th><th>replicas</th><th class="words">why</th></tr>'
    return f"<table>{head}{rows}</table>{told}"


def _made(result: Result) -> str:
    plan, found = result.plan, result.figures
    told = (
        f"{TOLD[result.scenario]} {plan.rate:g} jobs a second on average for {plan.seconds:g} s, seed {plan.seed}; "
        f"submitted when due, however slow the server was (the test itself was late by {span(found.late.p99)} at most "
        f"for 99 % of them). Percentiles are values that were measured (nearest rank). No test exceeds "
        f"{MOST_RATE:g} jobs a second, {MOST_JOBS:,} jobs or {MOST_SECONDS / 60:g} minutes."
    )
    return f"<p>{escape(told)}</p><p><code>{escape(result.command)}</code></p>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """head is text, cells are HTML."""
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{''.join(f'<th>{escape(one)}</th>' for one in head)}</tr>{body}</table>"


def _over_time(
    result: Result,
    lines: Sequence[Line],
    *,
    figure: Callable[[float], str] | None = None,
    top: float | None = None,
    named: bool = True,
) -> str:
    """All charts over time begin and end together."""
    span_s = max(result.run.span_s, 1.0)
    marks = [(one.at_s, "kill") for one in result.run.kills]
    drawn = chart(lines, x_ticks=time_ticks(span_s), x_range=(0.0, span_s), figure=figure, top=top, marks=marks)
    return (legend(lines) if named else "") + drawn


def _steps(bins: Sequence[Bin], of: Callable[[Bin], float]) -> list[tuple[float, float]]:
    return [(one.until_s, of(one)) for one in bins]


def _summed(run: Run, of: Callable[[Look], int]) -> list[tuple[float, float]]:
    return [(at_s, float(sum(map(of, looks)))) for at_s, looks in by_time(run.looks)]
