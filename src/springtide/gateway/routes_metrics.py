"""`GET /metrics`: for Prometheus. It holds figures of all tenants, so a key needs the scope `metrics` for it, which
allows nothing else; where no key is asked for on this machine, none is asked for here."""

from __future__ import annotations

from litestar import Response, get

from springtide.domain.keys import Scope
from springtide.gateway.context import AnyRequest, gateway_of
from springtide.telemetry.metrics_exposition import CONTENT_TYPE


@get("/metrics", include_in_schema=False, opt={"access": Scope.METRICS})
async def metrics(request: AnyRequest) -> Response[bytes]:
    """Everything this process counts; for `springtide up` its other processes, too."""
    text = await gateway_of(request).exposition.text()
    return Response(text, headers={"content-type": CONTENT_TYPE, "cache-control": "no-store"})
