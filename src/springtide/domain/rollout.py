"""A rollout: two versions of one model served side by side, and how it ends.

The stable version takes what nobody sends elsewhere; the canary takes its weight. A rollout ends once: promoted (the
canary is the stable version from then on) or aborted (the stable one takes all again, and what waits for the canary).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Literal

import msgspec

from springtide.domain.ids import ModelName


class RolloutState(StrEnum):
    """Where a rollout stands."""

    RUNNING = "running"
    PROMOTED = "promoted"
    ABORTED = "aborted"


VersionState = Literal["stable", "canary", "aborted", "retired", "declared"]


class Sticky(StrEnum):
    """What always goes to the same version for as long as weights stay."""

    TENANT = "tenant"
    JOB = "job"


class Margins(msgspec.Struct, frozen=True, kw_only=True):
    """How much worse the canary may be, and of how many jobs each that is told (`policy.rollout`)."""

    failure_rate: float = 0.05  # absolute: 0.05 is five of a hundred jobs more than of the stable version's
    p95: float = 0.5  # relative: 0.5 is a P95 half as long again as the stable version's
    min_samples: int = 20


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What the first attempts of one version's jobs came to."""

    jobs: int = 0
    failed: int = 0
    runs_s: tuple[float, ...] = ()  # of those that came to a result; no order


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A sample in figures, as it is written down and shown."""

    jobs: int
    failed: int
    run_s_p95: float | None = None


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """Both versions at one time."""

    at_s: float
    stable: Measured
    canary: Measured


class Rollout(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rollout of a model, the `number`th of it. `revision` grows with every change, so that none is lost."""

    model: ModelName
    number: int
    revision: int
    stable: str  # names of versions
    canary: str
    weight: float  # per cent of what is sent to no version by name, 0 to 100
    sticky: Sticky
    margins: Margins
    state: RolloutState
    started_at_s: float
    changed_at_s: float
    ended_at_s: float | None = None
    reason: str | None = None  # why it ended
    is_automatic: bool = False  # whether it was ended by the policy
    looks: int = 0  # how often the policy has judged, and at how many of the canary's jobs the last time
    looked_at_jobs: int = 0
    compared: Compared | None = None  # as it was judged last

    @property
    def is_running(self) -> bool:
        return self.state is RolloutState.RUNNING

    @property
    def serving(self) -> str:
        """The version that takes what the rollout does not send elsewhere."""
        return self.canary if self.state is RolloutState.PROMOTED else self.stable

    def weight_of(self, version: str) -> float:
        """Per cent of what is sent to no version by name that this one takes."""
        share = self.weight if self.is_running else 0.0
        if version == self.serving:
            return 100.0 - share
        return share if version == self.canary else 0.0


class Retired(msgspec.Struct, frozen=True):
    """Where what waits for an aborted version goes."""

    model: ModelName
    unit: ModelName  # the queue that it leaves
    to_version: str
    to_unit: ModelName | None  # None: the model's own queue


def newest(rollouts: Iterable[Rollout]) -> dict[ModelName, Rollout]:
    """The last rollout of each model, of all in the order they began in."""
    return {one.model: one for one in rollouts}
