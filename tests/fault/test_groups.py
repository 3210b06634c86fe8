"""Groups of real processes: a rank killed, the worker that started them killed, a cancel; nothing stays behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest

from .conftest import World, is_alive, kill

CONFIG = """
[server]
port = 0
data_dir = "{data}"

[fleet]
cpus = 2

[models.sums]
engine = "springtide.engines.synthetic.group:SyntheticGroup"
execution = "distributed"
max_replicas = 4

[models.sums.retry]
first_s = 0.1

[models.sums.group]
processes = 2
cpus_each = 1
"""


class Groups(World):
    def post(self, **inputs: Any) -> str:
        answer = httpx.post(f"{self.url}/v1/jobs", json={"model": "sums", "inputs": {"upto": 10, **inputs}}, timeout=60)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job: str) -> dict[str, Any]:
        return dict(httpx.get(f"{self.url}/v1/jobs/{job}", timeout=60).json())

    def ranks(self, job: str) -> list[psutil.Process]:
        """Of a job that has done its first step."""
        self.wait_for(lambda: (self.job(job).get("progress") or 0) > 0, "the group to compute")
        found: list[psutil.Process] = []

        def are_two() -> bool:  # those of the job before this one may still be on their way out
            found[:] = self.find("rank")
            return len(found) == 2

        self.wait_for(are_two, "two ranks, and no others")
        return found

    def end(self, job: str) -> dict[str, Any]:
        self.wait_for(lambda: self.job(job)["status"] in {"completed", "failed", "cancelled"}, "the job to end")
        return self.job(job)


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Groups]:
    one = Groups(tmp_path_factory.mktemp("groups"))
    one.config.write_text(CONFIG.format(data=one.data))
    one.up()
    yield one
    one.close()


def test_a_rank_that_is_killed_takes_its_group_along_and_the_next_attempt_goes_on(groups: Groups) -> None:
    job = groups.post(seconds=12, steps=24)
    groups.wait_for(lambda: (groups.job(job).get("progress") or 0) >= 0.3, "the group to get somewhere")
    ranks = groups.ranks(job)
    kill(ranks[1])
    groups.wait_for(lambda: not [rank for rank in ranks if is_alive(rank)], "the rest of the group to end")
    ended = groups.end(job)
    assert (ended["status"], ended["attempt"], ended["outputs"]["total"]) == ("completed", 2, 55)
    assert ended["outputs"]["resumed_at"] > 0, "a checkpoint of the first attempt was not used"
    attempts = httpx.get(f"{groups.url}/v1/jobs/{job}/attempts", timeout=60).json()["data"]
    assert attempts[0]["error"]["code"] == "crashed"
    assert "of 2 was ended by SIGKILL" in attempts[0]["error"]["message"]


def test_a_worker_that_is_killed_leaves_no_rank_behind_and_another_runs_the_job(groups: Groups) -> None:
    job = groups.post(seconds=8, steps=16)
    ranks = groups.ranks(job)
    kill(groups.one("worker"))
    groups.wait_for(lambda: not [rank for rank in ranks if is_alive(rank)], "the ranks to die with their worker")
    ended = groups.end(job)
    assert (ended["status"], ended["attempt"]) == ("completed", 2)
    groups.wait_for(lambda: not list(groups.data.glob("groups/*/job-*")), "folders of the dead to be removed")


def test_a_cancel_ends_every_process_and_a_group_too_many_waits_for_the_budget(groups: Groups) -> None:
    job = groups.post(seconds=600, steps=6000)
    ranks = groups.ranks(job)
    second = groups.post()
    explained = f"{groups.url}/v1/jobs/{second}/explain"
    room = "Waits for 2 processors: 0 of 2 free."
    groups.wait_for(lambda: httpx.get(explained, timeout=60).json()["summary"] == room, "the want of room to be told")
    httpx.post(f"{groups.url}/v1/jobs/{job}/cancel", timeout=60)
    assert groups.end(job)["status"] == "cancelled"
    assert not [rank for rank in ranks if is_alive(rank)]
    assert groups.end(second)["status"] == "completed"
