"""A front process of its own before the gateway: what it passes on is answered as ever, and what is not for it comes
back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import psutil
import pytest
from gateway_world import World, gateway_world, served

from springtide.domain.errors import Unavailable
from springtide.gateway.access import Access
from springtide.gateway.front import IDLE_LOOKS, Front
from springtide.gateway.front_line import Asked, receive_connection, send_connection
from springtide.gateway.fronting import Fronting
from springtide.gateway.standing import Standings
from springtide.runtime.frames import Frames

LIMIT_S = 60.0
MUCH = 1 << 22  # more than a socket takes that nobody reads
GOOD = b'{"model":"synthetic","inputs":{}}'
HEAD = b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\n"
JSON = b"Content-Type: application/json\r\n"


def post(body: bytes = GOOD, *headers: bytes) -> bytes:
    lines = b"".join(b"%b\r\n" % each for each in headers)
    return b"%b%b%bContent-Length: %d\r\n\r\n%b" % (HEAD, JSON, lines, len(body), body)


class Client:
    """One connection, read as HTTP by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, *parts: bytes) -> None:
        self._writer.write(b"".join(parts))

    async def answer(self) -> tuple[int, dict[bytes, bytes], bytes]:
        head = (await self._reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(b": ") for line in head[1:]) if name}
        if headers.get(b"transfer-encoding") == b"chunked":
            body = b""
            while size := int(await self._reader.readline(), 16):
                body += (await self._reader.readexactly(size + 2))[:-2]
            await self._reader.readline()
        else:
            body = await self._reader.readexactly(int(headers.get(b"content-length", b"0")))
        return int(head[0].split(b" ")[1]), headers, body

    async def read(self, size: int) -> bytes:
        return await self._reader.readexactly(size)

    async def ask(self, *parts: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
        self.send(*parts)
        return await self.answer()

    async def is_hung_up(self) -> bool:
        with contextlib.suppress(ConnectionError):
            return not await self._reader.read(1)
        return True

    def close(self) -> None:
        self._writer.close()


class Served:
    """A gateway on a socket with what decides about its front process."""

    def __init__(self, address: tuple[str, int], fronting: Fronting) -> None:
        self.address = address
        self.fronting = fronting
        self.clients: list[Client] = []

    async def client(self) -> Client:
        self.clients.append(Client(*await asyncio.open_connection(*self.address)))
        return self.clients[-1]

    async def busy_client(self) -> Client:
        """One whose connection the front process has."""
        client, held = await self.client(), self.fronting.held
        async with asyncio.timeout(LIMIT_S):
            while self.fronting.held == held:
                status, _, body = await client.ask(post())
                assert status == 202, body
        relayed = self.fronting.relayed
        assert (await client.ask(post()))[0] == 202
        assert self.fronting.relayed == relayed + 1
        return client

    async def until(self, held: int) -> None:
        async with asyncio.timeout(LIMIT_S):
            while self.fronting.held != held:
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def fronted(world: World, *, grace_s: float = LIMIT_S, **settings: Any) -> AsyncGenerator[Served]:
    made: list[Fronting] = []

    def fronting(app: Any, adopt: Any) -> Fronting:
        made.append(Fronting(app, adopt, **{"busy_per_s": 0.0, "window_s": 0.0, **settings}))
        return made[0]

    async with served(world, fronting=fronting, grace_s=grace_s) as address:
        serving = Served(address, made[0])
        try:
            yield serving
        finally:
            for client in serving.clients:
                client.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path) as made:
        yield made


@pytest.fixture
async def serving(world: World) -> AsyncGenerator[Served]:
    async with fronted(world) as found:
        yield found


def shape(answer: tuple[int, dict[bytes, bytes], bytes]) -> Any:
    """What of an answer does not differ from one time to the next."""
    status, headers, body = answer
    told = json.loads(body) if body.startswith(b"{") else body
    if isinstance(told, dict):
        told = {key: value for key, value in told.items() if key in ("code", "detail", "status", "model", "errors")}
    return status, sorted(headers), told


