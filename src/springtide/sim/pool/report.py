"""The comparison as one HTML file: what it cost, what was kept, and the curves. No script, nothing loaded from
anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from springtide.sim.pool.charts import Line, chart, legend
from springtide.sim.pool.compare import Comparison
from springtide.sim.pool.outcome import Outcome, Row

COLOURS = ("#0b7a75", "#d1495b", "#edae49", "#5a6fd6", "#8d6a9f", "#6b705c", "#c36f09", "#2f4858")
STYLE = """
:root{--ink:#16242c;--soft:#5d6f79;--line:#dfe6e9;--good:#0b7a75;--bad:#b23a48}
*{box-sizing:border-box}
body{margin:0;background:#f6f8f8;color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1160px;margin:0 auto;padding:32px 20px 60px}
h1{font-size:26px;margin:0 0 4px}
h2{font-size:17px;margin:0 0 2px}
.lead{font-size:18px;max-width:860px;margin:14px 0 22px}
.soft{color:var(--soft);font-size:13px;margin:0 0 10px}
section{background:#fff;border:1px solid var(--line);border-radius:10px;padding:18px 20px;margin:16px 0}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:7px 9px;text-align:right;white-space:nowrap}
th{white-space:normal;vertical-align:bottom}
th{font-weight:600;color:var(--soft);font-size:12.5px;border-bottom:1px solid var(--line)}
td{border-bottom:1px solid #eef2f3}
th:first-child,td:first-child{text-align:left}
tr.best td{background:#e9f5f3;font-weight:600}
.kept{color:var(--good)}
.missed{color:var(--bad)}
svg{width:100%;min-width:640px;height:auto;display:block}
.scroll{overflow-x:auto}
.cost{display:inline-block;height:9px;border-radius:2px;margin-right:8px;vertical-align:1px;background:#b8c7cd}
.cost.ok{background:#0b7a75}
svg text{font-size:11.5px;fill:var(--soft)}
.grid{stroke:#e8edef}
.tick{stroke:#f0f3f4}
.mark{stroke:#16242c;stroke-dasharray:4 4}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13px;margin:2px 0 8px}
.legend i{display:inline-block;width:14px;height:4px;border-radius:2px;margin-right:6px;vertical-align:middle}
"""


def page(comparison: Comparison) -> str:
    """The whole file."""
    title = f"Elasticity on {escape(comparison.trace)}"
    cards = [
        _section("What it costs, what it keeps", _meaning(comparison), _table(comparison)),
        _section(
            "Arrivals",
            "Jobs an hour.",
            _over_time(comparison, lambda row, width: row.arrivals * 3600 / width, one=True),
        ),
        _section(
            "Replicas",
            "Paid for, from launch to end; the shaded area is the mean number that the jobs kept busy.",
            _replicas(comparison),
        ),
        _section(
            "Queue", "Jobs that wait: the most at any look.", _over_time(comparison, lambda row, _: float(row.waiting))
        ),
        _section("Late jobs", "Jobs an hour that waited for longer than the objective.", _late(comparison)),
        _section("How long jobs waited", "Share of jobs that began within so many seconds.", _waits(comparison)),
        _section("How this was made", "", f"<p>{escape(comparison.described)}</p>"),
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{STYLE}</style><main><h1>{title}</h1>"
        f'<p class="soft">{escape(comparison.subtitle)}</p><p class="lead">{escape(comparison.summary)}</p>'
        + "".join(cards)
        + "</main></html>\n"
    )


def _section(title: str, told: str, body: str) -> str:
    soft = f'<p class="soft">{escape(told)}</p>' if told else ""
    return f'<section><h2>{escape(title)}</h2>{soft}<div class="scroll">{body}</div></section>'


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
        f"begin within {comparison.wait_s:g} s",
        "× bound",
        "in use",
        "wait mean",
        "wait P50",
        "wait P95",
        "wait P99",
        "scale events",
        "busy workers stopped",
    )
    rows = "".join(_row(comparison, outcome) for outcome in comparison.outcomes)
    return f"<table><tr>{''.join(f'<th>{escape(one)}</th>' for one in head)}</tr>{rows}</table>"


def _row(comparison: Comparison, one: Outcome) -> str:
    kept = one.attained >= comparison.share
    wide = 70 * one.replica_hours / max(1e-9, *(other.replica_hours for other in comparison.outcomes))
    ratio = f"{one.replica_hours / comparison.bound_hours:.2f}" if comparison.bound_hours else "–"
    cells = (
        escape(one.policy),
        f'<i class="cost{" ok" if kept else ""}" style="width:{wide:.0f}px"></i>{one.replica_hours:,.1f}',
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
            colour="#2f4858" if one else _colour(comparison, outcome),
            points=_series(outcome, figure),
            filled=one,
        )
        for outcome in shown
    ]
    return ("" if one else legend(lines)) + chart(_front(lines), x_ticks=_clock(comparison))


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
    return legend([*lines, used]) + chart([used, *_front(lines)], x_ticks=_clock(comparison))


def _late(comparison: Comparison) -> str:
    return _over_time(comparison, lambda row, width: row.late * 3600 / width)


def _waits(comparison: Comparison) -> str:
    lines = [Line(label=one.policy, colour=_colour(comparison, one), points=one.within) for one in comparison.outcomes]
    worst = min((one.within[0][1] for one in comparison.outcomes if one.within), default=0.0)
    bottom = min(0.9, int(worst * 10) / 10)  # a line at 100 % needs room below it
    ticks = [(comparison.wait_s * step, f"{comparison.wait_s * step:g} s") for step in range(6)]
    mark = (comparison.wait_s, f"objective: {comparison.share:.1%} here")
    return legend(lines) + chart(
        _front(lines), x_ticks=ticks, figure=lambda share: f"{share:.0%}", top=1.0, bottom=bottom, mark=mark
    )


def _front(lines: Sequence[Line]) -> list[Line]:
    """The first policy is drawn last, over the others."""
    return list(reversed(lines))


def _clock(comparison: Comparison) -> list[tuple[float, str]]:
    span_s = comparison.span_s
    for step_s, kind in ((600, "min"), (3600, "h"), (4 * 3600, "h"), (86_400, "d"), (7 * 86_400, "d")):
        if span_s / step_s <= 14 or step_s == 7 * 86_400:
            size = {"min": 60, "h": 3600, "d": 86_400}[kind]
            return [(k * step_s, f"{k * step_s // size:g} {kind}") for k in range(int(span_s / step_s) + 1)]
    return []
