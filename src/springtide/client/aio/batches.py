"""Many jobs at once: submitted, followed, cancelled and retried as one."""

from __future__ import annotations

import builtins
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from itertools import islice
from typing import Any
from urllib.parse import quote

from springtide.client.aio.files import AsyncFiles
from springtide.client.aio.http import AsyncHttp
from springtide.client.batches import Batch, BatchItem, BatchItemPage, BatchPage
from springtide.client.errors import TooLarge, WaitTimeout
from springtide.client.progress import batch_bar
from springtide.client.requests import Draft, JobRequest, Request, drafted, encoded, new_key

MOST = 10_000  # jobs that a server takes as one batch
PAGE = 1000
LOOKS_S = (0.5, 5.0)  # between two looks at a batch: a tenth of what is left, within these
NDJSON = {"content-type": "application/x-ndjson"}


class AsyncBatches:
    """`client.batches`."""

    def __init__(self, http: AsyncHttp, files: AsyncFiles) -> None:
        self._http = http
        self._files = files

    async def submit(self, jobs: Iterable[JobRequest], *, idempotency_key: str | None = None) -> Batch:
        """Submit up to 10,000 jobs as one batch. A wrong one takes no other along: see `counts.refused`. Files are
        uploaded first. idempotency_key: the same key with the same jobs is the same batch; a file counts by its id
        then, so upload it once. Raises TooLarge for more than the server takes, InvalidInput for none."""
        lines = [encoded(await self._item(job)) for job in jobs]
        return await self._submitted(lines, idempotency_key or new_key())

    async def submit_all(
        self, jobs: Iterable[JobRequest], *, idempotency_key: str | None = None, at_once: int = MOST
    ) -> AsyncIterator[Batch]:
        """Submit any number of jobs, as batches of at most `at_once`; where the server takes fewer, of half of it."""
        key = idempotency_key or new_key()
        rest, number = iter(jobs), 0
        while chosen := list(islice(rest, at_once)):
            lines = [encoded(await self._item(job)) for job in chosen]
            waiting = [lines]
            while waiting:
                piece = waiting.pop(0)
                try:
                    batch = await self._submitted(piece, f"{key}/{number}")
                except TooLarge:
                    if len(piece) == 1:
                        raise
                    middle = len(piece) // 2
                    waiting[:0] = [piece[:middle], piece[middle:]]
                else:
                    yield batch
                number += 1

    async def get(self, batch: Batch | str) -> Batch:
        """The batch as it stands now. Raises NotFound."""
        return await self._http.json(Request(method="GET", path=_path(batch)), Batch)

    async def list(self, *, limit: int | None = None) -> AsyncIterator[Batch]:
        """Batches, newest first, page by page as they are consumed."""
        after, left = None, limit
        while left is None or left > 0:
            params = [("after", after)] if after else []
            page = await self._http.json(Request(method="GET", path="/v1/jobs/batches", params=params), BatchPage)
            for batch in page.data[:left]:
                yield batch
            if not page.has_more:
                return
            after, left = page.next_after, None if left is None else left - len(page.data)

    async def items(self, batch: Batch | str, *, status: str | Sequence[str] = ()) -> AsyncIterator[BatchItem]:
        """What became of each item, in the order of the request, page by page. status: only these."""
        wanted = [("status", one) for one in ([status] if isinstance(status, str) else status)]
        after = -1
        while True:
            params = [("after", str(after)), ("limit", str(PAGE)), *wanted]
            page = await self._http.json(
                Request(method="GET", path=f"{_path(batch)}/items", params=params), BatchItemPage
            )
            for item in page.data:
                yield item
            if not page.has_more or page.next_after is None:
                return
            after = page.next_after

    async def cancel(self, batch: Batch | str) -> Batch:
        """Cancel every job of it that lives. Raises Conflict where it has ended."""
        return await self._http.json(Request(method="POST", path=f"{_path(batch)}/cancel"), Batch)

    async def retry(self, batch: Batch | str) -> Batch:
        """A new batch of those jobs that failed, expired or were cancelled; asked twice it is the same new one."""
        return await self._http.json(Request(method="POST", path=f"{_path(batch)}/retry"), Batch)

    async def wait(
        self,
        batch: Batch | str,
        *,
        timeout_s: float | None = None,
        progress: bool = False,
        on_look: Callable[[Batch], object] | None = None,
    ) -> Batch:
        """The batch once each item has ended. progress: a bar on standard error, where that is a terminal. on_look:
        called with the batch each time it was looked at. Raises WaitTimeout; the jobs go on then."""
        ends_s = None if timeout_s is None else time.monotonic() + timeout_s
        with batch_bar(shown=progress, also=on_look) as tell:
            while True:
                found = await self.get(batch)
                tell(found)
                if found.has_ended:
                    return found
                left_s = None if ends_s is None else ends_s - time.monotonic()
                if timeout_s is not None and left_s is not None and left_s <= 0:
                    raise WaitTimeout(found, timeout_s)
                least_s, most_s = LOOKS_S
                pause_s = min(max((found.eta_s or 0.0) / 10, least_s), most_s)
                await self._http.sleep(pause_s if left_s is None else min(pause_s, left_s))

    async def _item(self, job: JobRequest) -> dict[str, Any]:
        draft = await uploaded(self._files, drafted(job))
        return {**draft.envelope, **({"idempotency_key": job.idempotency_key} if job.idempotency_key else {})}

    async def _submitted(self, lines: builtins.list[bytes], key: str) -> Batch:
        content = b"\n".join([*lines, b""]) if lines else b""
        headers = {**NDJSON, "idempotency-key": key}
        read_s = self._http.patience.read_s + len(lines) * 0.01  # files are looked at on the way
        request = Request(method="POST", path="/v1/jobs/batches", headers=headers, content=content, read_s=read_s)
        return await self._http.json(request, Batch)


async def uploaded(files: AsyncFiles, draft: Draft) -> Draft:
    """The submit with its files on the server, each sent once."""
    sources = {id(one): one for one in draft.sources}
    if not sources:
        return draft
    return draft.named({name: (await files.upload(one)).id for name, one in sources.items()})


def _path(batch: Batch | str) -> str:
    return f"/v1/jobs/batches/{quote(batch if isinstance(batch, str) else batch.id, safe='')}"
