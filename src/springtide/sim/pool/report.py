"""The comparison as one HTML file: what it cost, what was kept, and the curves. No script, nothing loaded from
anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from springtide.report.charts import Line, chart, legend
from springtide.report.page import COLOURS, INK_BLUE, document, section, time_ticks
from springtide.sim.pool.compare import Comparison, hours
from springtide.sim.pool.contenders import meaning
from springtide.sim.pool.outcome import Outcome, Row


def page(comparison: Comparison) -> str:
    """The whole file."""
    title = f"Elasticity on {comparison.trace}"
    cards = [
        section("What it costs, what it keeps", _meaning(comparison), _table(comparison)),
        section(
            "Arrivals",
            "Jobs an hour.",
            _over_time(comparison, lambda row, width: row.arrivals * 3600 / width, one=True),
        ),
        section(
            "Replicas",
            "Paid for, from launch to end; the shaded area is the mean number that the jobs kept busy.",
            _replicas(comparison),
        ),
        section(
            "Queue", "Jobs that wait: the most at any look.", _over_time(comparison, lambda row, _: float(row.waiting))
        ),
        section("Late jobs", "Jobs an hour that waited for longer than the objective.", _late(comparison)),
        section("How long jobs waited", "Share of jobs that began within so many seconds.", _waits(comparison)),
        section("Who is compared", "", _contenders(comparison)),
        section("How this was made", "", f"<p>{escape(comparison.described)}</p>"),
    ]
    return document(title, subtitle=comparison.subtitle, lead=comparison.summary, body=cards)


def _meaning(comparison: Comparison) -> str:
    kept = f"Green keeps the objective: {100 * comparison.share:.4g} % of jobs begin within {comparison.wait_s:g} s. "
    bound = (
        "“× bound” compares with a fleet that knows the future and starts every job in time. "
        if comparison.bound_hours
        else ""
    )
    stopped = "“Busy workers stopped” were told to go while they ran a job: without a drain those jobs are killed."
    return f"{kept}{bound}{stopped}"


def _table(comparison: Comparison) -> str:
    head = (
        "policy",
        "replica hours",
        f"begin within {comparison.wait_s:g}\u00a0s",
        "×\u00a0bound",
        "in\u00a0use",
        "wait mean",
        "wait P50",
        "wait P95",
        "wait P99",
        "scale events",
        "busy workers stopped",
    )
    rows = "".join(_row(comparison, outcome) for outcome in comparison.outcomes)
    return f"<table><tr>{''.join(f'<th>{escape(one)}</th>' for one in head)}</tr>{rows}</table>"


def _contenders(comparison: Comparison) -> str:
    rows = "".join(
        f'<tr><td>{escape(one.policy)}</td><td class="words">{escape(meaning(one.policy))}</td></tr>'
        for one in comparison.outcomes
    )
    return f"<table>{rows}</table>"


def _row(comparison: Comparison, one: Outcome) -> str:
    kept = one.attained >= comparison.share
    wide = 70 * one.replica_hours / max(1e-9, *(other.replica_hours for other in comparison.outcomes))
    ratio = f"{one.replica_hours / comparison.bound_hours:.2f}" if comparison.bound_hours else "–"
    cells = (
        escape(one.policy),
        f'<i class="cost{" ok" if kept else ""}" style="width:{wide:.0f}px"></i>{hours(one.replica_hours)}',
        f'<span class="{"kept" if kept else "missed"}">{one.attained:.2%}</span>',
        ratio,
        f"{one.utilization:.0%}",
        f"{one.wait_mean_s:.1f} s",
        f"{one.wait_p50_s:.1f} s",
        f"{one.wait_p95_s:.1f} s",
        f"{one.wait_p99_s:.1f} s",
        f"{one.scale_events:,}",
        f"{one.stopped_busy:,}",
    )
    best = comparison.best is one
    return f"<tr{' class=best' if best else ''}>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _colour(comparison: Comparison, one: Outcome) -> str:
    return COLOURS[comparison.outcomes.index(one) % len(COLOURS)]


def _series(one: Outcome, figure: Callable[[Row, float], float]) -> list[tuple[float, float]]:
    points: list[tuple[float, float]] = []
    before_s = 0.0
    for row in one.rows:
        points.append((row.until_s, figure(row, max(row.until_s - before_s, 1e-9))))
        before_s = row.until_s
    return points


def _over_time(comparison: Comparison, figure: Callable[[Row, float], float], *, one: bool = False) -> str:
    shown = comparison.outcomes[:1] if one else comparison.outcomes
    lines = [
        Line(
            label="arrivals" if one else outcome.policy,
            colour=INK_BLUE if one else _colour(comparison, outcome),
            points=_series(outcome, figure),
            filled=one,
        )
        for outcome in shown
    ]
    return ("" if one else legend(lines)) + chart(_front(lines), x_ticks=time_ticks(comparison.span_s))


def _replicas(comparison: Comparison) -> str:
    lines = [
        Line(
            label=one.policy,
            colour=_colour(comparison, one),
            points=_series(one, lambda row, _: row.replicas),
            width=2.2 if one.policy.startswith("tide") else 1.3,
        )
        for one in comparison.outcomes
    ]
    used = Line(
        label="busy",
        colour="#9fb3bd",
        points=_series(comparison.outcomes[0], lambda row, _: row.busy),
        filled=True,
        width=0.8,
    )
    return legend([*lines, used]) + chart([used, *_front(lines)], x_ticks=time_ticks(comparison.span_s))


def _late(comparison: Comparison) -> str:
    return _over_time(comparison, lambda row, width: row.late * 3600 / width)


def _waits(comparison: Comparison) -> str:
    lines = [Line(label=one.policy, colour=_colour(comparison, one), points=one.within) for one in comparison.outcomes]
    worst = min((one.within[0][1] for one in comparison.outcomes if one.within), default=0.0)
    bottom = min(0.9, int(worst * 10) / 10)  # a line at 100 % needs room below it
    ticks = [(comparison.wait_s * step, f"{comparison.wait_s * step:g} s") for step in range(6)]
    marks = [(comparison.wait_s, f"objective: {100 * comparison.share:.4g} % here")]
    return legend(lines) + chart(
        _front(lines), x_ticks=ticks, figure=lambda share: f"{share:.0%}", top=1.0, bottom=bottom, marks=marks
    )


def _front(lines: Sequence[Line]) -> list[Line]:
    """The first policy is drawn last, over the others."""
    return list(reversed(lines))
