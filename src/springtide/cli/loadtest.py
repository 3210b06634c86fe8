"""`springtide loadtest`: load on a server, a report with charts, a verdict for CI.

Results go to standard output, progress to standard error. The exit code is 0 where nothing was lost and every
expectation was kept, 1 where not, 130 where it was interrupted (it still tells what it saw).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import shlex
import signal
import socket
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import psutil
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from springtide import __version__
from springtide.cli import exits
from springtide.cli.connecting import Where, connected
from springtide.cli.orders import check_files, pairs
from springtide.cli.placing import place
from springtide.cli.retry import seconds
from springtide.cli.steps import value_of
from springtide.cli.temporary import Temporary, pid_of, temporary_server
from springtide.client import AsyncSpringtide, Patience, Springtide
from springtide.client.settings import KEY
from springtide.domain.errors import ConfigError, InvalidInput
from springtide.loadtest.bounds import check_target
from springtide.loadtest.driving import Driver, Tally
from springtide.loadtest.expecting import judged, read_expectations
from springtide.loadtest.figures import figures
from springtide.loadtest.page import Result, page, span
from springtide.loadtest.record import Run
from springtide.loadtest.scenarios import Lane, Plan, Scenario, arrivals, lanes_of
from springtide.loadtest.victims import LocalWorkers
from springtide.runtime.clock import SystemClock

_out, _err = Console(), Console(stderr=True)
SYNTHETIC, SECOND = "synthetic", "synthetic-b"
FLOODER, VISITOR = "flood", "visitor"  # tenants of contention on a server of our own
DEFAULT_KILLS = 2
LOADED_WITHIN_S = 60.0  # a second or two each, on a busy machine some more
USUAL_RATE, CROWDED_RATE = 2.0, 4.0  # jobs of a second on three workers: within what they can do, and beyond it
# A server of our own: workers that take a second to load and leave soon, so that a minute shows how a fleet breathes.
OWN_MODEL = """
[models.{name}]
engine = "synthetic"
min_replicas = {least}
max_replicas = {most}
slots = 1
idle_s = 10
accelerators = 1
max_attempts = 5
settings = {{ cold_start_s = 1.0 }}

[models.{name}.scaling]
wait_s = 5
cold_start_s = 2
run_s = {job_s}
"""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for, as text."""

    scenario: str
    models: Sequence[str] = ()
    files: Sequence[Path] = ()
    inputs: Sequence[str] = ()
    rate: float | None = None
    span: str = "60s"
    drain: str = "5m"
    job: str = "1s~0.5"
    kills: int | None = None
    workers: int = 3
    seed: int = 1
    up: bool = False
    key_envs: Sequence[str] = ()
    kill_workers: bool = False
    remote: bool = False
    expect: Sequence[str] = ()
    html: Path | None = None
    as_json: bool = False


