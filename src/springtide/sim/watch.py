"""Checkers outside the system: they see what really happened at broker and ledger, in the order it happened, and keep
books of their own. Nothing they know comes from what the product says of itself.

- A job has at most one lease; its attempts never exceed their maximum.
- A report counts only from the (worker, attempt) that holds the lease; a repeat of the winning one changes nothing.
- A job ends once on record, with a result of the very attempt that the record names; the end never changes.
- A terminal live event follows the record; a job's events are in order and lawful.
- A step of a pipeline begins once, when those before it have completed; the pipeline ends as its last step did.
- What the broker says it has queued and leased is what was put in and has not ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import PurePath
from typing import Any

from springtide.broker.protocol import EVENTS_PER_JOB
from springtide.domain.ids import JobId, ModelName, WorkerId, step_id
from springtide.domain.job import TERMINAL, Job, JobRef, JobStatus
from springtide.domain.lease import Completion, Held, Lease, LiveEvent, Outcome, Ticket, seq_after
from springtide.policy.pipelines import events_ref, step_jobs
from springtide.sim.nodes import Node
from springtide.sim.trace import Trace
from springtide.worker.frames import Task

Holder = tuple[WorkerId, int]
_NAMING = frozenset({"beat", "complete", "fail", "release", "publish"})  # verbs by which a worker names what it holds
_TERMINAL_KINDS = frozenset(status.value for status in TERMINAL)


class Watch:
    """The books of a whole run: what is on record, and the broker of the moment."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.counts: Counter[str] = Counter()
        self.ended: dict[JobId, Outcome] = {}  # the end on record
        self.inserted: dict[JobId, Job] = {}

    def ran(self, worker: str, task: Task, tag: str) -> None:
        """An engine begins a run."""
        self.counts["runs"] += 1
        left = "" if task.checkpoint is None else PurePath(task.checkpoint).name
        self.trace.add(f"runs {PurePath(task.folder).parent.name} {left}", worker)
        if left:
            self.counts["resumed"] += 1
            if left.split(".")[0] != tag:
                self.trace.violation(f"{task.folder} goes on from {left}, which is not of {tag}")

    # --- the ledger -----------------------------------------------------------------------------------------------

    def ledger(self, verb: str, args: tuple[Any, ...], answer: Any) -> None:
        """A call has happened at the ledger."""
        self.counts[f"ledger.{verb}"] += 1
        match verb:
            case "insert":
                for each in answer:
                    if each.is_new:
                        self.inserted[each.job.id] = each.job
                        self.trace.add(f"insert {each.job.id} {each.job.inputs['do']}")
                        if each.job.parent is not None:
                            self._step_begins(each.job)
            case "record":
                for outcome, is_end in zip(args[0], answer, strict=True):
                    self._recorded(outcome, is_end=is_end)
            case "get":
                for job in answer:
                    if job is not None:
                        self._read(job)
            case "live":
                for job in answer:
                    if job.id in self.ended:
                        self.trace.violation(f"{job.id} is among those that live after it has ended")
            case _:
                pass

    def _recorded(self, outcome: Outcome, *, is_end: bool) -> None:
        self.trace.add(f"record {outcome.id} {outcome.status} attempt {outcome.attempt} {'END' if is_end else ''}")
        if not is_end:
            return
        self.counts[f"ended.{outcome.status}"] += 1
        if outcome.id in self.ended:
            self.trace.violation(f"{outcome.id} ended twice on record")
        if outcome.id not in self.inserted:
            self.trace.violation(f"{outcome.id} ended and was never accepted")
        self.ended[outcome.id] = outcome
        job = self.inserted[outcome.id]
        if job.plan is not None:
            self._pipeline_ended(job, outcome)
        elif outcome.status is JobStatus.COMPLETED:
            made = outcome.outputs or {}
            if (made.get("worker"), made.get("attempt")) != (outcome.worker, outcome.attempt):
                self.trace.violation(f"{outcome.id} is on record with a result of {made}, not of {outcome.worker}")
            if made.get("tag") != self.inserted[outcome.id].inputs["tag"]:
                self.trace.violation(f"{outcome.id} has the result of another job: {made}")

    def _step_begins(self, job: Job) -> None:
        """A step is on record: its pipeline lives, and every step before it has completed."""
        assert job.parent is not None
        assert job.step is not None
        if job.parent in self.ended:
            self.trace.violation(f"step {job.step} of {job.parent} began after the end of the whole")
        for number in range(job.step):
            before = self.ended.get(step_id(job.parent, number))
            if before is None or before.status is not JobStatus.COMPLETED:
                self.trace.violation(f"step {job.step} of {job.parent} began before step {number} had completed")

    def _pipeline_ended(self, whole: Job, end: Outcome) -> None:
        """It ends as its last step on record did, or was cancelled between two; none is left running."""
        self.counts["pipelines"] += 1
        steps = [step for step in step_jobs(whole) if step in self.inserted]
        ends = [self.ended.get(step) for step in steps]
        last = ends[-1] if ends else None
        if None in ends:
            self.trace.violation(f"{whole.id} has ended and a step of it has not")
        elif end.status is JobStatus.COMPLETED:
            if last is None or len(steps) < len(step_jobs(whole)) or last.outputs != end.outputs:
                self.trace.violation(f"{whole.id} is completed and has not the result of its last step")
        elif end.status is not JobStatus.CANCELLED and (last is None or last.status is not end.status):
            self.trace.violation(f"{whole.id} has {end.status}, its last step {last and last.status}")

    def _read(self, job: Job) -> None:
        end = self.ended.get(job.id)
        if end is not None and job.status is not end.status:
            self.trace.violation(f"{job.id} is {job.status} on record after it was {end.status}")
        if job.attempt > job.max_attempts:
            self.trace.violation(f"{job.id} is at attempt {job.attempt} of {job.max_attempts}")


