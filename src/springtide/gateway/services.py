"""What the gateway is built from. The composition root fills `GatewayServices`; nothing here starts or stops anything.

Promises: every dependency is one of the project's seams, so a test may put anything in its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from springtide.domain.clock import Clock
from springtide.domain.ids import ModelName, TenantId
from springtide.domain.tenant import Tenant
from springtide.egress.client import Egress
from springtide.gateway.heard_ends import HeardEnds
from springtide.gateway.routing import Routing
from springtide.gateway.served import ServedModel
from springtide.runtime.ids import new_secret
from springtide.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from springtide.blobs.protocol import Blobs
    from springtide.broker.protocol import Broker
    from springtide.gateway.keyring import Keyring
    from springtide.gateway.metering import Metering
    from springtide.ledger.batches import Batches
    from springtide.ledger.history import FleetHistory
    from springtide.ledger.openai import OpenAiRecords
    from springtide.ledger.orders import OrderBook
    from springtide.ledger.protocol import Ledger
    from springtide.ledger.rollouts import Rollouts
    from springtide.ledger.webhooks import Webhooks
    from springtide.media.inspector import Inspector


class Keyless(StrEnum):
    """What a request without a key is."""

    REFUSED = "refused"
    LOCAL = "local"  # the owner of this machine, who may do all: the server is on loopback
    USUAL = "usual"  # anybody, who may do what is usual: so says the operator, or a proxy vouches for it


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and patience of the HTTP side."""

    keyless: Keyless = Keyless.REFUSED
    tenant_header: str | None = None  # where a trusted proxy names the tenant; None: everybody is the default one
    public_url: str | None = None  # such as https://media.example.org; None: what the client called us by
    max_json_bytes: int = 1 << 20  # a JSON body, and all text parts of a form together
    max_batch_bytes: int = 8 << 20  # a batch as one JSON body, which is held in memory
    max_ndjson_bytes: int = 64 << 20  # a batch as NDJSON, which is not: some 6 KiB a job
    max_batch_jobs: int = 10_000  # at about 0.2 ms each a request takes 2 s, with a turn for others every 2 ms
    max_upload_bytes: int = 8 << 30  # an upload that names no field: four hours of compressed video fit
    max_parts: int = 256  # of one form
    max_fetches: int = 64  # jobs whose inputs are being fetched from URLs; each holds a file's worth of bandwidth
    max_tenant_fetches: int = 16  # of one tenant, so that slow servers of one leave room for the others
    fetch_s: float = 120.0  # the whole fetching of one input
    webhook_timeout_s: float = 20.0  # of the test of a webhook
    max_webhooks: int = 20  # of one tenant
    max_wait_s: float = 60.0  # longest `Prefer: wait`: below what proxies cut off
    max_streams: int = 1000  # live event streams at once; each holds a socket and a waiting read
    max_sockets: int = 4000  # WebSocket clients at once, at about 30 kB each
    keep_alive_s: float = 15.0  # between comments on a silent event stream: half of a common proxy time-out
    record_wait_s: float = 1.0  # how long a cancel waits for its own end to be on record
    explain_after_s: float = 2.0  # a stream says why its job waits after this, and looks again as often
    figures_kept_s: float = 1.0  # age of queue figures that may still be shown
    disks: tuple[tuple[str, Path], ...] = ()  # whose room is told, by what lies there
    ready_timeout_s: float = 2.0  # a dependency that takes longer to answer counts as down
    keep_s: float | None = None  # ended jobs and their files; None: for ever
    keep_orphans_s: float = 86_400.0  # uploads that no job has
    presigned_uploads: bool = True  # where the blob store can: an upload URL is the store's own
    presigned_downloads: bool = False  # downloads are redirected to the store, not only those that ask
    upload_url_s: float = 3600.0  # how long an upload URL holds: 2 GiB at 5 Mbit/s
    download_url_s: float = 300.0  # how long a redirect may take to be followed; the download may last longer
    openai_aliases: Mapping[str, str] = {}  # what a model's name on OpenAI's routes stands for
    openai_wait_s: float = 590.0  # longest wait there for a job's end: below the 600 s after which their client leaves
    link_s: float = 3600.0  # how long a signed link to a file holds at least
    budget: Mapping[str, float] = {}  # what all models together may take, where that is limited
    access_log: bool = False


@dataclass(frozen=True, kw_only=True)
class GatewayServices:
    """Everything the gateway talks to, started by whoever made it."""

    ledger: Ledger
    history: FleetHistory
    keyring: Keyring
    batches: Batches
    webhooks: Webhooks
    openai: OpenAiRecords
    orders: OrderBook
    metering: Metering
    broker: Broker
    blobs: Blobs
    inspector: Inspector
    clock: Clock
    models: Mapping[ModelName, ServedModel]  # by name, each as its own table configures it
    versions: Mapping[ModelName, ServedModel] = field(default_factory=dict[ModelName, ServedModel])  # by `name@version`
    rollouts: Rollouts | None = None  # None: every job goes to its model's own version
    ends: HeardEnds = field(default_factory=HeardEnds)  # told by a recorder in this process, where there is one
    tenants: Mapping[TenantId, Tenant] = field(default_factory=dict[TenantId, Tenant])  # those that differ
    egress: Egress = field(default_factory=Egress)  # by which URLs of callers are followed
    link_key: str = field(default_factory=new_secret)  # shared by all gateways; else links end with the process
    settings: GatewaySettings = field(default_factory=GatewaySettings)
    metrics: Metrics = field(default_factory=Metrics)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)  # no more jobs are taken in; all else goes on
    closing: asyncio.Event = field(
        default_factory=asyncio.Event
    )  # set it before the end: open streams end, waits answer

    @cached_property
    def routing(self) -> Routing:
        """Which version a request means. Started and stopped by whoever made this."""
        return Routing(self.models, self.versions, self.rollouts, self.clock)

    @property
    def units(self) -> Mapping[ModelName, ServedModel]:
        """Everything with a queue of its own."""
        return self.routing.units
