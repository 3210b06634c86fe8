"""Inputs in before a run, outputs out after it, while the engine computes for another job.

Promises: a blob store that is down for a moment costs nothing but the moment; an input that is gone is said to be gone;
outputs are stored under new ids, each file once. Refuses nothing: what may be stored was checked where it was made.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from springtide.blobs.protocol import Blobs, Written
from springtide.domain.clock import Clock
from springtide.domain.errors import AttemptFailed, NotFound, OutcomeUnknown, SpringtideError, Unavailable
from springtide.domain.ids import BlobId
from springtide.domain.job import BlobRef
from springtide.runtime.backoff import Backoff
from springtide.runtime.ids import new_blob_id
from springtide.worker.frames import Made

log = logging.getLogger(__name__)

TRIES = 6  # with the waits below about 10 s: a restart of the store, less than the worth of most results
FIRST_WAIT_S, MOST_WAIT_S = 0.3, 5.0
AT_ONCE = 16  # transfers of one worker: enough to fill a network, few enough to keep memory and sockets low

T = TypeVar("T")


class Transfer:
    """Moves files between the blob store and local folders."""

    def __init__(self, blobs: Blobs, clock: Clock) -> None:
        self._blobs = blobs
        self._clock = clock
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def fetch(self, refs: Sequence[BlobRef], folder: Path) -> dict[str, str]:
        """Local paths by blob id. Raises AttemptFailed."""

        async def one(ref: BlobRef) -> tuple[str, str]:
            async with self._gate:
                expected = Written(ref.bytes, ref.sha256)
                path = await self._patiently(lambda: self._blobs.fetch(ref.id, folder, expected=expected), "fetched")
            return ref.id, str(path)

        unique = {ref.id: ref for ref in refs}
        return dict(await _all(one(ref) for ref in unique.values()))

    async def fetch_if_there(self, ref: BlobRef, folder: Path) -> str | None:
        """A local path; None for a blob that is gone. Raises AttemptFailed where the store stays down."""
        try:
            return (await self.fetch([ref], folder))[ref.id]
        except AttemptFailed as error:
            if error.code != "input_missing":
                raise
            log.warning("%s; the attempt begins at the beginning", error.message)
            return None

    async def store(self, files: Sequence[Made]) -> list[BlobRef]:
        """One reference per file, in order. Raises AttemptFailed; then nothing stays stored."""
        stored: dict[str, tuple[BlobId, Written]] = {}

        async def one(path: str) -> None:
            async with self._gate:
                stored[path] = await self._patiently(lambda: self._put(Path(path)), "stored")

        try:
            await _all(one(path) for path in dict.fromkeys(file.path for file in files))
        except BaseException:
            for blob, _ in stored.values():
                with contextlib.suppress(SpringtideError):
                    await self._blobs.delete(blob)
            raise
        return [_reference(file, *stored[file.path]) for file in files]

    async def _put(self, path: Path) -> tuple[BlobId, Written]:
        blob = new_blob_id()  # a new one for each try: a failed one may have got further than it seems
        return blob, await self._blobs.put_file(blob, path)

    async def _patiently(self, action: Callable[[], Awaitable[T]], verb: str) -> T:
        backoff = Backoff(FIRST_WAIT_S, MOST_WAIT_S)
        while True:
            try:
                return await action()
            except NotFound as error:
                code = "input_missing" if verb == "fetched" else "engine_failed"
                raise AttemptFailed(
                    f"a file could not be {verb}: {error.message}", retryable=False, code=code
                ) from error
            except (Unavailable, OutcomeUnknown) as error:
                if backoff.failures + 1 >= TRIES:
                    message = f"a file could not be {verb} in {TRIES} tries: {error.message}"
                    raise AttemptFailed(message, retryable=True, code="storage_unavailable") from error
                log.warning("a file could not be %s, trying again: %s", verb, error)
                await self._clock.sleep(backoff.next_s())


def _reference(file: Made, blob: BlobId, written: Written) -> BlobRef:
    return BlobRef(id=blob, media_type=file.media_type, bytes=written.bytes, sha256=written.sha256, name=file.name)


async def _all(actions: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Wait for all; the first failure stops the others and is raised as it is."""
    tasks = [asyncio.create_task(action) for action in actions]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
