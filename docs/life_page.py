"""Writes docs/sim-equals-life.md and its two pictures from the record of `python -m benchmarks life`."""

from __future__ import annotations

import json
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

from springtide.report.charts import HEIGHT, WIDTH, Line, chart
from springtide.report.page import COLOURS, INK_BLUE, time_ticks

DOCS = Path(__file__).parent
RECORD = DOCS.parent / "benchmarks" / "results" / "life.json"
PAGE = DOCS / "sim-equals-life.md"
REPLICAS, WAITS = DOCS / "images" / "life-replicas.svg", DOCS / "images" / "life-waits.svg"
LIFE, SIMULATED = "springtide", "the simulator"
HEADROOM = 28  # above a chart: for the title and what the colours mean
# On white whatever the reader's page is: a picture on a web page does not know about its surroundings.
STYLE = (
    "text{font:11.5px system-ui,sans-serif;fill:#5a6b75}.title{font-size:13px;fill:#16242c}"
    ".grid{stroke:#e8edef}.tick{stroke:#f0f3f4}.mark{stroke:#16242c;stroke-dasharray:4 4}"
)
ROWS = (
    ("replica_s", "replica seconds paid for", "{:,.0f}"),
    ("zero_s", "seconds with nobody there", "{:,.0f}"),
    ("attained", "jobs that began within the objective", "{:.1%}"),
    ("wait_mean_s", "mean wait, s", "{:.1f}"),
    ("wait_p50_s", "half of the jobs waited no longer than, s", "{:.1f}"),
    ("wait_p90_s", "nine of ten, s", "{:.1f}"),
    ("wait_p95_s", "95 of 100, s", "{:.1f}"),
    ("wait_p99_s", "99 of 100, s", "{:.1f}"),
)
HEAD = """# The simulator beside real processes

Made by `python docs/generate.py` from [the record](../benchmarks/results/life.json) of `python -m benchmarks life`,
which ran on {date} ({cores} cores of an {cpu}, load {load:g} from other work when it began). To see it on your own
machine takes ten minutes and two cores.

`springtide up` with one synthetic model: real gateway, controller and workers, each worker a process that loads for
{cold} seconds and sleeps as long as its job says. Each of {jobs} jobs is posted over HTTP when the trace says so: a
tide out of nothing, four and a half minutes of silence, about 45 jobs in fifteen seconds when nobody is there, a
second tide. Then the simulator has the same jobs, the same policy, and cold starts drawn from those that life has
measured. {objective}

![Replicas over time](images/life-replicas.svg)

![How long jobs waited](images/life-waits.svg)

| | real processes | simulated |
|---|---|---|
"""
TAIL = """
How far they are apart, and what is demanded:

| | measured | demanded | |
|---|---|---|---|
"""
END = """
*Most between the shares* is the greatest vertical distance of the two lines of the second picture, from a twentieth
of the objective on; *mean distance of the curves* is that of the first one, in intervals of twenty seconds, over the
mean fleet. What the simulator leaves out is what they differ by: heartbeats, rounds of half a second, the worker's
process that starts and ends. It decides at other instants than life does, so one launch more or less at a burst is
chance on so short a trace: in virtual time six such traces are 0.93 to 1.07 of one another in replica seconds, and
waits 0.04 to 0.13 apart (`tests/component/test_sim_equals_life.py`).
"""


def render() -> str:
    """The page as it should be."""
    record = json.loads(RECORD.read_text())
    lived, simulated = (record["systems"][name]["rounds"][0] for name in (LIFE, SIMULATED))
    machine = record["machine"]
    head = HEAD.format(
        date=record["date_utc"][:10],
        cores=machine["cores"],
        cpu=machine["cpu"],
        load=machine["load_1m_at_start"],
        cold=8,
        jobs=lived["jobs"],
        objective=record["notes"][0],
    )
    rows = [f"| {what} | {form.format(lived[name])} | {form.format(simulated[name])} |\n" for name, what, form in ROWS]
    goals = [
        f"| {goal['what']} | {goal['measured']:.3g} | {goal['goal'].split(' ')[-2]} {goal['goal'].split(' ')[-1]} "
        f"| {'met' if goal['met'] else '**missed**'} |\n"
        for goal in record["goals"]
    ]
    return "".join([head, *rows, TAIL, *goals, END])


def pictures() -> dict[Path, str]:
    """Both files as they should be."""
    curves = json.loads(RECORD.read_text())["curves"]
    fleet = curves["until_s, replicas in life, simulated"]
    arrivals = curves["arrivals, every 20 s"]
    until_s = [row[0] for row in fleet]
    widths = [later - before for before, later in pairwise([0.0, *until_s])]
    replicas = [
        Line(
            label="jobs that came, in 5 s",
            colour=INK_BLUE,
            points=_steps(
                [(at, count * 5 / width) for at, count, width in zip(until_s, arrivals, widths, strict=True)], 1
            ),
            stepped=True,
            filled=True,
            width=0.8,
        ),
        Line(label="replicas, simulated", colour=COLOURS[1], points=_steps(fleet, 2), stepped=True),
        Line(label="replicas, real processes", colour=COLOURS[0], points=_steps(fleet, 1), stepped=True, width=2.2),
    ]
    lived = curves["waits_s in life, sorted"]
    within = curves["within_s, share of the simulated jobs"]
    end_s = max(lived[-1], next((at for at, share in within if share >= 1), within[-1][0]))
    steps = [(at, (number + 1) / len(lived)) for number, at in enumerate(lived)]
    waits = [
        Line(label="simulated", colour=COLOURS[1], points=[(at, share) for at, share in within if at <= end_s]),
        Line(label="real processes", colour=COLOURS[0], points=[(0.0, 0.0), *steps], stepped=True, width=2.2),
    ]
    return {
        REPLICAS: _picture("Replicas over time", replicas, chart(replicas, x_ticks=time_ticks(until_s[-1]))),
        WAITS: _picture(
            "Share of jobs that waited no longer than",
            waits,
            chart(waits, x_ticks=time_ticks(end_s), figure=lambda share: f"{share:.0%}", top=1.0),
        ),
    }


def _steps(rows: list[Any], column: int) -> list[tuple[float, float]]:
    """Means of intervals that end at the first column, as steps from their begins."""
    begins = [0.0, *(row[0] for row in rows)]
    return list(zip(begins, [*(row[column] for row in rows), rows[-1][column]], strict=True))


def _picture(title: str, lines: list[Line], drawn: str) -> str:
    """A chart as a file of its own."""
    body = drawn[drawn.index(">") + 1 : -len("</svg>")]
    at, key = 340, []
    for line in lines:
        key.append(f'<rect x="{at}" y="10" width="14" height="4" fill="{line.colour}"/>')
        key.append(f'<text x="{at + 20}" y="16">{escape(line.label)}</text>')
        at += 50 + 7 * len(line.label)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT + HEADROOM}" role="img">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
        f'<rect width="100%" height="100%" fill="#fff"/><text class="title" x="12" y="18">{escape(title)}</text>'
        f'{"".join(key)}<g transform="translate(0 {HEADROOM})">{body}</g></svg>\n'
    )


def write() -> None:
    PAGE.write_text(render())
    for path, text in pictures().items():
        path.write_text(text)
