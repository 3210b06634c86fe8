"""The broker contract on a real Valkey, and what only a broker on a server can get wrong."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest

from springtide.broker import redis_wire
from springtide.broker.protocol import EVENTS_KEPT_S, TOMBSTONE_S, Broker
from springtide.broker.redis import BURIED_ENTRIES, CALL_ITEMS, ENDED_STORIES, LATEST_BYTES, RedisBroker
from springtide.domain.errors import ConfigError, OutcomeUnknown, Unavailable
from springtide.domain.job import JobStatus
from springtide.domain.lease import LEASE_TTL_S, LiveEvent, Outcome, WakeUp, WorkerState
from springtide.testing.broker_cases import (
    ANN,
    BOB,
    MODEL,
    MODELS,
    OTHER,
    SOON_S,
    T0,
    Rebuild,
    beat,
    done,
    failure,
    held,
    job,
    kinds,
    lease_names,
    leased,
    look,
    progress,
    ref,
    status,
    take_outcomes,
    ticket,
)
from springtide.testing.broker_suite import BrokerContract
from springtide.testing.broker_suite_live import let_waits_begin
from springtide.testing.servers import NoServer, ValkeyServer, find_valkey, free_port, valkey_cluster, valkey_server

try:
    find_valkey()
except NoServer as missing:
    pytest.skip(str(missing), allow_module_level=True)

SECRET = "s3cr3t-horse"


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with valkey_server() as running:
        yield running


@pytest.fixture
async def broker(server: ValkeyServer) -> AsyncIterator[RedisBroker]:
    server.ask("FLUSHALL")
    broker = RedisBroker(server.url, MODELS, consumer="test")
    await broker.start()
    yield broker
    await broker.stop()


@pytest.fixture
async def another(server: ValkeyServer, broker: RedisBroker) -> AsyncIterator[RedisBroker]:
    """Another process's broker on the same server."""
    another = RedisBroker(server.url, MODELS, consumer="another")
    await another.start()
    yield another
    await another.stop()


class TestRedisBroker(BrokerContract):
    @pytest.fixture
    async def rebuild(self, server: ValkeyServer, broker: RedisBroker) -> Rebuild:
        async def emptied() -> Broker:
            server.ask("FLUSHALL")
            return broker

        return emptied


