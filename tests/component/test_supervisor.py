"""The supervisor on a virtual clock, with a child that does as the test says: what no engine can bring about."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from springtide.domain.ids import JobId
from springtide.testing.clock import ManualClock
from springtide.worker.frames import FromChild, Load, Ready, ToChild
from springtide.worker.memory_watch import Memory
from springtide.worker.run import Ending, Run
from springtide.worker.supervised import EngineSpec
from springtide.worker.supervisor import Supervisor

SPEC = EngineSpec(model="model", engine_reference="any:Engine", settings={}, weights_folder=Path("/nowhere"))


class ScriptedChild:
    """Ready as soon as it is told to load; dies when it is killed."""

    pid = 1

    def __init__(self, on_message: Callable[[FromChild], None]) -> None:
        self._on_message = on_message
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def send(self, message: ToChild) -> None:
        if isinstance(message, Load):
            self._on_message(Ready(0.0))

    def running(self) -> tuple[int, ...]:
        return ()

    def memory(self) -> Memory | None:
        return None

    def kill(self) -> None:
        if not self.exited.done():
            self.exited.set_result(-9)

    def printed(self) -> str:
        return ""

    def forget_printed(self) -> None: ...


class Listening:
    """Notes which runs are told of."""

    def __init__(self) -> None:
        self.ended: list[Run] = []
        self.gone: list[Run] = []
        self.fails: Exception | None = None  # raised when the child changes, once

    def on_progress(self, run: Run, fraction: float, stage: str | None, checkpoint: str | None = None) -> None: ...

    def on_endings(self, endings: Sequence[Ending]) -> None:
        self.ended += [ending.run for ending in endings]

    def on_child(self) -> None:
        fails, self.fails = self.fails, None
        if fails is not None:
            raise fails

    def on_ghost(self, run: Run) -> None:
        self.gone.append(run)


async def supervised(
    clock: ManualClock, listener: Listening, start: Callable[[ScriptedChild], Awaitable[ScriptedChild]]
) -> Supervisor:
    """start: makes something of each new child."""

    async def start_child(_: str, on_message: Callable[[FromChild], None]) -> ScriptedChild:
        return await start(ScriptedChild(on_message))

    made = Supervisor(SPEC, listener, clock, start_child=start_child)
    await made.start()
    return made


def a_run(name: str) -> Run:
    return Run(JobId(name), 1, b"", 60.0, f"/nowhere/{name}", f"/nowhere/{name}/out0")


async def test_an_engine_whose_process_cannot_be_started_for_any_reason_is_tried_again() -> None:
    """No thread is left, for one: the standard library says so with a RuntimeError."""
    clock, listener = ManualClock(), Listening()

    is_short = True

    async def start(child: ScriptedChild) -> ScriptedChild:
        if is_short:
            raise RuntimeError("can't start new thread")
        return child

    supervisor = await supervised(clock, listener, start)
    await clock.advance(10.0)
    assert supervisor.is_failing
    is_short = False
    assert supervisor.problem is not None and "can't start new thread" in supervisor.problem.message
    await clock.advance(60.0)
    assert supervisor.is_ready
    await supervisor.stop()


async def test_a_mistake_of_ours_costs_a_life_of_the_process_and_not_the_supervisor() -> None:
    clock, listener = ManualClock(), Listening()
    children: list[ScriptedChild] = []

    async def start(child: ScriptedChild) -> ScriptedChild:
        children.append(child)
        return child

    supervisor = await supervised(clock, listener, start)
    await clock.advance(0.1)
    listener.fails = ValueError("nobody thought of this")
    children[0].kill()
    await clock.advance(30.0)
    assert supervisor.is_ready
    assert len(children) == 2
    await supervisor.stop()


async def test_a_stop_that_is_cancelled_itself_still_ends_the_process_and_says_so() -> None:
    clock, listener = ManualClock(), Listening()
    children: list[ScriptedChild] = []

    async def start(child: ScriptedChild) -> ScriptedChild:
        die = child.kill
        child.kill = lambda: asyncio.get_running_loop().call_later(0.01, die)  # type: ignore[method-assign]
        children.append(child)
        return child

    supervisor = await supervised(clock, listener, start)
    await clock.advance(0.1)
    stopping = asyncio.create_task(supervisor.stop())
    await asyncio.sleep(0)
    stopping.cancel()
    await asyncio.wait([stopping])
    assert stopping.cancelled()
    assert supervisor._task is None
    assert await children[0].exited == -9


async def test_who_was_in_a_process_that_is_stopped_is_told_to_be_gone() -> None:
    """Their folders can be removed then; nobody else would."""
    clock, listener = ManualClock(), Listening()

    async def start(child: ScriptedChild) -> ScriptedChild:
        return child

    supervisor = await supervised(clock, listener, start)
    await clock.advance(0.1)
    run = a_run("a")
    supervisor.dispatch([run])
    await supervisor.stop()
    assert (listener.ended, listener.gone) == ([], [run])
