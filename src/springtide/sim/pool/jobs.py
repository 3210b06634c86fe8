"""What arrives: the jobs of a simulation, column by column, because there are many."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Jobs(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs in the order of their arrival. `model` and `tenant` are numbers of names in `models` and `tenants`."""

    name: str
    at_s: Sequence[float]
    run_s: Sequence[float]
    predicted_s: Sequence[float]
    model: Sequence[int] = ()  # empty: all of the first
    tenant: Sequence[int] = ()
    models: tuple[str, ...] = ("model",)
    tenants: tuple[str, ...] = ("default",)
    note: str = ""  # what was assumed in reading it, for the report
    origin_s: float = 0.0  # the trace's own time of arrival zero
    day_s: float = 86_400.0  # length of a day on its clock: shorter where time was compressed

    def __len__(self) -> int:
        return len(self.at_s)

    @property
    def span_s(self) -> float:
        """From zero to the last arrival."""
        return self.at_s[-1] if self.at_s else 0.0

    @property
    def load(self) -> float:
        """Mean number of replicas that its work keeps busy."""
        return sum(self.run_s) / self.span_s if self.span_s > 0 else 0.0
