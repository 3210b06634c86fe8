"""The models that are served."""

from __future__ import annotations

import builtins
from typing import Literal
from urllib.parse import quote

from springtide.client.aio.http import AsyncHttp
from springtide.client.models import Model, ModelList, Scaling
from springtide.client.operating import Operated
from springtide.client.requests import Request, order


class AsyncModels:
    """`client.models`."""

    def __init__(self, http: AsyncHttp) -> None:
        self._http = http

    async def list(self) -> builtins.list[Model]:
        """All of them, with queue and workers as they are now."""
        return (await self._http.json(Request(method="GET", path="/v1/models"), ModelList)).data

    async def get(self, name: str) -> Model:
        """One model: what it takes and gives. Raises NotFound, which names those that are served."""
        return await self._http.json(Request(method="GET", path=f"/v1/models/{quote(name, safe='')}"), Model)

    async def scaling(self, name: str, *, limit: int = 20, since_s: float | None = None) -> Scaling:
        """Why it has as many replicas as it has: the newest decisions; samples of queue and fleet since then."""
        path = f"/v1/models/{quote(name, safe='')}/scaling"
        params = [("limit", str(limit)), *([] if since_s is None else [("since_s", repr(since_s))])]
        return await self._http.json(Request(method="GET", path=path, params=params), Scaling)

    async def scale(
        self,
        name: str,
        replicas: int | Literal["auto"],
        *,
        for_s: float | None = None,
        until: str | None = None,
        note: str | None = None,
    ) -> Operated:
        """Set its replicas by hand, for a time, until an instant such as 2026-11-22T09:30:00Z, or until "auto" leaves
        them to the policy again. Needs the scope `admin`, as the next two do."""
        path = f"/v1/models/{quote(name, safe='')}/scale"
        return await self._http.json(order(path, replicas=replicas, for_s=for_s, until=until, note=note), Operated)

    async def pause(self, name: str, *, note: str | None = None) -> Operated:
        """Keep its jobs and begin none of them; what runs is finished."""
        return await self._http.json(order(f"/v1/models/{quote(name, safe='')}/pause", note=note), Operated)

    async def resume(self, name: str) -> Operated:
        """The end of a pause."""
        return await self._http.json(order(f"/v1/models/{quote(name, safe='')}/resume"), Operated)
