"""The live events of a pipeline: those of its steps as one story, with one figure of progress, and its own end.

Read like a job's own events in the broker: those after an id, waiting for one. An id of the story is `<unix ms>-<n>`
with the number of the step in `n`, so that events of several steps in one millisecond keep apart and a reader may
resume anywhere. Ends of single steps are told as progress; the end of the whole comes from the conductor.
"""

from __future__ import annotations

import asyncio

import msgspec

from springtide.broker.protocol import Broker
from springtide.domain.clock import Clock
from springtide.domain.job import TERMINAL, Job, JobStatus
from springtide.domain.lease import LiveEvent, seq_after
from springtide.ledger.protocol import Ledger
from springtide.policy.pipelines import MAX_STEPS, Steps, events_ref, plan_of, shares, step_jobs

_SLOTS = 2 * MAX_STEPS
_OWN = _SLOTS - 1  # after every step's events of the same millisecond
_TOLD_AS_THEY_ARE = frozenset({"progress", "retrying", "cancelling"})


class PipelineEvents:
    """Reads for `Live`."""

    def __init__(self, broker: Broker, ledger: Ledger, clock: Clock) -> None:
        self._broker = broker
        self._ledger = ledger
        self._clock = clock

    async def read(self, pipeline: Job, after: str | None, *, wait_s: float) -> list[LiveEvent]:
        """Events after `after`, waiting up to `wait_s` for one."""
        until_s = self._clock.monotonic_s() + wait_s
        while True:
            # The pipeline's own first: the conductor tells of a step after it is on record, so none is overlooked.
            own = await self._broker.read_events(events_ref(pipeline), None)
            steps = await self._ledger.get(step_jobs(pipeline))
            told, heard = await self._of_steps(pipeline, steps)
            story = [*told, *(_numbered(event, _OWN, pipeline) for event in own if event.kind in TERMINAL)]
            found = sorted((event for event in story if seq_after(event.seq, after)), key=_place)
            left_s = until_s - self._clock.monotonic_s()
            if found or left_s <= 0:
                return found
            ref, last = events_ref(pipeline), own[-1] if own else None
            for job, newest in zip(steps, heard, strict=True):
                if job is not None and not job.status.is_terminal and (newest is None or newest.kind not in TERMINAL):
                    ref, last = job.ref, newest  # the one to speak next
            if not await self._broker.read_events(ref, None if last is None else last.seq, wait_s=left_s):
                return []

    async def _of_steps(self, pipeline: Job, steps: Steps) -> tuple[list[LiveEvent], list[LiveEvent | None]]:
        """What the steps told, as the pipeline's; and the last event of each step, as its own."""
        nothing: list[LiveEvent] = []
        stories = await asyncio.gather(
            *(self._broker.read_events(job.ref, None) if job else _given(nothing) for job in steps)
        )
        begins = next((number for number, job in enumerate(steps) if job is not None), 0)
        told: list[LiveEvent] = []
        for number, story in enumerate(stories):
            told += [each for event in story if (each := _translated(pipeline, number, event, begins=begins))]
        return told, [story[-1] if story else None for story in stories]


async def _given(events: list[LiveEvent]) -> list[LiveEvent]:
    return events


def _translated(pipeline: Job, number: int, event: LiveEvent, *, begins: int) -> LiveEvent | None:
    """A step's event as the pipeline's; None where it is told in another way."""
    plan = plan_of(pipeline)
    kind, name, fraction = event.kind, plan.steps[number].name, event.fraction or 0.0
    if kind in TERMINAL:
        if kind != JobStatus.COMPLETED or number == len(plan.steps) - 1:
            return None  # the pipeline's own end says it
        kind, fraction = "progress", 1.0
    elif kind not in _TOLD_AS_THEY_ARE and number > begins:
        kind = "progress"
    stage = f"{name}: {event.stage or event.kind}"
    share = shares(plan)
    done = sum(share[:number]) + share[number] * fraction
    shown = round(min(done, 1.0), 4) if kind == "progress" else None
    attempt = 1 if event.attempt or number > begins else 0  # the pipeline's own
    told = msgspec.structs.replace(event, kind=kind, attempt=attempt, fraction=shown, stage=stage)
    return _numbered(told, number, pipeline)


def _numbered(event: LiveEvent, slot: int, pipeline: Job) -> LiveEvent:
    ms, _, n = event.seq.partition("-")
    return msgspec.structs.replace(event, job=pipeline.id, seq=f"{ms}-{int(n) * _SLOTS + slot}")


def _place(event: LiveEvent) -> tuple[int, int]:
    ms, _, n = event.seq.partition("-")
    return int(ms), int(n)
