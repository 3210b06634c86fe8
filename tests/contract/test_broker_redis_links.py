"""The ways to a Redis server: TLS, users with few rights, Sentinels and their failover, and a network that breaks."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from redis.asyncio import Redis

from springtide.broker import redis_clients
from springtide.broker.redis import RedisBroker
from springtide.domain.errors import ConfigError, OutcomeUnknown, Unavailable
from springtide.domain.job import JobStatus
from springtide.testing.broker_cases import ANN, MODEL, MODELS, SOON_S, T0, done, job, ref, status, ticket
from springtide.testing.proxy import FaultProxy
from springtide.testing.servers import NoServer, ValkeyServer, find_valkey, valkey_sentinel, valkey_server

try:
    find_valkey()
except NoServer as missing:
    pytest.skip(str(missing), allow_module_level=True)

SECRET = "s3cr3t-horse"


@asynccontextmanager
async def started(url: str) -> AsyncIterator[RedisBroker]:
    broker = RedisBroker(url, MODELS, consumer="test")
    try:
        await broker.start()
        yield broker
    finally:
        await broker.stop()


async def works(broker: RedisBroker, name: str = "a") -> None:
    """One job, from the doorbell to the outcome."""
    waiting = asyncio.create_task(broker.wake(MODEL, ANN, for_work=True, wait_s=SOON_S))
    hearing = asyncio.create_task(broker.read_events(ref(name), None, wait_s=SOON_S))
    assert await broker.enqueue([ticket(name)], T0) == [True]
    assert (await waiting).work
    assert [event.kind for event in await hearing] == ["queued"]
    assert [lease.id for lease in await broker.lease(MODEL, ANN, 1, T0)] == [job(name)]
    assert await broker.complete(MODEL, ANN, [done(name)], T0) == [True]
    outcomes = await broker.read_outcomes(9, wait_s=SOON_S)
    assert job(name) in {outcome.id for outcome in outcomes}
    await broker.ack_outcomes(outcomes, T0)


async def until_it_answers(broker: RedisBroker) -> None:
    async with asyncio.timeout(120):
        while True:
            try:
                await broker.queues(MODELS, T0)
                return
            except (Unavailable, OutcomeUnknown):
                await asyncio.sleep(0)


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with valkey_server() as running:
        yield running


@pytest.fixture
def line(server: ValkeyServer) -> Iterator[FaultProxy]:
    server.ask("FLUSHALL")
    with FaultProxy(("127.0.0.1", server.port)) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class TestTls:
    @pytest.fixture
    def secure(self, server: ValkeyServer, authority: trustme.CA) -> Iterator[FaultProxy]:
        """The server behind TLS: the wheel's build speaks none itself."""
        server.ask("FLUSHALL")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        with FaultProxy(("127.0.0.1", server.port), tls=context) as proxy:
            yield proxy

    async def test_a_job_passes_over_tls(self, secure: FaultProxy, authority: trustme.CA, tmp_path: Path) -> None:
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        async with started(f"rediss://127.0.0.1:{secure.port}/0?ssl_ca_certs={tmp_path / 'ca.pem'}") as broker:
            await works(broker)

    async def test_a_certificate_that_nobody_vouches_for_is_refused(self, secure: FaultProxy) -> None:
        with pytest.raises(Unavailable, match=r"(?i)certificate"):
            async with started(f"rediss://127.0.0.1:{secure.port}/0"):
                pytest.fail("it connected")


async def test_a_user_needs_no_more_than_the_rights_that_are_documented(server: ValkeyServer) -> None:
    server.ask("FLUSHALL")
    rights = "on,>" + SECRET + ",~{p:*,&{p:*,-@all,+@read,+@write,+@pubsub,+@scripting,+@connection,+info"
    server.ask("ACL", "SETUSER", "springtide", *rights.split(","))
    async with started(f"redis://springtide:{SECRET}@127.0.0.1:{server.port}/0") as broker:
        await works(broker)


class TestSentinel:
    async def test_the_broker_follows_the_master_through_a_failover(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.DEBUG), valkey_sentinel("tide", password=SECRET) as (sentinel, master):
            url = f"redis+sentinel://:{SECRET}@127.0.0.1:{sentinel.port}/tide/0"
            async with started(url) as broker:
                await works(broker, "a")
                await broker.enqueue([ticket("b")], T0)
                while b":1" not in master.ask("WAIT", "1", "1000"):
                    pass
                master.kill()
                await until_it_answers(broker)
                assert await status(broker, "b") == JobStatus.QUEUED
                assert [lease.id for lease in await broker.lease(MODEL, ANN, 1, T0)] == [job("b")]
                await broker.complete(MODEL, ANN, [done("b")], T0)
                await works(broker, "c")
        assert SECRET not in caplog.text

    async def test_a_service_that_no_sentinel_knows_is_told(self) -> None:
        with valkey_sentinel("tide", password=SECRET) as (sentinel, _):
            url = f"redis+sentinel://:{SECRET}@127.0.0.1:{sentinel.port}/ebb"
            with pytest.raises(Unavailable, match="ebb") as caught:
                async with started(url):
                    pytest.fail("it connected")
        assert SECRET not in str(caught.value)

    @pytest.mark.parametrize("url", ["redis+sentinel://h1:1,h2:2", "redis+sentinel:///svc", "redis+sentinel://h/s/0/x"])
    def test_a_url_without_hosts_or_service_is_refused(self, url: str) -> None:
        with pytest.raises(ConfigError, match="redis\\+sentinel://host,host/service"):
            redis_clients.single(url)

    def test_what_is_shown_of_a_url_holds_no_secret(self) -> None:
        url = f"rediss+sentinel://ann:{SECRET}@one:1,two/svc/3?sentinel_password={SECRET}"
        assert redis_clients.shown(url) == "svc (by Sentinels one:1,two:26379)"


