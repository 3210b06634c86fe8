"""Which GPUs of this machine a worker is shown, where models share a counted number of them.

A worker that takes one or more has them to itself; parts of one are put together. One that takes none sees none.
"""

from __future__ import annotations

from springtide.domain.ids import WorkerId

VARIABLE = "CUDA_VISIBLE_DEVICES"


class Devices:
    """Lends them by what each worker takes."""

    def __init__(self, count: int, visible: str | None = None) -> None:
        """visible: what this process's own CUDA_VISIBLE_DEVICES says; None: all, numbered from 0."""
        named = [name.strip() for name in (visible or "").split(",") if name.strip()]
        self._names = (named or [str(number) for number in range(count)])[:count]
        self._lent: dict[WorkerId, tuple[tuple[str, ...], float]] = {}

    def lend(self, worker: WorkerId, takes: float) -> dict[str, str]:
        """Variables for its process. Where parts do not fit together one is lent beyond what it has: the budget is of
        the sum, not of each."""
        if takes <= 0 or not self._names:
            return {VARIABLE: ""}
        many, each = (int(takes), 1.0) if takes >= 1 else (1, takes)
        free = {name: 1.0 - sum(part for names, part in self._lent.values() if name in names) for name in self._names}
        # The fullest that has room, so that whole ones stay whole; else the emptiest.
        order = sorted(self._names, key=lambda name: (free[name] < each - 1e-9, abs(free[name] - each)))
        chosen = tuple(sorted(order[:many], key=self._names.index))
        self._lent[worker] = (chosen, each)
        return {VARIABLE: ",".join(chosen)}

    def give_back(self, worker: WorkerId) -> None:
        """Its process has ended."""
        self._lent.pop(worker, None)
