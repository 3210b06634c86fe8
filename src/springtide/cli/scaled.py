"""What is scaled, and by which policies: from [models.NAME.scaling] and [workers.NAME.scaling] to values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from springtide.cli.build import model_names, pools
from springtide.config import Config, FloorConfig, ModelConfig, ScalingConfig, WorkersConfig
from springtide.domain.ids import ModelName, parted

if TYPE_CHECKING:
    from springtide.controller.floors import Floors
    from springtide.controller.sharing import Sharing
    from springtide.controller.signals import Pool
    from springtide.domain.clock import Clock
    from springtide.ledger.rollouts import Rollouts
    from springtide.policy.elastic.bounds import Bounds
    from springtide.policy.elastic.named import Bound
    from springtide.policy.elastic.schedule import Floor, ScheduleSettings
    from springtide.policy.elastic.view import Policy

HOUR_S = 3600.0
WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def scaled(config: Config) -> dict[ModelName, Pool]:
    """What is scaled as one: each pool in [workers], and each model that is in none."""
    from springtide.controller.signals import Pool

    shared = pools(config)
    pooled = {member for members in shared.values() for member in members}
    alone = {name: (name,) for name in model_names(config) if name not in pooled}
    return {
        name: Pool(
            models=members,
            wait_s=_given(config, name).scaling.wait_s,
            share=_given(config, name).scaling.share,
            shared_by=max(config.units[member].batch for member in members),
        )
        for name, members in {**alone, **shared}.items()
    }


def policies(config: Config) -> dict[ModelName, Policy]:
    """The policy of each."""
    return {
        name: _policy(_given(config, name), _least(config, name), _slots(config, pool))
        for name, pool in scaled(config).items()
    }


def sharing(config: Config) -> Sharing | None:
    """How they share what [fleet] has; None where nothing is limited."""
    from springtide.controller.sharing import Sharing, Terms

    if not config.fleet.budget:
        return None
    terms = {
        name: Terms(
            takes=takes(config, name),
            wait_s=given.scaling.wait_s,
            cold_start_s=given.scaling.cold_start_s,
            weight=given.scaling.weight,
            least=_least(config, name),
        )
        for name in scaled(config)
        for given in [_given(config, name)]
    }
    return Sharing(config.fleet.budget, terms)


def takes(config: Config, name: str) -> dict[str, float]:
    """What of [fleet] one worker of a model or pool takes."""
    return _given(config, name).takes()


def _given(config: Config, name: str) -> ModelConfig | WorkersConfig:
    return config.workers.get(name) or config.units[name]


def _slots(config: Config, pool: Pool) -> int:
    return sum(config.units[member].slots for member in pool.models)


def floors(config: Config, record: Rollouts, clock: Clock) -> Floors:
    """What stays of each version, not started."""
    from springtide.controller.floors import Floors

    several = (name for name in scaled(config) if _has_versions(config, name))
    return Floors(record, {name: _given(config, name).min_replicas for name in several}, clock)


def _has_versions(config: Config, name: ModelName) -> bool:
    model = config.models.get(parted(name)[0])
    return model is not None and bool(model.versions)


def _least(config: Config, name: ModelName) -> int:
    """Workers kept alive when idle; of models with several versions `floors` tells them."""
    return 0 if _has_versions(config, name) else _given(config, name).min_replicas


def _policy(given: ModelConfig | WorkersConfig, least: int, slots: int) -> Policy:
    from springtide.policy.elastic.bounds import Bounds
    from springtide.policy.elastic.composed import Composed
    from springtide.policy.elastic.patience import Patient

    bounds = Bounds(
        min_replicas=least,
        max_replicas=given.max_replicas,
        replica_hours_a_day=given.scaling.replica_hours_a_day,
    )
    parts = [_part(name, given, bounds, given.jobs_per_replica or slots) for name in given.scaling.policies]
    policy: Policy = parts[0] if len(parts) == 1 else Composed(parts)
    return Patient(policy, given.idle_s) if given.idle_s > 0 else policy


def _part(name: str, given: ModelConfig | WorkersConfig, bounds: Bounds, jobs_per_replica: int) -> Bound:
    from springtide.policy.elastic import backlog, queue, tide, trisignal, utilization
    from springtide.policy.elastic.named import bound

    scaling = given.scaling
    match name:
        case "tide":
            return bound(
                tide.TideSettings(
                    bounds=bounds,
                    wait_s=scaling.wait_s,
                    share=scaling.share,
                    cold_start_s=scaling.cold_start_s,
                    run_s=scaling.run_s,
                )
            )
        case "queue":
            return bound(queue.QueueSettings(bounds=bounds, target=scaling.queue_target))
        case "utilization":
            return bound(
                utilization.UtilizationSettings(
                    bounds=bounds, signal=scaling.utilization_of, target=scaling.utilization_target
                )
            )
        case "trisignal":
            return bound(trisignal.TrisignalSettings(bounds=bounds, memory=scaling.trisignal_memory))
        case "schedule":
            return bound(_schedule(scaling, bounds))
        case _:
            return bound(
                backlog.BacklogSettings(
                    min_replicas=bounds.min_replicas,
                    max_replicas=bounds.max_replicas,
                    jobs_per_replica=jobs_per_replica,
                    idle_s=given.idle_s,
                )
            )


def _schedule(scaling: ScalingConfig, bounds: Bounds) -> ScheduleSettings:
    from springtide.policy.elastic.schedule import ScheduleSettings

    return ScheduleSettings(
        floors=tuple(_floor(floor) for floor in scaling.schedule),
        utc_offset_s=scaling.utc_offset_h * HOUR_S,
        lead_s=scaling.cold_start_s,
        bounds=bounds,
    )


def _floor(floor: FloorConfig) -> Floor:
    from springtide.policy.elastic.schedule import Floor

    return Floor(
        from_s=_seconds(floor.begin),
        until_s=_seconds(floor.until),
        replicas=floor.replicas,
        days=tuple(WEEK.index(day) for day in floor.days),
    )


def _seconds(clock: str) -> float:
    """Of the day, from hh:mm."""
    hours, _, minutes = clock.partition(":")
    return int(hours) * HOUR_S + int(minutes) * 60.0