async def test_jobs_that_come_through_the_front_are_on_record(world: World, serving: Served) -> None:
    client = await serving.busy_client()
    status, headers, body = await client.ask(post(b'{"model":"synthetic","inputs":{"seconds":0.5}}'))
    told = json.loads(body)
    assert (status, headers[b"location"].decode()) == (202, told["status_url"])
    [job] = await world.services.ledger.get([told["id"]])
    assert job is not None and job.inputs["seconds"] == 0.5
    client.close()
    await serving.until(0)


@pytest.mark.parametrize(
    "asked",
    [
        post(),
        post(b'{"model":"synthetic","inputs":{"seconds":-1}}'),
        post(b'{"model":"nobody","inputs":{}}'),
        post(b'{"model":"sketch","inputs":{}}'),
        post(b'{"model":"synthetic","inputs":{},"then":[{"model":"nobody"}]}'),
        post(b'{"model":"synthetic","wrong":1}'),
        post(b"[]"),
        post(b"{"),
        post(b""),
        post(GOOD, b"Idempotency-Key: " + b"k" * 300),
        post(GOOD, b"Authorization: Bearer st_wrong"),
        post(GOOD, b"Prefer: wait=0"),
        post(GOOD, b"Prefer: wait=nonsense"),
        HEAD + b"Content-Type: text/csv\r\nContent-Length: 1\r\n\r\nx",
        HEAD + b"Content-Length: %d\r\n\r\n" % len(GOOD) + GOOD,
    ],
)
async def test_an_answer_through_the_front_is_the_one_that_is_given_without(serving: Served, asked: bytes) -> None:
    without = await serving.client()
    expected = await without.ask(asked)
    client = await serving.busy_client()
    relayed = serving.fronting.relayed
    assert shape(await client.ask(asked)) == shape(expected)
    assert serving.fronting.relayed == relayed + 1
    assert (await client.ask(post()))[0] == 202  # and it goes on


