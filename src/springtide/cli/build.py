"""Settings in, parts out. Each seam's implementation is picked by its URL here and nowhere else.

Imports are inside the functions: a worker must not pay for the gateway's libraries, nor `springtide up` for any.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from springtide.config import Config, ModelConfig, RetryConfig, TenantDefaults, load_config
from springtide.domain.errors import ConfigError
from springtide.domain.ids import ModelName, WorkerId, parted

if TYPE_CHECKING:
    from springtide.blobs.protocol import Blobs
    from springtide.blobs.s3_place import S3Keys
    from springtide.broker.protocol import Broker
    from springtide.cli.worker_main import BlobsAddress, BrokerAddress, WorkerSpec
    from springtide.controller.webhooks import WebhookSettings
    from springtide.domain.ids import TenantId
    from springtide.domain.tenant import Discipline, Quotas, Tenant
    from springtide.egress.client import Egress
    from springtide.engines.catalog import AnyEngine
    from springtide.engines.signing import SigningPlace
    from springtide.fleet.gangs import GangPods, GangShape, Runs
    from springtide.gateway.served import ServedModel
    from springtide.gateway.services import GatewaySettings, Keyless
    from springtide.ledger.history import FleetHistory
    from springtide.ledger.orders import OrderBook
    from springtide.ledger.rollouts import Rollouts
    from springtide.ledger.sql import SqlLedger
    from springtide.policy.retry import RetrySettings
    from springtide.telemetry.settings import TelemetrySettings
    from springtide.worker.settings import WorkerSettings


def is_embedded(config: Config) -> bool:
    """Whether the broker lives in the gateway's process."""
    return config.broker.url.startswith("memory://")


def model_names(config: Config) -> list[ModelName]:
    return [ModelName(name) for name in config.units]


def broker_address(config: Config) -> BrokerAddress:
    """How processes other than the gateway reach the broker."""
    from springtide.cli.worker_main import BrokerAddress

    return BrokerAddress(config.broker.url, str(config.socket_path), tuple(model_names(config)))


def client_broker(config: Config) -> Broker:
    """The broker as a process other than the gateway reaches it."""
    from springtide.cli.worker_main import connect

    return connect(broker_address(config))


def history_beside(broker: Broker) -> FleetHistory:
    """The fleet's past, kept by the process that serves the embedded broker."""
    from springtide.broker.remote import RemoteBroker
    from springtide.ledger.history import FleetHistory

    assert isinstance(broker, RemoteBroker)
    return broker.beside(FleetHistory)


def orders_beside(broker: Broker) -> OrderBook:
    """Operators' orders, kept there too."""
    from springtide.broker.remote import RemoteBroker
    from springtide.ledger.orders import OrderBook

    assert isinstance(broker, RemoteBroker)
    return broker.beside(OrderBook)


def rollouts_beside(broker: Broker) -> Rollouts:
    """Rollouts, kept there too."""
    from springtide.broker.remote import RemoteBroker
    from springtide.ledger.rollouts import Rollouts

    assert isinstance(broker, RemoteBroker)
    return broker.beside(Rollouts)


def ledger(config: Config) -> SqlLedger:
    from springtide.ledger.sql import SqlLedger

    return SqlLedger(config.ledger_url)


def blobs_address(config: Config) -> BlobsAddress:
    """How any process reaches the blobs."""
    from springtide.cli.worker_main import BlobsAddress

    given = config.blobs
    secret, token = given.secret_access_key, given.session_token
    return BlobsAddress(
        url=config.blobs_url,
        access_key_id=given.access_key_id,
        secret_access_key=None if secret is None else secret.get_secret_value(),
        session_token=None if token is None else token.get_secret_value(),
        public_endpoint=given.public_endpoint,
    )


def s3_keys(config: Config) -> S3Keys | None:
    """The keys as configured; None: what the AWS tools would find."""
    from springtide.cli.worker_main import s3_keys

    return s3_keys(blobs_address(config))


def blobs(config: Config) -> Blobs:
    from springtide.cli.worker_main import blob_store

    return blob_store(blobs_address(config))


def load(path: Path | None = None) -> Config:
    """The configuration. Where it is wrong, ConfigError tells all that is wrong with it, engines and their settings
    included; where only those are, `served_models` does."""
    try:
        return load_config(path)
    except ConfigError:
        return load_config(path, check_engine=_check_engine)


