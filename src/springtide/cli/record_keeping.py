"""The loops beside the ledger, in the embedded gateway's process or the controller's: they record what became
of jobs, take back what was lost, deliver webhooks, and delete what has been kept for its time."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from springtide.cli import build
from springtide.runtime.clock import SystemClock
from springtide.telemetry import tracing

if TYPE_CHECKING:
    from springtide.blobs.protocol import Blobs
    from springtide.broker.protocol import Broker
    from springtide.config import Config
    from springtide.controller.retention import Retention
    from springtide.controller.spans import JobSpans
    from springtide.domain.lease import Outcome
    from springtide.ledger.sql import SqlLedger
    from springtide.telemetry.metrics import Metrics

Recorded = Callable[["Sequence[Outcome]", "Sequence[bool]"], None]
LAST_RECORD_S = 5.0  # what workers reported last is some commits; a ledger that hangs must not hold the end up


@contextlib.asynccontextmanager
async def record_keeping(
    config: Config,
    broker: Broker,
    ledger: SqlLedger,
    *,
    blobs: Blobs,
    clock: SystemClock,
    metrics: Metrics | None = None,
    on_ends: Callable[[Iterable[Outcome]], None] | None = None,
) -> AsyncGenerator[None]:
    """Recorder, conductor, reaper, sweep and the delivery of webhooks, started and stopped together. on_ends: see
    `Recorder`."""
    from springtide.controller.conductor import Conductor
    from springtide.controller.costs import Costs
    from springtide.controller.reaper import Reaper
    from springtide.controller.recorder import Recorder
    from springtide.controller.rollouts import RolloutGuard
    from springtide.controller.spans import JobSpans
    from springtide.controller.sweeper import Sweeper
    from springtide.controller.tally import Tally
    from springtide.controller.webhooks import WebhookDelivery
    from springtide.telemetry.metrics import Metrics

    models = build.model_names(config)
    spans = JobSpans(ledger, clock) if tracing.is_on() else None
    conductor = Conductor(broker, ledger, clock, on_recorded=None if spans is None else spans.recorded)
    metrics = metrics or Metrics()
    tally = Tally(metrics, ledger, models, clock)
    egress = build.egress(config)
    told: Any = {"on_steps": conductor.nudge, "on_ends": on_ends, "on_recorded": _both(tally.recorded, spans)}
    services = [
        egress,
        tally,
        Recorder(broker, ledger, models, clock, blobs=blobs, **told),
        conductor,
        Reaper(broker, models, clock, metrics=metrics),
        Costs(ledger.history, models, clock),
        Sweeper(broker, ledger, models, clock, **kept_of(config, ledger)),
        RolloutGuard(ledger.rollouts, broker, ledger.history, clock, units=models),
        WebhookDelivery(
            ledger.webhooks, ledger, egress, clock, settings=build.webhook_settings(config), metrics=metrics
        ),
    ]
    started = list[Any]()
    try:
        for service in services:
            await service.start()
            started.append(service)
        yield
    finally:
        grace_s = LAST_RECORD_S if build.is_embedded(config) else 0.0  # elsewhere the broker keeps what is not recorded
        for service in reversed(started):  # the recorder last: it writes what the others have brought about
            await service.stop(grace_s)


def kept_of(config: Config, ledger: SqlLedger) -> dict[str, Any]:
    """What a sweep has to know besides the models."""
    return {"disciplines": build.disciplines(config), "book": ledger.orders, "rollouts": ledger.rollouts}


def _both(count: Recorded, spans: JobSpans | None) -> Recorded:
    """What the recorder tells: the metrics always, traces where they are configured."""
    if spans is None:
        return count

    def both(outcomes: Sequence[Outcome], are_ends: Sequence[bool]) -> None:
        count(outcomes, are_ends)
        spans.recorded(outcomes, are_ends)

    return both


def retention(config: Config, ledger: SqlLedger, blobs: Blobs, clock: SystemClock) -> Retention:
    """Deletes what has been kept for its time."""
    from springtide.controller.retention import Retention, RetentionSettings

    settings = RetentionSettings(
        keep_s=config.ledger.kept_s,
        keep_orphans_s=config.blobs.keep_orphans_s,
        keep_history_s=config.ledger.keep_history_s,
        keep_usage_s=config.ledger.usage_kept_s,
    )
    return Retention(ledger, ledger.batches, ledger.history, blobs, usage=ledger.usage, settings=settings, clock=clock)
