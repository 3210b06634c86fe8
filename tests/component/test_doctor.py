"""`springtide doctor`: each trouble is found where it is, and its cure is said."""

from __future__ import annotations

import json
import socket
from collections import namedtuple
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from springtide.cli import checks_machine, checks_services, doctor
from springtide.cli.main import app
from springtide.config import Config
from springtide.deploy.installation import Installation
from springtide.deploy.needs import needs
from springtide.domain.finding import Finding, Health
from springtide.domain.fleet import QueueView, WorkerView
from springtide.domain.ids import WorkerId
from springtide.domain.job import JobError
from springtide.domain.lease import WorkerState
from springtide.fleet import kubernetes_checks as cluster_checks
from springtide.fleet.quantities import quantity
from springtide.fleet.rights import CONTROLLER, DOCTOR, DOCTOR_CLUSTER, as_triples
from springtide.runtime.gpus import Gpu
from springtide.testing.cluster import Cluster, M, cluster_world
from springtide.testing.kubernetes import SCALED_OBJECT
from springtide.testing.servers import NoServer, ValkeyServer, free_port, valkey_server

NOW_S = 1_800_000_000.0
Disk = namedtuple("Disk", "total used free")  # as shutil.disk_usage gives it


def config_of(tmp_path: Path, **sections: Any) -> Config:
    server = {"data_dir": tmp_path / "data", "weights_dir": tmp_path / "weights", "port": 0}
    models = {M: {"engine": "synthetic"}}
    return Config(**{"server": server, "models": models, **sections})


def of(found: list[Finding], check: str) -> Finding:
    [one] = [one for one in found if one.check == check]
    return one


# --- this machine ---


def test_a_fresh_machine_is_in_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPRINGTIDE_SERVER__DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SPRINGTIDE_SERVER__PORT", "0")
    monkeypatch.setenv("SPRINGTIDE_MODELS", '{"m": {"engine": "synthetic"}}')
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert {one["health"] for one in found} <= {"well", "skipped"}


def test_a_trouble_is_shown_with_its_cure_and_an_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SPRINGTIDE_SERVER__DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SPRINGTIDE_SERVER__WEIGHTS_DIR", str(tmp_path / "file"))
    monkeypatch.setenv("SPRINGTIDE_SERVER__PORT", "0")
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "trouble model share" in done.output
    assert "→ mount it again" in done.output


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = checks_machine.data_folder(tmp_path / "file" / "data")
    assert found.health is Health.TROUBLE
    assert found.cure is not None
    assert "data_dir" in found.cure


@pytest.mark.parametrize(
    ("free", "health"), [(100e9, Health.WELL), (3e9, Health.RISK), (0.5e9, Health.TROUBLE)], ids=str
)
def test_a_disk_that_is_full_or_soon_will_be(tmp_path: Path, free: float, health: Health) -> None:
    found = checks_machine.disk(tmp_path, lambda path: Disk(200e9, 0, free))  # type: ignore[arg-type]
    assert found.health is health


