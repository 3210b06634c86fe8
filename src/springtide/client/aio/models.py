"""The models that are served."""

from __future__ import annotations

import builtins
from urllib.parse import quote

from springtide.client.aio.http import AsyncHttp
from springtide.client.requests import Request
from springtide.client.types import Model, ModelList, Scaling


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

    async def scaling(self, name: str, *, limit: int = 20) -> Scaling:
        """Why it has as many replicas as it has: the newest decisions."""
        path = f"/v1/models/{quote(name, safe='')}/scaling"
        return await self._http.json(Request(method="GET", path=path, params=[("limit", str(limit))]), Scaling)
