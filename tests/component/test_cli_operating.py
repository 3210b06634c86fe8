"""The operators' commands against a gateway on a real socket: what they order, and what they show."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from gateway_world import WORKER, World, gateway_world, served

from springtide.cli import story
from springtide.cli.main import main
from springtide.domain.fleet import Decision
from springtide.domain.ids import ModelName
from springtide.domain.job import JobError
from springtide.gateway.services import Keyless
from springtide.ledger.history import FleetSample, Scaled
from springtide.testing import media_makers as makers

MODEL = ModelName("synthetic")
Said = Callable[..., Awaitable[tuple[str, str]]]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path, keyless=Keyless.LOCAL, max_replicas=4, keep_s=30 * 86_400.0) as made:
        made.http.headers["host"] = "127.0.0.1"
        yield made


@pytest.fixture
async def cli(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> AsyncGenerator[Said]:
    """Runs `springtide WORDS` beside the gateway; gives standard output and standard error."""
    monkeypatch.setenv("COLUMNS", "160")
    async with served(world) as (host, port):
        monkeypatch.setenv("SPRINGTIDE_URL", f"http://{host}:{port}")

        def run(words: tuple[str, ...]) -> Any:
            with pytest.raises(SystemExit) as ended:
                main()
            return ended.value.code

        async def said(*words: str, code: int = 0) -> tuple[str, str]:
            monkeypatch.setattr("sys.argv", ["springtide", *words])
            found = await asyncio.to_thread(run, words)
            told = capsys.readouterr()
            assert found == code, told.err
            return told.out, told.err

        yield said


async def test_orders_are_given_and_taken_back(world: World, cli: Said) -> None:
    out, _ = await cli("scale", "synthetic", "2", "--for", "8h", "--note", "the launch")
    assert out.startswith("synthetic: 2 replica(s) by hand until 20")
    out, _ = await cli("pause", "synthetic", "--json")
    assert json.loads(out)["pinned"]["note"] == "the launch"
    assert len(await world.services.orders.all_orders()) == 2
    await cli("scale", "synthetic", "auto")
    out, _ = await cli("resume", "synthetic")
    assert out == "synthetic: as its policy says\n"
    assert await world.services.orders.all_orders() == []


async def test_a_wrong_order_is_said_in_one_line(cli: Said) -> None:
    for words, told in (
        (("scale", "synthetic", "many"), "a number or the word auto"),
        (("scale", "synthetic", "9"), "more than `max_replicas`"),
        (("scale", "synthetic", "1", "--for", "soon"), "90s, 30m, 1h or 2d"),
        (("pause", "nothing"), "no model 'nothing'"),
        (("drain", "nobody"), "no worker 'nobody'"),
        (("top", "--once", "--every", "0"), "0.5 seconds or more"),
        (("logs", "nothing"), "no job's id"),
    ):
        _, err = await cli(*words, code=2)
        assert told in err and len(err.splitlines()) == 1


async def test_what_waits_and_why_the_fleet_moved_are_on_one_screen(world: World, cli: Said) -> None:
    await world.ready()
    await world.submit()
    job = await world.submit()
    lease = await world.lease()
    now_s = world.services.clock.now_s()
    decision = Decision(model=MODEL, replicas=1, reason="QUEUE", message="2 jobs wait")
    await world.services.history.put_scaled([Scaled(at_s=now_s, before=0, decision=decision)])
    samples = [
        FleetSample(model=MODEL, at_s=now_s - 30 + n, arrived=n, wait_s_p95=1.25, wanted=1, ready=2, busy=1)
        for n in (0, 10, 20)
    ]
    await world.services.history.put_samples(samples)
    [row, *_] = json.loads((await cli("top", "--once", "--json"))[0])["models"]
    assert (row["model"], row["queued"], row["running"], row["wait_s_p95"]) == ("synthetic", 1, 1, 1.25)
    assert (row["arrivals_per_min"], row["busy_share"]) == (90.0, 0.5)
    assert (row["decision"], row["reason"], row["because"]) == ("0 → 1", "QUEUE", "2 jobs wait")
    await cli("pause", "synthetic")
    out, _ = await cli("status")
    assert out.splitlines()[0] == "ready"
    for told in ("synthetic paused", "QUEUE", WORKER, lease.id, "ended jobs and their files are kept 30 days"):
        assert told in out
    ready = json.loads((await cli("status", "--json"))[0])["ready"]
    assert (ready["ledger"], ready["keep_s"]) == ("ok", 30 * 86_400.0)
    assert job["id"] != lease.id


async def test_a_worker_is_sent_away_by_its_name(world: World, cli: Said) -> None:
    await world.ready()
    await world.submit()
    await world.lease()
    out, _ = await cli("drain", WORKER)
    assert out == f"{WORKER} finishes 1 job(s) and leaves\n"
    assert "ready, leaving" in (await cli("status"))[0]


async def test_a_status_that_is_not_ready_fails(world: World, cli: Said) -> None:
    world.services.stopping.set()
    out, _ = await cli("status", "--json", code=1)
    assert json.loads(out)["ready"]["status"] == "shutting_down"
    out, _ = await cli("status", code=1)
    assert out.splitlines()[0] == "not ready: shutting_down"


async def test_a_model_that_does_not_load_is_in_the_first_line_of_status(world: World, cli: Said) -> None:
    await world.does_not_load("synthetic")
    assert (await cli("status"))[0].splitlines()[0] == "ready, but for models that do not load: synthetic"


async def test_a_job_is_shown_with_what_it_gave_how_to_fetch_it_and_until_when(world: World, cli: Said) -> None:
    job = await world.submit()
    out, _ = await cli("get", job["id"])
    assert "when, or why" in out and "output" not in out
    await world.complete(await world.lease(), {"seconds": 1.5, "words": ["ebb", "flow"]})
    files = {"picture": makers.palette_png(world.folder).read_bytes()}
    drawn = (await world.http.post("/v1/jobs", data={"model": "sketch"}, files=files)).json()
    ref = await world.output(b"x" * 12_345, media_type="image/png", name="drawn.png")
    await world.complete(await world.lease(model="sketch"), {"drawing": ref.id}, (ref,))
    out, _ = await cli("get", drawn["id"])
    for told in ("drawing", "image/png", "12.3 kB", "drawn.png", f"springtide download {drawn['id']} --all FOLDER"):
        assert told in out
    out, _ = await cli("get", job["id"])
    for told in ("seconds", "number", "1.5", '["ebb", "flow"]', "kept until 20"):
        assert told in out
    assert "download" not in out, "there is no file to fetch"
    assert "when, or why" in (await cli("list"))[0]


async def test_the_story_of_a_job_is_told_by_time_from_record_and_files(
    world: World, cli: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await world.submit()
    lease = await world.lease()
    out, _ = await cli("logs", job["id"])
    assert "accepted: synthetic" in out and "now in_progress: attempt 1 of 3 runs" in out
    await world.progress(lease, 0.5, "half")
    await world.fail(lease, JobError(code="bad_media", message="no frames"))
    folder = world.folder / "data" / "logs"
    folder.mkdir(parents=True)
    lines = [
        {
            "at": "2001-01-01T00:00:00.000Z",
            "role": "worker",
            "message": f"job {job['id']}: early",
            "error": "Traceback",
        },
        {"at": "2999-01-01T00:00:00.000Z", "role": "gateway", "message": f"{job['id']} is late", "level": "WARNING"},
        {"at": "2999-01-01T00:00:00.000Z", "role": "gateway", "message": "of somebody else"},
    ]
    text = "\n".join([*map(json.dumps, lines), f'{{"at": "2001", "message": "{job["id"]} torn'])
    (folder / "worker.jsonl").write_text(text)
    out, _ = await cli("logs", job["id"])
    assert "late" not in out, "another machine's server: its files are not here"
    monkeypatch.setattr(story, "_folder", lambda _: folder)
    out, _ = await cli("logs", job["id"], "--json")
    told = [json.loads(line) for line in out.splitlines()]
    assert [one["message"] for one in told if one["source"] == "record"] == [
        "accepted: synthetic 1, priority standard",
        f"attempt 1 began on {WORKER}",
        "stage half",
        "attempt 1 ended: no frames (bad_media)",
        "failed: no frames (bad_media)",
    ]
    assert [told[0]["source"], told[0]["error"], told[-1]["message"]] == ["worker", "Traceback", f"{job['id']} is late"]
