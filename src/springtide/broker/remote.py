"""A broker in another process of this machine, over a unix socket: the client of `BrokerServer`.

Promises: many calls at once on one connection, waits included; it reconnects by itself. A call during an outage waits
up to `patience_s` for the line, then raises `Unavailable`. A call whose line broke after it was sent raises
`OutcomeUnknown` (every verb is safe to repeat). A call that is cancelled here ends there too.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from springtide.broker.remote_server import BrokerServer
from springtide.broker.remote_wire import VERBS, Reply, Verb, encode, verbs_of
from springtide.domain.errors import ConfigError, OutcomeUnknown, Unavailable
from springtide.domain.fleet import QueueView, Usage
from springtide.domain.ids import JobId, ModelName, WorkerId
from springtide.domain.job import JobError, JobRef, JobStatus
from springtide.domain.lease import (
    BeatReply,
    Completion,
    Failure,
    Held,
    Lease,
    LiveEvent,
    LiveJob,
    Outcome,
    Progress,
    Ticket,
    WakeUp,
    WorkerState,
)
from springtide.domain.tenant import Discipline
from springtide.runtime.frames import Frames

__all__ = ["BrokerServer", "RemoteBroker"]

log = logging.getLogger(__name__)
ServiceT = TypeVar("ServiceT")

PATIENCE_S = 5.0  # a restart of everything on one machine takes less
BACKOFF_FROM_S = 0.02
BACKOFF_TO_S = 0.5  # a local connect costs next to nothing; a worker must not be the last to notice
LONGEST_PATH_BYTES = 103  # what macOS allows; Linux allows 107


class RemoteBroker:
    """A `Broker` served at `path`."""

    def __init__(self, path: Path, *, patience_s: float = PATIENCE_S) -> None:
        self._path = path
        self._patience_s = patience_s
        self._line: _Line | None = None
        self._connected = asyncio.Event()
        self._connecting: asyncio.Task[None] | None = None
        self._is_stopped = False

    async def start(self) -> None:
        if len(os.fsencode(self._path)) > LONGEST_PATH_BYTES:
            raise ConfigError(f"broker socket {self._path}: the path is longer than {LONGEST_PATH_BYTES} bytes")
        self._is_stopped = False
        try:
            await self._get_line()
        except Unavailable:
            await self.stop()
            raise

    async def stop(self) -> None:
        self._is_stopped = True
        self._connected.set()  # whoever waits for the line learns that there will be none
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
            self._connecting = None
        line, self._line = self._line, None
        if line is not None:
            await line.close()

    # --- the way in -------------------------------------------------------------------------------------------------

    async def configure(self, model: ModelName, discipline: Discipline) -> None:
        await self._call("configure", model, discipline)

    async def enqueue(self, tickets: Sequence[Ticket], now_s: float) -> list[bool]:
        return await self._call("enqueue", tickets, now_s)

    async def cancel(self, refs: Sequence[JobRef], now_s: float) -> list[JobStatus | None]:
        return await self._call("cancel", refs, now_s)

    async def withdraw(self, refs: Sequence[JobRef], now_s: float) -> list[LiveJob | None]:
        return await self._call("withdraw", refs, now_s)

    # --- workers ----------------------------------------------------------------------------------------------------

    async def lease(
        self, model: ModelName, worker: WorkerId, max_jobs: int, now_s: float, *, min_wait_s: float = 0.0
    ) -> list[Lease]:
        return await self._call("lease", model, worker, max_jobs, now_s, min_wait_s)

    async def beat(
        self,
        model: ModelName,
        worker: WorkerId,
        held: Sequence[Held],
        state: WorkerState,
        now_s: float,
        *,
        problem: JobError | None = None,
        usage: Usage | None = None,
    ) -> BeatReply:
        return await self._call("beat", model, worker, held, state, now_s, problem, usage)

    async def complete(
        self, model: ModelName, worker: WorkerId, done: Sequence[Completion], now_s: float
    ) -> list[bool]:
        return await self._call("complete", model, worker, done, now_s)

    async def fail(self, model: ModelName, worker: WorkerId, failed: Sequence[Failure], now_s: float) -> list[bool]:
        return await self._call("fail", model, worker, failed, now_s)

    async def release(self, model: ModelName, worker: WorkerId, held: Sequence[Held], now_s: float) -> list[bool]:
        return await self._call("release", model, worker, held, now_s)

    async def leave(self, model: ModelName, worker: WorkerId, now_s: float) -> None:
        await self._call("leave", model, worker, now_s)

    async def wake(self, model: ModelName, worker: WorkerId, *, for_work: bool, wait_s: float) -> WakeUp:
        return await self._call("wake", model, worker, for_work, wait_s)

    # --- live events ------------------------------------------------------------------------------------------------

    async def publish(
        self, model: ModelName, worker: WorkerId, progress: Sequence[Progress], now_s: float
    ) -> list[bool]:
        return await self._call("publish", model, worker, progress, now_s)

    async def announce(self, model: ModelName, events: Sequence[LiveEvent]) -> None:
        await self._call("announce", model, events)

    async def read_events(
        self, ref: JobRef, after: str | None, *, wait_s: float = 0.0, to_end: bool = False
    ) -> list[LiveEvent]:
        return await self._call("read_events", ref, after, wait_s, to_end)

    # --- the record -------------------------------------------------------------------------------------------------

    async def read_outcomes(self, max_outcomes: int, *, wait_s: float = 0.0) -> list[Outcome]:
        return await self._call("read_outcomes", max_outcomes, wait_s)

    async def ack_outcomes(
        self, outcomes: Sequence[Outcome], now_s: float, *, announce: Sequence[LiveEvent] = ()
    ) -> None:
        await self._call("ack_outcomes", outcomes, now_s, announce)

    # --- looking ----------------------------------------------------------------------------------------------------

    async def peek(self, refs: Sequence[JobRef], now_s: float) -> list[LiveJob | None]:
        return await self._call("peek", refs, now_s)

    async def known(self, refs: Sequence[JobRef]) -> list[bool]:
        return await self._call("known", refs)

    async def queues(self, models: Sequence[ModelName], now_s: float) -> list[QueueView]:
        return await self._call("queues", models, now_s)

    async def held(self, models: Sequence[ModelName], now_s: float, *, min_age_s: float) -> list[LiveJob]:
        return await self._call("held", models, now_s, min_age_s)

    async def reap(self, models: Sequence[ModelName], now_s: float) -> list[JobId]:
        return await self._call("reap", models, now_s)

    # --- what stands beside it ----------------------------------------------------------------------------------------

    def beside(self, protocol: type[ServiceT]) -> ServiceT:
        """What the server serves by `protocol` on the same line. Its calls fail as the broker's own do."""
        return cast("ServiceT", _Beside(self._call_verb, verbs_of(protocol)))

    # --- the line ---------------------------------------------------------------------------------------------------

    async def _call(self, verb: str, *arguments: Any) -> Any:
        return await self._call_verb(VERBS[verb], arguments)

    async def _call_verb(self, verb: Verb, arguments: tuple[Any, ...]) -> Any:
        line = self._line
        if line is None or not line.is_open:
            line = await self._get_line()
        return await line.call(verb, arguments)

    async def _get_line(self) -> _Line:
        try:
            async with asyncio.timeout(self._patience_s):
                while self._line is None or not self._line.is_open:
                    if self._is_stopped:
                        raise Unavailable("The broker client is stopped.")
                    self._connected.clear()
                    self._connect_soon()
                    await self._connected.wait()
                return self._line
        except TimeoutError as error:
            text = f"No broker answers at {self._path}, not within {self._patience_s:g} s. Is the server running?"
            raise Unavailable(text) from error

    def _connect_soon(self, delay_s: float = 0.0) -> None:
        if not self._is_stopped and (self._connecting is None or self._connecting.done()):
            self._connecting = asyncio.create_task(self._connect(delay_s))

    async def _connect(self, delay_s: float) -> None:
        """Try until it works."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(delay_s)
        backoff_s = BACKOFF_FROM_S
        while True:
            line = _Line(self._lost)
            try:
                await loop.create_unix_connection(lambda line=line: line.frames, os.fspath(self._path))
            except OSError as error:
                log.debug("no broker at %s: %s", self._path, error)
            else:
                self._line = line
                self._connected.set()
                return
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, BACKOFF_TO_S)

    def _lost(self, line: _Line) -> None:
        if line is self._line:
            log.warning("lost the broker at %s; connecting again", self._path)
            self._line = None
            # A server that hangs up before it ever answers would have us spin.
            self._connect_soon(0.0 if line.has_answered else BACKOFF_TO_S)


class _Beside:
    """Calls the verbs of another protocol: positional arguments, then the keywords in the protocol's order."""

    def __init__(self, call: Callable[[Verb, tuple[Any, ...]], Awaitable[Any]], verbs: Mapping[str, Verb]) -> None:
        for name, verb in verbs.items():
            setattr(self, name, partial(self._call, call, verb))

    @staticmethod
    async def _call(
        call: Callable[[Verb, tuple[Any, ...]], Awaitable[Any]], verb: Verb, *arguments: Any, **keywords: Any
    ) -> Any:
        return await call(verb, (*arguments, *(keywords[name] for name in verb.keywords)))


