"""For whoever restarts processes: `/healthz` says that this one lives, `/readyz` whether it can do its work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

from litestar import Response, get

from springtide.domain.ids import JobId
from springtide.gateway import headers as http
from springtide.gateway import problems
from springtide.gateway.access import OPEN
from springtide.gateway.context import AnyRequest, gateway_of
from springtide.gateway.schemas import Health, Readiness

log = logging.getLogger(__name__)
_NO_JOB = JobId("job_" + "0" * 32)


@get("/healthz", tags=["health"], summary="Is the process alive?", opt={"access": OPEN})
async def healthz() -> Health:
    """Answers as long as the event loop turns; asks nobody else, so a database that is down restarts no gateway."""
    return Health()


@get("/readyz", tags=["health"], summary="Can it accept jobs?", opt={"access": OPEN})
async def readyz(request: AnyRequest) -> Response[Readiness]:
    """503 naming what does not answer: ledger or broker. 200 may name models whose engines do not load."""
    gateway = gateway_of(request)
    services = gateway.services
    limit_s = services.settings.ready_timeout_s
    models = list(services.units)
    answers: dict[str, Any] = {
        "ledger": await _answer("ledger", services.ledger.get([_NO_JOB]), limit_s),
        "broker": await _answer("broker", services.broker.queues(models, services.clock.now_s()), limit_s),
    }
    if services.stopping.is_set() or services.closing.is_set():
        return _not_ready(request, "shutting_down", "The server is shutting down.", answers)
    down = [name for name, answer in answers.items() if answer != "ok"]
    if down:
        detail = f"Not ready: {' and '.join(down)} {'does' if len(down) == 1 else 'do'} not answer."
        return _not_ready(request, "not_ready", detail, answers)
    keep_s = services.settings.keep_s
    not_loading = await gateway.outlook.not_loading()
    answer = Readiness(status="ok", **answers, keep_s="forever" if keep_s is None else keep_s, not_loading=not_loading)
    return Response(answer)


def _not_ready(request: AnyRequest, code: str, detail: str, answers: dict[str, Any]) -> Response[Any]:
    retry = {"retry-after": http.retry_after(problems.UNAVAILABLE_RETRY_S)}
    return problems.problem(request, 503, code, detail, headers=retry, **answers)


async def _answer(name: str, asking: Awaitable[object], limit_s: float) -> str:
    try:
        async with asyncio.timeout(limit_s):
            await asking
    except TimeoutError:
        return f"no answer within {limit_s:g} s"
    except Exception as error:
        log.warning("%s is not ready: %s", name, error)
        return "unavailable"
    return "ok"