class TestNetwork:
    async def test_after_a_cut_it_works_again_with_nobodys_help(self, line: FaultProxy) -> None:
        async with started(f"redis://127.0.0.1:{line.port}/0") as broker:
            await works(broker, "a")
            line.cut()
            with pytest.raises((Unavailable, OutcomeUnknown)):
                await broker.enqueue([ticket("b")], T0)
            line.mend()
            await until_it_answers(broker)
            await works(broker, "c")

    async def test_a_line_that_swallows_everything_hangs_nobody(
        self, line: FaultProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with started(f"redis://127.0.0.1:{line.port}/0") as broker:
            await works(broker, "a")
            monkeypatch.setattr("springtide.broker.redis_scripts.CALL_TIMEOUT_S", 0.2)
            line.stall()
            with pytest.raises(OutcomeUnknown):
                await broker.enqueue([ticket("b")], T0)
            line.mend()
            monkeypatch.undo()
            await until_it_answers(broker)
            await works(broker, "c")

    async def test_a_lost_reply_is_not_a_lost_job(
        self, server: ValkeyServer, line: FaultProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with started(f"redis://127.0.0.1:{line.port}/0") as broker:
            await works(broker, "z")  # the server has the scripts now: nothing to be asked back before it acts
            before = server.ask("DBSIZE")
            monkeypatch.setattr("springtide.broker.redis_scripts.CALL_TIMEOUT_S", 0.2)
            line.lose_replies()
            with pytest.raises(OutcomeUnknown):
                await broker.enqueue([ticket("a")], T0)
            async with asyncio.timeout(120):
                while server.ask("DBSIZE") == before:  # mending resets the line: what it still held would be lost
                    await asyncio.sleep(0)
            line.mend()
            monkeypatch.undo()
            await until_it_answers(broker)
            assert await broker.enqueue([ticket("a")], T0) == [False]
            assert [lease.id for lease in await broker.lease(MODEL, ANN, 9, T0)] == [job("a")]

    async def test_a_server_that_ends_its_half_is_asked_anew(self, line: FaultProxy) -> None:
        async with started(f"redis://127.0.0.1:{line.port}/0") as broker:
            await works(broker, "a")
            line.half_close()
            await until_it_answers(broker)
            await works(broker, "c")


class TestShortWay:
    async def test_scripts_pass_the_library_by_as_long_as_that_goes_well(
        self, line: FaultProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        by_library = _count_library_calls(monkeypatch)
        async with started(f"redis://127.0.0.1:{line.port}/0") as broker:
            await _until_short(broker, by_library)
            many = await asyncio.gather(*(broker.queues([MODEL], T0) for _ in range(50)))
            assert len(many) == 50
            assert by_library[0] == 0
            line.half_close()
            await until_it_answers(broker)
            assert by_library[0] > 0
            await _until_short(broker, by_library)
            await works(broker, "a")

    async def test_an_error_is_told_as_the_library_tells_it(
        self, server: ValkeyServer, line: FaultProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        by_library = _count_library_calls(monkeypatch)
        async with started(f"redis://127.0.0.1:{line.port}/0") as broker:
            await _until_short(broker, by_library)
            server.ask("SCRIPT", "FLUSH")  # the server forgets them: not an error of the line
            await works(broker, "a")
            await _until_short(broker, by_library)
            server.ask("CONFIG", "SET", "maxmemory", "1")
            with pytest.raises(Unavailable, match="maxmemory"):
                await broker.enqueue([ticket("b")], T0)
            server.ask("CONFIG", "SET", "maxmemory", "0")
            await works(broker, "c")


def _count_library_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    found = [0]
    evalsha = Redis.evalsha

    def counted(self: Redis, *args: Any) -> Any:
        found[0] += 1
        return evalsha(self, *args)

    monkeypatch.setattr(Redis, "evalsha", counted)
    return found


async def _until_short(broker: RedisBroker, by_library: list[int]) -> None:
    """Until a call needs the library no more."""
    async with asyncio.timeout(120):
        while True:
            by_library[0] = 0
            await broker.queues([MODEL], T0)
            if by_library[0] == 0:
                return
