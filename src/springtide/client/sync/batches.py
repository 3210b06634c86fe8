# Made from aio/batches.py by `python docs/generate.py`; a change there, not here.
"""Many jobs at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from springtide.client.errors import TooLarge
from springtide.client.requests import JSON, Draft, JobRequest, Request, drafted, encoded, new_key
from springtide.client.sync.files import Files
from springtide.client.sync.http import Http
from springtide.client.types import Batch, BatchItem, BatchItems

SLICE = 1000  # what every server takes at once


class Batches:
    """`client.batches`."""

    def __init__(self, http: Http, files: Files) -> None:
        self._http = http
        self._files = files

    def submit(
        self, jobs: Iterable[JobRequest], *, idempotency_key: str | None = None, at_once: int = SLICE
    ) -> Iterator[BatchItem]:
        """Submit any number of jobs, `at_once` in a call; what became of each, in their order. A wrong one takes no
        other along. Files are uploaded first. idempotency_key: the same key and the same jobs once more give the same
        jobs; each has `KEY/PLACE` unless it brings its own."""
        key = idempotency_key or new_key()
        rest, place = iter(jobs), 0
        while chosen := list(islice(rest, at_once)):
            items = [self._item(job, f"{key}/{place + number}") for number, job in enumerate(chosen)]
            place += len(items)
            for item in self._submitted(items):
                yield item

    def _item(self, job: JobRequest, key: str) -> dict[str, object]:
        draft = uploaded(self._files, drafted(job))
        return {**draft.envelope, "idempotency_key": job.idempotency_key or key}

    def _submitted(self, items: list[dict[str, object]]) -> list[BatchItem]:
        """One call; two, each with half of it, where the server says that it is too much."""
        request = Request(method="POST", path="/v1/jobs/batches", headers=JSON, content=encoded({"jobs": items}))
        try:
            batch = self._http.json(request, Batch)
        except TooLarge:
            if len(items) == 1:
                raise
        else:
            found = Request(method="GET", path=batch.items_url, params=[("limit", str(batch.total))])
            return (self._http.json(found, BatchItems)).data
        middle = len(items) // 2
        return [*self._submitted(items[:middle]), *self._submitted(items[middle:])]


def uploaded(files: Files, draft: Draft) -> Draft:
    """The submit with its files on the server, each sent once."""
    sources = {id(one): one for one in draft.sources}
    if not sources:
        return draft
    return draft.named({name: (files.upload(one)).id for name, one in sources.items()})
