"""`python -m benchmarks.claims`: what others say of elastic media platforms, run here: in the simulator with the
product's own policies, and for real with synthetic jobs on this machine, in scaled time where hours would be needed.

Prints one table, writes results/claims.json, and the section of docs/benchmarks.md between its two marks. A figure of
others is quoted with where it stands; where none could be found, the table says so, or what arithmetic allows.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.claims_real import Real, hundred_at_once, jobs_an_hour, peak_hour, static_and_elastic
from benchmarks.claims_simulated import Simulated, simulated
from benchmarks.machine import machine, versions
from benchmarks.plan import FOLDER, REPOSITORY
from benchmarks.report import Report, write

PAGE = REPOSITORY / "docs" / "benchmarks.md"
BEGIN, END = "<!-- claims: begin -->", "<!-- claims: end -->"
# Pages as they were found in November 2026. What they say is theirs: none gives its load and settings in full.
ONE_AT_A_TIME = "http://www.mynw.cn/news/608566.html"
SOUND_FOR_FILMS = "http://www.nshx.cn/education/39577.html"
GPEN_ELASTIC = "http://www.mynw.cn/news/915285.html"
QUEUE_BEFORE_GPUS = "https://resume-site-4js.pages.dev/experiments/autoscaling"
FILMS_BY_USE = "http://www.mynw.cn/news/837970.html"
ELASTIC_HEYGEM = "http://www.mynw.cn/news/897175.html"
BY_REQUEST = "http://www.mankee.com.hk/xingyezixun/1477.html"
FOUND = "of others was found"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One claim: theirs, and ours twice."""

    what: str
    claimed: str
    simulated: str
    real: str = "–"
    source: str | None = None
    also: str | None = None  # another page of the same