def served_models(config: Config) -> dict[ModelName, ServedModel]:
    """Every configured model with its engine, never loaded, and under `name@version` each version beside one. Raises
    ConfigError that tells every wrong engine or setting."""
    import msgspec

    from springtide.engines.binding import describe
    from springtide.engines.catalog import check_license
    from springtide.engines.trial import kept_trials, trial_of
    from springtide.gateway.served import ServedModel

    trials = kept_trials(config.server.data_dir)
    served: dict[ModelName, ServedModel] = {}
    problems: list[str] = []
    for name, model in config.units.items():
        of, version = parted(name)
        version = version or model.version
        try:
            engine = _engine(model.engine, model.settings, config.weights_folder)
            description = describe(of, engine, engine_reference=model.engine, max_duration_s=model.max_duration_s)
            check_license(engine, accepted=model.accept_non_commercial)
            if model.is_distributed:
                _check_group_engine(engine, model.engine)
        except ConfigError as error:
            problems.append(f"  models.{name}: {error.message}")
            continue
        if name != of and of in served and served[of].model.version == version:
            problems.append(f"  models.{of}.versions.{version}: the model itself is version {version}: name it anew")
        served[ModelName(name)] = ServedModel(
            model=msgspec.structs.replace(description, version=version or description.version),
            engine=engine,
            unit=None if name == of else ModelName(name),
            timeout_s=model.timeout_s,
            max_attempts=model.max_attempts,
            max_replicas=_max_replicas(config, name),
            pool=_pool(config, name),
            min_replicas=model.min_replicas,
            max_running=model.max_running,
            max_queued=model.max_queued,
            takes=_takes(config, name),
            trial=trial_of(trials, name, engine=model.engine, version=engine.version, settings=model.settings),
        )
    if problems:
        raise ConfigError(f"{len(problems)} of {len(config.units)} model(s) cannot be served:\n" + "\n".join(problems))
    return served


def served_versions(config: Config) -> dict[str, Any]:
    """The same as the gateway takes them: `models` as their own tables configure them, and `versions` beside them."""
    served = served_models(config)
    return {
        "models": {name: one for name, one in served.items() if one.unit is None},
        "versions": {name: one for name, one in served.items() if one.unit is not None},
    }


def _check_group_engine(engine: AnyEngine, reference: str) -> None:
    from springtide.engines.groups import GroupEngine

    if not isinstance(engine, GroupEngine):
        raise ConfigError(f'execution = "distributed" needs a GroupEngine, which {reference!r} is not')


def _engine(reference: str, settings: Mapping[str, Any], weights_folder: Path) -> AnyEngine:
    """An engine, never loaded. Raises ConfigError for one that is not there, and for settings that it refuses."""
    from springtide.engines.catalog import load_engine

    engine = load_engine(reference)
    try:
        return engine(settings, weights_folder)
    except ConfigError:
        raise
    except Exception as error:  # an author's constructor may raise anything
        raise ConfigError(f"engine {reference!r} refuses its settings: {type(error).__name__}: {error}") from error


def _check_engine(reference: str, settings: Mapping[str, Any] | None) -> None:
    if settings is None:
        from springtide.engines.catalog import load_engine

        load_engine(reference)
    else:
        _engine(reference, settings, Path())  # it keeps the folder for later, and looks at nothing yet


def tenants(config: Config) -> dict[TenantId, Tenant]:
    """Every tenant that the configuration names."""
    from springtide.domain.ids import TenantId
    from springtide.domain.tenant import Tenant

    return {
        TenantId(name): Tenant(
            id=TenantId(name), weight=one.weight, max_running=one.max_running, max_queued=one.max_queued
        )
        for name, one in config.tenants.items()
    }


def quotas(config: Config) -> Quotas:
    """What tenants may take, those that are not named too."""
    from springtide.domain.ids import TenantId
    from springtide.domain.tenant import Quota, Quotas

    def quota(given: TenantDefaults) -> Quota:
        uploads_mb = given.upload_mb_per_day
        return Quota(
            requests_per_minute=given.requests_per_minute,
            gpu_seconds_per_day=given.gpu_seconds_per_day,
            upload_bytes_per_day=None if uploads_mb is None else uploads_mb << 20,
            priority_ceiling=given.priority_ceiling,
        )

    return Quotas(
        usual=quota(config.tenant_defaults),
        named={TenantId(name): quota(one) for name, one in config.tenants.items()},
        max_queued=config.tenant_defaults.max_queued,
    )


