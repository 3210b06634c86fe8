"""Which trace a job belongs to, and the ids of its spans: worked out from the job's id, never stored or handed on.

A request that brings a W3C `traceparent` gives its trace to the job, and that is kept with it on record. Every other
job's trace is its own id (32 hexadecimal digits, as a trace's), a step's that of its pipeline. A span's id follows from
the job and what the span is: so every process, also one started a week later, knows the parent of what it has to tell,
and telling it twice is telling it once.
"""

from __future__ import annotations

from hashlib import blake2b

from springtide.domain.ids import JOB_PREFIX, JobId, pipeline_of

ROOT = "job"


def trace_id_of(job: JobId, traceparent: str | None) -> str:
    """32 hexadecimal digits."""
    if traceparent is not None:
        return traceparent[3:35]
    return (pipeline_of(job) or job).removeprefix(JOB_PREFIX)


def span_id_of(job: JobId, *what: object) -> str:
    """16 hexadecimal digits: of the job's root span, or of the part that `what` names."""
    name = ":".join(map(str, (job, *(what or (ROOT,)))))
    return blake2b(name.encode(), digest_size=8).hexdigest()


def parent_of(job: JobId, traceparent: str | None) -> str | None:
    """The span that the job's root span hangs below: the caller's, or its pipeline's."""
    if (pipeline := pipeline_of(job)) is not None:
        return span_id_of(pipeline)
    return traceparent[36:52] if traceparent is not None else None


def is_sampled(job: JobId, traceparent: str | None, share: float) -> bool:
    """Whether this trace is told: as the caller decided, else so large a share of all, the same one everywhere."""
    if traceparent is not None:
        return int(traceparent[53:55], 16) & 1 == 1
    return int(blake2b(trace_id_of(job, None).encode(), digest_size=4).hexdigest(), 16) < share * 0x1_0000_0000


def traceparent_of(job: JobId, traceparent: str | None, *what: object, share: float = 1.0) -> str:
    """What is handed on to those who are called for a job: below its root span, or the part that `what` names."""
    flags = "01" if is_sampled(job, traceparent, share) else "00"
    return f"00-{trace_id_of(job, traceparent)}-{span_id_of(job, *what)}-{flags}"
