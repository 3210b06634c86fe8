"""The same model in a cluster: a real server, real ranks, an API server of the tests' own, and a training operator of
thirty lines that starts the containers of each PyTorchJob as processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from springtide.fleet.gangs import Runs
from springtide.fleet.rights import as_triples, gang_rights
from springtide.testing.kubernetes import KubernetesDouble, ThreadedDouble, threaded_double
from springtide.testing.servers import free_port

from .conftest import Server
from .test_distributed import CONFIG, PROMPT

ORDER = "SPRINGTIDE_RANK_ORDER"


class Operator:
    """Runs each PyTorchJob that it finds: every pod's last init container, then its container."""

    def __init__(self, cluster: ThreadedDouble, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.ran: dict[str, list[int]] = {}  # exit codes of all its processes
        self.variables: dict[str, str] = {}
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            for job in self._cluster.do(lambda double: double.all("PyTorchJob")):
                if (name := job["metadata"]["name"]) not in self.ran:
                    self.ran[name] = self._run_job(name, job["spec"]["pytorchReplicaSpecs"], job["metadata"]["uid"])

    def _run_job(self, name: str, replicas: dict[str, Any], uid: str) -> list[int]:
        roles = ["Master"] + ["Worker"] * replicas["Worker"]["replicas"]
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        codes: list[int] = []
        ranks: list[subprocess.Popen[bytes]] = []
        for rank, role in enumerate(roles):
            spec = replicas[role]["template"]["spec"]
            folder = self._folder / f"{name}-{rank}"
            folder.mkdir(parents=True)
            own = {"RANK": str(rank), "WORLD_SIZE": str(len(roles)), "SPRINGTIDE_RANK_FOLDER": str(folder), **place}
            fetch, main = spec["initContainers"][-1], spec["containers"][0]
            codes.append(self._start(fetch, own).wait(60))
            self._pod(f"{name}-{role.lower()}-{rank}", name, role.lower(), uid)
            ranks.append(self._start(main, own))
        codes += [rank.wait(60) for rank in ranks]
        status = {"conditions": [{"type": "Succeeded", "status": "True"}]}

        def end(double: KubernetesDouble) -> None:
            if name not in [one["metadata"]["name"] for one in double.all("PyTorchJob")]:
                return  # rank 0 has reported, so the worker may have deleted it
            double.change("PyTorchJob", name, lambda one: {**one, "status": status}, subresource="status")

        self._cluster.do(end)
        return codes

    def _start(self, container: dict[str, Any], own: dict[str, str]) -> subprocess.Popen[bytes]:
        [order] = [one["value"] for one in container["env"] if one["name"] == ORDER]
        env = {**self.variables, **own, ORDER: order}
        return subprocess.Popen([sys.executable, "-m", "springtide", *container["args"]], env=env)

    def _pod(self, pod: str, gang: str, role: str, uid: str) -> None:
        marks = {"training.kubeflow.org/job-name": gang, "training.kubeflow.org/job-role": role}
        owner = {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": gang, "uid": uid, "controller": True}
        metadata = {"name": pod, "labels": marks, "ownerReferences": [owner]}

        def make(double: KubernetesDouble) -> None:
            double.create({"kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": "pytorch"}]}})
            double.cluster.ready(pod)

        self._cluster.do(make)


@pytest.fixture
def cluster() -> Iterator[ThreadedDouble]:
    with threaded_double() as double:
        double.do(lambda one: setattr(one, "rights", as_triples(gang_rights({Runs.PYTORCHJOB}))))
        yield double


def test_a_job_becomes_a_pytorchjob_whose_rank_0_reports_it(cluster: ThreadedDouble, tmp_path: Path) -> None:
    text = CONFIG.replace("processes = 3", 'processes = 2\nruns_as = "pytorchjob"')
    (tmp_path / "springtide.toml").write_text(text)
    operator = Operator(cluster, tmp_path / "pods")
    try:
        server = Server(tmp_path, {"KUBECONFIG": str(cluster.do(lambda one: one.kubeconfig(tmp_path / "kubeconfig")))})
        operator.variables = {**server.env, "SPRINGTIDE_CONFIG": str(tmp_path / "springtide.toml")}
        try:
            data = tmp_path / "numbers.bin"
            data.write_bytes(bytes([1, 2, 3]))
            job = server.submit("sums", {"data": data}, upto="10", prompt=PROMPT).json()
            assert job["status"] == "completed", (job, server.log.read_text())
            outputs = job["outputs"]
            assert (outputs["total"], outputs["ranks"], outputs["prompt"]) == (61, 2, PROMPT)
        finally:
            server.close()
    finally:
        operator.stop()
    assert list(operator.ran.values()) == [[0, 0, 0, 0]]
    assert cluster.do(lambda double: double.all("PyTorchJob")) == []
    assert cluster.do(lambda double: double.all("Pod")) == []
    assert ORDER not in os.environ
