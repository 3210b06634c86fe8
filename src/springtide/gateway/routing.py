"""Which version of a model a request means: the one it names, else the one that the model's rollout sends it to.

Promises: no question to anybody on the way of a job, and microseconds; a rollout that was started, changed or ended
counts LOOK_EVERY_S later in every gateway, here at once after `refresh`. While the ledger cannot be asked, what was
known last goes on to count. Refuses to guess: a version that a rollout names and the configuration does not is passed
over for the one that is there, and said so.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

from springtide.domain.clock import Clock
from springtide.domain.errors import NotFound
from springtide.domain.ids import ModelName, TenantId, parted
from springtide.domain.meant import meant
from springtide.domain.rollout import Rollout, Sticky, newest
from springtide.gateway.served import ServedModel
from springtide.ledger.rollouts import Rollouts
from springtide.policy.rollout import place_of, salt_of
from springtide.runtime.loops import Loop

log = logging.getLogger(__name__)
LOOK_EVERY_S = 1.0


class Routed(NamedTuple):
    """Where a job goes."""

    served: ServedModel
    is_pinned: bool = False  # the request named the version


class _Split(NamedTuple):
    """A rollout under way, as the way in needs it."""

    salt: bytes
    weight: float
    is_by_tenant: bool
    canary: ServedModel


class Routing:
    """A service: `start`, `stop`; before the first look every job goes to its model's own version."""

    def __init__(
        self,
        models: Mapping[ModelName, ServedModel],
        versions: Mapping[ModelName, ServedModel],
        record: Rollouts | None,
        clock: Clock,
    ) -> None:
        self.units: Mapping[ModelName, ServedModel] = {**models, **versions}
        self.record = record
        self._models = models
        self._changes: int | None = None
        self._rollouts: dict[ModelName, Rollout] = {}
        self._stable: dict[str, ServedModel] = {**models}
        self._splits: dict[str, _Split] = {}
        self._told: set[str] = set()
        self._loop = Loop("routing", self.refresh, every_s=LOOK_EVERY_S, clock=clock)

    async def start(self) -> None:
        """Raises Unavailable where the ledger cannot be asked: jobs might go where an aborted rollout was."""
        await self.refresh()
        if len(self.units) > len(self._models):  # else there is nothing to choose from, whatever is on record
            await self._loop.start()

    async def stop(self, grace_s: float = 0.0) -> None:
        await self._loop.stop(grace_s)

    async def refresh(self) -> None:
        """Look what has changed. Runs once a LOOK_EVERY_S."""
        if self.record is None:
            return
        changes = await self.record.rollout_changes()
        if changes != self._changes:
            self.follow(newest(await self.record.rollouts()))
            self._changes = changes

    def follow(self, rollouts: Mapping[ModelName, Rollout]) -> None:
        """Choose by these, the last one of each model."""
        self._rollouts = {name: one for name, one in rollouts.items() if name in self._models}
        self._stable, self._splits = {**self._models}, {}
        for name, one in self._rollouts.items():
            stable, canary = self.version(name, one.serving), self.version(name, one.canary)
            for version, found in ((one.serving, stable), (one.canary, canary)):
                if found is None and (version == one.serving or one.is_running):
                    self._tell_missing(name, version)
            self._stable[name] = stable or self._models[name]
            if one.is_running and one.weight > 0 and canary is not None:
                salt = salt_of(name, one.canary)
                self._splits[name] = _Split(salt, one.weight, one.sticky is Sticky.TENANT, canary)

    def rollout(self, model: ModelName) -> Rollout | None:
        """The model's last one, be it over or not."""
        return self._rollouts.get(model)

    def versions(self, model: ModelName) -> list[ServedModel]:
        """Every version of a model, its own table's first."""
        return [one for one in self.units.values() if one.model.name == model]

    def version(self, model: ModelName, version: str) -> ServedModel | None:
        return next((one for one in self.versions(model) if one.model.version == version), None)

    def find(self, name: str) -> ServedModel | None:
        """What `matting` or `matting@2` means: by the name alone the stable version, whose inputs a rollout's canary
        takes too."""
        found = self._stable.get(name)
        if found is not None or "@" not in name:
            return found
        model, version = parted(name)
        return None if version is None or model not in self._models else self.version(model, version)

    def served(self, name: str) -> ServedModel:
        """The same; raises NotFound naming those there are."""
        found = self.find(name)
        if found is not None:
            return found
        model, version = parted(name)
        if version is not None and model in self._models:
            known = [one.model.version for one in self.versions(model)]
            raise NotFound(
                f"{model} has no version {version[:32]!r}. There are: {', '.join(known)}.",
                code="unknown_version",
                versions=known,
            )
        known = sorted(self._models)
        listed = ", ".join(known) or "none"
        near = meant(name[:64], known)
        asked = f" Did you mean {near}?" if near else ""
        message = f"There is no model {name[:64]!r}.{asked} Served here: {listed}."
        raise NotFound(message, code="unknown_model", models=known)

    def splits_by_job(self, name: str) -> bool:
        """Whether which version takes a job of this model depends on the job's own key."""
        split = self._splits.get(name)
        return split is not None and not split.is_by_tenant

    def route(self, name: str, *, tenant: TenantId, key: str) -> Routed:
        """Where a job goes. key: what stays the same however often the job is sent, else the job's id. Raises
        NotFound."""
        split = self._splits.get(name)
        if split is not None:
            on_canary = place_of(split.salt, tenant if split.is_by_tenant else key) < split.weight
            return Routed(split.canary if on_canary else self._stable[name])
        served = self.served(name)
        return Routed(served, is_pinned="@" in name)

    def again(self, model: ModelName, unit: ModelName | None, *, is_pinned: bool) -> Routed:
        """Where a job that ended goes when it is done once more: to the version it was for, unless nothing goes there
        any more. Raises NotFound."""
        before = self.units.get(unit or model)
        stable = self.served(model)
        if before is None or before.model.name != model:
            return Routed(stable)
        split = self._splits.get(model)
        is_open = is_pinned or before is stable or (split is not None and split.canary is before)
        return Routed(before if is_open else stable, is_pinned)

    def _tell_missing(self, model: ModelName, version: str) -> None:
        if f"{model}@{version}" not in self._told:
            self._told.add(f"{model}@{version}")
            log.error(
                "the rollout of %s is with version %s, which is not configured: its jobs go to the others",
                model,
                version,
            )
