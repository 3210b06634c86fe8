"""Several policies for one model: the largest wish wins, and with it its reason.

One that has no data holds: beside others that have, it can keep replicas but not ask for more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from springtide.policy.elastic.view import Advice, Policy, PoolView, Reason


class Composed:
    """A policy made of others."""

    def __init__(self, parts: Sequence[Policy]) -> None:
        if not parts:
            raise ValueError("a composed policy needs one part at least")
        self._parts = tuple(parts)
        fields = [(part.name, part.memory_type | None, None) for part in parts]
        self.memory_type: Any = msgspec.defstruct("ComposedMemory", fields, frozen=True, kw_only=True)

    @property
    def name(self) -> str:
        return "+".join(part.name for part in self._parts)

    @property
    def interval_s(self) -> float:
        return min(part.interval_s for part in self._parts)

    def decide(self, view: PoolView, memory: Any) -> tuple[Advice, Any]:
        """The advice of the one that wants most; of two, the first. `figures` names the wishes of all."""
        said: list[tuple[str, Advice]] = []
        parts: dict[str, Any] = {}
        for part in self._parts:
            advice, parts[part.name] = part.decide(view, None if memory is None else getattr(memory, part.name))
            said.append((part.name, advice))
        name, first = max(said, key=lambda pair: (pair[1].replicas, pair[1].reason is not Reason.NO_DATA))
        wishes = {f"{other}_wish": float(advice.wish) for other, advice in said}
        message = f"{name}: {first.message}" if len(said) > 1 else first.message
        advice = msgspec.structs.replace(first, message=message, figures={**first.figures, **wishes})
        return advice, self.memory_type(**parts)
