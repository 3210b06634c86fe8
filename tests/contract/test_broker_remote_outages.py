"""What callers of a remote broker see when the line, the server or the other side goes wrong."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import msgspec
import pytest

from springtide.broker.memory import MemoryBroker
from springtide.broker.remote import BrokerServer, RemoteBroker
from springtide.domain.errors import (
    AttemptFailed,
    CallerError,
    ConfigError,
    IllegalTransition,
    OutcomeUnknown,
    Refused,
    SpringtideError,
    Unavailable,
)
from springtide.domain.fleet import QueueView
from springtide.domain.lease import WakeUp
from springtide.runtime.frames import MAX_FRAME_BYTES
from springtide.testing.broker_cases import ANN, BOB, MODEL, MODELS, T0, done, job, leased, ref, ticket

LONG_S = 30.0  # a wait that the test ends


@pytest.fixture
def path() -> Any:
    with TemporaryDirectory(prefix="tide") as folder:
        yield Path(folder) / "broker.sock"


@pytest.fixture
async def server(path: Path) -> AsyncIterator[BrokerServer]:
    server = BrokerServer(MemoryBroker(), path)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client(server: BrokerServer, path: Path) -> AsyncIterator[RemoteBroker]:
    client = RemoteBroker(path)
    await client.start()
    yield client
    await client.stop()


async def begin(client: RemoteBroker, *, worker: Any = ANN, for_work: bool = True) -> asyncio.Task[WakeUp]:
    """A wait that has reached the server: calls of one client are looked at in order."""
    waiting = asyncio.create_task(client.wake(MODEL, worker, for_work=for_work, wait_s=LONG_S))
    await asyncio.sleep(0)
    await client.peek([], T0)
    assert not waiting.done()
    return waiting


async def cut(client: RemoteBroker, server: BrokerServer) -> None:
    """Stop the server and wait until the client has noticed."""
    waiting = await begin(client)
    await server.stop()
    with pytest.raises(OutcomeUnknown):
        await waiting


def mode(path: Path) -> int | None:
    """Permissions of what is at `path`, None where there is nothing."""
    return stat.S_IMODE(path.stat().st_mode) if path.exists() else None


def in_the_way(path: Path) -> str:
    """Put a file there unless there is one; gives its text."""
    if not path.exists():
        path.write_text("mine")
    return path.read_text()


class TestOutage:
    async def test_a_call_during_a_restart_waits_for_the_new_server(self, client: RemoteBroker, server: BrokerServer):
        await cut(client, server)
        call = asyncio.create_task(client.queues(MODELS, T0))
        await asyncio.sleep(0)
        assert not call.done()
        await server.start()
        assert [view.queued for view in await call] == [0, 0]

    async def test_a_call_whose_line_broke_is_of_unknown_outcome_and_can_be_repeated(
        self, client: RemoteBroker, server: BrokerServer
    ):
        await leased(client, "a")
        waiting = await begin(client)
        report = asyncio.create_task(client.complete(MODEL, ANN, [done("a")], T0))
        await asyncio.sleep(0)
        await server.stop()
        for call in (waiting, report):
            with pytest.raises(OutcomeUnknown):
                await call
        await server.start()
        assert await client.complete(MODEL, ANN, [done("a")], T0) == [True]
        assert len(await client.read_outcomes(9)) == 1

    async def test_patience_ends(self, server: BrokerServer, path: Path):
        client = RemoteBroker(path, patience_s=0.05)
        await client.start()
        await cut(client, server)
        with pytest.raises(Unavailable, match="No broker answers"):
            await client.queues(MODELS, T0)
        await client.stop()

    async def test_without_a_server_start_says_so_and_leaves_nothing_behind(self, path: Path):
        before = asyncio.all_tasks()
        with pytest.raises(Unavailable):
            await RemoteBroker(path, patience_s=0.05).start()
        assert asyncio.all_tasks() == before

    async def test_a_client_may_start_before_its_server(self, path: Path):
        client = RemoteBroker(path)
        starting = asyncio.create_task(client.start())
        await asyncio.sleep(0)
        server = BrokerServer(MemoryBroker(), path)
        await server.start()
        await starting
        assert await client.peek([ref("a")], T0) == [None]
        await client.stop()
        await server.stop()

    async def test_a_stopped_client_ends_its_calls_and_takes_no_more(self, client: RemoteBroker):
        waiting = await begin(client)
        await client.stop()
        with pytest.raises(OutcomeUnknown):
            await waiting
        with pytest.raises(Unavailable, match="stopped"):
            await client.peek([], T0)

    async def test_stopping_during_an_outage_ends_the_calls_that_wait_for_the_line(
        self, client: RemoteBroker, server: BrokerServer
    ):
        await cut(client, server)
        call = asyncio.create_task(client.peek([], T0))
        await asyncio.sleep(0)
        await client.stop()
        with pytest.raises(Unavailable):
            await call

    async def test_stopping_a_server_leaves_no_task_behind(self, path: Path):
        before = asyncio.all_tasks()
        server = BrokerServer(MemoryBroker(), path)
        await server.start()
        client = RemoteBroker(path)
        await client.start()
        waiting = await begin(client)
        await server.stop()
        await client.stop()
        await asyncio.gather(waiting, return_exceptions=True)
        assert asyncio.all_tasks() == before
        assert mode(path) is None


class TestClientsThatGo:
    async def test_a_lost_client_takes_no_wake_up_with_it(self, client: RemoteBroker, path: Path):
        doomed = RemoteBroker(path)
        await doomed.start()
        first = await begin(doomed)
        second = await begin(client, worker=BOB)
        await doomed.stop()
        await asyncio.gather(first, return_exceptions=True)
        # Two round trips: the server reads the hang-up before the second at the latest.
        await client.peek([], T0)
        await client.peek([], T0)
        await client.enqueue([ticket("a")], T0)
        assert (await second).work

    async def test_a_call_given_up_here_ends_there(self, client: RemoteBroker):
        given_up = await begin(client)
        kept = await begin(client, worker=BOB)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        await client.enqueue([ticket("a")], T0)
        assert (await kept).work

    async def test_a_line_full_of_calls_keeps_each_answer_with_its_call(self, client: RemoteBroker):
        names = [f"job{i}" for i in range(300)]
        waits = [asyncio.create_task(client.read_events(ref(n), None, wait_s=LONG_S)) for n in names]
        calls = [client.enqueue([ticket(name)], T0) for name in reversed(names)]
        assert await asyncio.gather(*calls) == [[True]] * 300
        stories = await asyncio.gather(*waits)
        assert [story[0].job for story in stories] == [job(name) for name in names]

    async def test_a_long_frame_arrives_whole(self, client: RemoteBroker):
        payload = bytes(range(256)) * 40_000  # 10 MB: far more than one read of a socket gives
        await client.enqueue([ticket("a", payload=payload)], T0)
        [lease] = await client.lease(MODEL, ANN, 1, T0)
        assert lease.payload == payload

    @pytest.mark.parametrize(
        "garbage",
        [
            (MAX_FRAME_BYTES + 1).to_bytes(4, "big") + b"x",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\0\0\0\3abc",
            b"\0\0\0\1\x90",
        ],
    )
    async def test_who_does_not_speak_the_protocol_is_hung_up_on(
        self, client: RemoteBroker, path: Path, garbage: bytes
    ):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(garbage)
        assert await reader.read() == b""
        writer.close()
        assert await client.peek([ref("a")], T0) == [None]

    async def test_a_frame_in_single_bytes_is_understood(self, server: BrokerServer, path: Path):
        content = msgspec.msgpack.encode((7, "peek", ([], T0)))
        reader, writer = await asyncio.open_unix_connection(path)
        for byte in len(content).to_bytes(4, "big") + content:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        size = int.from_bytes(await reader.readexactly(4), "big")
        assert msgspec.msgpack.decode(await reader.readexactly(size)) == [7, None, []]
        writer.close()
        await writer.wait_closed()


class TestErrors:
    @pytest.mark.parametrize(
        "error",
        [
            Unavailable("The queue is away.", code="redis_down", host="there"),
            Refused("Too much.", retry_after_s=2.5),
            AttemptFailed("No.", retryable=True),
            IllegalTransition("a failed job cannot be leased"),
        ],
    )
    async def test_an_error_keeps_its_class_and_its_words(self, path: Path, error: SpringtideError):
        caught = await self._raised(path, error)
        assert type(caught) is type(error)
        assert (caught.message, caught.code, caught.details) == (error.message, error.code, error.details)
        for extra in ("retry_after_s", "retryable"):
            assert getattr(caught, extra, None) == getattr(error, extra, None)

    async def test_an_unexpected_error_is_told_as_one_of_ours_and_logged(
        self, path: Path, caplog: pytest.LogCaptureFixture
    ):
        caught = await self._raised(path, KeyError("x"))
        assert type(caught) is SpringtideError
        assert "KeyError" in caught.message
        assert "does not promise" in caplog.text

    async def test_arguments_of_the_wrong_type_are_refused(self, client: RemoteBroker):
        wrong: Any = "not a number"
        with pytest.raises(CallerError, match="lease"):
            await client.lease(MODEL, ANN, wrong, T0)
        assert await client.lease(MODEL, ANN, 1, T0) == []

    async def test_a_verb_of_another_version_is_refused(self, client: RemoteBroker):
        class Newer(Protocol):
            async def teleport(self) -> None: ...

        with pytest.raises(CallerError, match="different versions"):
            await client.beside(Newer).teleport()

    async def _raised(self, path: Path, error: Exception) -> SpringtideError:
        class Broken(MemoryBroker):
            async def queues(self, models: Any, now_s: float) -> list[QueueView]:
                raise error

        server, client = BrokerServer(Broken(), path), RemoteBroker(path)
        await server.start()
        await client.start()
        try:
            with pytest.raises(SpringtideError) as caught:
                await client.queues(MODELS, T0)
            return caught.value
        finally:
            await client.stop()
            await server.stop()


class TestSocket:
    async def test_only_the_owner_may_connect(self, server: BrokerServer, path: Path):
        assert mode(path) == 0o600

    async def test_the_socket_of_a_dead_server_is_replaced(self, path: Path):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        assert mode(path) is not None
        server = BrokerServer(MemoryBroker(), path)
        await server.start()
        client = RemoteBroker(path)
        await client.start()
        await client.stop()
        await server.stop()

    async def test_a_socket_that_is_served_is_not_taken_over(
        self, server: BrokerServer, client: RemoteBroker, path: Path
    ):
        with pytest.raises(ConfigError, match="another process"):
            await BrokerServer(MemoryBroker(), path).start()
        assert await client.peek([], T0) == []

    async def test_a_file_in_the_way_is_left_alone(self, path: Path):
        in_the_way(path)
        with pytest.raises(ConfigError):
            await BrokerServer(MemoryBroker(), path).start()
        assert in_the_way(path) == "mine"

    @pytest.mark.parametrize("make", [RemoteBroker, lambda path: BrokerServer(MemoryBroker(), path)])
    async def test_a_path_too_long_for_a_socket_is_a_setting_to_change(self, path: Path, make: Callable[[Path], Any]):
        with pytest.raises(ConfigError):
            await make(path.parent / ("x" * 120)).start()

    async def test_a_broker_that_suspends_in_any_call_is_served_as_well(self, path: Path):
        class Proxy:
            """A broker that is not the embedded one: every call goes through the loop."""

            def __init__(self) -> None:
                self._broker = MemoryBroker()

            def __getattr__(self, name: str) -> Any:
                async def call(*arguments: Any, **options: Any) -> Any:
                    async with asyncio.timeout(LONG_S):  # needs a task
                        await asyncio.sleep(0)
                        return await getattr(self._broker, name)(*arguments, **options)

                return call

        broker: Any = Proxy()
        server, client = BrokerServer(broker, path), RemoteBroker(path)
        await server.start()
        await client.start()
        await leased(client, "a")
        assert await client.complete(MODEL, ANN, [done("a")], T0) == [True]
        await client.stop()
        await server.stop()
