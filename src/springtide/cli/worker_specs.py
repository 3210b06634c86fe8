"""What a worker is told when it is started: all of the configuration that is its business, and nothing else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from springtide.cli import build
from springtide.config import Config, ModelConfig, RetryConfig
from springtide.domain.errors import ConfigError
from springtide.domain.ids import ModelName, WorkerId

if TYPE_CHECKING:
    from springtide.cli.worker_main import WorkerSpec
    from springtide.engines.signing import SigningPlace
    from springtide.fleet.gangs import GangPods, GangShape, Runs
    from springtide.policy.retry import RetrySettings
    from springtide.worker.settings import WorkerSettings


def worker_spec(config: Config, name: str, worker: WorkerId, *, succeeds: bool = False) -> WorkerSpec:
    """What a worker of a configured model, or of a pool in [workers], is told. Raises ConfigError for any other.
    succeeds: see `WorkerSpec`."""
    from springtide.cli.worker_main import WorkerSpec

    pool = config.workers.get(name)
    if pool is None and name not in config.units:
        pools = f" and pools: {', '.join(config.workers)}" if config.workers else ""
        raise ConfigError(f"no model {name!r} is configured; there are: {', '.join(config.units)}{pools}")
    return WorkerSpec(
        id=worker,
        succeeds=succeeds,
        name=name,
        models=tuple(_worker_settings(config, model) for model in (pool.models if pool else [name])),
        memory_mb=pool.memory_mb if pool else None,
        broker=build.broker_address(config),
        blobs=build.blobs_address(config),
        telemetry=build.telemetry(config),
        metrics_host=config.telemetry.metrics_host,
        metrics_port=None if build.is_embedded(config) else config.telemetry.metrics_port,
    )


def _worker_settings(config: Config, name: str) -> WorkerSettings:
    from springtide.worker.settings import WorkerSettings

    model = config.units[name]
    return WorkerSettings(
        model=ModelName(name),
        engine_reference=model.engine,
        settings=model.settings,
        accept_non_commercial=model.accept_non_commercial,
        signing=_signing(config),
        weights_folder=config.weights_folder,
        scratch_folder=config.scratch_folder,
        slots=model.slots,
        batch=model.batch,
        batch_wait_s=model.batch_wait_ms / 1000,
        retry=_retry(model.retry),
        timeout_s=model.timeout_s,
        load_timeout_s=model.load_timeout_s,
        load_attempts=model.load_attempts,
        warm_up=model.warm_up == "always" or _starts_slowly(config, name),
        memory_limit_mb=model.memory_limit_mb,
        memory_mb=model.memory_mb,
        cpus=model.cpus,
        grace_s=model.grace_s,
        gang=_gang(model) if model.is_distributed else None,
        runs_as=_runs_as(model),
        gang_pods=_gang_pods(config, name) if model.is_distributed else None,
        groups_folder=config.server.data_dir / "groups",
    )


def _gang(model: ModelConfig) -> GangShape:
    from springtide.fleet.gangs import GangShape

    group = model.group
    return GangShape(processes=group.processes, gpus_each=group.gpus_each, start_timeout_s=group.start_timeout_s)


def _gang_pods(config: Config, name: str) -> GangPods | None:
    """Where groups are objects of a cluster: what they are made of."""
    from springtide.fleet.gangs import GangPods, Runs

    model = config.units[name]
    if _runs_as(model) is Runs.PROCESSES:
        return None
    from springtide.deploy.groups import rank_pod
    from springtide.deploy.installation import Installation, WorkerGroup
    from springtide.fleet import labels

    group, made = model.group, WorkerGroup(config, name)
    return GangPods(
        pod=rank_pod(Installation(config, {}), made),
        instance=config.kubernetes.name,
        template=group.template,
        runtime=group.runtime or labels.runtime_name(config.kubernetes.name, made.model, made.version),
        runtime_is_ours=not group.runtime,
        queue=group.queue,
        volcano_queue=group.volcano_queue,
        keep_s=group.keep_s,
    )


def _runs_as(model: ModelConfig) -> Runs:
    from springtide.fleet.gangs import Runs

    if model.group.runs_as != "auto":
        return Runs(model.group.runs_as)
    return Runs.PYTORCHJOB if "KUBERNETES_SERVICE_HOST" in os.environ else Runs.PROCESSES


def _starts_slowly(config: Config, name: str) -> bool:
    """Whether `springtide models check` found so on this machine."""
    from springtide.engines.trial import kept_trials

    model = config.units[name]
    found = kept_trials(config.server.data_dir).get(name)
    return found is not None and found.starts_slowly and found.is_of(model.engine, model.settings)


def _signing(config: Config) -> SigningPlace:
    from springtide.engines.signing import SigningPlace

    given = config.provenance
    return SigningPlace(
        folder=str(config.server.data_dir / "provenance"),
        certificate=None if given.certificate is None else str(given.certificate),
        private_key=None if given.private_key is None else str(given.private_key),
    )


def _retry(retry: RetryConfig) -> RetrySettings:
    from springtide.policy.retry import RetrySettings

    return RetrySettings(
        first_s=retry.first_s,
        factor=retry.factor,
        most_s=retry.most_s,
        jitter=retry.jitter,
        on=tuple(retry.on),
        never=tuple(retry.never),
    )