class TestTwoProcesses:
    """A gateway's client and a worker's on one server."""

    async def test_a_worker_is_woken_by_a_job_of_the_gateway(self, broker: Broker, another: Broker) -> None:
        waiting = asyncio.create_task(another.wake(MODEL, ANN, for_work=True, wait_s=SOON_S))
        await broker.queues(MODELS, T0)
        await broker.enqueue([ticket("a")], T0)
        assert await waiting == WakeUp(work=True)
        assert [lease.id for lease in await another.lease(MODEL, ANN, 1, T0)] == [job("a")]
        assert await status(broker, "a") == JobStatus.IN_PROGRESS

    async def test_a_cancel_at_the_gateway_reaches_the_worker(self, broker: Broker, another: Broker) -> None:
        await leased(another, "a")
        waiting = asyncio.create_task(another.wake(MODEL, ANN, for_work=False, wait_s=SOON_S))
        await broker.cancel([ref("a")], T0)
        assert (await waiting).cancelled == (job("a"),)

    async def test_progress_of_a_worker_reaches_a_waiting_reader(self, broker: Broker, another: Broker) -> None:
        await leased(another, "a")
        [*_, last] = await broker.read_events(ref("a"), None)
        reader = asyncio.create_task(broker.read_events(ref("a"), last.seq, wait_s=SOON_S))
        await another.publish(MODEL, ANN, [progress("a", 0.5)], T0 + 1)
        assert [event.fraction for event in await reader] == [0.5]

    async def test_a_hundred_readers_share_the_line_and_each_hears_of_its_own_job(
        self, broker: Broker, another: Broker, server: ValkeyServer
    ) -> None:
        names = [f"j{i}" for i in range(100)]
        await leased(another, *names)
        lasts = [(await broker.read_events(ref(name), None))[-1].seq for name in names]
        readers = [
            asyncio.create_task(broker.read_events(ref(name), last, wait_s=SOON_S))
            for name, last in zip(names, lasts, strict=True)
        ]
        await another.publish(MODEL, ANN, [progress(name, i / 100) for i, name in enumerate(names)], T0 + 1)
        found = await asyncio.gather(*readers)
        assert [[event.fraction for event in events] for events in found] == [[i / 100] for i in range(100)]
        assert server.ask("CLIENT", "LIST", "TYPE", "pubsub").count(b" addr=") == 1

    async def test_a_reader_far_behind_gets_every_event_it_missed(self, broker: Broker, another: Broker) -> None:
        await leased(another, "a")
        count = 3 * LATEST_BYTES // 50  # bytes of an event, at least
        await another.publish(MODEL, ANN, [progress("a", i / 60) for i in range(count)], T0)
        events = await broker.read_events(ref("a"), None)
        assert len(events) == count + 2
        for i, event in enumerate(events):
            assert await broker.read_events(ref("a"), event.seq) == events[i + 1 :]

    async def test_an_outcome_that_one_reader_holds_is_not_given_to_another(
        self, broker: Broker, another: Broker
    ) -> None:
        await leased(broker, "a")
        await broker.complete(MODEL, ANN, [done("a")], T0)
        assert len(await broker.read_outcomes(9)) == 1
        assert await another.read_outcomes(9) == []

    async def test_outcomes_that_came_together_are_acked_one_by_one(
        self, broker: Broker, another: Broker, server: ValkeyServer
    ) -> None:
        names = ["a", "b", "c", "d"]
        await leased(broker, *names)
        await broker.complete(MODEL, ANN, [done(name) for name in names], T0)
        assert [outcome.id for outcome in await broker.read_outcomes(2)] == [job("a"), job("b")]
        a, b, c, d = await broker.read_outcomes(9)
        await broker.ack_outcomes([b, d], T0)
        await broker.ack_outcomes([b], T0)
        assert await broker.read_outcomes(9) == [a, c]
        assert await another.read_outcomes(9) == []
        await broker.ack_outcomes([a], T0, announce=[LiveEvent(seq="", job=job("a"), kind="completed", at_s=T0)])
        assert await kinds(broker, "a") == ["queued", "started", "completed"]
        await broker.ack_outcomes([c], T0)
        assert await broker.read_outcomes(9) == []
        assert server.ask("EXISTS", f"{{p:{MODEL}}}:half") == b":0\r\n"
        assert server.ask("XLEN", f"{{p:{MODEL}}}:out") == b":0\r\n"

    async def test_a_wait_that_is_called_off_takes_no_wake_up_from_another(
        self, broker: RedisBroker, another: RedisBroker
    ) -> None:
        line = broker._link._wait_line  # pyright: ignore[reportPrivateUsage]  # waits are on a line of their own
        assert line is not None
        while line._open is None:  # pyright: ignore[reportPrivateUsage]
            assert await broker.wake(MODEL, ANN, for_work=True, wait_s=0.001) == WakeUp()
        ann = asyncio.create_task(broker.wake(MODEL, ANN, for_work=True, wait_s=SOON_S))
        await let_waits_begin(broker)
        bob = asyncio.create_task(another.wake(MODEL, BOB, for_work=True, wait_s=SOON_S))
        await let_waits_begin(another)
        ann.cancel()
        await asyncio.wait([ann])
        await let_waits_begin(broker)
        await broker.enqueue([ticket("a")], T0)
        assert await bob == WakeUp(work=True)

    @pytest.mark.parametrize("size", [1, 100, 300])
    async def test_the_record_of_a_new_job_is_the_same_whoever_makes_it(
        self, broker: Broker, server: ValkeyServer, monkeypatch: pytest.MonkeyPatch, size: int
    ) -> None:
        given = msgspec.structs.replace(ticket("a"), payload=bytes(size), enqueued_at_s=T0 + 0.25)
        made: list[bytes] = []
        for _ in "by us", "by the script":
            server.ask("FLUSHALL")
            assert await broker.enqueue([given, given], T0 + 0.5) == [True, False]
            made.append(server.ask("GET", f"{{p:{MODEL}}}:j:{given.id}"))
            monkeypatch.setattr(redis_wire, "new_record", lambda *_: None)
        assert made[0] == made[1] != b"$-1\r\n"
        monkeypatch.undo()
        assert await broker.enqueue([given, ticket("b")], T0 + 1) == [False, True]

    async def test_results_are_told_when_they_are_acked_with_all_that_came_with_them(
        self, broker: Broker, server: ValkeyServer
    ) -> None:
        names = ["a", "b", "c"]
        await leased(broker, *names)
        await broker.complete(MODEL, ANN, [done("a"), done("b")], T0 + 1)
        await broker.complete(MODEL, ANN, [done("c")], T0 + 2)
        reader = asyncio.create_task(broker.read_events(ref("b"), None, wait_s=SOON_S, to_end=True))
        await let_waits_begin(broker)
        assert not reader.done()
        outcomes = await broker.read_outcomes(9)
        ends = [_end(outcome) for outcome in outcomes]
        for _ in "acked", "acked once more":
            await broker.ack_outcomes(outcomes, T0 + 3, announce=ends)
            for name in names:
                assert await kinds(broker, name) == ["queued", "started", "completed"]
        assert (await reader)[-1] == msgspec.structs.replace(ends[1], seq=(await reader)[-1].seq)
        assert server.ask("XLEN", f"{{p:{MODEL}}}:out") == b":0\r\n"
        await broker.reap(MODELS, T0 + 3 + TOMBSTONE_S + 1)
        assert await kinds(broker, "a") == ["queued", "started", "completed"]

    async def test_results_of_many_reports_are_acked_together_though_one_was_acked_elsewhere(
        self, broker: Broker, server: ValkeyServer
    ) -> None:
        names = [f"n{n}" for n in range(2 * BURIED_ENTRIES + 1)]
        await leased(broker, *names)
        for name in names:
            await broker.complete(MODEL, ANN, [done(name)], T0 + 1)
        outcomes = await broker.read_outcomes(99)
        entry, stream = outcomes[1].seq.partition(".")[0], f"{{p:{MODEL}}}:out"
        server.ask("XACK", stream, "recorder", entry)
        server.ask("XDEL", stream, entry)
        await broker.ack_outcomes(outcomes, T0 + 3, announce=[_end(outcome) for outcome in outcomes])
        assert [await kinds(broker, name) for name in names] == [["queued", "started", "completed"]] * len(names)
        assert await broker.read_outcomes(99) == []
        assert server.ask("XLEN", stream) == b":0\r\n"
        assert server.ask("ZCARD", f"{{p:{MODEL}}}:tomb") == b":%d\r\n" % len(names)

    async def test_results_acked_after_the_server_was_emptied_and_filled_again_end_their_jobs(
        self, broker: Broker, server: ValkeyServer
    ) -> None:
        await leased(broker, "a")
        await broker.complete(MODEL, ANN, [done("a")], T0)
        outcomes = await broker.read_outcomes(9)
        server.ask("FLUSHALL")
        await broker.enqueue([ticket("a")], T0 + 1)
        await broker.ack_outcomes(outcomes, T0 + 2, announce=[_end(one) for one in outcomes])
        assert (await look(broker, "a")).status is JobStatus.COMPLETED
        assert await kinds(broker, "a") == ["queued", "completed"]
        assert await lease_names(broker, ANN, 9, T0 + 3) == []

    async def test_outcomes_of_a_dead_reader_go_to_another_after_a_lease_time(
        self, broker: Broker, another: Broker, server: ValkeyServer
    ) -> None:
        await leased(broker, "a")
        await broker.complete(MODEL, ANN, [done("a")], T0)
        [outcome] = await broker.read_outcomes(9)
        idle_ms = str(int(LEASE_TTL_S * 1000) + 1)  # instead of waiting that long
        entry = outcome.seq.partition(".")[0]
        server.ask("XCLAIM", f"{{p:{MODEL}}}:out", "recorder", "test", "0", entry, "IDLE", idle_ms)
        assert await another.read_outcomes(9) == [outcome]
        assert await broker.read_outcomes(9) == []

    async def test_a_restarted_reader_sees_what_it_had_not_acked(self, broker: Broker, server: ValkeyServer) -> None:
        await leased(broker, "a")
        await broker.complete(MODEL, ANN, [done("a")], T0)
        outcomes = await broker.read_outcomes(9)
        reborn = RedisBroker(server.url, MODELS, consumer="test")
        await reborn.start()
        assert await reborn.read_outcomes(9) == outcomes
        await reborn.stop()


