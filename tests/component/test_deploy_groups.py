"""From springtide.toml to the pods of a group: what the worker that starts groups makes of the configuration it has."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from deploy_checks import MATRIX, TRIAL, misshapen, of_kind

from springtide.cli.worker_specs import worker_spec
from springtide.deploy import render as deploy
from springtide.deploy.values import installation
from springtide.domain.ids import JobId, ModelName, TenantId, WorkerId
from springtide.domain.lease import Lease, Payload
from springtide.fleet import labels
from springtide.fleet.gang_objects import ORDER, render
from springtide.fleet.gangs import Runs
from springtide.fleet.rights import as_rules, gang_rights

TRIAL_FILM = (TRIAL, ["models.film={engine='synthetic', execution='distributed', group={processes=3, gpus_each=2}}"])


def made(path: Any, sets: list[str], model: str = "film") -> dict[str, Any]:
    """The object of a job of `film`."""
    config = installation(path, sets).config
    [settings] = worker_spec(config, model, WorkerId("film-1")).models
    assert settings.gang is not None and settings.gang_pods is not None
    lease = Lease(
        id=JobId("job_" + "0123456789abcdef" * 2),
        model=ModelName(model),
        tenant=TenantId("t"),
        worker=WorkerId("film-1"),
        attempt=1,
        max_attempts=3,
        payload=msgspec.msgpack.encode(Payload(inputs={})),
        timeout_s=100.0,
        enqueued_at_s=0.0,
    )
    return render(lease, settings.gang, settings.gang_pods, runs_as=settings.runs_as)


@pytest.mark.parametrize(("path", "sets"), [MATRIX["distributed"], TRIAL_FILM], ids=["production", "trial"])
def test_pods_of_a_group_are_what_the_api_takes(path: Any, sets: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    job = made(path, list(sets))
    assert job["kind"] == "PyTorchJob"
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


@pytest.mark.parametrize("model", ["film", "film@2"])
def test_a_trainjob_gives_its_order_to_the_runtime_that_is_rendered(model: str) -> None:
    """Kubeflow's trainer takes no patch of a container that its runtime lacks, and no variables of `node`."""
    path, sets = MATRIX["trainjobs"]
    job = made(path, list(sets), model)
    there = of_kind(deploy.objects(installation(path, sets)), "TrainingRuntime")
    reference = job["spec"]["runtimeRef"]
    [node] = there[reference["name"]]["spec"]["template"]["spec"]["replicatedJobs"]
    assert (reference["kind"], node["name"]) == ("TrainingRuntime", "node")
    pod = node["template"]["spec"]["template"]["spec"]
    [patch] = job["spec"]["runtimePatches"]
    [patched] = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    own = patched["template"]["spec"]["template"]["spec"]
    [fetch] = own["initContainers"]
    assert set(own) == {"initContainers"}
    assert [one["name"] for one in pod["initContainers"]] == ["weights", fetch["name"]]
    assert fetch["env"] == job["spec"]["trainer"]["env"]
    assert fetch["env"][-1]["name"] == ORDER
    [main] = pod["containers"]
    assert main["env"] == fetch["env"][:-1]
    assert main["resources"] == job["spec"]["trainer"]["resourcesPerNode"]
    assert (pod["restartPolicy"], node["template"]["spec"]["backoffLimit"]) == ("Never", 0)
    assert job["metadata"]["annotations"]["scheduling.volcano.sh/queue-name"] == "films"


def test_ranks_reach_each_other_and_are_reached_by_nobody_else() -> None:
    for name in ("distributed", "trainjobs"):
        objects = deploy.objects(installation(*MATRIX[name]))
        policy = of_kind(objects, "NetworkPolicy")["springtide-group"]["spec"]
        peers = {"podSelector": policy["podSelector"]}
        assert policy["ingress"] == [{"from": [peers]}]
        assert policy["egress"][-1] == {"to": [peers]}
        assert policy["podSelector"]["matchLabels"].items() <= labels.group_selector("springtide", "film").items()


def test_the_worker_may_do_what_it_does() -> None:
    objects = deploy.objects(installation(*MATRIX["distributed"]))
    [rules] = [one["rules"] for one in objects if one["kind"] == "Role" and "launcher" in one["metadata"]["name"]]
    assert rules == as_rules(gang_rights({Runs.PYTORCHJOB}))


def test_on_one_machine_nothing_of_a_cluster_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    config = installation(*TRIAL_FILM).config
    [settings] = worker_spec(config, "film", WorkerId("film-1")).models
    assert (settings.runs_as, settings.gang_pods) == (Runs.PROCESSES, None)
