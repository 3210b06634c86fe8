"""Who is to be told of jobs' ends: written in the commit that records them, so that no crash comes between.

Promises: one row for each webhook of the job's tenant that asked for such an end, with an id that depends on nothing
but job and webhook: written again it is the same row. Costs one look at an empty table where nobody asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, FromClause, func, literal_column, or_, select
from sqlalchemy.sql.dml import UpdateBase

from springtide.domain.ids import JOB_PREFIX
from springtide.domain.webhook import MESSAGE_PREFIX, WEBHOOK_PREFIX, DeliveryState
from springtide.ledger.bulk import InsertInto, driver_of
from springtide.ledger.tables import deliveries, jobs, webhooks

_ANY_WEBHOOK = webhooks.alias("any_webhook")
_TOLD = (jobs.c.id, jobs.c.tenant, jobs.c.model, jobs.c.status, jobs.c.finished_at_s, jobs.c.parent)


def has_webhooks(connection: Connection) -> bool:
    """Whether anybody is to be told of anything. Past SQLAlchemy's machinery: it is asked in every commit with ends."""
    return driver_of(connection).execute("SELECT 1 FROM webhooks LIMIT 1").fetchone() is not None


def deliveries_of(s: FromClause, insert: InsertInto) -> UpdateBase:
    """For jobs that have just ended: `s` has their ids."""
    return _insertion(select(*_TOLD).join_from(s, jobs, jobs.c.id == s.c.id).subquery("ended"), insert)


def returning_what_is_told(
    end_jobs: Any, insert: InsertInto, *, more: Sequence[Any] = (), also: Callable[[Any], Any] | None = None
) -> Any:
    """The same as one statement with the UPDATE that ends jobs; it returns the ids of those that ended by it. `also`:
    another part of that statement, made from what ended and the columns `more`."""
    ended = end_jobs.returning(*_TOLD, *more).cte("ended")
    told = _insertion(ended, insert).cte("told")  # type: ignore[attr-defined]  # an INSERT has it
    return select(ended.c.id).add_cte(told, *([] if also is None else [also(ended)]))


def _insertion(ended: FromClause, insert: InsertInto) -> Any:
    return insert(deliveries).from_select(list(deliveries.c.keys()), _rows(ended)).on_conflict_do_nothing()


def _rows(ended: FromClause) -> Any:
    event = literal_column("'job.'").op("||")(ended.c.status)
    number = func.substr(ended.c.id, literal_column(str(len(JOB_PREFIX) + 1)))
    place = func.substr(webhooks.c.id, literal_column(str(len(WEBHOOK_PREFIX) + 1)))
    message = literal_column(f"'{MESSAGE_PREFIX}'").op("||")(number).op("||")(literal_column("'_'")).op("||")(place)
    return (
        select(
            message,
            webhooks.c.id,
            ended.c.id,
            event,
            ended.c.model,
            ended.c.finished_at_s,
            ended.c.finished_at_s,
            literal_column(f"'{DeliveryState.PENDING.value}'"),
            literal_column("0"),
            literal_column("0"),
            literal_column("'[]'"),
        )
        .join_from(ended, webhooks, webhooks.c.tenant == ended.c.tenant)
        .where(
            select(_ANY_WEBHOOK.c.id).exists(),  # asked once: where nobody asked to be told, no end is looked at
            ended.c.parent.is_(None),
            webhooks.c.is_enabled == literal_column("1"),
            _has(webhooks.c.events, event),
            or_(webhooks.c.models == literal_column("''"), _has(webhooks.c.models, ended.c.model)),
        )
    )


def _has(words: Any, word: Any) -> Any:
    """Whether `words` (",a,b,") has `word`: taking it out changes them. LIKE would read `_` as any character."""
    comma = literal_column("','")
    return func.replace(words, comma.op("||")(word).op("||")(comma), literal_column("''")) != words