@pytest.mark.parametrize(
    "asked",
    [
        b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        b"HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /v1/jobs?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        HEAD + JSON + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD),
        HEAD + b'Content-Type: multipart/form-data; boundary="x"\r\nContent-Length: 6\r\n\r\n--x--\r',
        post(b'{"model":"synthetic","inputs":{}}' + b" " * 70_000),
        post(GOOD, b"X-Much: " + b"x" * 70_000),
        post(GOOD, b"Connection: close"),
        post(GOOD, b"Content-Length: 33"),
        post(GOOD).replace(b"HTTP/1.1", b"HTTP/1.0"),
        b"POST /v1/jobs HTTP/1.1\r\nnonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    ],
    ids=lambda asked: asked[:40].split(b"\r\n")[0].decode("latin-1"),
)
async def test_what_is_not_for_the_front_comes_back_and_is_answered_as_ever(serving: Served, asked: bytes) -> None:
    without = await serving.client()
    expected = await _head_of(without, asked)
    client = await serving.busy_client()
    assert await _head_of(client, asked) == expected
    await serving.until(0)


async def _head_of(client: Client, asked: bytes) -> Any:
    client.send(asked)
    head = await client._reader.readuntil(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    return lines[0], sorted(line.partition(b":")[0].lower() for line in lines[1:])


async def test_a_client_that_waits_before_its_body_is_told_to_go_on(serving: Served) -> None:
    client = await serving.busy_client()
    head, _, body = post(GOOD, b"Expect: 100-continue").partition(b"\r\n\r\n")
    client.send(head, b"\r\n\r\n")
    assert (await client.answer())[0] == 100
    assert (await client.ask(body))[0] == 202


async def test_a_request_may_come_in_pieces(serving: Served) -> None:
    client = await serving.busy_client()
    relayed = serving.fronting.relayed
    asked = post()
    for at in (1, 10, len(HEAD), asked.index(b"\r\n\r\n") + 2, asked.index(b"\r\n\r\n") + 4, len(asked) - 1):
        client.send(asked[:at])
        await asyncio.sleep(0.02)  # long enough to be read by itself, mostly; right either way
        assert (await client.ask(asked[at:]))[0] == 202
    assert serving.fronting.relayed == relayed + 6


async def test_another_request_may_begin_in_pieces(serving: Served) -> None:
    for at in (3, 20, 36):
        client = await serving.busy_client()
        asked = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
        client.send(asked[:at])
        await asyncio.sleep(0.02)
        assert (await client.ask(asked[at:]))[0] == 200


async def test_requests_sent_before_their_answers_are_answered_in_order(serving: Served) -> None:
    client = await serving.busy_client()
    wrong = post(b'{"model":"nobody","inputs":{}}')
    client.send(post(), wrong, post(), b"GET /v1/models/sketch HTTP/1.1\r\nHost: a\r\n\r\n", wrong)
    assert [(await client.answer())[0] for _ in range(5)] == [202, 404, 202, 200, 404]


async def test_many_that_come_at_one_time_have_each_their_own_answer(world: World, serving: Served) -> None:
    clients = [await serving.busy_client() for _ in range(4)]
    bodies = [GOOD, b'{"model":"nobody"}', b'{"model":"synthetic","inputs":{"seconds":0.25}}', b"{"]
    for client, body in zip(clients, bodies, strict=True):
        client.send(post(body))
    answers = [await client.answer() for client in clients]
    assert [status for status, _, _ in answers] == [202, 404, 202, 400]
    [job] = await world.services.ledger.get([json.loads(answers[2][2])["id"]])
    assert job is not None and job.inputs["seconds"] == 0.25


async def test_one_that_breaks_something_spoils_nothing_for_those_beside_it(
    serving: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    identify = Access.identify

    def identified(access: Access, scope: Any) -> Any:
        if (b"x-a", b"wrong") in scope["headers"]:
            raise ValueError("a header that nobody thought of")
        return identify(access, scope)

    monkeypatch.setattr(Access, "identify", identified)
    clients = [await serving.busy_client() for _ in range(3)]
    for client, header in zip(clients, (b"X-A: b", b"X-A: wrong", b"X-A: b"), strict=True):
        client.send(post(GOOD, header))
    assert [(await client.answer())[0] for client in clients] == [202, 500, 202]


async def test_an_answer_that_cannot_be_made_is_the_only_one(serving: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    clients = [await serving.busy_client() for _ in range(3)]
    assert (await clients[0].ask(post(GOOD, b"Idempotency-Key: a")))[0] == 202

    async def eta(standings: Standings, standing: Any) -> Any:  # of a job that was there before
        raise Unavailable("the ledger is away")

    with monkeypatch.context() as broken:
        broken.setattr(Standings, "eta", eta)
        for client, header in zip(clients, (b"X-A: b", b"Idempotency-Key: a", b"X-A: b"), strict=True):
            client.send(post(GOOD, header))
        assert [(await client.answer())[0] for client in clients] == [202, 503, 202]


async def test_a_request_that_began_before_the_last_answer_breaks_nothing(
    serving: Served, caplog: pytest.LogCaptureFixture
) -> None:
    client = await serving.client()
    client.send(post(), post()[:30])
    assert (await client.answer())[0] == 202
    assert (await client.ask(post()[30:]))[0] == 202
    client.send(post(), b"POST /v1/jobs HTTP/1.1\r\nnonsense\r\n\r\n")
    assert (await client.answer())[0] == 400
    other = await serving.client()
    assert (await other.ask(post()))[0] == 202  # after the first of the two
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_connection_that_was_lost_on_its_way_back_is_the_only_one(world: World) -> None:
    script = (
        "import os, sys; from springtide.gateway.front import main; os.write(int(sys.argv[2]), b'\\xff' * 8); main()"
    )
    async with fronted(world, grace_s=1.0, command=(sys.executable, "-P", "-c", script)) as serving:
        client = await serving.busy_client()
        assert (await client.ask(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"))[0] == 200


async def test_one_that_waits_for_its_job_holds_up_nobody(world: World, serving: Served) -> None:
    waiting, other = await serving.busy_client(), await serving.busy_client()
    waiting.send(post(b'{"model":"album","inputs":{}}', b"Prefer: wait=30"))  # with an error of its own
    assert (await waiting.answer())[0] == 422
    waiting.send(post(GOOD, b"Prefer: wait=30"))
    assert (await other.ask(post()))[0] == 202

    async def work() -> None:
        while True:
            await world.complete(await world.lease(), {})

    working = asyncio.create_task(work())
    assert (await waiting.answer())[0] == 200
    working.cancel()


async def test_without_a_ledger_each_is_told_to_come_again(
    world: World, serving: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await serving.busy_client()

    async def insert_each(jobs: Any) -> Any:
        raise Unavailable("the ledger is away")

    monkeypatch.setattr(world.services.ledger, "insert_each", insert_each)
    status, headers, body = await client.ask(post())
    assert (status, json.loads(body)["code"]) == (503, "unavailable") and b"retry-after" in headers


async def test_what_breaks_is_an_error_for_its_client_and_the_front_goes_on(
    world: World, serving: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await serving.busy_client()
    with monkeypatch.context() as broken:
        broken.setattr(type(world.app), "answer_each", None)
        status, _, body = await client.ask(post())
        assert (status, json.loads(body)["code"]) == (500, "internal_error")
    assert (await client.ask(post()))[0] == 202


async def test_a_front_that_dies_takes_its_connections_along_and_another_one_begins(serving: Served) -> None:
    client = await serving.busy_client()
    pid = serving.fronting.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert await client.is_hung_up()
    again = await serving.client()
    assert (await again.ask(post()))[0] == 202
    await serving.busy_client()
    assert serving.fronting.pid not in (None, pid)


async def test_a_front_that_does_not_start_is_done_without(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async with fronted(world, command=(sys.executable, "-c", "raise SystemExit(7)")) as serving:
        client = await serving.client()
        async with asyncio.timeout(LIMIT_S):
            while "exit code 7" not in caplog.text:
                assert (await client.ask(post()))[0] == 202
        assert (await client.ask(post()))[0] == 202


async def test_a_front_that_has_nothing_to_do_ends(world: World) -> None:
    async with fronted(world, idle_s=0.3) as serving:  # a client must get there in this time
        client = await serving.busy_client()
        pid = serving.fronting.pid
        assert pid is not None
        client.close()
        async with asyncio.timeout(LIMIT_S):
            while psutil.pid_exists(pid):
                await asyncio.sleep(0.01)
        await serving.busy_client()


async def test_stopping_answers_what_is_under_way_and_leaves_no_process(world: World) -> None:
    async with fronted(world) as serving:
        idle, waiting = await serving.busy_client(), await serving.busy_client()
        pid = serving.fronting.pid
        waiting.send(post(GOOD, b"Prefer: wait=30"))
        relayed = serving.fronting.relayed
        async with asyncio.timeout(LIMIT_S):
            while serving.fronting.relayed == relayed:
                await asyncio.sleep(0.01)
        world.services.closing.set()
        assert (await waiting.answer())[0] == 202
        assert await idle.is_hung_up() and await waiting.is_hung_up()
    assert pid is not None and not psutil.pid_exists(pid)


def test_it_ends_when_the_gateway_is_gone() -> None:
    line, its_line = socket.socketpair()
    channel, its_channel = socket.socketpair()
    handles = (its_line.fileno(), its_channel.fileno())
    command = [sys.executable, "-P", "-m", "springtide.gateway.front", *map(str, handles)]
    with subprocess.Popen(command, pass_fds=handles) as process, its_line, its_channel:
        its_line.close()
        its_channel.close()
        line.close()
        channel.close()
        assert process.wait(LIMIT_S) == 0


class Gateway:
    """The other end of a front's line and channel, with a connection on it."""

    def __init__(self, front: Front, channel: socket.socket) -> None:
        self.front = front
        self.channel = channel
        self.frames: asyncio.Queue[Asked] = asyncio.Queue()
        self.line: Frames[Asked] = Frames(Asked, self.frames.put_nowait, lambda: None)

    async def client(self) -> Client:
        ours, its = socket.socketpair()
        with its:
            send_connection(self.channel, its.fileno(), 0)
        held = len(self.front.doors)
        self.front.take_in()
        async with asyncio.timeout(LIMIT_S):
            while len(self.front.doors) == held:
                await asyncio.sleep(0)
        return Client(*await asyncio.open_connection(sock=ours))


@pytest.fixture
async def gateway() -> AsyncGenerator[Gateway]:
    """Here, without a process: for what takes time."""
    loop = asyncio.get_running_loop()
    line, its_line = socket.socketpair()
    channel, its_channel = socket.socketpair()
    channel.setblocking(False)
    its_channel.setblocking(False)
    front = Front(its_channel)
    other = Gateway(front, channel)
    await loop.create_connection(lambda: front.line, sock=its_line)
    await loop.create_connection(lambda: other.line, sock=line)
    with channel, its_channel:
        yield other
        front.line.close()
        other.line.close()
        for door in list(front.doors):
            door.give_back()


async def test_a_request_that_stalls_goes_back_with_all_that_was_read(gateway: Gateway) -> None:
    client = await gateway.client()
    client.send(post()[:40])
    [door] = gateway.front.doors
    async with asyncio.timeout(LIMIT_S):
        while not door.is_reading:
            await asyncio.sleep(0)
    door.look()
    assert gateway.frames.empty()
    door.look()
    number, headers, unread = await gateway.frames.get()
    assert (headers, unread) == (None, post()[:40])
    given = receive_connection(gateway.channel)
    assert given is not None and given[0] == number
    given[1].close()
    client.close()


async def test_a_client_that_does_not_read_its_answers_is_given_no_more_of_them(gateway: Gateway) -> None:
    client = await gateway.client()
    client.send(post(), post(), b"GET /v1/models HTTP/1.1\r\n\r\n")
    for _ in range(2):
        number, headers, _ = await gateway.frames.get()
        assert headers is not None
        gateway.front.answered((number, b"x" * MUCH))
        [door] = gateway.front.doors
        assert not door.number
        await client.read(MUCH)
    _, headers, unread = await gateway.frames.get()
    assert (headers, unread) == (None, b"GET /v1/models HTTP/1.1\r\n\r\n")
    client.close()


async def test_a_connection_that_could_not_be_opened_is_the_only_one_lost(gateway: Gateway) -> None:
    gateway.channel.send(bytes(8))
    gateway.front.take_in()
    assert await gateway.frames.get() == (0, None, b"")
    assert not gateway.front.over.is_set()


async def test_the_silence_of_a_client_is_counted_from_its_last_answer(gateway: Gateway) -> None:
    client = await gateway.client()
    client.send(post(GOOD, b"Prefer: wait=70"))
    number, _, _ = await gateway.frames.get()
    [door] = gateway.front.doors
    for _ in range(IDLE_LOOKS):
        door.look()
    gateway.front.answered((number, b"HTTP/1.1 202 Accepted\r\n\r\n"))
    await client.read(25)
    door.look()
    client.send(post())
    assert (await gateway.frames.get())[2] == GOOD
    client.close()


async def test_a_client_that_is_silent_between_requests_is_closed_as_the_gateway_does(gateway: Gateway) -> None:
    client = await gateway.client()
    [door] = gateway.front.doors
    for _ in range(IDLE_LOOKS + 1):
        door.look()
    assert await client.is_hung_up()
    assert await gateway.frames.get() == (0, None, b"")
    client.close()


async def test_an_answer_whose_client_has_gone_is_dropped(gateway: Gateway) -> None:
    client = await gateway.client()
    client.send(post())
    number, headers, body = await gateway.frames.get()
    assert headers is not None and body == GOOD
    client.close()
    assert await gateway.frames.get() == (0, None, b"")
    gateway.front.answered((number, b"HTTP/1.1 202 Accepted\r\n\r\n"))
    assert not gateway.front.doors
