"""What arrives: the jobs of a simulation, column by column, because there are many."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

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


def led_in(jobs: Jobs, lead_s: float) -> Jobs:
    """The same jobs, all later by `lead_s`, and before them once more those of its first seconds."""
    first = bisect_left(jobs.at_s, lead_s)

    def with_lead(kind: str, column: Sequence[float] | Sequence[int]) -> array[Any]:
        return array(kind, column[:first]) + array(kind, column)

    return msgspec.structs.replace(
        jobs,
        at_s=array("d", jobs.at_s[:first]) + array("d", (at_s + lead_s for at_s in jobs.at_s)),
        run_s=with_lead("d", jobs.run_s),
        predicted_s=with_lead("d", jobs.predicted_s),
        model=with_lead("l", jobs.model),
        tenant=with_lead("l", jobs.tenant),
        origin_s=jobs.origin_s - lead_s,
    )


def newest(jobs: Jobs, most: int) -> Jobs:
    """The last so many of them, from zero again; all where there are no more."""
    if len(jobs) <= most:
        return jobs
    first_s = jobs.at_s[-most]
    return msgspec.structs.replace(
        jobs,
        at_s=[at_s - first_s for at_s in jobs.at_s[-most:]],
        run_s=jobs.run_s[-most:],
        predicted_s=jobs.predicted_s[-most:],
        model=jobs.model[-most:],
        tenant=jobs.tenant[-most:],
        origin_s=jobs.origin_s + first_s,
    )