def run_loadtest(wish: Wish, where: Where) -> int:
    """The whole command. Raises ConfigError for what makes no sense or is not allowed, before anything is sent."""
    expectations = read_expectations(wish.expect)
    plan = _plan(wish)
    check_files(wish.files)
    with _server(wish, where, plan) as (url, keys, root_pid):
        if root_pid is None and plan.kills:
            raise ConfigError(
                "failover kills workers: of a server that it starts itself (--up), or with --kill-workers of the "
                "`springtide up` of this configuration on this machine"
            )
        plan = _with_inputs(plan, wish, url, keys)
        victims = LocalWorkers(root_pid, seed=plan.seed) if root_pid is not None and plan.kills else None
        run = asyncio.run(_driven(plan, url, keys, victims))
    found = figures(plan, run, planned=len(arrivals(plan)))
    result = Result(
        scenario=plan.scenario,
        server="a server of its own" if wish.up else url,
        command=shlex.join(["springtide", *sys.argv[1:]]),
        date_utc=datetime.fromtimestamp(run.began_at_s, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        machine=_machine(),
        plan=plan,
        figures=found,
        verdicts=judged(found, expectations),
        run=run,
    )
    _tell(result, wish)
    if run.interrupted:
        return exits.INTERRUPTED
    return exits.DONE if result.kept else exits.JOB_FAILED


def _plan(wish: Wish) -> Plan:
    try:
        scenario = Scenario(wish.scenario)
    except ValueError:
        raise ConfigError(f"a scenario is one of {', '.join(Scenario)}, not {wish.scenario!r}") from None
    job_s, spread = _job(wish.job)
    contended = scenario is Scenario.CONTENTION
    models = list(wish.models) or [SYNTHETIC]
    if contended and wish.up and not wish.models:
        models.append(SECOND)
    tenants = list(wish.key_envs) or ([FLOODER, VISITOR] if contended and wish.up else [""])
    plain = bool(wish.models) and any(model not in (SYNTHETIC, SECOND) for model in models)
    kills = DEFAULT_KILLS if wish.kills is None else wish.kills
    return Plan(
        scenario=scenario,
        lanes=lanes_of(models, tenants, job_s=None if plain else job_s, spread=spread),
        rate=(CROWDED_RATE if contended else USUAL_RATE) if wish.rate is None else wish.rate,
        seconds=_span(wish.span),
        drain_s=_span(wish.drain),
        kills=kills if scenario is Scenario.FAILOVER else 0,
        seed=wish.seed,
    ).checked()


def _job(text: str) -> tuple[float, float]:
    mean, _, spread = text.partition("~")
    try:
        return _span(mean), float(spread or 0)
    except ValueError as error:
        raise ConfigError(f"--job is written 1s or 2s~0.5 (half as much spread), not {text!r}") from error


def _span(text: str) -> float:
    try:
        return seconds(text)
    except InvalidInput as error:
        raise ConfigError(error.message) from error


# --- where ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _server(wish: Wish, where: Where, plan: Plan) -> Generator[tuple[str, Mapping[str, str | None], int | None]]:
    """Address, key by tenant, and the process whose workers may be killed."""
    tenants = [lane.tenant for lane in plan.lanes]
    if wish.up:
        if where.url is not None:
            raise ConfigError("say --up for a server of its own, or --server for one that runs; not both")
        _err.print("starting a server of its own, in a folder that goes with it")
        os.environ.pop(KEY, None)  # that of the user's own server means nothing to this one
        named = [tenant for tenant in dict.fromkeys(tenants) if tenant]
        settings = _settings(wish, plan)
        with temporary_server(settings, config=where.config, tenants=named) as own:
            keys = _keys(own, tenants)
            if settings is not None and plan.kills:
                _until_loaded(own.url, plan.lanes[0], keys, wish.workers)
            yield own.url, keys, own.pid
        return
    keys = {tenant: _key_from(tenant) for tenant in tenants}
    with connected(where, patience=Patience(retries=1)) as client:
        url = client.url
    check_target(url, own=_addresses(), remote=wish.remote)
    yield url, keys, pid_of(where.settings().server.data_dir, url) if wish.kill_workers else None


def _until_loaded(url: str, lane: Lane, keys: Mapping[str, str | None], workers: int) -> None:
    """Whose workers are to be killed begins with all of them, however long this machine takes to start them."""
    ends_s = time.monotonic() + LOADED_WITHIN_S
    with Springtide(url, api_key=keys[lane.tenant]) as client:
        while time.monotonic() < ends_s:
            live = client.models.get(lane.model).live
            if live is not None and live.workers.ready + live.workers.busy >= workers:
                return
            time.sleep(0.1)


def _keys(own: Temporary, tenants: Sequence[str]) -> Mapping[str, str | None]:
    return {tenant: own.keys.get(tenant) for tenant in tenants}


def _key_from(tenant: str) -> str | None:
    """The key in the variable that stands for the tenant; never on a command line, where everybody may read it."""
    if not tenant:
        return None
    key = os.environ.get(tenant)
    if not key:
        raise ConfigError(f"--key-env {tenant}: there is no such variable, or it is empty; it holds an API key")
    return key


def _settings(wish: Wish, plan: Plan) -> str | None:
    """Of a server of its own for synthetic models; None: the user's, whose models are asked for."""
    models = list(dict.fromkeys(lane.model for lane in plan.lanes))
    if wish.models and any(model != SYNTHETIC for model in models):
        return None
    job_s = plan.lanes[0].job_s or 1.0
    least = wish.workers if plan.scenario is Scenario.FAILOVER else 0
    head = f"[server]\n\n[fleet]\naccelerators = {wish.workers}\n"
    return head + "".join(OWN_MODEL.format(name=name, least=least, most=wish.workers, job_s=job_s) for name in models)


def _addresses() -> list[str]:
    """Of this machine."""
    kinds = (socket.AF_INET, socket.AF_INET6)
    found = (one for entries in psutil.net_if_addrs().values() for one in entries)
    return [one.address.partition("%")[0] for one in found if one.family in kinds]


# --- what -------------------------------------------------------------------------------------------------------------


def _with_inputs(plan: Plan, wish: Wish, url: str, keys: Mapping[str, str | None]) -> Plan:
    """The plan with what each job is given; files are uploaded once for each tenant and then named."""
    lanes: list[Lane] = []
    for lane in plan.lanes:
        with Springtide(url, api_key=keys[lane.tenant]) as client:
            model = client.models.get(lane.model)
            given: dict[str, Any] = {}
            for name, path in place(model, wish.files):
                given[name] = client.upload(path).id
            for name, texts in pairs(wish.inputs).items():
                values = [_uploaded(client, value_of(text)) for text in texts]
                given[name] = values[0] if len(values) == 1 else values
            if lane.job_s is not None:
                given.setdefault("steps", 4)
            job_s = None if "seconds" in given else lane.job_s
        lanes.append(msgspec.structs.replace(lane, inputs=given, job_s=job_s))
    return msgspec.structs.replace(plan, lanes=tuple(lanes))


def _uploaded(client: Springtide, value: Any) -> Any:
    if not isinstance(value, Path):
        return value
    check_files([value])
    return client.upload(value).id


async def _driven(plan: Plan, url: str, keys: Mapping[str, str | None], victims: LocalWorkers | None) -> Run:
    async with contextlib.AsyncExitStack() as stack:
        clients = {
            tenant: await stack.enter_async_context(
                AsyncSpringtide(url, api_key=key, patience=Patience(retries=0, read_s=30))
            )
            for tenant, key in keys.items()
        }
        with _progress(plan) as told:
            driver = Driver(plan, clients, clock=SystemClock(), victims=victims, told=told)
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, driver.stop)
            return await driver.run()


