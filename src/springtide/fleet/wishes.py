"""How many workers each model is wished to have, for whoever asks from outside (KEDA): the last word holds.

No data is not zero: a model of which nobody has decided yet has no wish.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable

from springtide.domain.ids import ModelName


class Wishes:
    """Told by whoever decides, read by whoever acts."""

    def __init__(self, models: Iterable[ModelName]) -> None:
        self._models = frozenset(models)
        self._wished: dict[ModelName, int] = {}
        self._changed = asyncio.Event()

    def knows(self, model: ModelName) -> bool:
        """Whether there is such a model."""
        return model in self._models

    def tell(self, model: ModelName, replicas: int) -> None:
        if self._wished.get(model) == replicas:
            return
        self._wished[model] = replicas
        self._changed.set()
        self._changed = asyncio.Event()

    def of(self, model: ModelName) -> int | None:
        """The last one; None where there is none yet."""
        return self._wished.get(model)

    async def follow(self, model: ModelName) -> AsyncGenerator[int]:
        """The wish as it is, as soon as there is one, and each time it changes."""
        last: int | None = None
        while True:
            changed = self._changed  # before looking: what changes from now on is heard
            now = self._wished.get(model)
            if now is not None and now != last:
                last = now
                yield now
            await changed.wait()
