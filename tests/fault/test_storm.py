"""500 jobs flow while the installation is hit, again and again: none is lost, none ends twice."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from springtide.testing.postgres import NoPostgres, PostgresServer, postgres_server
from springtide.testing.proxy import FaultProxy
from springtide.testing.s3 import S3Server, s3_server
from springtide.testing.servers import NoServer, ValkeyServer, valkey_server

from .conftest import kill
from .storm import JOBS, EmbeddedStorm, FilesStorm, ServersStorm, frozen, small_disk

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    try:
        with postgres_server() as server:
            yield server
    except NoPostgres as error:
        pytest.skip(str(error))


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    try:
        with valkey_server() as server:
            yield server
    except NoServer as error:
        pytest.skip(str(error))


@pytest.fixture
def bucket() -> Iterator[S3Server]:
    try:
        with s3_server() as server:
            yield server
    except NoServer as error:
        pytest.skip(str(error))


@pytest.fixture
def storm(tmp_path: Path, valkey: ValkeyServer, postgres: PostgresServer) -> Iterator[ServersStorm]:
    one = ServersStorm(tmp_path, valkey, postgres)
    yield one
    one.close()


def test_kill_9_of_every_role_in_turn_loses_and_doubles_nothing(storm: ServersStorm) -> None:
    storm.begin()
    for number, victim in enumerate(["worker-1", "child", "gateway", "controller", "worker-2"]):
        storm.wait_until_ended(60 * (number + 1))
        kill(storm.role(victim))
    storm.wait_until_all_ended()
    storm.verdict("kill -9 of worker, child, gateway, controller, worker")


def test_kill_9_of_the_servers_in_turn_loses_and_doubles_nothing(storm: ServersStorm) -> None:
    storm.begin()
    storm.wait_until_ended(100)
    storm.valkey.kill()
    time.sleep(1)
    storm.valkey.start()
    storm.wait_until_ended(250)
    storm.postgres.kill()
    time.sleep(1)
    storm.postgres.start()
    storm.wait_until_all_ended()
    storm.verdict("kill -9 of Valkey and PostgreSQL")


def test_frozen_roles_and_servers_lose_and_double_nothing(storm: ServersStorm) -> None:
    storm.begin()
    storm.wait_until_ended(60)
    with frozen(storm.role("worker-1").pid):  # past its lease: what it held is done by its colleague
        time.sleep(17)
    for victim in ("gateway", "controller", "child"):  # looked for now: what was frozen for so long has a new child
        with frozen(storm.role(victim).pid):
            time.sleep(2)
    with frozen(storm.postgres.pid):
        time.sleep(2)
    storm.wait_until_all_ended()
    storm.verdict("SIGSTOP of worker (17 s), gateway, controller, child, PostgreSQL")


def _stall(line: FaultProxy) -> None:
    line.stall()
    time.sleep(6)  # past the longest call


def _lose_replies(line: FaultProxy) -> None:
    line.lose_replies()
    time.sleep(2)


def _cut(line: FaultProxy) -> None:
    line.cut()
    time.sleep(2)


def _half_close(line: FaultProxy) -> None:
    line.half_close()
    time.sleep(1)


def _delay(line: FaultProxy) -> None:
    line.delay(0.3)
    time.sleep(3)


@pytest.mark.parametrize("server", ["broker", "ledger"])
def test_a_network_that_breaks_in_every_way_loses_and_doubles_nothing(storm: ServersStorm, server: str) -> None:
    ways: list[Callable[[FaultProxy], None]] = [_cut, _lose_replies, _half_close, _delay, _stall]
    line = storm.lines[server]
    storm.begin()
    for number, way in enumerate(ways):
        storm.wait_until_ended(50 * (number + 1))
        way(line)
        line.mend()
    storm.wait_until_all_ended()
    storm.verdict(f"cut, lost replies, half-closed, slow, silent network to the {server}")


def test_a_broker_emptied_set_back_and_replaced_loses_and_doubles_nothing(storm: ServersStorm, tmp_path: Path) -> None:
    storm.begin()
    storm.wait_until_ended(60)
    storm.valkey.ask("FLUSHALL")
    storm.wait_until_ended(160)
    copy = storm.valkey.snapshot(tmp_path / "older")
    storm.wait_until_ended(260)
    storm.valkey.kill()
    storm.valkey.put_back(copy)
    storm.valkey.start()
    storm.wait_until_ended(340)
    storm.valkey.kill()
    storm.valkey.wipe()
    storm.valkey.start()
    storm.wait_until_all_ended()
    storm.verdict("FLUSHALL, an older copy, a deleted append-only file")


def test_a_bucket_killed_frozen_and_cut_off_loses_and_doubles_nothing_and_every_file_is_whole(
    tmp_path: Path, valkey: ValkeyServer, postgres: PostgresServer, bucket: S3Server
) -> None:
    with contextlib.closing(FilesStorm(tmp_path, valkey, postgres, bucket)) as storm:
        storm.begin()
        storm.wait_until_ended(50)
        bucket.kill()
        time.sleep(2)
        bucket.start()
        for number, way in enumerate([_cut, _lose_replies, _half_close, _stall]):
            storm.wait_until_ended(100 + 50 * number)
            way(storm.lines["blobs"])
            storm.lines["blobs"].mend()
        storm.wait_until_ended(300)
        kill(storm.role("worker-1"))
        storm.wait_until_ended(350)
        kill(storm.role("gateway"))
        storm.wait_until_all_ended()
        storm.verdict("S3 killed, cut off, without replies, half-closed, silent; worker and gateway killed")


def test_kill_9_of_every_part_of_up_in_turn_loses_and_doubles_nothing(tmp_path: Path) -> None:
    with contextlib.closing(EmbeddedStorm(tmp_path)) as storm:
        storm.begin()
        for number, victim in enumerate(["worker", "child", "gateway", "up", "worker"]):
            storm.wait_until_ended(60 * (number + 1))
            kill(storm.role(victim))
        storm.wait_until_all_ended()
        storm.verdict("kill -9 of worker, child, gateway, up, worker of `springtide up`")


def test_frozen_parts_of_up_lose_and_double_nothing(tmp_path: Path) -> None:
    with contextlib.closing(EmbeddedStorm(tmp_path)) as storm:
        storm.begin()
        storm.wait_until_ended(60)
        for victim, seconds in (("worker", 17), ("gateway", 2), ("child", 2), ("up", 2)):
            with frozen(storm.role(victim).pid):
                time.sleep(seconds)
        storm.wait_until_all_ended()
        storm.verdict("SIGSTOP of worker (17 s), gateway, child, up of `springtide up`")


def test_a_full_disk_refuses_jobs_and_loses_and_doubles_nothing(tmp_path: Path) -> None:
    storm = EmbeddedStorm(tmp_path)
    with contextlib.ExitStack() as stack:
        try:
            fill_or_free = stack.enter_context(small_disk(storm.data, "24m"))
        except OSError as error:
            storm.close()
            pytest.skip(f"no small disk can be mounted here: {error}")
        stack.enter_context(contextlib.closing(storm))
        storm.begin()
        for so_far in (60, 200):  # while the clients still have jobs to bring, however slowly those are done
            storm.wait_for(lambda enough=so_far: storm.accepted >= enough, f"{so_far} jobs to be accepted")
            fill_or_free()
            accepted = storm.accepted
            time.sleep(3)
            assert accepted <= storm.accepted < JOBS, "the disk was not full"
            fill_or_free()
        storm.wait_until_all_ended()
        storm.verdict("a full disk, twice")


def test_a_hundred_jobs_of_a_killed_worker_are_leased_again_within_20_s(storm: ServersStorm) -> None:
    """On an otherwise idle queue, and however long a job may take: the lease is the worker's, not the job's."""
    text = storm.config.read_text()
    for old, new in (
        ("slots = 8", "slots = 100"),
        ("batch = 4", "batch = 100"),
        ("timeout_s = 10", "timeout_s = 9000"),
    ):
        text = text.replace(old, new)
    storm.config.write_text(text)

    def running(attempt: int) -> dict[str, float]:
        query = f"SELECT id, started_at_s FROM jobs WHERE status = 'in_progress' AND attempt = {attempt}"
        return dict(storm.ask(query))

    storm.start("gateway")
    storm.wait_ready()
    storm.start("controller")
    victim = storm.start("worker", "--model", "synthetic")
    storm.submit(100, seconds=3600)
    storm.wait_for(lambda: len(running(1)) == 100, "a hundred jobs to run")
    storm.start("worker", "--model", "synthetic")
    killed_at_s = time.time()
    kill(victim)
    storm.wait_for(lambda: len(running(2)) == 100, "all of them to be leased again")
    waits_s = sorted(at_s - killed_at_s for at_s in running(2).values())
    print(f"\n100 jobs leased again {waits_s[0]:.1f} to {waits_s[-1]:.1f} s after kill -9 of their worker")
    assert waits_s[-1] < 20  # a promise about leases (15 s to live, a reaper each second), not about speed
