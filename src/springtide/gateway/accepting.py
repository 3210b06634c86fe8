"""A request's files and its job, accepted together: fetched where URLs name them, gone unless the job has them."""

from __future__ import annotations

from springtide.domain.errors import CallerError, Refused, UrlFailed
from springtide.gateway.context import Gateway
from springtide.gateway.submission import Prepared, Submission, SubmitRequest
from springtide.gateway.uploads import Uploads
from springtide.ledger.protocol import Inserted


async def filled(gateway: Gateway, asked: SubmitRequest, uploads: Uploads) -> SubmitRequest | Inserted:
    """The request with a blob in place of every URL; or the job that it has already, where a URL cannot be fetched (it
    may have expired since)."""
    if not gateway.fetching.wants(asked):
        return asked
    try:
        if asked.idempotency_key is None:  # with one it may be accepted already
            await gateway.submission.check_room(gateway.submission.served(asked.model), asked.tenant)
        return await gateway.fetching.fill(asked, uploads)
    except UrlFailed:
        known = await gateway.submission.known(asked)
        if known is None:
            raise
        return known


async def commit_with(submission: Submission, prepared: Prepared, uploads: Uploads) -> Inserted:
    """`Submission.commit` for a job whose fresh files are in `uploads`. What the job does not have stays there, to be
    deleted; where the job is refused, or was there before, all of it does."""
    stored = uploads.keep()  # from here on the job may be on record: a failure must not take its files away
    uploads.refs = {blob: ref for blob, ref in stored.items() if blob not in prepared.fresh}
    try:
        inserted = await submission.commit(prepared)
    except (CallerError, Refused):
        uploads.refs = stored
        raise
    if not inserted.is_new:
        uploads.refs = stored
    return inserted
