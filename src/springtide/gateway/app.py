"""The ASGI application: routes, errors and headers put together. It starts and stops none of its services.

Promises: every answer carries `X-Request-Id` and `X-Content-Type-Options: nosniff`; every error is a problem document.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, cast

from litestar import Litestar
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.types import HTTPScope, Message, Scope

from springtide.domain.errors import SpringtideError
from springtide.domain.keys import Scope as Permission
from springtide.gateway import (
    docs,
    problems,
    routes_batches,
    routes_blobs,
    routes_health,
    routes_jobs,
    routes_keys,
    routes_models,
    routes_operating,
    routes_rollout,
    routes_uploads,
    routes_webhooks,
    web,
)
from springtide.gateway.access import Access
from springtide.gateway.admission import Admission
from springtide.gateway.asgi import Application, refuse_unknown_parameters
from springtide.gateway.batch_intake import BatchIntake
from springtide.gateway.batch_standing import BatchStandings
from springtide.gateway.context import AnyRequest, Gateway, gateway_of
from springtide.gateway.explaining import Explaining
from springtide.gateway.fetching import Fetching
from springtide.gateway.front_line import PATH
from springtide.gateway.links import Links
from springtide.gateway.live import Live
from springtide.gateway.live_all import AllJobs
from springtide.gateway.live_hub import Hub
from springtide.gateway.live_socket import live_socket
from springtide.gateway.measuring import Looking, Requests
from springtide.gateway.metering import RATE, rate_headers
from springtide.gateway.openai import routes as openai_routes
from springtide.gateway.openai import service as openai
from springtide.gateway.openapi import openapi_config
from springtide.gateway.outlook import Outlook
from springtide.gateway.retrying import Retrying
from springtide.gateway.routes_estimate import estimate_job
from springtide.gateway.routes_links import open_link
from springtide.gateway.routes_metrics import metrics
from springtide.gateway.routes_retry import retry_job
from springtide.gateway.routes_scaling import get_scaling, get_trace
from springtide.gateway.routes_submit import submit, submit_together
from springtide.gateway.routes_usage import get_usage
from springtide.gateway.served import ServedModel
from springtide.gateway.services import GatewayServices, GatewaySettings
from springtide.gateway.standing import Standings
from springtide.gateway.submission import Submission
from springtide.gateway.tenancy import Tenancy
from springtide.telemetry.metrics_exposition import Exposition

__all__ = ["GatewayServices", "GatewaySettings", "ServedModel", "create_app"]

access = logging.getLogger("springtide.access")

ROUTES = [
    submit,
    routes_batches.submit_batch,
    routes_batches.list_batches,
    routes_batches.get_batch,
    routes_batches.get_items,
    routes_batches.cancel_batch,
    routes_batches.retry_batch,
    retry_job,
    estimate_job,
    routes_jobs.get_job,
    routes_jobs.list_jobs,
    routes_jobs.cancel_job,
    routes_jobs.delete_job,
    routes_jobs.explain_job,
    routes_jobs.get_result,
    routes_jobs.get_output_file,
    routes_jobs.get_attempts,
    routes_jobs.get_events,
    live_socket,
    routes_blobs.upload_blob,
    routes_blobs.download_blob,
    open_link,
    routes_uploads.begin_upload,
    routes_uploads.receive_upload,
    routes_uploads.complete_upload,
    routes_models.list_models,
    routes_models.get_model,
    get_scaling,
    get_trace,
    *routes_operating.ROUTES,
    *routes_rollout.ROUTES,
    get_usage,
    routes_keys.create_key,
    routes_keys.list_keys,
    routes_keys.revoke_key,
    *openai_routes.ROUTES,
    *routes_webhooks.ROUTES,
    routes_health.healthz,
    routes_health.readyz,
    metrics,
    docs.openapi_document,
    docs.docs_page,
    web.front_page,
    web.asset,
]


def create_app(services: GatewayServices) -> Litestar:
    """The gateway over these services. Run one in each process."""
    tenancy = Tenancy(services.tenants, services.settings.tenant_header, max_queued=services.metering.quotas.max_queued)
    entrance = Access(services.keyring, services.metering, tenancy, services.clock, services.settings.keyless)
    outlook = Outlook(services)
    submission = Submission(services, Admission(services.units, outlook), outlook)
    live = Live(services, outlook)
    hub = Hub(services, live)
    retrying, standings = Retrying(services, submission), Standings(services, outlook)
    fetching = Fetching(services)
    links = Links(services.link_key, link_s=services.settings.link_s, clock=services.clock)
    intake = BatchIntake(services, submission, retrying, fetching)
    gateway = Gateway(
        services=services,
        submission=submission,
        fetching=fetching,
        retrying=retrying,
        outlook=outlook,
        standings=standings,
        batch_intake=intake,
        explaining=Explaining(services, outlook, standings),
        links=links,
        batch_standings=BatchStandings(services, standings, intake, links),
        live=live,
        access=entrance,
        hub=hub,
        all_jobs=AllJobs(services, hub),
        exposition=Exposition(services.metrics, services.clock, [Looking(services).look]),
    )
    requests = Requests(services)
    application = Application(
        route_handlers=ROUTES,
        exception_handlers={
            SpringtideError: problems.on_springtide_error,
            HTTPException: problems.on_http_exception,
            Exception: problems.on_unexpected,
        },
        before_request=_let_in,
        before_send=[_on_send(requests, _log_and_stamp if services.settings.access_log else _stamp)],
        openapi_config=openapi_config(),
        logging_config=None,
        request_max_body_size=None,  # each route that takes a body has its own limit, checked while it streams
        state=State({"gateway": gateway, openai.STATE: openai.make(gateway, tenancy)}),
        debug=False,
    )
    application.guard(entrance)
    application.measure(requests)
    application.shorten(PATH.decode(), submit, Permission.SUBMIT, submit_together)
    application.shorten_socket("/v1/live", live_socket)
    return application


async def _let_in(request: AnyRequest) -> None:
    gateway_of(request).access.authorize(request)
    refuse_unknown_parameters(request)


def _on_send(requests: Requests, stamp: Callable[[Any, Scope], None]) -> Any:
    """What is done with every head of an answer."""

    async def on_send(message: Message, scope: Scope) -> None:
        if message["type"] == "http.response.start":
            requests.answered(scope, message["status"])
            stamp(message, scope)

    return on_send


def _stamp(start: Any, scope: Scope) -> None:
    headers = cast("list[tuple[bytes, bytes]]", start["headers"])
    bucket = scope["state"].get(RATE)
    if bucket is not None:
        headers = [*headers, *rate_headers(bucket)]
    start["headers"] = [
        *headers,
        (b"x-request-id", problems.request_id(scope).encode("latin-1")),
        (b"x-content-type-options", b"nosniff"),
    ]


def _log_and_stamp(start: Any, scope: Scope) -> None:
    """Path and status, never headers or query: those may hold what is nobody's business."""
    method, path = cast("HTTPScope", scope)["method"], scope["path"]
    access.info("%s %s %d %s", method, path, start["status"], problems.request_id(scope))
    _stamp(start, scope)
