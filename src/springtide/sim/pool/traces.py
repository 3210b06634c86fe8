"""Reading traces: CSV or CSV.gz, one line a job or one line an interval of arrivals.

A job trace has a column of times (`arrival_s`, `arrival`, `t`, `at_s`, `timestamp`) and, where it is known, seconds of
work (`seconds`, `run_s`, `service_s`), `predicted_s`, `model`, `tenant` (or `group`). A rate trace has a time and
`count` per interval or `rate_rps`. What a trace does not tell is drawn by chance with a seed, and the note of the
jobs says so.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec

from springtide.domain.errors import ConfigError
from springtide.sim.pool.arrivals import Sizes, renewal, sized
from springtide.sim.pool.chance import Chance, seeded
from springtide.sim.pool.jobs import Jobs
from springtide.sim.pool.table import Table, first_of

SECONDS = ("seconds", "run_s", "service_s", "duration_s", "duration")
TENANTS = ("tenant", "group", "user")
RATES = ("rate_rps", "rate", "count", "requests", "generative_requests", "qps")
LEARN_AFTER = 5  # runs of a kind before its own mean counts for much
NEVER_RAN = frozenset({"CANCELED", "CANCELLED", "EXPIRED", "QUEUED"})
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
    """The jobs of a file. Raises ConfigError with the file, the line and what to do where it cannot be read.

    It is read line by line, and kept in columns of numbers: 70 bytes a job, 250 MB for a file of 100 MB.
    """
    reading = reading or Reading()
    table = Table(path)
    name = path.name.removesuffix(".gz").removesuffix(".csv")
    chance = seeded(name, reading.seed)
    rate = first_of(table.columns, RATES)
    if rate is not None and first_of(table.columns, SECONDS) is None:
        jobs = _from_rates(name, table, rate, reading, chance)
    else:
        jobs = _from_jobs(name, table, reading, chance)
    if not len(jobs):
        raise ConfigError(f"{path.name} has no jobs in the part that was asked for")
    return jobs


# --- job traces -------------------------------------------------------------------------------------------------------


class _Columns:
    """Jobs as they stand in the file; words by their numbers."""

    def __init__(self) -> None:
        self.at_s, self.run_s, self.predicted_s = array("d"), array("d"), array("d")  # predicted NaN: not told
        self.model, self.tenant, self.kind = array("l"), array("l"), array("l")
        self.models: dict[str, int] = {}
        self.tenants: dict[str, int] = {}
        self.kinds: dict[tuple[str, str, str], int] = {}  # model, images, task
        self.never_ran = 0
        self.in_whole_seconds = True

    def sort(self) -> None:
        """By arrival; models and tenants numbered as they come."""
        if all(earlier <= later for earlier, later in pairwise(self.at_s)):
            return
        order = sorted(range(len(self.at_s)), key=self.at_s.__getitem__)
        self.at_s, self.run_s, self.predicted_s = (
            array("d", map(column.__getitem__, order)) for column in (self.at_s, self.run_s, self.predicted_s)
        )
        self.kind = array("l", map(self.kind.__getitem__, order))
        self.model, self.models = _renumbered(map(self.model.__getitem__, order), self.models)
        if self.tenants:
            self.tenant, self.tenants = _renumbered(map(self.tenant.__getitem__, order), self.tenants)


def _renumbered(column: Iterable[int], names: dict[str, int]) -> tuple[array[int], dict[str, int]]:
    words, numbers = list(names), dict[str, int]()
    return array("l", [numbers.setdefault(words[old], len(numbers)) for old in column]), numbers


def _from_jobs(name: str, table: Table, reading: Reading, chance: Chance) -> Jobs:
    found = _jobs_of(table, reading)
    found.sort()
    origin_s = found.at_s[0] if found.at_s else 0.0
    if found.in_whole_seconds:  # spread within them
        found.at_s = array("d", [at_s + chance.random() for at_s in found.at_s])
        found.sort()
    at_s = array("d", [(at_s - origin_s) / reading.faster for at_s in found.at_s])
    left_out = f"; {found.never_ran} left out that never ran" if found.never_ran else ""
    if first_of(table.columns, SECONDS) is None:
        return _guessed(name, at_s, reading, chance, note=left_out)
    is_told = not any(map(math.isnan, found.predicted_s))
    jobs = Jobs(
        name=name,
        at_s=at_s,
        run_s=found.run_s,
        predicted_s=found.predicted_s if is_told else _learnt(found),
        model=found.model if reading.by_model else (),
        models=tuple(found.models) if reading.by_model else ("model",),
        tenant=found.tenant if found.tenants else (),
        tenants=tuple(found.tenants) or ("default",),
        note="run times as recorded"
        + ("" if is_told else "; predictions learnt from earlier jobs of a kind")
        + left_out,
        origin_s=origin_s,
        day_s=86_400.0 / reading.faster,
    )
    return jobs if reading.load is None else scaled(jobs, reading.load, chance)


def _jobs_of(table: Table, reading: Reading) -> _Columns:
    """Those of the window that ran: no run time, or a status that says cancelled, and it did not."""
    found = _Columns()
    seconds, tenant = first_of(table.columns, SECONDS), first_of(table.columns, TENANTS)
    for row in table.rows(since_s=reading.since_s, until_s=reading.until_s):
        run_s = row.number(seconds) if seconds is not None else 1.0
        if not run_s or run_s <= 0 or row.text("status").upper() in NEVER_RAN:
            found.never_ran += 1
            continue
        predicted_s = row.number("predicted_s")
        found.at_s.append(row.at_s)
        found.run_s.append(run_s)
        found.predicted_s.append(math.nan if predicted_s is None else predicted_s)
        found.in_whole_seconds = found.in_whole_seconds and row.in_whole_seconds
        model = row.text("model")
        found.model.append(found.models.setdefault(model or "model", len(found.models)))
        kind = (model, row.text("images"), row.text("task"))
        found.kind.append(found.kinds.setdefault(kind, len(found.kinds)))
        if tenant is not None:
            found.tenant.append(found.tenants.setdefault(row.text(tenant), len(found.tenants)))
    return found


def _guessed(name: str, at_s: Sequence[float], reading: Reading, chance: Chance, *, note: str) -> Jobs:
    """Times without run times: those are drawn, and jobs left out until the load is what is asked for."""
    load = reading.load or DEFAULT_LOAD
    there = len(at_s) * reading.sizes.mean_s / max(at_s[-1], 1.0) if at_s else 0.0
    kept = at_s if there <= load else [at for at in at_s if chance.random() < load / there]
    note = (
        f"run times drawn: mean {reading.sizes.mean_s:g} s; "
        f"{len(kept)} of {len(at_s)} arrivals kept for a load of {load:g}{note}"
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


def _learnt(jobs: _Columns) -> array[float]:
    """What could have been predicted at the time: means of earlier jobs of the same model, task and size, shrunk."""
    kinds = list(jobs.kinds)
    seen: dict[object, list[float]] = {}  # of all, of each model, of each kind: sum and count
    predicted = array("d")
    for kind, run in zip(jobs.kind, jobs.run_s, strict=True):
        guess = 30.0  # nothing is known yet: half a minute
        entries = [seen.setdefault(key, [0.0, 0.0]) for key in (None, kinds[kind][0], kind)]
        for entry in entries:
            guess = (entry[0] + LEARN_AFTER * guess) / (entry[1] + LEARN_AFTER)
            entry[0] += run
            entry[1] += 1
        predicted.append(guess)
    return predicted


# --- rate traces ------------------------------------------------------------------------------------------------------


def _from_rates(name: str, table: Table, column: str, reading: Reading, chance: Chance) -> Jobs:
    kept = [
        (row.at_s, max(0.0, row.number(column) or 0.0), row.number("rate_weighted_cv"))
        for row in table.rows(since_s=reading.since_s, until_s=reading.until_s)
    ]
    if len(kept) < 2:
        raise ConfigError(f"{name} has the column {column}, so it is a trace of rates; that needs two lines at least")
    start_s = kept[0][0]
    times_s = [(at_s - start_s) / reading.faster for at_s, _, _ in kept]
    shape = [one for _, one, _ in kept]
    widths = [later - earlier for earlier, later in pairwise(times_s)]
    if column in {"count", "requests"}:
        shape = [one / width for one, width in zip(shape, [*widths, widths[-1]], strict=True) if width > 0]
        times_s = times_s[: len(shape)]
    load = reading.load or DEFAULT_LOAD
    mean = sum(shape) / len(shape)
    rates = [one / max(mean, 1e-12) * load / reading.sizes.mean_s for one in shape]
    cvs = sorted(cv for _, _, cv in kept if cv)
    cv = reading.cv or (min(2.5, cvs[len(cvs) // 2]) if cvs else 1.0)
    at_s = renewal(times_s, rates, cv=cv, chance=chance)
    note = f"arrivals drawn from rates scaled to a load of {load:g}, gaps of cv {cv:.2g}; run times drawn"
    jobs = sized(name, at_s, reading.sizes, chance=chance, note=note)
    return msgspec.structs.replace(jobs, origin_s=start_s, day_s=86_400.0 / reading.faster)


# --- writing ----------------------------------------------------------------------------------------------------------


def lines(jobs: Jobs) -> Iterator[str]:
    """The jobs as a job trace."""
    yield "arrival_s,model,tenant,seconds,predicted_s\n"
    for i, at_s in enumerate(jobs.at_s):
        model = jobs.models[jobs.model[i]] if jobs.model else jobs.models[0]
        tenant = jobs.tenants[jobs.tenant[i]] if jobs.tenant else jobs.tenants[0]
        yield f"{at_s:.3f},{model},{tenant},{jobs.run_s[i]:.3f},{jobs.predicted_s[i]:.3f}\n"
