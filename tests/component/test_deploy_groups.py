"""From springtide.toml to the pods of a group: what the worker that starts groups makes of the configuration it has."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from deploy_checks import MATRIX, TRIAL, misshapen

from springtide.cli import build
from springtide.deploy import render as deploy
from springtide.deploy.values import installation
from springtide.domain.ids import JobId, ModelName, TenantId, WorkerId
from springtide.domain.lease import Lease, Payload
from springtide.fleet.gang_objects import render
from springtide.fleet.gangs import Runs
from springtide.fleet.rights import GANGS, as_rules

TRIAL_FILM = (TRIAL, ["models.film={engine='synthetic', execution='distributed', group={processes=3, gpus_each=2}}"])


def made(path: Any, sets: list[str]) -> dict[str, Any]:
    """The PyTorchJob of a job of `film`."""
    config = installation(path, sets).config
    [settings] = build.worker_spec(config, "film", WorkerId("film-1")).models
    assert settings.gang is not None and settings.gang_pods is not None
    lease = Lease(
        id=JobId("job_" + "0123456789abcdef" * 2),
        model=ModelName("film"),
        tenant=TenantId("t"),
        worker=WorkerId("film-1"),
        attempt=1,
        max_attempts=3,
        payload=msgspec.msgpack.encode(Payload(inputs={})),
        timeout_s=100.0,
        enqueued_at_s=0.0,
    )
    assert settings.runs_as is Runs.PYTORCHJOB
    return render(lease, settings.gang, settings.gang_pods, runs_as=settings.runs_as)


@pytest.mark.parametrize(("path", "sets"), [MATRIX["distributed"], TRIAL_FILM], ids=["production", "trial"])
def test_pods_of_a_group_are_what_the_api_takes(path: Any, sets: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    job = made(path, list(sets))
    for replica in job["spec"]["pytorchReplicaSpecs"].values():
        template = replica["template"]
        metadata = {"name": "x", **template["metadata"]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        assert misshapen(pod, "1.37") == []
        [main] = pod["spec"]["containers"]
        gpus = {main["resources"][key]["nvidia.com/gpu"] for key in ("requests", "limits")}
        assert len(gpus) == 1, "requests and limits of a GPU must be equal"
        assert main["securityContext"]["readOnlyRootFilesystem"]
        mounted = {each["name"] for one in (main, *pod["spec"]["initContainers"]) for each in one["volumeMounts"]}
        assert mounted <= {each["name"] for each in pod["spec"]["volumes"]}
        names = [each["name"] for each in main["env"]]
        assert len(names) == len(set(names))
        assert not any("hush" in str(each.get("value", "")) for each in main["env"])


def test_the_worker_may_do_what_it_does() -> None:
    objects = deploy.objects(installation(*MATRIX["distributed"]))
    [rules] = [one["rules"] for one in objects if one["kind"] == "Role" and "launcher" in one["metadata"]["name"]]
    assert rules == as_rules(GANGS)


def test_on_one_machine_nothing_of_a_cluster_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    config = installation(*TRIAL_FILM).config
    [settings] = build.worker_spec(config, "film", WorkerId("film-1")).models
    assert (settings.runs_as, settings.gang_pods) == (Runs.PROCESSES, None)
