"""Versions of a model behind the API: by name, by weight, and as they are shown."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway_world import World, gateway_world

from springtide.domain.ids import ModelName
from springtide.domain.rollout import Margins, Rollout, RolloutState, Sticky
from springtide.gateway.services import Keyless

MODEL, NEXT = ModelName("synthetic"), "synthetic@2"


def rollout(**changed: Any) -> Rollout:
    fields: dict[str, Any] = {
        "model": MODEL,
        "number": 1,
        "revision": 1,
        "stable": "1",
        "canary": "2",
        "weight": 50.0,
        "sticky": Sticky.JOB,
        "margins": Margins(),
        "state": RolloutState.RUNNING,
        "started_at_s": 1.0,
        "changed_at_s": 1.0,
    }
    return Rollout(**(fields | changed))


@contextlib.asynccontextmanager
async def two_versions(folder: Path, given: Rollout | None = None) -> AsyncGenerator[World]:
    async with gateway_world(folder, versions={"synthetic": ["2"]}, keyless=Keyless.LOCAL) as world:
        if given is not None:
            assert await world.services.ledger.rollouts.put_rollout(given)  # type: ignore[attr-defined]  # it is SQL
        await world.services.routing.refresh()
        world.http.headers["host"] = "127.0.0.1"  # who is here may do all
        yield world


async def queued(world: World) -> dict[str, int]:
    views = await world.services.broker.queues([MODEL, ModelName(NEXT)], world.services.clock.now_s())
    return {view.model: view.queued for view in views}


async def test_a_declared_version_takes_no_job_but_by_name(tmp_path: Path) -> None:
    async with two_versions(tmp_path) as world:
        plain, named = await world.submit(), await world.submit(NEXT)
        assert (plain["model"], plain["model_version"]) == ("synthetic", "1")
        assert (named["model"], named["model_version"]) == ("synthetic", "2")
        assert await queued(world) == {"synthetic": 1, NEXT: 1}
        lease = await world.lease(NEXT)
        assert lease.id == named["id"]
        await world.complete(lease, {})
        assert (await world.http.get(f"/v1/jobs/{named['id']}")).json()["status"] == "completed"
        listed = (await world.http.get("/v1/jobs", params={"model": "synthetic"})).json()["data"]
        assert {job["id"] for job in listed} == {plain["id"], named["id"]}


async def test_a_version_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    async with two_versions(tmp_path) as world:
        for path in ("/v1/models/synthetic@3", "/v1/models/synthetic@3/scaling"):
            answer = await world.http.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "unknown_version")
            assert answer.json()["versions"] == ["1", "2"]
        answer = await world.http.post("/v1/jobs", json={"model": "synthetic@3", "inputs": {}})
        assert answer.json()["code"] == "unknown_version"
        answer = await world.http.post("/v1/jobs", json={"model": "nothing@3", "inputs": {}})
        assert answer.json()["code"] == "unknown_model"


async def test_a_rollout_parts_jobs_by_its_weight(tmp_path: Path) -> None:
    async with two_versions(tmp_path, rollout()) as world:
        versions = [(await world.submit())["model_version"] for _ in range(60)]
        assert 15 <= versions.count("2") <= 45
        assert await queued(world) == {"synthetic": versions.count("1"), NEXT: versions.count("2")}


async def test_a_tenant_stays_with_its_version(tmp_path: Path) -> None:
    async with two_versions(tmp_path, rollout(sticky=Sticky.TENANT)) as world:
        assert len({(await world.submit())["model_version"] for _ in range(10)}) == 1


async def test_a_named_version_wins_over_the_weights(tmp_path: Path) -> None:
    async with two_versions(tmp_path, rollout(weight=100.0)) as world:
        assert (await world.submit())["model_version"] == "2"
        assert (await world.submit("synthetic@1"))["model_version"] == "1"


async def test_a_key_sent_again_gives_the_job_of_whatever_version_it_went_to(tmp_path: Path) -> None:
    async with two_versions(tmp_path, rollout()) as world:
        for number in range(12):
            asked: Any = {"json": {"model": "synthetic", "inputs": {}}, "headers": {"idempotency-key": f"k{number}"}}
            first = await world.http.post("/v1/jobs", **asked)
            again = await world.http.post("/v1/jobs", **asked)
            assert first.json()["id"] == again.json()["id"]
        named = {"model": NEXT, "inputs": {}}
        other = await world.http.post("/v1/jobs", json=named, headers={"idempotency-key": "k0"})
        assert other.json()["code"] == "idempotency_key_reused"


async def test_steps_of_a_pipeline_go_where_their_model_goes(tmp_path: Path) -> None:
    async with two_versions(tmp_path, rollout(weight=100.0)) as world:
        body = {"model": "synthetic", "inputs": {}, "then": [{"model": "synthetic@1"}, {"model": "synthetic"}]}
        answer = (await world.http.post("/v1/jobs", json=body)).json()
        assert answer["model_version"] == "2 > 1 > 2"
        assert await queued(world) == {"synthetic": 0, NEXT: 1}
        await world.complete(await world.lease(NEXT), {})
        await world.conductor.conduct([answer["id"]])
        assert await queued(world) == {"synthetic": 1, NEXT: 0}


@pytest.mark.parametrize("state", [RolloutState.ABORTED, RolloutState.PROMOTED])
async def test_when_a_rollout_is_over_all_go_to_the_stable_version(tmp_path: Path, state: RolloutState) -> None:
    stable = "2" if state is RolloutState.PROMOTED else "1"
    async with two_versions(tmp_path, rollout(state=state)) as world:
        assert {(await world.submit())["model_version"] for _ in range(5)} == {stable}
        shown = (await world.http.get("/v1/models/synthetic")).json()
        assert shown["version"] == stable
        told = {each["version"]: (each["weight"], each["state"]) for each in shown["versions"]}
        left = {"1": (0.0, "retired"), "2": (100.0, "stable")}
        assert told == (left if stable == "2" else {"1": (100.0, "stable"), "2": (0.0, "aborted")})


async def test_a_job_done_again_goes_to_its_version_while_that_takes_jobs(tmp_path: Path) -> None:
    async with two_versions(tmp_path, rollout(weight=100.0)) as world:
        failed, named = await world.submit(), await world.submit(NEXT)
        for job in (failed, named):
            assert (await world.http.post(f"/v1/jobs/{job['id']}/cancel")).status_code in (200, 202)
            await world.record()
        record: Any = world.services.ledger
        aborted = msgspec.structs.replace(rollout(weight=100.0), revision=2, state=RolloutState.ABORTED)
        assert await record.rollouts.put_rollout(aborted)
        await world.services.routing.refresh()
        again = [(await world.http.post(f"/v1/jobs/{job['id']}/retry")).json() for job in (failed, named)]
        assert [job["model_version"] for job in again] == ["1", "2"]  # an aborted version only by name


async def test_versions_are_shown_with_weights_and_figures(tmp_path: Path) -> None:
    async with two_versions(tmp_path, rollout(weight=10.0)) as world:
        await world.submit("synthetic@1")
        await world.submit(NEXT)
        await world.ready(NEXT)
        shown = (await world.http.get("/v1/models")).json()["data"]
        assert [model["name"] for model in shown].count("synthetic") == 1
        one = next(model for model in shown if model["name"] == "synthetic")
        assert one["live"]["queued"] == 2
        assert [(each["unit"], each["weight"], each["queued"], each["ready"]) for each in one["versions"]] == [
            ("synthetic", 90.0, 1, 0),
            (NEXT, 10.0, 1, 1),
        ]
        assert one["rollout"]["state"] == "running"
        assert one["rollout"]["margins"]["min_samples"] == Margins().min_samples
        version = (await world.http.get(f"/v1/models/{NEXT}")).json()
        assert (version["version"], version["live"]["queued"]) == ("2", 1)


# --- by an operator ---------------------------------------------------------------------------------------------------

PATH = "/v1/models/synthetic/rollout"


async def test_a_rollout_is_started_changed_and_promoted(tmp_path: Path) -> None:
    async with two_versions(tmp_path) as world:
        assert (await world.http.get(PATH)).json()["code"] == "no_rollout"
        started = await world.http.post(PATH, json={"version": "2", "weight": 0, "min_samples": 7})
        assert started.status_code == 201, started.text
        assert (started.json()["state"], started.json()["margins"]["min_samples"]) == ("running", 7)
        assert {(await world.submit())["model_version"] for _ in range(4)} == {"1"}
        assert (await world.http.patch(PATH, json={"weight": 100})).json()["weight"] == 100
        assert {(await world.submit())["model_version"] for _ in range(4)} == {"2"}
        lease = await world.lease(NEXT)
        await world.complete(lease, {})
        shown = (await world.http.get(PATH)).json()
        assert (shown["compared"]["canary"]["jobs"], shown["compared"]["stable"]["jobs"]) == (1, 0)
        ended = (await world.http.post(f"{PATH}/promote")).json()
        assert (ended["state"], ended["is_automatic"]) == ("promoted", False)
        assert (await world.http.get("/v1/models/synthetic")).json()["version"] == "2"
        back = await world.http.post(PATH, json={"version": "1"})  # and back, by the same way
        assert (back.json()["stable"], back.json()["canary"], back.json()["number"]) == ("2", "1", 2)
        aborted = (await world.http.post(f"{PATH}/abort", json={"reason": "too early"})).json()
        assert (aborted["state"], aborted["reason"]) == ("aborted", "too early")


@pytest.mark.parametrize(
    ("wish", "status", "code"),
    [
        ({"version": "9"}, 404, "unknown_version"),
        ({"version": "1"}, 422, "invalid_input"),
        ({"version": "2", "weight": 101}, 422, "invalid_input"),
        ({"version": "2", "sticky": "moon"}, 422, "invalid_input"),
        ({"version": "2", "bogus": 1}, 422, "invalid_input"),
        ({}, 422, "invalid_input"),
    ],
)
async def test_a_rollout_that_makes_no_sense_is_refused(
    tmp_path: Path, wish: dict[str, Any], status: int, code: str
) -> None:
    async with two_versions(tmp_path) as world:
        answer = await world.http.post(PATH, json=wish)
        assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_one_rollout_at_a_time_and_none_that_is_over(tmp_path: Path) -> None:
    async with two_versions(tmp_path, rollout()) as world:
        assert (await world.http.post(PATH, json={"version": "2"})).json()["code"] == "rollout_running"
        assert (await world.http.post(f"{PATH}/abort")).status_code == 200
        for answer in (
            await world.http.post(f"{PATH}/abort"),
            await world.http.post(f"{PATH}/promote"),
            await world.http.patch(PATH, json={"weight": 1}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (409, "no_rollout_running")


async def test_versions_that_take_different_inputs_are_not_mixed(tmp_path: Path) -> None:
    async with two_versions(tmp_path) as world:
        other = world.services.models[ModelName("sketch")]
        version: Any = world.services.versions[ModelName(NEXT)]
        model = msgspec.structs.replace(version.model, input_schema=other.model.input_schema)
        changed = msgspec.structs.replace(version, model=model)
        world.services.routing.units = {**world.services.units, ModelName(NEXT): changed}
        answer = await world.http.post(PATH, json={"version": "2"})
        assert (answer.status_code, answer.json()["code"]) == (409, "versions_differ")


async def test_a_job_that_waited_for_an_aborted_version_says_why_another_does_it(tmp_path: Path) -> None:
    async with two_versions(tmp_path, rollout(weight=100.0)) as world:
        moved, failed = await world.submit(), await world.submit(NEXT)
        assert (moved["model_version"], failed["model_version"]) == ("2", "2")
        why = "6 of 6 jobs failed"
        ends = rollout(revision=2, state=RolloutState.ABORTED, ended_at_s=world.services.clock.now_s() + 1, reason=why)
        assert await world.services.ledger.rollouts.put_rollout(ends)  # type: ignore[attr-defined]  # it is SQL
        await world.services.routing.refresh()
        told = (await world.http.get(f"/v1/jobs/{moved['id']}/explain")).json()
        [one] = [each for each in told["reasons"] if each["code"] == "rollout_aborted"]
        assert f"aborted ({why})" in one["message"]
        assert "version 1 does such jobs now" in one["message"]
        assert told["reasons"][0]["code"] != "rollout_aborted", "what holds it up stands before"
        pinned = (await world.http.get(f"/v1/jobs/{failed['id']}/explain")).json()["reasons"]
        assert not [each for each in pinned if each["code"] == "rollout_aborted"], "who named a version gets it"
        later = await world.submit()
        assert later["model_version"] == "1"