def test_a_port_that_somebody_else_has(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        config = config_of(tmp_path, server={"data_dir": tmp_path, "port": other.getsockname()[1]})
        found = checks_machine.port(config)
    assert (found.health, "--port" in (found.cure or "")) == (Health.TROUBLE, True)


def test_model_files_that_are_missing_name_the_command(tmp_path: Path) -> None:
    config = config_of(tmp_path, models={"matting": {"engine": "matting"}})
    [found] = list(checks_machine.model_files(config))
    assert (found.health, found.cure) == (Health.TROUBLE, "springtide models pull matting")


@pytest.mark.parametrize(
    ("gpus", "health"),
    [([], Health.TROUBLE), (None, Health.UNKNOWN), ([Gpu("A", 1, 1)], Health.WELL)],
    ids=["none", "unknown", "one"],
)
def test_a_gpu_that_is_asked_for_and_not_seen(tmp_path: Path, gpus: list[Gpu] | None, health: Health) -> None:
    config = config_of(tmp_path, models={M: {"engine": "synthetic", "accelerators": 1}})
    assert checks_machine.graphics(config, lambda: gpus).health is health


# --- services ---


@pytest.fixture(params=[True, False], ids=["appendonly", "in memory"])
def valkey(request: pytest.FixtureRequest) -> Iterator[ValkeyServer]:
    try:
        with valkey_server(appendonly=request.param, maxmemory="100mb", maxmemory_policy="allkeys-lru") as server:
            yield server
    except NoServer as error:
        pytest.skip(str(error))


async def test_a_redis_that_keeps_nothing_or_throws_away(valkey: ValkeyServer, request: pytest.FixtureRequest) -> None:
    found = await checks_services.redis(valkey.url)
    keeps = "appendonly" in request.node.name
    assert of(found, "Redis persistence").health is (Health.WELL if keeps else Health.RISK)
    assert of(found, "Redis eviction").health is Health.TROUBLE
    assert "noeviction" in (of(found, "Redis eviction").cure or "")
    assert of(found, "clocks").health is Health.WELL


async def test_a_broker_and_a_ledger_that_cannot_be_reached(tmp_path: Path) -> None:
    port = free_port()
    broker, ledger = {"url": f"redis://127.0.0.1:{port}"}, {"url": f"postgresql://u:secret@127.0.0.1:{port}/db"}
    found = await checks_services.checks(config_of(tmp_path, broker=broker, ledger=ledger))
    assert of(found, "broker").health is of(found, "ledger").health is Health.TROUBLE
    assert "secret" not in repr(found)


async def test_files_that_cannot_be_stored(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config = config_of(tmp_path, blobs={"url": f"file://{tmp_path / 'file' / 'blobs'}"})
    assert (await checks_services.storage(config)).health is Health.TROUBLE


def test_clocks_that_disagree() -> None:
    assert checks_services.clock("redis:6379", 30.0).message == "redis:6379 is 30.0 s ahead of this machine"
    assert checks_services.clock("redis:6379", -0.2).health is Health.WELL


def queue(queued: int, waited_s: float, *workers: WorkerView) -> QueueView:
    return QueueView(
        model=M,
        queued=queued,
        leased=0,
        predicted_s=1.0,
        oldest_enqueued_at_s=NOW_S - waited_s if queued else None,
        workers=workers,
        taken_at_s=NOW_S,
    )


def worker(state: WorkerState, problem: JobError | None = None) -> WorkerView:
    return WorkerView(worker=WorkerId("w"), model=M, state=state, held=0, beat_at_s=NOW_S, problem=problem)


@pytest.mark.parametrize(
    ("view", "says"),
    [
        (queue(0, 0), None),
        (queue(3, 5), None),
        (queue(3, 500, worker(WorkerState.BUSY)), None),
        (queue(3, 500), "has no worker"),
        (queue(3, 500, worker(WorkerState.STARTING)), "no worker of it gets ready"),
        (queue(3, 5, worker(WorkerState.FAILING, JobError(code="x", message="no file"))), "does not load: no file"),
    ],
    ids=["empty", "young", "moving", "nobody", "loading", "failing"],
)
def test_a_queue_that_stands_still(view: QueueView, says: str | None) -> None:
    found = checks_services.queue(view, NOW_S)
    assert (found is None) == (says is None)
    assert found is None or (says is not None and says in found.message and found.cure)


# --- the cluster ---


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster_world(tmp_path) as one:
        one.double.rights = as_triples((*CONTROLLER, *DOCTOR, *DOCTOR_CLUSTER))
        yield one


async def looked(cluster: Cluster, **wanted: Any) -> list[Finding]:
    return await cluster_checks.checks(cluster.api, "springtide", [M], cluster_checks.Wanted(**wanted))


async def test_a_cluster_that_is_well(cluster: Cluster) -> None:
    cluster.deployment(replicas=2)
    assert {one.health for one in await looked(cluster)} == {Health.WELL, Health.SKIPPED}


async def test_what_was_never_applied(cluster: Cluster) -> None:
    found = of(await looked(cluster), "deployments")
    assert (found.health, "deploy render" in (found.cure or "")) == (Health.TROUBLE, True)


async def test_pods_in_trouble_each_with_its_cure(cluster: Cluster) -> None:
    cluster.deployment(replicas=4)
    crash, full, image, secret = cluster.pods()
    pods = cluster.double.cluster
    pods.crash_loop(crash, exit_code=137, reason="OOMKilled")
    pods.unschedulable(full)
    pods.waiting(image, "ImagePullBackOff", "no such tag")
    pods.waiting(secret, "CreateContainerConfigError", 'secret "springtide" not found')
    found = {one.check.removeprefix("pod "): one for one in await looked(cluster) if one.check.startswith("pod ")}
    assert "kubectl logs --previous" in (found[crash].cure or "")
    assert "Insufficient nvidia.com/gpu" in found[full].message
    assert "pull_secrets" in (found[image].cure or "")
    assert 'secret "springtide" not found' in found[secret].message


async def test_a_share_of_models_that_does_not_mount(cluster: Cluster) -> None:
    cluster.double.cluster.next_pods = "scheduled"
    cluster.deployment(replicas=1)
    [name] = cluster.pods()
    cluster.double.cluster.fails_to_mount(name, "nfs: timed out")
    found = of(await looked(cluster), f"pod {name}")
    assert "nfs: timed out" in found.message
    assert "mend or reach the share" in (found.cure or "")


async def test_nodes_without_the_device_plugin(cluster: Cluster) -> None:
    node: dict[str, Any] = {"kind": "Node", "metadata": {"name": "n1"}, "status": {"allocatable": {"cpu": "8"}}}
    cluster.double.create(node)
    found = of(await looked(cluster, gpu="nvidia.com/gpu"), "GPU")
    assert (found.health, "device plugin" in (found.cure or "")) == (Health.TROUBLE, True)
    offers = {"allocatable": {"cpu": "8", "nvidia.com/gpu": "8"}}
    cluster.double.change("Node", "n1", lambda one: {**one, "status": offers}, namespace="", subresource="status")
    assert of(await looked(cluster, gpu="nvidia.com/gpu"), "GPU").health is Health.WELL


async def test_quotas_that_are_used_up_or_nearly(cluster: Cluster) -> None:
    status = {"hard": {"requests.nvidia.com/gpu": "4", "memory": "64Gi"}, "used": {"requests.nvidia.com/gpu": "4"}}
    cluster.double.create({"kind": "ResourceQuota", "metadata": {"name": "q"}, "status": status})
    found = of(await looked(cluster), "quota")
    assert (found.health, "requests.nvidia.com/gpu is 100% used" in found.message) == (Health.RISK, True)
    cluster.double.cluster.quota = 1
    cluster.deployment(replicas=3)
    name = "deployment springtide-worker-m"
    assert "exceeded quota" in of(await looked(cluster), name).message


async def test_a_claim_without_a_volume(cluster: Cluster) -> None:
    claim = {"kind": "PersistentVolumeClaim", "metadata": {"name": "weights"}, "status": {"phase": "Pending"}}
    cluster.double.create(claim)
    found = of(await looked(cluster), "volume claims")
    assert (found.health, found.message) == (Health.TROUBLE, "weights is Pending")


async def test_keda_that_is_absent_or_not_ready(cluster: Cluster) -> None:
    cluster.double.kinds.remove(SCALED_OBJECT)
    wanted: dict[str, Any] = {"scaling": "keda", "definitions": definitions_of(scaling="keda")}
    absent = of(await looked(cluster, **wanted), "definitions")
    assert (absent.health, "install KEDA" in (absent.cure or "")) == (Health.TROUBLE, True)
    assert of(await looked(cluster, **wanted), "KEDA").health is Health.SKIPPED
    cluster.double.kinds.add(SCALED_OBJECT)
    cluster.double.create({"kind": "CustomResourceDefinition", "metadata": {"name": "scaledobjects.keda.sh"}})
    condition = {"type": "Ready", "status": "False", "message": "error establishing a connection"}
    scaled: dict[str, Any] = {"kind": "ScaledObject", "metadata": {"name": "m"}, "status": {"conditions": [condition]}}
    cluster.double.create(scaled)
    assert "error establishing" in of(await looked(cluster, **wanted), "KEDA").message
    assert of(await looked(cluster, **wanted), "definitions").health is Health.WELL


ROUTE = {"services": {"1": "m-1"}, "weights": {"1": 100}}
FILM = {"engine": "springtide.engines.synthetic.group:SyntheticGroup", "execution": "distributed"}


def definitions_of(models: dict[str, Any] | None = None, **kubernetes: Any) -> dict[str, tuple[str, str]]:
    config = Config(models=models or {M: {"engine": "synthetic"}}, kubernetes=kubernetes)
    return {one.definition: (one.because, one.cure) for one in needs(Installation(config, {}))}


@pytest.mark.parametrize(
    ("definition", "config"),
    [
        ("scaledobjects.keda.sh", {"scaling": "keda"}),
        ("podmonitors.monitoring.coreos.com", {"pod_monitors": True}),
        ("prometheusrules.monitoring.coreos.com", {"pod_monitors": True}),
        ("httproutes.gateway.networking.k8s.io", {"http_route": {"enabled": True, "gateway": "edge"}}),
        ("virtualservices.networking.istio.io", {"routes": {M: {**ROUTE, "host": "m.example.com"}}}),
        ("httproutes.gateway.networking.k8s.io", {"routes": {M: {**ROUTE, "gateway": "edge"}}}),
        ("localqueues.kueue.x-k8s.io", {"worker": {"queue": "gpus"}}),
        ("podgroups.scheduling.volcano.sh", {"worker": {"scheduler": "volcano"}}),
        ("pytorchjobs.kubeflow.org", {"models": {"film": FILM}}),
        ("trainjobs.trainer.kubeflow.org", {"models": {"film": {**FILM, "group": {"runs_as": "trainjob"}}}}),
        ("jobsets.jobset.x-k8s.io", {"models": {"film": {**FILM, "group": {"runs_as": "trainjob"}}}}),
        ("localqueues.kueue.x-k8s.io", {"models": {"film": {**FILM, "group": {"queue": "gpus"}}}}),
        ("podgroups.scheduling.volcano.sh", {"models": {"film": {**FILM, "group": {"volcano_queue": "gpus"}}}}),
    ],
)
async def test_a_definition_that_the_configuration_needs_and_the_cluster_lacks(
    cluster: Cluster, definition: str, config: dict[str, Any]
) -> None:
    wanted = definitions_of(**config)
    found = [one for one in await looked(cluster, definitions=wanted) if one.check == "definitions"]
    [one] = [one for one in found if definition in one.message]
    assert one.health is Health.TROUBLE
    assert one.cure is not None and ("install" in one.cure or "apply" in one.cure)
    for name in wanted:
        cluster.double.create({"kind": "CustomResourceDefinition", "metadata": {"name": name}})
    assert of(await looked(cluster, definitions=wanted), "definitions").health is Health.WELL
    assert definitions_of() == {}


async def test_what_may_not_be_looked_at_is_unknown_and_not_well(cluster: Cluster) -> None:
    cluster.deployment()
    cluster.double.rights = as_triples(CONTROLLER)
    found = await looked(cluster, gpu="nvidia.com/gpu")
    assert of(found, "GPU").health is of(found, "quota").health is Health.UNKNOWN
    assert of(found, "pods").health is Health.WELL


async def test_with_pods_the_cluster_is_examined_and_not_this_machine(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    config = config_of(tmp_path, fleet={"kind": "kubernetes"}, kubernetes={"namespace": "default"})
    checks = {one.check for one in await doctor.examine(config)}
    assert "deployments" in checks
    assert "port" not in checks


@pytest.mark.parametrize(("text", "number"), [("4", 4), ("500m", 0.5), ("64Gi", 64 * 2**30), ("2k", 2000)])
def test_quantities(text: str, number: float) -> None:
    assert quantity(text) == number
