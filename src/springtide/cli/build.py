"""Settings in, parts out. Each seam's implementation is picked by its URL here and nowhere else.

Imports are inside the functions: a worker must not pay for the gateway's libraries, nor `springtide up` for any.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from springtide.config import Config, TenantDefaults, load_config
from springtide.domain.errors import ConfigError
from springtide.domain.ids import ModelName

if TYPE_CHECKING:
    from springtide.blobs.protocol import Blobs
    from springtide.blobs.s3_place import S3Keys
    from springtide.broker.protocol import Broker
    from springtide.cli.worker_main import BlobsAddress, BrokerAddress
    from springtide.controller.webhooks import WebhookSettings
    from springtide.domain.ids import TenantId
    from springtide.domain.tenant import Discipline, Quotas, Tenant
    from springtide.egress.client import Egress
    from springtide.gateway.services import GatewaySettings, Keyless
    from springtide.ledger.sql import SqlLedger
    from springtide.telemetry.settings import TelemetrySettings

T = TypeVar("T")
LEAVE_MARGIN_S = 45.0  # beyond a worker's grace: it may wait 30 s for a broker to take its last report


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


def beside(broker: Broker, protocol: type[T]) -> T:
    """What the process that serves the embedded broker has beside it: FleetHistory, OrderBook, Rollouts."""
    from springtide.broker.remote import RemoteBroker

    assert isinstance(broker, RemoteBroker)
    return broker.beside(protocol)


def ledger(config: Config) -> SqlLedger:
    from springtide.ledger.sql import SqlLedger
    from springtide.ledger.writing import Writing

    return SqlLedger(config.ledger_url, aside=Writing(config.ledger_url) if config.ledger.writer else None)


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
    included; where only those are, `served.served_models` does."""
    try:
        return load_config(path)
    except ConfigError:
        from springtide.cli.served import check_engine

        return load_config(path, check_engine=check_engine)


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


def pools(config: Config) -> dict[ModelName, tuple[ModelName, ...]]:
    """The models that share workers, by the name of what they share."""
    return {ModelName(name): tuple(map(ModelName, pool.models)) for name, pool in config.workers.items()}


def longest_leave_s(config: Config) -> float:
    """How long a worker may take to leave."""
    return max((model.grace_s for model in config.units.values()), default=0.0) + LEAVE_MARGIN_S