def rows(found: Simulated, real: Real | None) -> list[Row]:
    """The table."""
    return [
        Row(
            what="8 workers, jobs of 6 minutes",
            claimed="80 an hour, 8 × one, at most (arithmetic); HeyGem by itself runs one at a time: 10 an hour",
            source=ONE_AT_A_TIME,
            simulated=_scaled_out(found.an_hour, 8),
            real=_scaled_out(real.an_hour, 8) if real else "–",
        ),
        Row(
            what="12 workers, jobs of 6 minutes",
            claimed="120 an hour, 12 × one, at most (arithmetic)",
            simulated=_scaled_out(found.an_hour, 12),
            real=_scaled_out(real.an_hour, 12) if real else "–",
        ),
        Row(
            what="5,000 jobs a day in two tides, of a minute each",
            claimed=f"no measured figure {FOUND}; a design's aim: P99 of the response below 90 s, jobs of 30 to 60 s",
            source=SOUND_FOR_FILMS,
            simulated=f"mean wait {found.tide_wait_s:.1f} s, P99 {found.tide_wait_p99_s:.0f} s; "
            f"{found.tide_hours:.0f} replica hours",
            real=f"its busiest hour: mean wait {real.tide_wait_s:.1f} s, P99 {real.tide_wait_p99_s:.0f} s"
            if real
            else "–",
        ),
        Row(
            what="100 concurrent requests for a picture of 1.8 s, 4 workers",
            claimed="23.4 s at least (arithmetic); on one GPU by itself the sixth at once waits (GPEN on a T4)",
            source=GPEN_ELASTIC,
            simulated=f"mean response {found.hundred_s:.1f} s",
            real=f"mean response {real.hundred_s:.1f} s, all {real.hundred_done} completed" if real else "–",
        ),
        Row(
            what="one static replica against one to three: mean response",
            claimed="62 % less after going elastic (digital human)",
            source=ELASTIC_HEYGEM,
            simulated=_change(found.static.mean_s, found.elastic.mean_s),
            real=_change(real.static.mean_s, real.elastic.mean_s) if real else "–",
        ),
        Row(
            what="the same: P95 of the response",
            claimed="P95 of a burst 14.6 → 2.2 s, 85 % less, with a queue before elastic GPUs",
            source=QUEUE_BEFORE_GPUS,
            simulated=_change(found.static.p95_s, found.elastic.p95_s),
            real=_change(real.static.p95_s, real.elastic.p95_s) if real else "–",
        ),
        Row(
            what="the same: P99 of the response",
            claimed=f"no figure {FOUND}",
            simulated=_change(found.static.p99_s, found.elastic.p99_s),
            real=_change(real.static.p99_s, real.elastic.p99_s) if real else "–",
        ),
        Row(
            what="the same: users at once, each half minute, of whom 95 % are answered within 30 s",
            claimed="77 → 100 % of a burst answered, with a queue before elastic GPUs",
            source=QUEUE_BEFORE_GPUS,
            simulated=f"{found.static.at_once} → {found.elastic.at_once}",
            real=f"of 40 at once {real.static.in_time:.0%} → {real.elastic.in_time:.0%} in 30 s" if real else "–",
        ),
        Row(
            what="the same: replicas in use",
            claimed="55 to 85 % of GPU use (digital human)",
            source=ELASTIC_HEYGEM,
            simulated=f"{found.static.used:.0%} → {found.elastic.used:.0%}",
            real=f"{real.static.used:.0%} → {real.elastic.used:.0%}" if real else "–",
        ),
        Row(
            what="fixed fleet against elastic, 99 % begin within 30 s",
            claimed="65 % (chat service) to 80 % (films of digital humans) less a month, paid by use",
            source=BY_REQUEST,
            also=FILMS_BY_USE,
            simulated=f"{found.fixed_hours:.0f} → {found.tide_hours:.0f} replica hours, "
            f"{1 - found.tide_hours / found.fixed_hours:.0%} less",
        ),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where every part gave figures."""
    options = _parser().parse_args(arguments)
    work = FOLDER / ".work"
    work.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="claims-", dir=work))
    facts = machine(folder)
    try:
        found = simulated(quick=options.quick)
        real = None if options.quick or options.no_real else asyncio.run(_really(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    table = rows(found, real)
    report = Report("claims", title="Claims of the field, run here")
    report.describe("simulated", "the product's own policies in the simulator, cold start 40 s")
    report.add("simulated", _flat(found))
    if real is not None:
        report.describe("real", "springtide up with synthetic jobs, in scaled time where the text says so")
        report.add("real", _flat(real))
    report.versions = versions()
    command = " ".join(["python -m benchmarks.claims", *(arguments or ())])
    document = report.document(plan={"quick": options.quick}, machine=facts, command=command)
    document["rows"] = msgspec.to_builtins(table)
    print(_for_terminal(table), flush=True)
    if not options.quick:
        write(document, options.results / "claims.json")
        if options.results == FOLDER / "results":
            _into_page(table, document)
    return 0


async def _really(folder: Path) -> Real:
    an_hour = {count: await jobs_an_hour(folder / f"hour-{count}", count) for count in (1, 8, 12)}
    wait_s, p99_s = await peak_hour(folder / "peak")
    hundred_s, done = await hundred_at_once(folder / "hundred")
    return Real(
        an_hour=an_hour,
        tide_wait_s=wait_s,
        tide_wait_p99_s=p99_s,
        hundred_s=hundred_s,
        hundred_done=done,
        static=await static_and_elastic(folder / "static", least=1, most=1),
        elastic=await static_and_elastic(folder / "elastic", least=1, most=3),
    )


def _scaled_out(an_hour: dict[int, float], workers: int) -> str:
    return f"{an_hour[workers]:.0f} an hour, {an_hour[workers] / an_hour[1]:.1f} × one worker"


def _change(before_s: float, after_s: float) -> str:
    return f"{before_s:.1f} → {after_s:.1f} s, {1 - after_s / before_s:.0%} less"


def _flat(figures: Simulated | Real) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in msgspec.to_builtins(figures, str_keys=True).items():
        if isinstance(value, dict):
            found |= {f"{name}_{inner}": float(one) for inner, one in value.items()}
        else:
            found[name] = float(value)
    return found


def _for_terminal(table: Sequence[Row]) -> str:
    lines: list[str] = []
    for one in table:
        lines += [
            one.what,
            f"    claimed    {one.claimed}{''.join(f' ({page})' for page in (one.source, one.also) if page)}",
        ]
        lines += [f"    simulated  {one.simulated}", f"    here       {one.real}"]
    return "\n".join(lines)


def section(table: Sequence[Row], *, date: str, cpu: str) -> str:
    """What stands between the marks."""
    lines = [
        BEGIN,
        "",
        "| | claimed | simulated | on this machine |",
        "|---|---|---|---|",
        *(f"| {one.what} | {_claimed(one)} | {one.simulated} | {one.real} |" for one in table),
        "",
        f"Written by `make bench-claims` on {date}, {cpu}; [all figures](../benchmarks/results/claims.json).",
        "",
        END,
    ]
    return "\n".join(lines)


def _claimed(one: Row) -> str:
    linked = f"[{one.claimed}]({one.source})" if one.source else one.claimed
    return linked + (f" ([also]({one.also}))" if one.also else "")


def _into_page(table: Sequence[Row], document: dict[str, object]) -> None:
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    facts = document["machine"]
    assert isinstance(facts, dict)
    cpu = f"{facts['cores']} cores of an {facts['cpu']} with a load of {facts['load_1m_at_start']:g} from other work"
    PAGE.write_text(before + section(table, date=str(document["date_utc"])[:10], cpu=cpu) + after)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.claims", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="little of the simulated part, and nothing written")
    parser.add_argument("--no-real", action="store_true", help="only the simulator")
    parser.add_argument("--results", type=Path, default=FOLDER / "results", help="folder for the JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
