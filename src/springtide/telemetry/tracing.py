"""Spans of jobs, sent by OTLP/HTTP: made when a phase is over, from the instants at which it began and ended.

No span is ever open: whoever knows both instants tells it, whichever process that is, and its id and parent follow from
the job's id (`trace_ids`). So a crash loses the phase it cut off and nothing else, and nothing is carried along with a
job but its caller's `traceparent`. Like logging this belongs to the process: `begin` once, `end` before it leaves.

Promises: off unless an endpoint is configured, and then nothing of OpenTelemetry is loaded and telling costs a look at
one variable; on, telling never waits and never raises, and what a collector does not take in time is dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from springtide.domain.errors import ConfigError
from springtide.domain.ids import JobId
from springtide.telemetry.settings import TelemetrySettings
from springtide.telemetry.trace_ids import is_sampled, parent_of, span_id_of, trace_id_of, traceparent_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

Part = tuple[object, ...]  # which span of a job; (): its root
EXPORT_S = 5.0  # a collector that does not answer must not hold up the end of a process
SCOPE = "springtide"


class _Teller:
    """Where spans go in this process."""

    def __init__(self, role: str, settings: TelemetrySettings) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise ConfigError(
                "telemetry.otlp_endpoint is set, and OpenTelemetry is not installed: pip install 'springtide[tracing]'"
            ) from error
        assert settings.otlp_endpoint is not None
        endpoint = settings.otlp_endpoint.rstrip("/") + "/v1/traces"
        exporter = OTLPSpanExporter(endpoint=endpoint, headers=settings.otlp_headers, timeout=EXPORT_S)
        self.sample = settings.sample
        self.processor: SpanProcessor = BatchSpanProcessor(exporter, schedule_delay_millis=1000)
        self.resource = Resource.create({"service.name": "springtide", "springtide.role": role})


_teller: _Teller | None = None


def begin(role: str, settings: TelemetrySettings) -> None:
    """Tell spans from now on, where an endpoint is configured. Raises ConfigError where the extra is missing."""
    global _teller
    end()
    if settings.otlp_endpoint is not None:
        _teller = _Teller(role, settings)


def end() -> None:
    """Send what is left, waiting a few seconds at most."""
    global _teller
    teller, _teller = _teller, None
    if teller is not None:
        teller.processor.shutdown()


def is_on() -> bool:
    return _teller is not None


def tell(  # a span has so many facts; all but the first three by name
    job: JobId,
    traceparent: str | None,
    name: str,
    *,
    what: Part = (),
    under: Part = (),
    start_s: float,
    end_s: float,
    error: str | None = None,
    **attributes: Any,
) -> None:
    """One phase of a job. what: which part of it this is; without one its root. under: the part it hangs below.
    start_s, end_s: Unix seconds. error: why it went wrong. attributes: those that are None are left out."""
    teller = _teller
    if teller is None or not is_sampled(job, traceparent, teller.sample):
        return
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Status, StatusCode

    parent = span_id_of(job, *under) if what else parent_of(job, traceparent)
    trace_id = trace_id_of(job, traceparent)
    span = ReadableSpan(
        name=name,
        context=_context(trace_id, span_id_of(job, *what)),
        parent=None if parent is None else _context(trace_id, parent),
        resource=teller.resource,
        attributes={"job_id": job, **{key: value for key, value in attributes.items() if value is not None}},
        status=Status(StatusCode.UNSET) if error is None else Status(StatusCode.ERROR, error),
        start_time=int(start_s * 1e9),
        end_time=int(max(start_s, end_s) * 1e9),
        instrumentation_scope=InstrumentationScope(SCOPE),
    )
    teller.processor.on_end(span)


def handed_on(job: JobId, traceparent: str | None, *what: object) -> str | None:
    """The `traceparent` for those who are called for a job: below its part `what` where traces are told, else as its
    caller sent it."""
    if _teller is None:
        return traceparent
    return traceparent_of(job, traceparent, *what, share=_teller.sample)


def _context(trace_id: str, span_id: str) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=TraceFlags(1))
