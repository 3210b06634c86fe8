"""Reading traces: CSV or CSV.gz, one line a job or one line an interval of arrivals.

A job trace has a column of times (`arrival_s`, `arrival`, `t`, `at_s`, `timestamp`) and, where it is known, seconds of
work (`seconds`, `run_s`, `service_s`), `predicted_s`, `model`, `tenant` (or `group`). A rate trace has a time and
`count` per interval or `rate_rps`. What a trace does not tell is drawn by chance with a seed, and the note of the
jobs says so.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import msgspec

from springtide.domain.errors import ConfigError
from springtide.sim.pool.arrivals import Sizes, renewal, sized
from springtide.sim.pool.chance import Chance, seeded
from springtide.sim.pool.jobs import Jobs

TIMES = ("arrival_s", "arrival", "at_s", "t", "time_s", "time", "timestamp", "created_at")
SECONDS = ("seconds", "run_s", "service_s", "duration_s", "duration")
TENANTS = ("tenant", "group", "user")
RATES = ("rate_rps", "rate", "count", "requests", "generative_requests", "qps")
LEARN_AFTER = 5  # runs of a kind before its own mean counts for much
DEFAULT_LOAD = 8.0  # mean busy replicas for a trace that does not tell its run times


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """How to read a trace."""

    load: float | None = None  # mean busy replicas to scale to; None: as it is, where it tells its run times
    sizes: Sizes = Sizes()  # where it does not tell them
    cv: float | None = None  # of the gaps of a rate trace; None: its own column, or 1
    since_s: float = 0.0
    until_s: float | None = None
    faster: float = 1.0  # time compressed by so much (run times are kept)
    by_model: bool = False  # a pool for each name in the column `model`; else one for all
    seed: int = 1


def read_trace(path: Path, reading: Reading | None = None) -> Jobs:
    """The jobs of a file. Raises ConfigError with the file, the line and what to do where it cannot be read."""
    reading = reading or Reading()
    columns, rows = _table(path)
    time = _first(columns, TIMES)
    if time is None:
        raise ConfigError(f"{path.name} has no column of times; name one of {', '.join(TIMES)}")
    name = path.name.removesuffix(".gz").removesuffix(".csv")
    chance = seeded(name, reading.seed)
    rate = _first(columns, RATES)
    try:
        if rate is not None and _first(columns, SECONDS) is None:
            jobs = _from_rates(name, [(_time(r[time]), r) for r in rows if r[time]], rate, reading, chance)
        else:
            jobs = _from_jobs(name, columns, [(_time(r[time]), r) for r in rows if r[time]], reading, chance)
    except ValueError as error:
        raise ConfigError(f"{path.name} cannot be read as a trace: {error}") from error
    if not len(jobs):
        raise ConfigError(f"{path.name} has no jobs in the part that was asked for")
    return jobs


# --- job traces -------------------------------------------------------------------------------------------------------


def _from_jobs(
    name: str, columns: Sequence[str], rows: list[tuple[float, dict[str, str]]], reading: Reading, chance: Chance
) -> Jobs:
    seconds, tenant = _first(columns, SECONDS), _first(columns, TENANTS)
    kept = sorted(_window(_runnable(rows, seconds), reading), key=lambda pair: pair[0])
    origin_s = kept[0][0] if kept else 0.0
    time = _first(columns, TIMES) or ""
    if kept and not any("." in row[time] for _, row in kept):  # told in whole seconds: spread within them
        kept = sorted(((at_s + chance.random(), row) for at_s, row in kept), key=lambda pair: pair[0])
    at_s = [(at - origin_s) / reading.faster for at, _ in kept]
    if seconds is None:
        return _guessed(name, at_s, reading, chance)
    run_s = [float(row[seconds]) for _, row in kept]
    predicted = [row.get("predicted_s") or "" for _, row in kept]
    predicted_s = [float(one) for one in predicted] if all(predicted) else _learnt([row for _, row in kept], run_s)
    models, model = _numbered([row.get("model") or "model" for _, row in kept]) if reading.by_model else ((), ())
    tenants, who = _numbered([row[tenant] for _, row in kept]) if tenant else ((), ())
    jobs = Jobs(
        name=name,
        at_s=at_s,
        run_s=run_s,
        predicted_s=predicted_s,
        model=model,
        models=models or ("model",),
        tenant=who,
        tenants=tenants or ("default",),
        note="run times as recorded" + ("" if all(predicted) else "; predictions learnt from earlier jobs of a kind"),
        origin_s=origin_s,
        day_s=86_400.0 / reading.faster,
    )
    return jobs if reading.load is None else scaled(jobs, reading.load, chance)


def _runnable(rows: list[tuple[float, dict[str, str]]], seconds: str | None) -> list[tuple[float, dict[str, str]]]:
    """Without jobs that never ran: no run time, or a status that says cancelled."""
    return [
        (at_s, row)
        for at_s, row in rows
        if (seconds is None or (row[seconds] and float(row[seconds]) > 0))
        and row.get("status", "").upper() not in {"CANCELED", "CANCELLED", "EXPIRED", "QUEUED"}
    ]


def _guessed(name: str, at_s: list[float], reading: Reading, chance: Chance) -> Jobs:
    """Times without run times: those are drawn, and jobs left out until the load is what is asked for."""
    load = reading.load or DEFAULT_LOAD
    there = len(at_s) * reading.sizes.mean_s / max(at_s[-1], 1.0) if at_s else 0.0
    kept = at_s if there <= load else [at for at in at_s if chance.random() < load / there]
    note = (
        f"run times drawn: mean {reading.sizes.mean_s:g} s; "
        f"{len(kept)} of {len(at_s)} arrivals kept for a load of {load:g}"
    )
    return sized(name, kept, reading.sizes, chance=chance, note=note)


def scaled(jobs: Jobs, load: float, chance: Chance) -> Jobs:
    """The same trace with another load: arrivals left out, or copied within a quarter of an hour of the first."""
    factor = load / max(jobs.load, 1e-9)
    picked: list[tuple[float, int]] = []
    for i, at_s in enumerate(jobs.at_s):
        copies = int(factor) + (chance.random() < factor % 1)
        moved = [at_s + (chance.uniform(-900, 900) if copy else 0.0) for copy in range(copies)]
        picked += [(at, i) for at in moved if at >= 0.0]
    picked.sort()
    order = [i for _, i in picked]
    return msgspec.structs.replace(
        jobs,
        at_s=[at_s for at_s, _ in picked],
        run_s=[jobs.run_s[i] for i in order],
        predicted_s=[jobs.predicted_s[i] for i in order],
        model=[jobs.model[i] for i in order] if jobs.model else (),
        tenant=[jobs.tenant[i] for i in order] if jobs.tenant else (),
        note=f"{jobs.note}; load scaled by {factor:.2g}",
    )


def _learnt(rows: list[dict[str, str]], run_s: list[float]) -> list[float]:
    """What could have been predicted at the time: means of earlier jobs of the same model, task and size, shrunk."""
    kinds: dict[tuple[str, ...], list[float]] = {}
    predicted: list[float] = []
    for row, run in zip(rows, run_s, strict=True):
        model = row.get("model", "")
        keys = ((), (model,), (model, row.get("images", ""), row.get("task", "")))
        guess = 30.0  # nothing is known yet: half a minute
        for key in keys:
            total, count = kinds.get(key, (0.0, 0.0))
            guess = (total + LEARN_AFTER * guess) / (count + LEARN_AFTER)
        predicted.append(guess)
        for key in keys:
            entry = kinds.setdefault(key, [0.0, 0.0])
            entry[0] += run
            entry[1] += 1
    return predicted


# --- rate traces ------------------------------------------------------------------------------------------------------


def _from_rates(
    name: str, rows: list[tuple[float, dict[str, str]]], column: str, reading: Reading, chance: Chance
) -> Jobs:
    kept = _window(rows, reading)
    if len(kept) < 2:
        raise ValueError("a rate trace needs two lines at least")
    start_s = kept[0][0]
    times_s = [(at_s - start_s) / reading.faster for at_s, _ in kept]
    shape = [max(0.0, float(row[column] or 0.0)) for _, row in kept]
    widths = [later - earlier for earlier, later in pairwise(times_s)]
    if column in {"count", "requests"}:
        shape = [one / width for one, width in zip(shape, [*widths, widths[-1]], strict=True) if width > 0]
        times_s = times_s[: len(shape)]
    load = reading.load or DEFAULT_LOAD
    mean = sum(shape) / len(shape)
    rates = [one / max(mean, 1e-12) * load / reading.sizes.mean_s for one in shape]
    cvs = sorted(float(row["rate_weighted_cv"]) for _, row in kept if row.get("rate_weighted_cv"))
    cv = reading.cv or (min(2.5, cvs[len(cvs) // 2]) if cvs else 1.0)
    at_s = renewal(times_s, rates, cv=cv, chance=chance)
    note = f"arrivals drawn from rates scaled to a load of {load:g}, gaps of cv {cv:.2g}; run times drawn"
    jobs = sized(name, at_s, reading.sizes, chance=chance, note=note)
    return msgspec.structs.replace(jobs, origin_s=start_s, day_s=86_400.0 / reading.faster)


# --- tables -----------------------------------------------------------------------------------------------------------


def _table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    try:
        with _opened(path) as text:
            reader = csv.DictReader(text)
            rows = list(reader)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"the trace {path} cannot be read: {error}") from error
    return [column.strip() for column in reader.fieldnames or []], rows


def _opened(path: Path) -> io.TextIOWrapper:
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path, "rb"), encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _first(columns: Sequence[str], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in columns), None)


def _time(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text).timestamp()


def _window(rows: list[tuple[float, dict[str, str]]], reading: Reading) -> list[tuple[float, dict[str, str]]]:
    until_s = reading.until_s if reading.until_s is not None else float("inf")
    return [(at_s, row) for at_s, row in rows if reading.since_s <= at_s < until_s]


def _numbered(names: Sequence[str]) -> tuple[tuple[str, ...], list[int]]:
    numbers: dict[str, int] = {}
    column = [numbers.setdefault(name, len(numbers)) for name in names]
    return tuple(numbers), column


def lines(jobs: Jobs) -> Iterator[str]:
    """The jobs as a job trace."""
    yield "arrival_s,model,tenant,seconds,predicted_s\n"
    for i, at_s in enumerate(jobs.at_s):
        model = jobs.models[jobs.model[i]] if jobs.model else jobs.models[0]
        tenant = jobs.tenants[jobs.tenant[i]] if jobs.tenant else jobs.tenants[0]
        yield f"{at_s:.3f},{model},{tenant},{jobs.run_s[i]:.3f},{jobs.predicted_s[i]:.3f}\n"
