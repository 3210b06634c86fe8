"""`springtide simulate` and `springtide trace export`: policies on a trace before one trusts them, and one's own past
as such a trace."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from springtide.cli.retry import seconds
from springtide.config import Config
from springtide.domain.errors import ConfigError, InvalidInput
from springtide.sim.pool.compare import LEAD_IN_S, Comparison, Objective, Told, compare, hours
from springtide.sim.pool.engine import Setup
from springtide.sim.pool.families import invent
from springtide.sim.pool.jobs import Jobs
from springtide.sim.pool.report import page
from springtide.sim.pool.traces import Reading, read_trace
from springtide.sim.pool.tuning import Tuned, tune
from springtide.sim.pool.weather import Weather

_out, _err = Console(), Console(stderr=True)
INVENTED = "invent:"
DEFAULT_DAYS = 3.0


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for, as text."""

    trace: str
    policies: str = "tide,hpa,kpa,ray"
    objective: str = "wait=30s:0.99"
    cold_start: str = "40s"
    load: float | None = None
    run: str | None = None
    since: str | None = None
    until: str | None = None
    accelerators: int | None = None
    by_model: bool = False
    seed: int = 1
    html: Path | None = None
    as_json: bool = False
    tune: bool = False


def run_simulation(wish: Wish) -> None:
    """Read, run, show. Raises ConfigError for a trace, a policy or an objective that makes no sense."""
    objective, setup = _objective(wish.objective), _setup(wish)
    jobs = _jobs(wish)
    with _progress() as told:
        if wish.tune:
            _say_tuned(tune(jobs, objective, setup, told=told), as_json=wish.as_json)
            return
        names = [name.strip() for name in wish.policies.split(",") if name.strip()]
        if not names:
            raise ConfigError("no policy is named; write --policies tide,hpa,kpa,ray")
        comparison = compare(jobs, names, objective, setup, told=told)
    if wish.html is not None:
        _write(wish.html, page(comparison))
    if wish.as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(comparison), indent=2).decode() + "\n")
    else:
        _show(comparison)
    if wish.html is not None:
        _err.print(f"report: {wish.html}")


def _jobs(wish: Wish) -> Jobs:
    reading = Reading(
        load=wish.load,
        since_s=_span(wish.since) if wish.since else 0.0,
        until_s=_span(wish.until) if wish.until else None,
        seed=wish.seed,
        by_model=wish.by_model,
    )
    if wish.run is not None:
        reading = msgspec.structs.replace(reading, sizes=msgspec.structs.replace(reading.sizes, mean_s=_span(wish.run)))
    if wish.trace.startswith(INVENTED):
        days = _span(wish.until) / 86_400 if wish.until else DEFAULT_DAYS
        return invent(wish.trace.removeprefix(INVENTED), seed=wish.seed, days=days, load=wish.load or 6.0)
    return read_trace(Path(wish.trace), reading)


def _setup(wish: Wish) -> Setup:
    mean, _, cv = wish.cold_start.partition("~")
    if cv and re.fullmatch(r"\d*\.?\d+", cv) is None:
        raise ConfigError(f"a spread is written 40s~0.3, a share of the mean, not {wish.cold_start!r}")
    weather = Weather(cold_start_s=_span(mean), cold_start_cv=float(cv) if cv else 0.0)
    return Setup(weather=weather, accelerators=wish.accelerators, seed=wish.seed, lead_in_s=LEAD_IN_S)


def _objective(text: str) -> Objective:
    match = re.fullmatch(r"wait=([^:]+):(0?\.\d+)", text.strip())
    if match is None or not 0.5 <= float(match[2]) <= 0.9999:
        raise ConfigError(f"an objective is written wait=30s:0.99 (share between 0.5 and 0.9999), not {text!r}")
    return Objective(wait_s=_span(match[1]), share=float(match[2]))


def _span(text: str) -> float:
    try:
        return seconds(text)
    except InvalidInput as error:
        raise ConfigError(f"a span is written 90s, 30m, 1h or 2d, not {text!r}") from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}; choose another file") from error


@contextmanager
def _progress() -> Generator[Told]:
    """A bar for each policy, on standard error; it goes when all are done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=_err, transient=True) as bars:
        tasks: dict[str, tuple[TaskID, list[float]]] = {}

        def told(name: str, share: float) -> None:
            if name not in tasks:
                tasks[name] = (bars.add_task(name, total=1.0), [0.0])
            task, shown = tasks[name]
            if share >= shown[0] + 0.01 or share >= 1.0:  # a hundred times, not at every look
                shown[0] = share
                bars.update(task, completed=share)

        yield told


def _show(comparison: Comparison) -> None:
    names = ("policy", "hours", "×bound", "used", "mean", "P50", "P95", "P99", "in time", "events", "stopped")
    columns = [Column(name, justify="left" if name == "policy" else "right", no_wrap=True) for name in names]
    table = Table(*columns, box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for one in comparison.outcomes:
        colour = "green" if one.attained >= comparison.share else "red"
        table.add_row(
            one.policy,
            hours(one.replica_hours),
            f"{one.replica_hours / comparison.bound_hours:.2f}" if comparison.bound_hours else "-",
            f"{one.utilization:.0%}",
            *(_wait(wait_s) for wait_s in (one.wait_mean_s, one.wait_p50_s, one.wait_p95_s, one.wait_p99_s)),
            f"[{colour}]{one.attained:.2%}[/]",
            f"{one.scale_events:,}",
            f"{one.stopped_busy:,}",
        )
    _out.print(f"{comparison.trace}: {comparison.subtitle}\n", soft_wrap=True)
    _out.print(table)
    _out.print(f"\n{comparison.summary}", soft_wrap=True)
    _out.print(
        f"{comparison.note}. hours: of replicas; used: share of them; mean to P99: seconds of waiting; stopped: busy "
        "replicas told to go.",
        style="dim",
        soft_wrap=True,
    )


def _wait(wait_s: float) -> str:
    return f"{wait_s:,.0f}" if wait_s >= 100 else f"{wait_s:.1f}"


def _say_tuned(found: Tuned, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        return
    kept = "the cheapest that keeps the objective" if found.keeps else "none keeps the objective; the nearest"
    _err.print(f"{found.tried} settings tried on {found.trace}; {kept}, for springtide.toml:", soft_wrap=True)
    sys.stdout.write(found.lines + "\n")


# --- one's own history ------------------------------------------------------------------------------------------------


def export_trace(config: Config, since: str, output: Path | None) -> None:
    """Write jobs that ended as a job trace, oldest first. Raises ConfigError where it cannot be written."""
    text = asyncio.run(_exported(config, time.time() - _span(since)))
    if output is None:
        sys.stdout.write(text)
    else:
        _write(output, text)
        _err.print(f"{max(0, text.count(chr(10)) - 1)} jobs written to {output}")


async def _exported(config: Config, since_s: float) -> str:
    """It begins at the first arrival."""
    from springtide.cli import build
    from springtide.ledger.traces import HEADER, ran_since, trace_line

    ledger = build.ledger(config)
    await ledger.start()
    try:
        found = [one async for page_ in ran_since(ledger.history, since_s) for one in page_]
    finally:
        await ledger.stop()
    found.sort(key=lambda one: one.came_at_s)
    return "".join([HEADER, *(trace_line(one, found[0].came_at_s) for one in found)])
