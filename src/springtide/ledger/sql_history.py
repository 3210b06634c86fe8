"""The fleet's past on the ledger's own database. `ledger.history` says what it promises."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import cache, partial
from typing import Any, Protocol, TypeVar

import msgspec
from sqlalchemy import Connection, Executable, Table, bindparam, case, delete, func, or_, select, text
from sqlalchemy.dialects import sqlite

from springtide.domain.ids import JobId, ModelName, TenantId, first_job_id_at
from springtide.domain.job import JobStatus
from springtide.ledger.history import Arrived, Attained, Ended, FleetSample, Memory, Ran, Scaled
from springtide.ledger.rows import Row, foretold_from
from springtide.ledger.tables import decisions, jobs, memories, samples

R = TypeVar("R")
Values = Sequence[dict[str, Any]]

_encode = msgspec.json.Encoder().encode
_scaled = msgspec.json.Decoder(Scaled)
_sample = msgspec.json.Decoder(FleetSample)

_QUEUE = func.coalesce(jobs.c.unit, jobs.c.model)  # `Job.queue`: what is scaled, and learnt of, by itself
_COUNTED = select(
    _QUEUE, func.count(), func.sum(jobs.c.predicted_s), func.sum(jobs.c.predicted_s * jobs.c.predicted_s)
).group_by(_QUEUE)
_ALONE = text("plan IS NULL AND parent IS NULL")
_CAME = _COUNTED.where(  # jobs_pk: ids sort by the time they were made
    jobs.c.id >= bindparam("first_id"), jobs.c.id < bindparam("end_id"), _ALONE
)
_STEPS_CAME = _COUNTED.where(  # jobs_steps
    text("parent IS NOT NULL"),
    jobs.c.created_at_s >= bindparam("since_s"),
    jobs.c.created_at_s < bindparam("until_s"),
)
_BEGAN_AT_S = func.coalesce(jobs.c.started_at_s, jobs.c.finished_at_s, bindparam("now_s"))
_ATTAINED = select(  # jobs_pk
    func.count(), func.sum(case((_BEGAN_AT_S - jobs.c.created_at_s > bindparam("wait_s"), 1), else_=0))
).where(
    jobs.c.id >= bindparam("first_id"),
    jobs.c.id < bindparam("end_id"),
    bindparam("model") == _QUEUE,
    _ALONE,
    or_(jobs.c.status != JobStatus.CANCELLED.value, jobs.c.started_at_s.is_not(None)),
)
_ENDED = (  # jobs_pk, from its end
    select(
        jobs.c.id,
        _QUEUE,
        jobs.c.predicted_s,
        jobs.c.created_at_s,
        jobs.c.started_at_s,
        jobs.c.finished_at_s,
        jobs.c.foretold,
    )
    .where(
        jobs.c.id >= bindparam("first_id"),
        jobs.c.status == JobStatus.COMPLETED.value,
        jobs.c.started_at_s.is_not(None),
        text("plan IS NULL"),
    )
    .order_by(jobs.c.id.desc())
    .limit(bindparam("limit"))
)
_RAN = (  # jobs_pk
    select(
        jobs.c.id,
        _QUEUE,
        jobs.c.tenant,
        jobs.c.created_at_s,
        jobs.c.predicted_s,
        jobs.c.started_at_s,
        jobs.c.finished_at_s,
    )
    .where(
        jobs.c.id >= bindparam("first_id"),
        jobs.c.id > bindparam("after"),
        jobs.c.status == JobStatus.COMPLETED.value,
        jobs.c.started_at_s.is_not(None),
        text("plan IS NULL"),
    )
    .order_by(jobs.c.id)
    .limit(bindparam("limit"))
)
_SCALED = (
    select(decisions.c.body)
    .where(decisions.c.model == bindparam("model"), decisions.c.at_s < bindparam("before_s"))
    .order_by(decisions.c.at_s.desc())
    .limit(bindparam("limit"))
)
_SAMPLES = (
    select(samples.c.body)
    .where(samples.c.model == bindparam("model"), samples.c.at_s >= bindparam("since_s"))
    .order_by(samples.c.at_s)
    .limit(bindparam("limit"))
)
_MEMORIES = select(memories).where(memories.c.name.in_(bindparam("names", expanding=True)))
_FORGET = [delete(table).where(table.c.at_s < bindparam("before_s")) for table in (decisions, samples)]


class Connected(Protocol):
    """What a ledger lends: its connections, and its queue of writes."""

    def read(self, query: Callable[[Connection], R]) -> Awaitable[R]: ...

    def write(self, work: Callable[[Connection], R]) -> Awaitable[R]: ...


class SqlHistory:
    """`FleetHistory` beside a ledger; it lives as long as that does."""

    def __init__(self, ledger: Connected) -> None:
        self._ledger = ledger

    async def arrived(self, *, since_s: float, until_s: float) -> list[Arrived]:
        found: dict[ModelName, Arrived] = {}
        alone = await self._ledger.read(partial(jobs_that_came, since_s=since_s, until_s=until_s))
        steps = await self._ledger.read(partial(steps_that_came, since_s=since_s, until_s=until_s))
        for row in (*alone, *steps):
            model, before = ModelName(row[0]), found.get(ModelName(row[0]))
            found[model] = Arrived(
                model=model,
                jobs=row[1] + (before.jobs if before else 0),
                work_s=row[2] + (before.work_s if before else 0.0),
                work_s2=row[3] + (before.work_s2 if before else 0.0),
            )
        return list(found.values())

    async def attained(
        self, model: ModelName, *, wait_s: float, since_s: float, until_s: float, now_s: float
    ) -> Attained:
        asked = partial(jobs_in_time, model=model, wait_s=wait_s, since_s=since_s, until_s=until_s, now_s=now_s)
        [(count, late)] = await self._ledger.read(asked)
        return Attained(jobs=count, late=late or 0)

    async def ended(self, *, since_s: float, limit: int) -> list[Ended]:
        found = await self._ledger.read(partial(newest_ended, since_s=since_s, limit=limit))
        return [
            Ended(
                id=JobId(job),
                model=ModelName(model),
                predicted_s=predicted_s,
                wait_s=max(0.0, began - came),
                run_s=max(0.0, ended - began),
                took_s=max(0.0, ended - came),
                foretold=None if foretold is None else foretold_from(foretold),
            )
            for job, model, predicted_s, came, began, ended, foretold in found
        ]

    async def ran(self, *, since_s: float, after: JobId | None, limit: int) -> list[Ran]:
        found = await self._ledger.read(partial(jobs_that_ran, since_s=since_s, after=after, limit=limit))
        return [
            Ran(
                id=JobId(row[0]),
                model=ModelName(row[1]),
                tenant=TenantId(row[2]),
                came_at_s=row[3],
                predicted_s=row[4],
                run_s=max(0.0, row[6] - row[5]),
            )
            for row in found
        ]

    async def put_scaled(self, made: Sequence[Scaled]) -> None:
        await self._put(
            decisions,
            [{"model": one.decision.model, "at_s": one.at_s, "body": _encode(one).decode()} for one in made],
        )

    async def scaled(self, model: ModelName, *, before_s: float, limit: int) -> list[Scaled]:
        found = await self._ledger.read(partial(decisions_on, model=model, before_s=before_s, limit=limit))
        return [_scaled.decode(row[0]) for row in found]

    async def put_samples(self, taken: Sequence[FleetSample]) -> None:
        await self._put(
            samples, [{"model": one.model, "at_s": one.at_s, "body": _encode(one).decode()} for one in taken]
        )

    async def samples(self, model: ModelName, *, since_s: float, limit: int) -> list[FleetSample]:
        found = await self._ledger.read(partial(samples_of, model=model, since_s=since_s, limit=limit))
        return [_sample.decode(row[0]) for row in found]

    async def put_memories(self, learnt: Sequence[Memory]) -> None:
        await self._put(memories, [{"name": one.name, "at_s": one.at_s, "body": one.body} for one in learnt])

    async def memories(self, names: Sequence[str]) -> list[Memory | None]:
        found = await self._ledger.read(partial(memories_by_name, names=names))
        known = {row[0]: Memory(name=row[0], at_s=row[1], body=row[2]) for row in found}
        return [known.get(name) for name in names]

    async def forget_history(self, *, before_s: float) -> None:
        await self._ledger.write(partial(_forget, before_s=before_s))

    async def _put(self, table: Table, values: Values) -> None:
        if values:
            await self._ledger.write(partial(put_rows, table=table, values=values))


def jobs_that_came(connection: Connection, since_s: float, until_s: float) -> Sequence[Row]:
    ids = {"first_id": first_job_id_at(since_s), "end_id": first_job_id_at(until_s)}
    return connection.execute(_CAME, ids).all()


def steps_that_came(connection: Connection, since_s: float, until_s: float) -> Sequence[Row]:
    return connection.execute(_STEPS_CAME, {"since_s": since_s, "until_s": until_s}).all()


def jobs_in_time(
    connection: Connection, *, model: ModelName, wait_s: float, since_s: float, until_s: float, now_s: float
) -> Sequence[Row]:
    ids = {"first_id": first_job_id_at(since_s), "end_id": first_job_id_at(until_s)}
    return connection.execute(_ATTAINED, {**ids, "model": model, "wait_s": wait_s, "now_s": now_s}).all()


def newest_ended(connection: Connection, since_s: float, limit: int) -> Sequence[Row]:
    parameters = {"first_id": first_job_id_at(since_s), "limit": limit}
    return connection.execute(_ENDED, parameters).all()


def jobs_that_ran(connection: Connection, since_s: float, after: JobId | None, limit: int) -> Sequence[Row]:
    parameters = {"first_id": first_job_id_at(since_s), "after": after or "", "limit": limit}
    return connection.execute(_RAN, parameters).all()


def decisions_on(connection: Connection, model: ModelName, before_s: float, limit: int) -> Sequence[Row]:
    return connection.execute(_SCALED, {"model": model, "before_s": before_s, "limit": limit}).all()


def samples_of(connection: Connection, model: ModelName, since_s: float, limit: int) -> Sequence[Row]:
    return connection.execute(_SAMPLES, {"model": model, "since_s": since_s, "limit": limit}).all()


def memories_by_name(connection: Connection, names: Sequence[str]) -> Sequence[Row]:
    return connection.execute(_MEMORIES, {"names": list(names)}).all() if names else []


def put_rows(connection: Connection, table: Table, values: Values) -> None:
    """One row at a time: there are a few a second at most. Later words of the same row replace earlier ones."""
    for value in values:
        connection.execute(_upsert(connection.dialect.name, table, tuple(value)), value)


@cache  # a statement is a net of cycles that only the collector frees: some 30 objects with each row
def _upsert(dialect: str, table: Table, names: tuple[str, ...]) -> Executable:
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql  # 5 MB that SQLite has no use for

        insert: Any = postgresql.insert
    else:
        insert = sqlite.insert
    keys = [column.name for column in table.primary_key]
    statement = insert(table)
    changed = {name: statement.excluded[name] for name in names if name not in keys}
    newer = statement.excluded.at_s >= table.c.at_s if "at_s" not in keys else None
    return statement.on_conflict_do_update(index_elements=keys, set_=changed, where=newer)


def _forget(connection: Connection, before_s: float) -> None:
    for statement in _FORGET:
        connection.execute(statement, {"before_s": before_s})
