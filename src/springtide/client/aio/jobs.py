"""Jobs on record: read, steer, follow.

Promises of `stream`: every event that the server still keeps, once and in order, over broken connections and restarts
of the server; it ends with the job.
"""

from __future__ import annotations

import builtins
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from springtide.client.aio.http import AsyncHttp, decoded
from springtide.client.aio.live import watch
from springtide.client.errors import NotFound, Refused, Unavailable, Unreachable, WaitTimeout
from springtide.client.events import EventReader
from springtide.client.progress import job_bar
from springtide.client.requests import Request, id_of
from springtide.client.retrying import backoff_s
from springtide.client.types import Attempt, AttemptList, Event, Explanation, Job, JobPage

PAGE = 100  # jobs asked for at once


class AsyncJobs:
    """`client.jobs`."""

    def __init__(self, http: AsyncHttp) -> None:
        self._http = http

    async def get(self, job: Job | str) -> Job:
        """The job as it stands now. Raises NotFound."""
        return await self._http.json(Request(method="GET", path=f"/v1/jobs/{id_of(job)}"), Job)

    async def list(
        self,
        *,
        model: str | None = None,
        status: str | Sequence[str] = (),
        parent: str | None = None,
        batch: str | None = None,
        created_after: str | float | None = None,
        created_before: str | float | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Job]:
        """Jobs, newest first, page by page as they are consumed.

        status: one or several. parent: the steps of this pipeline. batch: what came in with it. created_…: Unix seconds
        or RFC 3339 with a time zone. after: begin behind this job. limit: at most so many in all."""
        left = limit
        where = {
            "model": model,
            "parent": parent,
            "batch": batch,
            "created_after": None if created_after is None else str(created_after),
            "created_before": None if created_before is None else str(created_before),
        }
        given = [(name, value) for name, value in where.items() if value is not None]
        given += [("status", one) for one in ([status] if isinstance(status, str) else status)]
        while left is None or left > 0:
            page = await self._page(given, after, min(PAGE, left or PAGE))
            for job in page.data[:left]:
                yield job
            if not page.has_more:
                return
            after = page.next_after
            left = None if left is None else left - len(page.data)

    async def _page(self, given: builtins.list[tuple[str, str]], after: str | None, limit: int) -> JobPage:
        params = [*given, ("limit", str(limit)), *([("after", after)] if after else [])]
        return await self._http.json(Request(method="GET", path="/v1/jobs", params=params), JobPage)

    async def explain(self, job: Job | str) -> Explanation:
        """Why it waits, runs or gave no result, and what would help."""
        return await self._http.json(Request(method="GET", path=f"/v1/jobs/{id_of(job)}/explain"), Explanation)

    async def attempts(self, job: Job | str) -> builtins.list[Attempt]:
        """The attempts that gave no result, in order."""
        found = await self._http.json(Request(method="GET", path=f"/v1/jobs/{id_of(job)}/attempts"), AttemptList)
        return found.data

    async def cancel(self, job: Job | str) -> Job:
        """Ask it to stop. Raises Conflict where it has ended otherwise."""
        return await self._http.json(Request(method="POST", path=f"/v1/jobs/{id_of(job)}/cancel"), Job)

    async def retry(self, job: Job | str) -> Job:
        """A new job that does an ended one without a result again; asked twice it is the same new job."""
        new, _ = await self.retried(job)
        return new

    async def retried(self, job: Job | str) -> tuple[Job, bool]:
        """As `retry`, and whether there was that new job already."""
        response = await self._http.send(Request(method="POST", path=f"/v1/jobs/{id_of(job)}/retry"))
        return decoded(response, Job), "idempotency-replayed" in response.headers

    async def delete(self, job: Job | str) -> None:
        """Delete an ended job with its files. Raises Conflict where it has not ended, NotFound where there is none."""
        try:
            await self._http.send(Request(method="DELETE", path=f"/v1/jobs/{id_of(job)}"))
        except NotFound as error:
            if error.tries == 1:
                raise  # else an earlier try, whose answer was lost, has deleted it

    # --- following ----------------------------------------------------------------------------------------------------

    async def stream(self, job: Job | str, *, after: str | None = None) -> AsyncIterator[Event]:
        """Its events, until it has ended. after: the id of the last event seen. Raises ApiError, and Unreachable
        where the server stays away."""
        async for event in self._events(id_of(job), after, None):
            if event is not None:
                yield event

    async def wait(
        self,
        job: Job | str,
        *,
        timeout_s: float | None = None,
        progress: bool = False,
        on_event: Callable[[Event], object] | None = None,
    ) -> Job:
        """The job once it has ended, however it ended. progress: a bar on standard error, where that is a terminal.
        Raises WaitTimeout; the job goes on then, as after an interrupt."""
        ends_s = None if timeout_s is None else time.monotonic() + timeout_s
        name = job if isinstance(job, str) else job.model
        with job_bar(name, shown=progress, also=on_event) as tell:
            async for event in self._events(id_of(job), None, ends_s):
                if event is not None and tell is not None:
                    tell(event)
        found = await self.get(job)
        if not found.has_ended and timeout_s is not None:
            raise WaitTimeout(found, timeout_s)
        return found

    async def watch(self, jobs: Iterable[Job | str]) -> AsyncIterator[Event]:
        """Events of many jobs over one connection, until all have ended. Each begins with a `snapshot`; a job that is
        not there gives one `problem`."""
        async for event in watch(self._http, [one if isinstance(one, str) else one.id for one in jobs]):
            yield event

    async def _events(self, job: str, after: str | None, ends_s: float | None) -> AsyncIterator[Event | None]:
        """Events up to the job's end, or to `ends_s` on the monotonic clock; None with each sign of life besides."""
        patience, failures, waited_s = self._http.patience, 0, 0.0
        while True:
            silence_s = patience.read_s if ends_s is None else min(patience.read_s, ends_s - time.monotonic())
            if silence_s <= 0:
                return
            reader, failure, is_late = EventReader(), None, False
            try:
                async with self._http.open(_events_of(job, after), read_s=silence_s) as response:
                    if response.status_code == 204:
                        return
                    async for chunk in response.aiter_bytes():
                        for event in reader.feed(chunk):
                            failures, waited_s, after = 0, 0.0, event.id or after
                            yield event
                            if event.is_end:
                                return
                        yield None
                        is_late = ends_s is not None and silence_s > 1.2 * (ends_s - time.monotonic()) + 0.2
                        if is_late:
                            break  # and come back with less patience, so that a silence does not outlast the time
            except (Unreachable, Unavailable, Refused) as error:
                failure = error
            if is_late:
                continue
            failures += 1
            wait_s = max(
                backoff_s(patience, failures, rand=random.random()),  # noqa: S311 - spreads clients, no secret
                getattr(failure, "retry_after_s", None) or 0.0,
            )
            waited_s += wait_s
            if waited_s > patience.reconnect_s:
                raise failure or self._http.unreachable(ConnectionError("its event stream ends at once, every time"))
            await self._http.sleep(wait_s if ends_s is None else max(0.0, min(wait_s, ends_s - time.monotonic())))


def _events_of(job: str, after: str | None) -> Request:
    headers = {"accept": "text/event-stream", **({"last-event-id": after} if after else {})}
    return Request(method="GET", path=f"/v1/jobs/{job}/events", headers=headers)
