"""Rollouts on the ledger's own database. `ledger.rollouts` says what it promises."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec
from sqlalchemy import Connection, and_, bindparam, func, insert, or_, select, text, update
from sqlalchemy.exc import IntegrityError

from springtide.domain.ids import JobId, ModelName, first_job_id_at
from springtide.domain.job import Job, JobError, JobStatus
from springtide.domain.rollout import Retired, Rollout, Sample
from springtide.ledger.rows import Row, job_from
from springtide.ledger.sql_history import Connected
from springtide.ledger.tables import LIVE_JOB, attempts, jobs, rollouts

CALLERS_FAULT = frozenset({"invalid_input", "bad_media", "too_large"})  # they would have failed anywhere

_ALL = select(rollouts.c.body).order_by(rollouts.c.model, rollouts.c.number)
_CHANGES = select(func.coalesce(func.sum(rollouts.c.revision), 0))
_CHANGE = (
    update(rollouts)
    .values(body=bindparam("new_body"), revision=rollouts.c.revision + 1)
    .where(
        rollouts.c.model == bindparam("of_model"),
        rollouts.c.number == bindparam("of_number"),
        rollouts.c.revision == bindparam("of_revision"),
    )
)
_SAMPLED = (  # jobs_pk, from its end
    select(
        *(jobs.c[name] for name in ("status", "attempt", "started_at_s", "finished_at_s")),
        *(attempts.c[name] for name in ("attempt", "error")),
    )
    .join_from(jobs, attempts, and_(attempts.c.job == jobs.c.id, attempts.c.attempt == 1), isouter=True)
    .where(
        jobs.c.id >= bindparam("first_id"),
        jobs.c.model == bindparam("of_model"),
        func.coalesce(jobs.c.unit, jobs.c.model) == bindparam("of_queue"),
        or_(jobs.c.status == JobStatus.COMPLETED.value, attempts.c.attempt.is_not(None)),
        jobs.c.started_at_s.is_not(None) | attempts.c.attempt.is_not(None),
        text("plan IS NULL"),
    )
    .order_by(jobs.c.id.desc())
    .limit(bindparam("most"))
)
_WAITING = (  # jobs_live
    select(jobs)
    .where(
        text(LIVE_JOB),
        jobs.c.id > bindparam("after"),
        jobs.c.status == JobStatus.QUEUED.value,
        jobs.c.unit == bindparam("of_unit"),
        jobs.c.is_pinned.is_(None),
    )
    .order_by(jobs.c.id)
    .limit(bindparam("most"))
)
_REROUTE = (
    update(jobs)
    .values(unit=bindparam("new_unit"), model_version=bindparam("new_version"))
    .where(
        jobs.c.id == bindparam("of_job"),
        jobs.c.unit == bindparam("of_unit"),
        jobs.c.status == JobStatus.QUEUED.value,
    )
)
_ONE = select(jobs).where(jobs.c.id == bindparam("of_job"))

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Rollout).decode
_error = msgspec.json.Decoder(JobError).decode


class SqlRollouts:
    """`Rollouts` beside a ledger; it lives as long as that does."""

    def __init__(self, ledger: Connected) -> None:
        self._ledger = ledger

    async def rollout_changes(self) -> int:
        return await self._ledger.read(_changes)

    async def rollouts(self) -> list[Rollout]:
        return [_decode(row[0]) for row in await self._ledger.read(_all)]

    async def put_rollout(self, rollout: Rollout) -> bool:
        return await self._ledger.write(partial(_put, rollout=rollout))

    async def sampled(self, model: ModelName, unit: ModelName | None, *, since_s: float, limit: int) -> Sample:
        values = {"first_id": first_job_id_at(since_s), "of_model": model, "of_queue": unit or model, "most": limit}
        return _sample(await self._ledger.read(lambda connection: connection.execute(_SAMPLED, values).all()))

    async def waiting_for(self, retired: Retired, *, after: JobId | None, limit: int) -> list[Job]:
        values = {"after": after or "", "of_unit": retired.unit, "most": limit}
        found = await self._ledger.read(lambda connection: connection.execute(_WAITING, values).all())
        return [job_from(row) for row in found]

    async def reroute(self, jobs: Sequence[JobId], retired: Retired) -> list[Job]:
        found = await self._ledger.write(partial(_reroute, ids=jobs, retired=retired)) if jobs else []
        return [job_from(row) for row in found]


def _changes(connection: Connection) -> int:
    return int(connection.execute(_CHANGES).scalar_one())


def _all(connection: Connection) -> Sequence[Row]:
    return connection.execute(_ALL).all()


def _put(connection: Connection, rollout: Rollout) -> bool:
    body = _encode(rollout).decode()
    if rollout.revision > 1:
        place = {"of_model": rollout.model, "of_number": rollout.number, "of_revision": rollout.revision - 1}
        return connection.execute(_CHANGE, {**place, "new_body": body}).rowcount == 1
    try:
        with connection.begin_nested():
            connection.execute(insert(rollouts).values((rollout.model, rollout.number, rollout.revision, body)))
    except IntegrityError:
        return False
    return True


def _sample(found: Sequence[Row]) -> Sample:
    count = failed = 0
    runs_s: list[float] = []
    for status, attempt, started_at_s, finished_at_s, has_first, error in found:
        if has_first is None:
            if status == JobStatus.COMPLETED and attempt == 1:
                count += 1
                runs_s.append(finished_at_s - started_at_s)
            continue
        why = None if error is None else _error(error).code
        if why is not None and why not in CALLERS_FAULT:
            count += 1
            failed += 1
    return Sample(jobs=count, failed=failed, runs_s=tuple(runs_s))


def _reroute(connection: Connection, ids: Sequence[JobId], retired: Retired) -> Sequence[Row]:
    """One row at a time, in one order whoever writes."""
    given = {"of_unit": retired.unit, "new_unit": retired.to_unit, "new_version": retired.to_version}
    moved = [job for job in sorted(ids) if connection.execute(_REROUTE, {**given, "of_job": job}).rowcount == 1]
    return [row for job in moved for row in connection.execute(_ONE, {"of_job": job}).all()]
