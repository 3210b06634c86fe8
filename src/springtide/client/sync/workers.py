# Made from aio/workers.py by `python docs/generate.py`; a change there, not here.
"""The workers there are. For keys with the scope `admin`."""

from __future__ import annotations

import builtins
from urllib.parse import quote

from springtide.client.operating import Worker, WorkerList
from springtide.client.requests import Request, order
from springtide.client.sync.http import Http


class Workers:
    """`client.workers`."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def list(self) -> builtins.list[Worker]:
        """Every worker the server has heard of lately: its models, what it runs, what it uses."""
        return (self._http.json(Request(method="GET", path="/v1/workers"), WorkerList)).data

    def drain(self, worker: str, *, note: str | None = None) -> Worker:
        """Let it finish what it holds and leave. Raises NotFound."""
        return self._http.json(order(f"/v1/workers/{quote(worker, safe='')}/drain", note=note), Worker)