async def test_the_models_of_a_cluster_live_on_its_nodes_and_are_served_together() -> None:
    with valkey_cluster() as nodes:  # `matting` and `speech` hash into different halves of the slots
        broker = RedisBroker(nodes[0].url, MODELS, consumer="test")
        await broker.start()
        outcomes = asyncio.create_task(broker.read_outcomes(9, wait_s=SOON_S))
        reader = asyncio.create_task(broker.read_events(ref("b", OTHER), None, wait_s=SOON_S))
        waits = [asyncio.create_task(broker.wake(m, ANN, for_work=True, wait_s=SOON_S)) for m in MODELS]
        assert await broker.enqueue([ticket("a"), ticket("b", model=OTHER)], T0) == [True, True]
        assert all(woken.work for woken in await asyncio.gather(*waits))
        assert [event.kind for event in await reader] == ["queued"]
        for model, name in zip(MODELS, "ab", strict=True):
            [lease] = await broker.lease(model, ANN, 9, T0)
            assert await broker.complete(model, ANN, [done(name)], T0) == [True]
            assert lease.id == job(name)
        found = [*await outcomes, *await broker.read_outcomes(9)]
        assert {outcome.id for outcome in found} == {job("a"), job("b")}
        await broker.ack_outcomes(found, T0)
        assert await broker.reap(MODELS, T0) == []
        assert b":0\r\n" not in [node.ask("DBSIZE") for node in nodes]
        await broker.stop()