class _Books:
    """What a broker should know of one job."""

    __slots__ = ("attempt", "given_back", "holder", "max_attempts", "model", "won")

    def __init__(self, ticket: Ticket) -> None:
        self.model = ticket.model
        self.max_attempts = ticket.max_attempts
        self.attempt = ticket.attempt  # last begun
        self.given_back = 0
        self.holder: Holder | None = None if ticket.held_by is None else (ticket.held_by, ticket.attempt)
        self.won: Holder | None = None


class WatchedBroker:
    """A broker whose every verb is noted as it happens. One per life of a broker: its successor starts empty."""

    def __init__(self, broker: Any, watch: Watch, node: Node) -> None:
        self._broker = broker
        self._node = node
        self._watch = watch
        self._trace = watch.trace
        self._live: dict[JobId, _Books] = {}
        self._ended: dict[JobId, _Books] = {}

    def __getattr__(self, verb: str) -> Any:
        return partial(self._call, verb)

    async def _call(self, verb: str, *args: Any, **options: Any) -> Any:
        await self._node.pass_gate()
        if verb in _NAMING:
            self._saw_read_outcomes(0, await self._broker.read_outcomes(1_000_000))  # what has ended can be no one's
        answer = await getattr(self._broker, verb)(*args, **options)
        check = getattr(type(self), f"_saw_{verb}", None)
        if check is not None:
            self._watch.counts[f"broker.{verb}"] += 1
            check(self, *args, answer)
            if verb == "announce":
                await self._read_stories(args[1])
        if announced := options.get("announce"):
            self._saw_announce(announced[0].job, announced, None)
            await self._read_stories(announced)
        return answer

    async def check_counts(self, models: Sequence[ModelName], now_s: float) -> None:
        """What is queued and leased is what was put in and has not ended."""
        self._saw_read_outcomes(0, await self._broker.read_outcomes(1_000_000))
        for view in await self._broker.queues(models, now_s):
            mine = [books for books in self._live.values() if books.model == view.model]
            leased = sum(books.holder is not None for books in mine)
            if (view.queued, view.leased) != (len(mine) - leased, leased):
                expected = f"{len(mine) - leased} queued and {leased} leased"
                self._violation(f"{view.model} says {view.queued} queued and {view.leased} leased, not {expected}")

    @property
    def unfinished(self) -> int:
        return len(self._live)

    # --- verb by verb ---------------------------------------------------------------------------------------------

    def _saw_enqueue(self, tickets: Sequence[Ticket], now_s: float, answer: list[bool]) -> None:
        for ticket, is_new in zip(tickets, answer, strict=True):
            if not is_new:
                continue
            self._trace.add(f"enqueue {ticket.id} attempt {ticket.attempt} held by {ticket.held_by}")
            if ticket.id in self._live:
                self._violation(f"{ticket.id} was queued while it was live")
            books = _Books(ticket)
            is_spent = ticket.held_by is None and ticket.attempt >= ticket.max_attempts
            (self._ended if is_spent else self._live)[ticket.id] = books

    def _saw_lease(self, model: ModelName, worker: WorkerId, most: int, now_s: float, answer: list[Lease]) -> None:
        for lease in answer:
            self._trace.add(f"lease {lease.id} attempt {lease.attempt} to {worker}")
            books = self._live.get(lease.id)
            if books is None:
                self._violation(f"{lease.id} was leased and is not live")
                continue
            if books.holder is not None:
                self._violation(f"{lease.id} was leased to {worker} while {books.holder} had it")
            if lease.attempt > books.max_attempts:
                self._violation(f"{lease.id} was leased for attempt {lease.attempt} of {books.max_attempts}")
            books.holder, books.attempt = (worker, lease.attempt), lease.attempt

    def _saw_beat(self, model: ModelName, worker: WorkerId, held: Sequence[Held], *rest: Any) -> None:
        lost = set(rest[-1].lost)
        for item in held:
            if self._holds(worker, item.id, item.attempt) == (item.id in lost):
                self._violation(f"a beat of {worker} was told wrongly whether it has {item}")

    def _saw_complete(
        self, model: ModelName, worker: WorkerId, done: Sequence[Completion], now_s: float, answer: list[bool]
    ) -> None:
        for one, ok in zip(done, answer, strict=True):
            self._trace.add(f"complete {one.id} attempt {one.attempt} by {worker}: {ok}")
            ended = self._ended.get(one.id)
            is_repeat = ended is not None and ended.won == (worker, one.attempt)
            holds = self._holds(worker, one.id, one.attempt)
            if ok != (holds or is_repeat):
                self._violation(f"complete of {one.id} by {worker} attempt {one.attempt} was answered {ok}")
            if ok and holds:
                self._end(one.id, (worker, one.attempt))

    def _saw_fail(self, model: ModelName, worker: WorkerId, failed: Sequence[Any], now_s: float, answer: Any) -> None:
        self._saw_given_up("fail", worker, failed, answer)

    def _saw_release(self, model: ModelName, worker: WorkerId, held: Sequence[Held], now_s: float, answer: Any) -> None:
        self._saw_given_up("release", worker, held, answer)

    def _saw_given_up(self, verb: str, worker: WorkerId, reports: Sequence[Any], answer: list[bool]) -> None:
        for one, ok in zip(reports, answer, strict=True):
            self._trace.add(f"{verb} {one.id} attempt {one.attempt} by {worker}: {ok}")
            if ok != self._holds(worker, one.id, one.attempt):
                self._violation(f"{verb} of {one.id} by {worker} attempt {one.attempt} was answered {ok}")
            if ok:
                self._give_up(self._live[one.id], verb)

    def _saw_leave(self, model: ModelName, worker: WorkerId, now_s: float, answer: None) -> None:
        self._trace.add(f"leave {worker}")
        for books in self._live.values():
            if books.model == model and books.holder is not None and books.holder[0] == worker:
                books.holder = None

    def _saw_reap(self, models: Sequence[ModelName], now_s: float, answer: list[JobId]) -> None:
        for job in answer:
            self._watch.counts["reaped"] += 1
            self._trace.add(f"reap {job}")
            if self._live[job].holder is None:
                self._violation(f"{job} was taken back from nobody")
            self._live[job].holder = None

    def _saw_cancel(self, refs: Sequence[JobRef], now_s: float, answer: list[JobStatus | None]) -> None:
        for ref, status in zip(refs, answer, strict=True):
            self._trace.add(f"cancel {ref.id}: {status}")
            if status is not None and status.is_terminal and ref.id in self._live:
                self._end(ref.id, None)

    def _saw_publish(
        self, model: ModelName, worker: WorkerId, progress: Sequence[Any], now_s: float, answer: list[bool]
    ) -> None:
        for one, ok in zip(progress, answer, strict=True):
            if ok != self._holds(worker, one.id, one.attempt):
                self._violation(f"progress of {one.id} by {worker} attempt {one.attempt} was answered {ok}")

    def _saw_read_outcomes(self, most: int, answer: list[Outcome]) -> None:
        """The first that is heard of ends which no report brought: expiry, loss, cancel of what was queued."""
        for outcome in answer:
            if outcome.status.is_terminal and outcome.id in self._live:
                self._end(outcome.id, None)

    def _saw_announce(self, model: ModelName, events: Sequence[LiveEvent], answer: None) -> None:
        for event in events:
            end = self._watch.ended.get(event.job)
            if event.kind == "progress" and self._watch.inserted[event.job].plan is not None:
                continue  # a hand-over between two steps
            if end is None or end.status.value != event.kind:
                self._violation(f"{event.job} was announced as {event.kind} while {end and end.status} is on record")

    # --- stories --------------------------------------------------------------------------------------------------

    async def _read_stories(self, announced: Sequence[LiveEvent]) -> None:
        for event in announced:
            job = self._watch.inserted[event.job]
            is_whole = job.plan is not None
            ref = events_ref(job) if is_whole else job.ref
            story = await self._broker.read_events(ref, None)
            if problem := check_handovers(story) if is_whole else check_story(story):
                told = " ".join(f"{each.kind}({each.attempt})" for each in story)
                self._violation(f"the story of {event.job}: {problem}: {told}")

    # --- books ----------------------------------------------------------------------------------------------------

    def _holds(self, worker: WorkerId, job: JobId, attempt: int) -> bool:
        """Whether the attempt is this worker's: granted here, or by a broker whose memory was lost and named now."""
        books = self._live.get(job)
        if books is None:
            return False
        if books.holder is None and attempt == books.attempt + 1 and attempt != books.given_back:
            self._trace.add(f"{job} attempt {attempt} goes on at {worker}")
            books.holder, books.attempt = (worker, attempt), attempt
        return books.holder == (worker, attempt)

    def _give_up(self, books: _Books, verb: str) -> None:
        books.holder = None
        if verb == "release":
            books.given_back = books.attempt
            books.attempt -= 1

    def _end(self, job: JobId, won: Holder | None) -> None:
        books = self._live.pop(job)
        books.won = won
        self._ended[job] = books

    def _violation(self, what: str) -> None:
        self._trace.violation(what)


