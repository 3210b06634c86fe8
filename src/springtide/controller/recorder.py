"""Writes outcomes into the ledger, then tells the world: no client sees a terminal state that could be undone.

Order: read outcomes → ledger commit → announce the terminal live event and ack. A crash anywhere repeats the tail,
and every step is idempotent. The checkpoints of a job that has ended are deleted before the ack: nobody goes on from
there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

import msgspec

from springtide.blobs.protocol import Blobs
from springtide.broker.protocol import Broker
from springtide.domain.clock import Clock
from springtide.domain.errors import OutcomeUnknown, SpringtideError, Unavailable
from springtide.domain.ids import BlobId, JobId, ModelName, pipeline_of
from springtide.domain.job import Checkpoint
from springtide.domain.lease import LiveEvent, Outcome
from springtide.ledger.protocol import Ledger
from springtide.runtime.loops import Loop

log = logging.getLogger(__name__)
MAX_OUTCOMES = 1024  # two commits: large enough to carry a burst, small enough to stay in milliseconds
NOTE_AFTER_S = 2.0  # shorter jobs are not worth a second row version
NOTE_EVERY_S = 1.0


class Recorder:
    """A service: `start`, `stop`."""

    def __init__(
        self,
        broker: Broker,
        ledger: Ledger,
        models: Sequence[ModelName],
        clock: Clock,
        *,
        blobs: Blobs,
        on_steps: Callable[[Iterable[JobId]], None] | None = None,
        on_ends: Callable[[Iterable[Outcome]], None] | None = None,
        on_recorded: Callable[[Sequence[Outcome], Sequence[bool]], None] | None = None,
    ) -> None:
        """on_steps: told the pipelines whose steps have just ended on record. on_ends: told what has just made the end
        of its job on record, before the world is. on_recorded: told all that is on record now, and which are ends."""
        self._on_steps = on_steps
        self._on_ends = on_ends
        self._on_recorded = on_recorded
        self._broker = broker
        self._ledger = ledger
        self._blobs = blobs
        self._models = models
        self._clock = clock
        self._noted: dict[JobId, tuple[int, Checkpoint | None]] = {}  # running attempts as they are in the ledger
        self._loops = [
            Loop("recorder", self.record_once, every_s=0.0, clock=clock),
            Loop("recorder of running jobs", self.note_running, every_s=NOTE_EVERY_S, clock=clock),
        ]

    async def start(self) -> None:
        for loop in self._loops:
            await loop.start()

    async def stop(self, grace_s: float = 0.0) -> None:
        """Stops at once; what is not recorded yet stays in the broker. With `grace_s` it is recorded first, and what
        still runs is noted: for a broker that ends with this process."""
        for loop in self._loops:
            await loop.stop()
        if grace_s <= 0:
            return
        ends_at_s = self._clock.monotonic_s() + grace_s
        try:
            while await self.record_once(wait_s=0.0) and self._clock.monotonic_s() < ends_at_s:
                pass
            await self.note_running(min_age_s=0.0)
        except (Unavailable, OutcomeUnknown) as error:
            log.warning("not everything is on record, what is missing runs again: %s", error)

    async def record_once(self, *, wait_s: float = 5.0) -> int:
        """Record what there is; returns how many outcomes."""
        outcomes = await self._broker.read_outcomes(MAX_OUTCOMES, wait_s=wait_s)
        if not outcomes:
            return 0
        are_ends = await self._ledger.record(outcomes)
        if self._on_ends is not None:
            self._on_ends(outcome for outcome, is_end in zip(outcomes, are_ends, strict=True) if is_end)
        if self._on_recorded is not None:
            self._on_recorded(outcomes, are_ends)
        if self._on_steps is not None:
            wholes = (pipeline_of(outcome.id) for outcome in outcomes if outcome.status.is_terminal)
            self._on_steps(whole for whole in wholes if whole is not None)
        spent = [one for one in outcomes if one.checkpoint is not None and one.status.is_terminal]
        await self._drop_checkpoints(spent)
        events = [_event(outcome) for outcome in outcomes if outcome.status.is_terminal]
        await self._broker.ack_outcomes(outcomes, self._clock.now_s(), announce=events)
        return len(outcomes)

    async def _drop_checkpoints(self, ended: Sequence[Outcome]) -> None:
        """What is acked comes not again, so this goes before; and nobody is to wait for it to hear of an end."""
        for outcome in ended:
            await self._broker.announce(outcome.model, [_event(outcome)])
        files = [one.checkpoint for one in ended if one.checkpoint is not None]
        await asyncio.gather(*(self._delete(blob) for each in files for blob in (each.file.id, *each.older)))

    async def _delete(self, blob: BlobId) -> None:
        try:
            await self._blobs.delete(blob)
        except SpringtideError as error:
            log.warning("the checkpoint %s of an ended job stays behind: %s", blob, error)

    async def note_running(self, *, min_age_s: float = NOTE_AFTER_S) -> None:
        """Note long attempts as in progress, so that a rebuilt broker knows who ran them."""
        held = await self._broker.held(self._models, self._clock.now_s(), min_age_s=min_age_s)
        fresh = [job for job in held if self._noted.get(job.id) != (job.attempt, job.checkpoint)]
        if fresh:
            await self._ledger.record_running(fresh)
        self._noted = {job.id: (job.attempt, job.checkpoint) for job in held}


def _event(outcome: Outcome) -> LiveEvent:
    error = outcome.error and msgspec.structs.replace(outcome.error, details={})
    return LiveEvent(
        seq="",
        job=outcome.id,
        kind=outcome.status.value,
        at_s=outcome.finished_at_s,
        attempt=outcome.attempt,
        error=error,
    )