def disciplines(config: Config) -> dict[ModelName, Discipline]:
    """How each model's queue is shared."""
    from springtide.domain.tenant import Discipline

    shares = tuple(tenants(config).values())
    return {
        ModelName(name): Discipline(max_running=model.max_running, tenants=shares)
        for name, model in config.units.items()
    }


def keyless(config: Config) -> Keyless:
    """What a request without a key is."""
    from springtide.gateway.services import Keyless

    server = config.server
    if server.auth == "none" or server.tenant_header is not None:
        return Keyless.USUAL
    return Keyless.LOCAL if server.auth == "auto" and server.is_on_loopback else Keyless.REFUSED


def gateway_settings(config: Config) -> GatewaySettings:
    from springtide.gateway.services import GatewaySettings

    server = config.server
    return GatewaySettings(
        keyless=keyless(config),
        max_upload_bytes=server.max_upload_mb << 20,
        tenant_header=server.tenant_header,
        fetch_s=config.egress.fetch_s,
        webhook_timeout_s=config.webhooks.timeout_s,
        max_webhooks=config.webhooks.max_per_tenant,
        keep_s=config.ledger.kept_s,
        keep_orphans_s=config.blobs.keep_orphans_s,
        presigned_uploads=config.blobs.presigned_uploads,
        presigned_downloads=config.blobs.presigned_downloads,
        openai_aliases=config.openai.aliases,
        openai_wait_s=config.openai.wait_s,
        budget=config.fleet.budget,
        disks=_disks(config),
    )


def _disks(config: Config) -> tuple[tuple[str, Path], ...]:
    """Disks of this machine, by what fills them."""
    ledger, blobs = config.ledger_url, config.blobs_url
    found = {
        "ledger": Path(ledger.removeprefix("sqlite:///")).parent if ledger.startswith("sqlite") else None,
        "blobs": Path(blobs.removeprefix("file://")) if blobs.startswith("file://") else None,
    }
    return tuple((place, path) for place, path in found.items() if path is not None)


def egress(config: Config) -> Egress:
    """The way out to URLs of callers."""
    from springtide.egress.client import Egress
    from springtide.egress.guard import EgressSettings

    given = config.egress
    settings = EgressSettings(
        allow=tuple(given.allow), ports=tuple(given.ports), plain_http=given.plain_http, ca_file=given.ca_file
    )
    return Egress(settings)


def webhook_settings(config: Config) -> WebhookSettings:
    from springtide.controller.webhooks import WebhookSettings

    given = config.webhooks
    return WebhookSettings(timeout_s=given.timeout_s, disable_after_s=given.disable_after_s, keep_s=given.keep_s)


def telemetry(config: Config) -> TelemetrySettings:
    """Logs and traces of every process."""
    from springtide.telemetry.settings import TelemetrySettings

    given = config.telemetry
    folder = given.log_dir or (config.server.data_dir / "logs" if is_embedded(config) else None)
    return TelemetrySettings(
        log_format=given.log_format,
        log_dir=None if folder is None else str(folder.absolute()),
        otlp_endpoint=given.otlp_endpoint,
        otlp_headers={name: value.get_secret_value() for name, value in given.otlp_headers.items()},
        sample=given.trace_sample,
    )


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
        broker=broker_address(config),
        blobs=blobs_address(config),
        telemetry=telemetry(config),
        metrics_host=config.telemetry.metrics_host,
        metrics_port=None if is_embedded(config) else config.telemetry.metrics_port,
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


def _takes(config: Config, name: str) -> dict[str, float]:
    pool = _pool(config, name)
    return (config.workers[pool] if pool else config.units[name]).takes()


def _max_replicas(config: Config, name: str) -> int:
    pool = _pool(config, name)
    return (config.workers[pool] if pool else config.units[name]).max_replicas


def _pool(config: Config, name: str) -> ModelName | None:
    return next((ModelName(pool) for pool, given in config.workers.items() if name in given.models), None)


def pools(config: Config) -> dict[ModelName, tuple[ModelName, ...]]:
    """The models that share workers, by the name of what they share."""
    return {ModelName(name): tuple(map(ModelName, pool.models)) for name, pool in config.workers.items()}