class _Line:
    """One connection and the calls that wait on it."""

    def __init__(self, lost: Callable[[_Line], None]) -> None:
        self.frames = Frames(Reply, self._receive, self._broken)
        self._lost = lost
        self._number = 0
        self._calls: dict[int, tuple[Verb, asyncio.Future[Any]]] = {}
        self._closed = asyncio.Event()
        self.has_answered = False

    @property
    def is_open(self) -> bool:
        return self.frames.is_open

    async def call(self, verb: Verb, arguments: tuple[Any, ...]) -> Any:
        self._number += 1
        number = self._number
        content = encode((number, verb.name, arguments))
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls[number] = verb, future
        self.frames.send(content)
        try:
            return await future
        except asyncio.CancelledError:
            if self._calls.pop(number, None) is not None:
                self.frames.send(encode((number, "", ())))
            raise

    async def close(self) -> None:
        if self.is_open:
            self.frames.close()
            await self._closed.wait()

    def _receive(self, reply: Reply) -> None:
        self.has_answered = True
        number, error, raw = reply
        call = self._calls.pop(number, None)
        if call is None:
            return  # given up in the meantime
        verb, future = call
        if future.done():
            return
        if error is not None:
            future.set_exception(error.error())
            return
        try:
            future.set_result(verb.reply.decode(raw))
        except msgspec.DecodeError as cause:
            unknown = OutcomeUnknown(f"The broker answered {verb.name!r} with something else: {cause}")
            unknown.__cause__ = cause
            future.set_exception(unknown)

    def _broken(self) -> None:
        self._closed.set()
        calls, self._calls = self._calls, {}
        for verb, future in calls.values():
            if not future.done():
                future.set_exception(OutcomeUnknown(f"The line to the broker broke before it answered {verb.name!r}."))
        self._lost(self)