@contextlib.contextmanager
def _progress(plan: Plan) -> Generator[Any]:
    """One line on standard error; it goes when all is over."""
    columns = (
        TextColumn("[bold]{task.fields[phase]}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=_err, transient=True) as bars:
        task = bars.add_task("", total=plan.seconds, phase=plan.scenario, said="")

        def told(tally: Tally) -> None:
            is_over = tally.at_s > plan.seconds
            said = (
                f"{tally.accepted:,} of {tally.planned:,} accepted · {tally.waiting:,} wait · {tally.running:,} run · "
                f"{tally.workers} workers" + (f" · {tally.refused:,} refused" if tally.refused else "")
            )
            phase = "waiting for the rest" if is_over else str(plan.scenario)
            bars.update(task, completed=min(tally.at_s, plan.seconds), phase=phase, said=said)

        yield told


# --- telling ----------------------------------------------------------------------------------------------------------


def _tell(result: Result, wish: Wish) -> None:
    path = wish.html or Path(f"loadtest-{result.scenario}.html")
    try:
        path.write_text(page(result), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}; choose another file by --html") from error
    if wish.as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(result), indent=2).decode() + "\n")
    else:
        _show(result)
    _err.print(f"report: {path}", soft_wrap=True)


def _show(result: Result) -> None:
    found = result.figures
    table = Table(Column(""), *(Column(name, justify="right") for name in ("mean", "P50", "P95", "P99", "most")))
    table.box, table.header_style = None, "bold"
    for name, times in (("submit", found.submit), ("wait", found.wait), ("latency", found.latency)):
        table.add_row(name, *(span(one) for one in (times.mean, times.p50, times.p95, times.p99, times.max)))
    _out.print(table)
    used = "" if found.utilization is None else f", {found.utilization:.0%} busy"
    _out.print(
        f"\n{found.completed:,} of {found.submitted:,} completed, {found.throughput:.2f} a second; refused "
        f"{found.refused:,}, failed {found.failed:,}, not ended {found.unfinished:,}; at most {found.peak_queue:,} "
        f"waited, {found.peak_workers} workers{used}",
        soft_wrap=True,
    )
    for one in found.recoveries:
        resumed = "no job was hit" if one.resumed_s is None else f"{one.hit} hit ran again after {span(one.resumed_s)}"
        back = "not back within the test" if one.workers_s is None else f"back after {span(one.workers_s)}"
        _out.print(f"killed at {one.at_s:.0f} s: {one.what}; {resumed}; workers {back}", soft_wrap=True)
    lost = "[green]lost: nothing[/]" if not found.lost else f"[red bold]lost: {found.lost:,} jobs[/]"
    _out.print(f"{lost} (every accepted job was asked for)", soft_wrap=True)
    for one in result.verdicts:
        measured = "not measured" if one.measured is None else f"{one.measured:.4g}"
        word = "[green]kept[/]" if one.kept else "[red bold]MISSED[/]"
        _out.print(f"{word} {one.expectation} (measured {measured})", soft_wrap=True)


def _machine() -> dict[str, str]:
    memory = f"{psutil.virtual_memory().total / 2**30:.0f} GiB"
    return {
        "processors": str(psutil.cpu_count() or 0),
        "memory": memory,
        "system": platform.system(),
        "springtide": __version__,
    }
