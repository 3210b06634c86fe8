"""The client: what is done every day on the object itself, the rest by what it is about.

Promises: a call that submits has one idempotency key for all its tries, so a lost answer never makes a second job.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from springtide.client import requests
from springtide.client.aio.batches import AsyncBatches, uploaded
from springtide.client.aio.files import AsyncFiles
from springtide.client.aio.http import AsyncHttp, OnBytes, decoded
from springtide.client.aio.jobs import AsyncJobs
from springtide.client.aio.models import AsyncModels
from springtide.client.aio.rollouts import AsyncRollouts
from springtide.client.aio.workers import AsyncWorkers
from springtide.client.errors import ApiError, ServerError, Unreachable, job_error
from springtide.client.media import FileInput
from springtide.client.requests import JobRequest, Request, Step, SubmitOptions
from springtide.client.settings import Patience, settings
from springtide.client.types import Blob, Event, File, Job, Priority

SHORT_S = 2.0  # `run` asks the server to hold its answer so long: a short job needs no event stream


class AsyncSpringtide:
    """One Springtide server.

    url: default `SPRINGTIDE_URL`, else http://127.0.0.1:8321. api_key: default `SPRINGTIDE_API_KEY`. patience: how long
    to wait, how often to try. http_client: one of your own, for proxies or certificates; it stays yours to close.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        patience: Patience | None = None,
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        self._http = AsyncHttp(settings(url, api_key, patience), client=http_client)
        self._files = AsyncFiles(self._http)
        self.jobs = AsyncJobs(self._http)
        self.batches = AsyncBatches(self._http, self._files)
        self.models = AsyncModels(self._http)
        self.workers = AsyncWorkers(self._http)
        self.rollouts = AsyncRollouts(self._http)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    @property
    def url(self) -> str:
        """The server's address."""
        return self._http.settings.url

    async def is_alive(self) -> bool:
        """Whether a server answers there; asked once, for two seconds."""
        try:
            await self._http.send(Request(method="GET", path="/healthz", read_s=2.0), tries=1)
        except (ApiError, Unreachable):
            return False
        return True

    async def readiness(self) -> dict[str, Any]:
        """Whether ledger and broker answer, and which models do not load, as `/readyz` says it. Raises Unreachable."""
        try:
            answer = await self._http.send(Request(method="GET", path="/readyz", read_s=5.0), tries=1)
        except ServerError as error:
            return {"status": error.code, **error.details}
        return answer.json()

    async def submit(
        self,
        model: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        then: Sequence[Step] = (),
        priority: Priority | None = None,
        start_deadline_s: float | None = None,
        idempotency_key: str | None = None,
        wait_s: float = 0.0,
    ) -> Job:
        """Submit a job; it is on disk when this returns.

        inputs: values by field; a file as Path, bytes, a file open in binary, a `Blob` or `File`. A `str` is a value.
        then: the later steps of a pipeline. start_deadline_s: it expires if it has not started by then. wait_s: the
        server holds its answer so long for the job to end. idempotency_key: default a fresh one; give your own to be
        safe across runs of your program too. Raises InvalidInput, NotFound, Refused and others; Unreachable.
        """
        asked = JobRequest(
            model=model,
            inputs=inputs or {},
            then=then,
            priority=priority,
            start_deadline_s=start_deadline_s,
            idempotency_key=idempotency_key,
        )
        draft = requests.drafted(asked)
        if not draft.fits_a_form:
            draft = await uploaded(self._files, draft)
        key = idempotency_key or requests.new_key()
        sent = requests.submit(draft, key=key, wait_s=wait_s, read_s=self._http.patience.read_s)
        return decoded(await self._http.send(sent), Job)

    async def run(
        self,
        model: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        progress: bool = False,
        on_event: Callable[[Event], object] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Job:
        """Submit a job and wait for its result; options as of `submit`. Raises what that raises, JobFailed,
        JobCancelled or JobExpired where it gave none, and WaitTimeout."""
        is_watched = progress or on_event is not None
        held_s = 0.0 if is_watched else min(SHORT_S, timeout_s or SHORT_S)
        job = await self.submit(model, inputs, wait_s=held_s, **options)
        if not job.has_ended:
            job = await self.wait(job, timeout_s=timeout_s, progress=progress, on_event=on_event)
        if not job.is_completed:
            raise job_error(job)
        return job

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
        return await self.jobs.wait(job, timeout_s=timeout_s, progress=progress, on_event=on_event)

    def stream(self, job: Job | str, *, after: str | None = None) -> AsyncIterator[Event]:
        """The events of a job until it has ended, resumed by itself. after: the id of the last event seen."""
        return self.jobs.stream(job, after=after)

    def watch(self, jobs: Iterable[Job | str]) -> AsyncIterator[Event]:
        """The events of many jobs over one connection, until all have ended."""
        return self.jobs.watch(jobs)

    async def upload(
        self, file: FileInput, *, name: str | None = None, progress: bool = False, on_bytes: OnBytes | None = None
    ) -> Blob:
        """Store a file, to be named in the inputs of jobs. From 64 MiB on its bytes go where they are kept directly.
        on_bytes: called with the size of each piece sent."""
        return await self._files.upload(file, name=name, progress=progress, on_bytes=on_bytes)

    async def download(
        self,
        what: File | Blob | Job | str,
        target: str | os.PathLike[str] | None = None,
        *,
        progress: bool = False,
        on_bytes: OnBytes | None = None,
    ) -> Path:
        """Save a file of a result (of a job: its first), a blob, or what a file's URL or id names; gives where.

        target: a file's name, a folder, or None: here, as the server names it. One that breaks off goes on where it
        was, also in another call; what stands under the target's name is whole, by its SHA-256."""
        return await self._files.download(what, target, progress=progress, on_bytes=on_bytes)

    async def read(self, what: File | Blob | Job | str) -> bytes:
        """A file's bytes, in memory."""
        return await self._files.read(what)

    async def media_type(self, what: File | Blob | str) -> str:
        """What a file is, as the server found it by its bytes."""
        return await self._files.media_type(what)
