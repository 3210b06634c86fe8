"""Settings in, parts out. Each seam's implementation is picked by its URL here and nowhere else.

Imports are inside the functions: a worker must not pay for the gateway's libraries, nor `springtide up` for any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from springtide.config import Config
from springtide.domain.errors import ConfigError
from springtide.domain.ids import ModelName, WorkerId

if TYPE_CHECKING:
    from springtide.blobs.protocol import Blobs
    from springtide.broker.protocol import Broker
    from springtide.cli.worker_main import BlobsAddress, BrokerAddress, WorkerSpec
    from springtide.domain.ids import TenantId
    from springtide.domain.tenant import Discipline, Tenant
    from springtide.gateway.services import GatewaySettings, ServedModel
    from springtide.ledger.sql import SqlLedger
    from springtide.policy.scaling import ScalingSettings


def is_embedded(config: Config) -> bool:
    """Whether the broker lives in the gateway's process."""
    return config.broker.url.startswith("memory://")


def model_names(config: Config) -> list[ModelName]:
    return [ModelName(name) for name in config.models]


def broker_address(config: Config) -> BrokerAddress:
    """How processes other than the gateway reach the broker."""
    from springtide.cli.worker_main import BrokerAddress

    return BrokerAddress(config.broker.url, str(config.socket_path), tuple(model_names(config)))


def client_broker(config: Config) -> Broker:
    """The broker as a process other than the gateway reaches it."""
    from springtide.cli.worker_main import connect

    return connect(broker_address(config))


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


def blobs(config: Config) -> Blobs:
    from springtide.cli.worker_main import blob_store

    return blob_store(blobs_address(config))


def served_models(config: Config) -> dict[ModelName, ServedModel]:
    """Every configured model with its engine, never loaded. Raises ConfigError for a wrong engine or setting."""
    from springtide.engines.binding import describe
    from springtide.engines.catalog import load_engine
    from springtide.gateway.services import ServedModel

    served: dict[ModelName, ServedModel] = {}
    for name, model in config.models.items():
        engine = load_engine(model.engine)
        served[ModelName(name)] = ServedModel(
            model=describe(ModelName(name), engine, engine_reference=model.engine),
            engine=engine(model.settings, config.weights_folder),
            timeout_s=model.timeout_s,
            max_attempts=model.max_attempts,
            max_replicas=model.max_replicas,
            max_running=model.max_running,
            max_queued=model.max_queued,
        )
    return served


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


def disciplines(config: Config) -> dict[ModelName, Discipline]:
    """How each model's queue is shared."""
    from springtide.domain.tenant import Discipline

    shares = tuple(tenants(config).values())
    return {
        ModelName(name): Discipline(max_running=model.max_running, tenants=shares)
        for name, model in config.models.items()
    }


def gateway_settings(config: Config) -> GatewaySettings:
    from springtide.gateway.services import GatewaySettings

    server = config.server
    return GatewaySettings(
        max_upload_bytes=server.max_upload_mb << 20,
        tenant_header=server.tenant_header,
        keep_s=config.ledger.keep_s,
        keep_orphans_s=config.blobs.keep_orphans_s,
        presigned_uploads=config.blobs.presigned_uploads,
        presigned_downloads=config.blobs.presigned_downloads,
    )


def worker_spec(config: Config, name: str, worker: WorkerId) -> WorkerSpec:
    """What a worker of a configured model is told. Raises ConfigError for a model that is not."""
    from springtide.cli.worker_main import WorkerSpec
    from springtide.worker.settings import WorkerSettings

    model = config.models.get(name)
    if model is None:
        raise ConfigError(f"no model {name!r} is configured; there are: {', '.join(config.models)}")
    settings = WorkerSettings(
        model=ModelName(name),
        engine_reference=model.engine,
        settings=model.settings,
        weights_folder=config.weights_folder,
        scratch_folder=config.scratch_folder,
        slots=model.slots,
        batch=model.batch,
        batch_wait_s=model.batch_wait_ms / 1000,
        timeout_s=model.timeout_s,
        load_timeout_s=model.load_timeout_s,
        load_attempts=model.load_attempts,
        memory_limit_mb=model.memory_limit_mb,
        grace_s=model.grace_s,
    )
    return WorkerSpec(id=worker, settings=settings, broker=broker_address(config), blobs=blobs_address(config))


def scaling_settings(config: Config) -> dict[ModelName, ScalingSettings]:
    from springtide.policy.scaling import ScalingSettings

    return {
        ModelName(name): ScalingSettings(
            model=ModelName(name),
            min_replicas=model.min_replicas,
            max_replicas=model.max_replicas,
            jobs_per_replica=model.jobs_per_replica or model.slots,
            idle_s=model.idle_s,
        )
        for name, model in config.models.items()
    }