class TestBatches:
    async def test_every_verb_takes_more_than_one_call_carries(self, broker: Broker) -> None:
        names = [f"n{i}" for i in range(2 * CALL_ITEMS + 7)]
        await leased(broker, *names)
        reply = await broker.beat(MODEL, ANN, [held(name) for name in names] + [held("x")], WorkerState.BUSY, T0)
        assert reply.lost == (job("x"),)
        assert all(await broker.publish(MODEL, ANN, [progress(name, 0.5) for name in names], T0))
        assert len(await broker.held(MODELS, T0, min_age_s=0.0)) == len(names)
        for name in names[:CALL_ITEMS]:
            await broker.cancel([ref(name)], T0)
        assert all(await broker.complete(MODEL, ANN, [done(name) for name in names[: CALL_ITEMS + 1]], T0))
        assert len(await take_outcomes(broker)) == CALL_ITEMS + 1
        await broker.leave(MODEL, ANN, T0)
        found = await broker.peek([ref(name) for name in names], T0)
        assert [view.status for view in found if view].count(JobStatus.QUEUED) == CALL_ITEMS + 6

    async def test_reap_takes_back_more_than_one_call_carries(self, broker: Broker) -> None:
        names = [f"n{i}" for i in range(2 * CALL_ITEMS + 7)]
        await leased(broker, *names)
        assert set(await broker.reap(MODELS, T0 + LEASE_TTL_S + 1)) == {job(name) for name in names}