def check_handovers(story: Sequence[LiveEvent]) -> str | None:
    """What is wrong with a pipeline's own events: hand-overs between steps, and the end."""
    for before, event in pairwise(story):
        if not seq_after(event.seq, before.seq):
            return f"{event.seq} follows {before.seq}"
        if before.kind != "progress":
            return f"{event.kind} follows {before.kind}"
    return None


def check_story(story: Sequence[LiveEvent]) -> str | None:
    """What is wrong with a job's live events up to its end, if anything."""
    if len(story) >= EVENTS_PER_JOB:
        return None  # the middle was trimmed
    state, attempt = "", 0
    for before, event in zip([None, *story], story, strict=False):
        if before is not None and not seq_after(event.seq, before.seq):
            return f"{event.seq} follows {before.seq}"
        if state == "over":
            return f"{event.kind} follows the end"
        match event.kind:
            case "queued" if state in ("", "started"):
                state = "queued"
            case "started" if state in ("", "queued", "retrying"):
                state, attempt = "started", event.attempt
            case "progress" | "cancelling" if state == "started" and event.attempt == attempt:
                pass
            case "retrying" if state == "started" and event.attempt == attempt:
                state = "retrying"
            case kind if kind in _TERMINAL_KINDS:
                state = "over"
            case kind:
                return f"{kind}({event.attempt}) cannot follow {state or 'nothing'}({attempt})"
    return None if state == "over" else "it has no end"
