"""What a request handler works with: the services, and the parts made from them once per application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from litestar import Litestar, Request
from litestar.connection import ASGIConnection

from springtide.domain.ids import JobId, is_job_id
from springtide.domain.job import Job
from springtide.domain.tenant import Tenant
from springtide.gateway.access import Access, caller_of
from springtide.gateway.batch_intake import BatchIntake
from springtide.gateway.batch_standing import BatchStandings
from springtide.gateway.explaining import Explaining
from springtide.gateway.fetching import Fetching
from springtide.gateway.headers import base_url
from springtide.gateway.keeping import missing_job
from springtide.gateway.links import Links
from springtide.gateway.live import Live
from springtide.gateway.live_all import AllJobs
from springtide.gateway.live_hub import Hub
from springtide.gateway.outlook import Outlook
from springtide.gateway.retrying import Retrying
from springtide.gateway.services import GatewayServices
from springtide.gateway.standing import Standings
from springtide.gateway.submission import Submission
from springtide.telemetry.metrics_exposition import Exposition

AnyRequest = Request[Any, Any, Any]
Headers = dict[bytes, bytes]


@dataclass(frozen=True)
class Gateway:
    """Made by `create_app`, kept in the application's state."""

    services: GatewayServices
    submission: Submission
    fetching: Fetching
    retrying: Retrying
    outlook: Outlook
    standings: Standings
    explaining: Explaining
    links: Links
    batch_intake: BatchIntake
    batch_standings: BatchStandings
    live: Live
    access: Access
    hub: Hub
    all_jobs: AllJobs
    exposition: Exposition


def exposition_of_app(app: Litestar) -> Exposition:
    return cast("Gateway", app.state["gateway"]).exposition


def gateway_of(request: ASGIConnection[Any, Any, Any, Any]) -> Gateway:
    return cast("Gateway", request.app.state["gateway"])


def tenant_of(request: ASGIConnection[Any, Any, Any, Any]) -> Tenant:
    """The tenant that owns what this request makes, and whose things it may see. Raises Unauthorized on a route that is
    open to those without a key."""
    return caller_of(request).tenant


def headers_of(request: AnyRequest) -> Headers:
    """Header values by lower-case name; of a repeated header the last. Cheaper than Litestar's multi-dict."""
    return dict(cast("list[tuple[bytes, bytes]]", request.scope["headers"]))


def text(headers: Headers, name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")


def base_of(request: AnyRequest, headers: Headers) -> str:
    """What URLs in an answer begin with."""
    public_url = gateway_of(request).services.settings.public_url
    return public_url.rstrip("/") if public_url else base_url(text(headers, b"host"), request.scope["scheme"])


async def job_of(request: AnyRequest, job_id: str) -> Job:
    """The tenant's job. Raises NotFound; another tenant's job looks like none."""
    if is_job_id(job_id):
        [job] = await gateway_of(request).services.ledger.get([JobId(job_id)])
        if job is not None and job.tenant == tenant_of(request).id:
            return job
    raise missing_job(job_id, gateway_of(request).services)