class TestLosingTheServer:
    async def test_a_flushed_server_is_refilled_from_the_ledger(self, broker: Broker, server: ValkeyServer) -> None:
        tickets = [ticket("a"), ticket("b")]
        await leased(broker, "c", worker=BOB)
        await broker.enqueue(tickets, T0)
        await broker.complete(MODEL, BOB, [done("c")], T0)
        await broker.read_outcomes(9)
        server.ask("FLUSHALL")
        assert await broker.peek([ref("a"), ref("c")], T0) == [None, None]
        assert await broker.read_outcomes(9) == []
        running = ticket("c", attempt=1, held_by=BOB)
        assert await broker.enqueue([*tickets, running], T0 + 1) == [True, True, True]
        assert await beat(broker, BOB, "c", now_s=T0 + 2) == ()
        assert await broker.complete(MODEL, BOB, [done("c")], T0 + 3) == [True]
        assert [outcome.id for outcome in await broker.read_outcomes(9)] == [job("c")]
        assert len(await broker.lease(MODEL, ANN, 9, T0 + 3)) == 2

    async def test_an_ack_after_a_refill_ends_the_job_here_too(self, broker: Broker, server: ValkeyServer) -> None:
        await leased(broker, "a")
        await broker.complete(MODEL, ANN, [done("a")], T0)
        on_record = await broker.read_outcomes(9)
        server.ask("FLUSHALL")
        await broker.enqueue([ticket("a"), ticket("b")], T0)
        await broker.ack_outcomes(on_record, T0)
        assert [lease.id for lease in await broker.lease(MODEL, ANN, 9, T0)] == [job("b")]
        [view] = await broker.queues([MODEL], T0)
        assert (view.queued, view.predicted_s) == (0, 0.0)

    async def test_scripts_come_back_after_they_were_flushed(self, broker: Broker, server: ValkeyServer) -> None:
        await broker.enqueue([ticket("a")], T0)
        server.ask("SCRIPT", "FLUSH")
        assert await broker.enqueue([ticket("b")], T0) == [True]
        assert len(await broker.lease(MODEL, ANN, 9, T0)) == 2

    async def test_a_killed_server_keeps_the_queue_and_the_broker_finds_it_again(self) -> None:
        with valkey_server() as server:
            broker = RedisBroker(server.url, MODELS, consumer="test")
            await broker.start()
            await leased(broker, "a", "b")
            await broker.complete(MODEL, ANN, [done("a")], T0)
            await broker.enqueue([ticket("c")], T0)
            server.kill()
            with pytest.raises(Unavailable, match=f"127.0.0.1:{server.port}"):
                await broker.enqueue([ticket("d")], T0)
            server.restart()
            assert await status(broker, "a") == JobStatus.COMPLETED
            assert await broker.complete(MODEL, ANN, [done("b")], T0) == [True]
            assert [lease.id for lease in await broker.lease(MODEL, ANN, 9, T0)] == [job("c")]
            assert {outcome.id for outcome in await broker.read_outcomes(9)} == {job("a"), job("b")}
            assert await kinds(broker, "c") == ["queued", "started"]
            await broker.stop()

    async def test_waits_end_with_the_server_and_begin_again(self) -> None:
        with valkey_server() as server:
            broker = RedisBroker(server.url, MODELS, consumer="test")
            await broker.start()
            await leased(broker, "a")
            [*_, last] = await broker.read_events(ref("a"), None)
            waits = [
                asyncio.create_task(broker.wake(MODEL, BOB, for_work=True, wait_s=60.0)),
                asyncio.create_task(broker.read_events(ref("a"), last.seq, wait_s=60.0)),
                asyncio.create_task(broker.read_outcomes(9, wait_s=60.0)),
            ]
            for _ in range(20):
                await broker.queues(MODELS, T0)
            server.kill()
            for failed in await asyncio.gather(*waits, return_exceptions=True):
                assert isinstance(failed, Unavailable)
            server.restart()
            reader = asyncio.create_task(broker.read_events(ref("a"), last.seq, wait_s=SOON_S))
            await broker.publish(MODEL, ANN, [progress("a", 0.5)], T0)
            assert len(await reader) == 1
            await broker.stop()

    async def test_a_reader_whose_line_was_cut_hears_again(self, broker: Broker, server: ValkeyServer) -> None:
        await leased(broker, "a")
        [*_, last] = await broker.read_events(ref("a"), None)
        reader = asyncio.create_task(broker.read_events(ref("a"), last.seq, wait_s=60.0))
        while not server.ask("CLIENT", "KILL", "TYPE", "pubsub").startswith(b":1"):
            await broker.queues(MODELS, T0)
        while b" addr=" not in server.ask("CLIENT", "LIST", "TYPE", "pubsub"):
            await asyncio.sleep(0)
        await broker.publish(MODEL, ANN, [progress("a", 0.5)], T0)
        async with asyncio.timeout(SOON_S):
            assert len(await reader) == 1

    async def test_a_server_that_hangs_does_not_hang_its_callers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("springtide.broker.redis_scripts.CALL_TIMEOUT_S", 0.1)

        async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(4096):
                pass
            writer.close()

        silent = await asyncio.start_server(swallow, "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        broker = RedisBroker(f"redis://127.0.0.1:{port}", MODELS, consumer="test")
        with pytest.raises(OutcomeUnknown):
            await broker.start()
        await broker.stop()
        silent.close()


class TestDurability:
    @pytest.mark.parametrize(
        ("options", "durability", "told"),
        [
            ({"appendonly": True}, "aof", None),
            ({"appendonly": False}, "none", "keeps NOTHING on disk"),
            ({"appendonly": False, "save": "3600 1"}, "rdb", "only snapshots"),
        ],
    )
    async def test_what_the_server_keeps_is_found_and_said(
        self, options: dict[str, object], durability: str, told: str | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        with valkey_server(**options) as server, caplog.at_level(logging.WARNING):  # type: ignore[arg-type]
            broker = RedisBroker(server.url, MODELS, consumer="test")
            await broker.start()
            assert broker.durability == durability
            await broker.stop()
        if told is None:
            assert caplog.text == ""
        else:
            assert told in caplog.text
            assert "appendonly yes" in caplog.text

    async def test_a_server_that_forbids_config_is_unknown(self, caplog: pytest.LogCaptureFixture) -> None:
        with valkey_server(appendonly=False) as server:
            server.ask("ACL", "SETUSER", "default", "-config")
            broker = RedisBroker(server.url, MODELS, consumer="test")
            await broker.start()
            assert broker.durability == "unknown"
            assert "does not say" in caplog.text
            await broker.stop()

    async def test_a_user_who_may_not_publish_is_told_at_start(self) -> None:
        with valkey_server() as server:
            server.ask("ACL", "SETUSER", "limited", "on", f">{SECRET}", "~*", "+@all", "resetchannels")
            broker = RedisBroker(server.url.replace("//", f"//limited:{SECRET}@"), MODELS, consumer="test")
            with pytest.raises(Unavailable, match="forbids this user a command, key or channel"):
                await broker.start()
            await broker.stop()

    async def test_a_server_that_throws_keys_away_is_warned_about(self, caplog: pytest.LogCaptureFixture) -> None:
        with valkey_server(maxmemory="64mb", maxmemory_policy="allkeys-lru") as server:
            broker = RedisBroker(server.url, MODELS, consumer="test")
            await broker.start()
            assert "allkeys-lru" in caplog.text
            await broker.stop()

    async def test_a_full_server_refuses_and_loses_nothing(self) -> None:
        with valkey_server(maxmemory="4mb", maxmemory_policy="noeviction") as server:
            broker = RedisBroker(server.url, MODELS, consumer="test")
            await broker.start()
            accepted = 0
            with pytest.raises(Unavailable, match="memory"):
                while True:
                    await broker.enqueue([ticket(f"n{accepted}", payload=b"x" * 65_536)], T0)
                    accepted += 1
            [view] = await broker.queues([MODEL], T0)
            assert view.queued == accepted
            await broker.stop()


class TestSecrets:
    @pytest.fixture
    def everything_logged(self, caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
        with caplog.at_level(logging.DEBUG):
            yield caplog

    async def test_a_password_opens_the_server(self) -> None:
        with valkey_server(password=SECRET) as server:
            broker = RedisBroker(server.url, MODELS, consumer="test")
            await broker.start()
            assert await broker.enqueue([ticket("a")], T0) == [True]
            waiting = asyncio.create_task(broker.read_events(ref("b"), None, wait_s=SOON_S))
            await broker.enqueue([ticket("b")], T0)
            assert len(await waiting) == 1
            await broker.stop()

    async def test_a_wrong_password_is_told_without_it(self, everything_logged: pytest.LogCaptureFixture) -> None:
        with valkey_server(password="another") as server:
            url = server.url.replace("another", SECRET)
            broker = RedisBroker(url, MODELS, consumer="test")
            with pytest.raises(Unavailable, match=f"127.0.0.1:{server.port}.*password") as caught:
                await broker.start()
            await broker.stop()
        assert SECRET not in whole_story(caught.value) + everything_logged.text

    async def test_a_missing_password_is_told(self) -> None:
        with valkey_server(password=SECRET) as server:
            broker = RedisBroker(server.url.replace(f":{SECRET}@", ""), MODELS, consumer="test")
            with pytest.raises(Unavailable, match="password"):
                await broker.start()
            await broker.stop()

    async def test_an_unreachable_server_is_told_without_the_password(
        self, everything_logged: pytest.LogCaptureFixture
    ) -> None:
        port = free_port()
        broker = RedisBroker(f"redis://user:{SECRET}@127.0.0.1:{port}/0", MODELS, consumer="test")
        with pytest.raises(Unavailable, match=f"127.0.0.1:{port}") as caught:
            await broker.start()
        await broker.stop()
        assert SECRET not in whole_story(caught.value) + everything_logged.text + repr(broker)

    @pytest.mark.parametrize("url", [f"redis://:{SECRET}/x@127.0.0.1:6379", f"redis://:{SECRET}@127.0.0.1:{SECRET}"])
    def test_a_malformed_url_is_told_without_the_password(self, url: str) -> None:
        with pytest.raises(ConfigError, match=r"broker\.url") as caught:
            RedisBroker(url, MODELS, consumer="test")
        assert SECRET not in whole_story(caught.value)


def _end(outcome: Outcome) -> LiveEvent:
    """As the recorder announces it."""
    return LiveEvent(
        seq="", job=outcome.id, kind=outcome.status.value, at_s=outcome.finished_at_s, attempt=outcome.attempt
    )


async def test_events_of_only_so_many_ended_jobs_are_kept(broker: Broker, server: ValkeyServer) -> None:
    key = f"{{p:{MODEL}}}:past"
    script = "for i = 1, tonumber(ARGV[1]) do redis.call('ZADD', KEYS[1], ARGV[2], 'x' .. i) end"
    server.ask("EVAL", script, "1", key, str(ENDED_STORIES), str(T0 - 1))
    await leased(broker, "a")
    await broker.complete(MODEL, ANN, [done("a")], T0)
    await take_outcomes(broker, T0)
    await broker.reap(MODELS, T0)
    assert server.ask("ZCARD", key) == b":%d\r\n" % (ENDED_STORIES - 1)  # and that of the job itself
    assert await kinds(broker, "a") == ["queued", "started", "completed"]


async def test_ended_jobs_leave_nothing_on_the_server(broker: Broker, server: ValkeyServer) -> None:
    await leased(broker, "a", "b", "c", "d")
    await broker.enqueue([ticket("e", start_deadline_at_s=T0 + 1), ticket("f")], T0)
    await broker.cancel([ref("a"), ref("f")], T0)
    await broker.publish(MODEL, ANN, [progress("a", 0.5)], T0)
    await broker.complete(MODEL, ANN, [done("a"), done("b")], T0)
    await broker.fail(MODEL, ANN, [failure("c", retry_after_s=9.0)], T0)
    for now_s in (T0 + 100, T0 + 200):  # d is lost; then both are leased again, and lost for good
        await broker.reap(MODELS, now_s)
        await broker.lease(MODEL, BOB, 9, now_s)
    await broker.reap(MODELS, T0 + 300)
    assert len(await take_outcomes(broker, T0 + 300)) == 8
    await broker.reap(MODELS, T0 + 400)  # drops the tombstones
    await broker.reap(MODELS, T0 + 400 + 2 * EVENTS_KEPT_S)
    tag = f"{{p:{MODEL}}}"
    assert server.ask("XLEN", f"{tag}:out") == b":0\r\n"
    assert server.ask("GET", f"{tag}:wait") == b"$1\r\n0\r\n"
    left = set(server.ask("KEYS", f"{tag}*").decode().split("\r\n")[2::2])
    assert left == {f"{tag}:out", f"{tag}:wait", f"{tag}:fair", f"{tag}:reaped"}


def whole_story(error: BaseException) -> str:
    """An error with all of its causes, as a traceback would show them."""
    told = ""
    seen: BaseException | None = error
    while seen is not None:
        told += f"{seen!s} {seen!r} {getattr(seen, 'details', '')}\n"
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return told
