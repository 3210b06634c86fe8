"""A namespace of a real cluster, and the double with what plays the operators of a cluster there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import uuid
from pathlib import Path
from typing import Any, Protocol

import grpc.aio
import pytest
import yaml

from springtide.deploy import pods as deploy_pods
from springtide.fleet import externalscaler_pb2 as wire
from springtide.fleet.gangs import Runs
from springtide.fleet.kubernetes_api import QUOTAS, SCALED_OBJECTS, ApiRefused, LightkubeApi, Object, Resource
from springtide.fleet.rights import CONTROLLER, Right
from springtide.testing.kubernetes import KubernetesDouble

NAMESPACES = Resource(group="", version="v1", plural="namespaces", kind="Namespace", is_namespaced=False)
ACCOUNTS = Resource(group="", version="v1", plural="serviceaccounts", kind="ServiceAccount")
_RBAC = {"group": "rbac.authorization.k8s.io", "version": "v1"}
ROLES = Resource(**_RBAC, plural="roles", kind="Role")
BINDINGS = Resource(**_RBAC, plural="rolebindings", kind="RoleBinding")
LACKING = "springtide.dev/none-has-this"  # a resource that no node offers


class Place(Protocol):
    """What a scenario needs of where it runs."""

    api: LightkubeApi  # of an administrator
    acting: LightkubeApi  # with the controller's rights and no other
    namespace: str
    scaler_host: str
    within_s: float

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def restart_api(self) -> None:
        """Kill the API server and start it again. Skips where nobody knows how."""
        ...

    async def limit_pods(self, number: int) -> None:
        """By a ResourceQuota."""
        ...

    async def account(self, name: str, rights: tuple[Right, ...]) -> LightkubeApi:
        """A connection, not open yet, with these rights and no other."""
        ...

    async def with_keda(self) -> None:
        """Skips where there is none."""
        ...

    async def with_operator(self, runs_as: Runs, what: Resource) -> None:
        """Kubeflow's, of these jobs. Skips where there is none."""
        ...


class Real:
    """Namespaces of the cluster that KUBECONFIG names."""

    within_s = 120.0  # an HPA looks every 15 s, a controller manager with its usual limits makes 20 pods a second

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.namespace = f"springtide-test-{uuid.uuid4().hex[:8]}"
        self.scaler_host = os.environ.get("SPRINGTIDE_CLUSTER_HOST", "127.0.0.1")
        self.api = LightkubeApi(manager="springtide-test", namespace=self.namespace)

    async def start(self) -> None:
        await self.api.start()
        await self.api.create(NAMESPACES, {"metadata": {"name": self.namespace}})
        self.acting = await self.account("controller", CONTROLLER)
        await self.acting.start()

    async def account(self, name: str, rights: tuple[Right, ...]) -> LightkubeApi:
        """By the token of an account that is bound to a Role as it is rendered."""
        named = {"metadata": {"name": name}}
        await self.api.create(ACCOUNTS, named)
        await self.api.create(ROLES, {**named, "rules": deploy_pods.rules(rights)})
        role = {"apiGroup": _RBAC["group"], "kind": "Role", "name": name}
        subject = {"kind": "ServiceAccount", "name": name, "namespace": self.namespace}
        await self.api.create(BINDINGS, {**named, "roleRef": role, "subjects": [subject]})
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
        made = await self.api._ask("POST", self.api._path(ACCOUNTS, name, "token"), body=asked)
        config = await asyncio.to_thread(_read, Path(os.environ["KUBECONFIG"]))
        config["users"] = [{"name": one["name"], "user": {"token": made["status"]["token"]}} for one in config["users"]]
        path = self._folder / f"{name}.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return LightkubeApi(manager="springtide", namespace=self.namespace, kubeconfig=path)

    async def stop(self) -> None:
        await self.acting.stop()
        await self.api.delete(NAMESPACES, self.namespace)
        await self.api.stop()

    async def restart_api(self) -> None:
        command = os.environ.get("SPRINGTIDE_CLUSTER_RESTART")
        if command is None:
            pytest.skip("set SPRINGTIDE_CLUSTER_RESTART to a command that kills and restarts the API server")
        await asyncio.to_thread(subprocess.run, command, shell=True, check=True)

    async def limit_pods(self, number: int) -> None:
        await self.api.create(QUOTAS, {"metadata": {"name": "pods"}, "spec": {"hard": {"pods": str(number)}}})
        async with asyncio.timeout(self.within_s):
            while not (await self.api.get(QUOTAS, "pods")).get("status", {}).get("hard"):
                await asyncio.sleep(0.1)

    async def with_keda(self) -> None:
        await self._has(SCALED_OBJECTS)

    async def seen_by_keda(self, name: str) -> None:
        """Skips where the custom kind is there and nobody acts on it: KEDA's first act is its finalizer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.within_s):
                while not (await self.api.get(SCALED_OBJECTS, name))["metadata"].get("finalizers"):
                    await asyncio.sleep(0.1)
                return
        pytest.skip(f"the cluster knows ScaledObjects, but no KEDA has taken this one up in {self.within_s:g} s")

    async def with_operator(self, runs_as: Runs, what: Resource) -> None:
        await self._has(what)

    async def _has(self, what: Resource) -> None:
        try:
            await self.api.list(what)
        except ApiRefused as error:
            if not error.is_missing:
                raise
            pytest.skip(f"the cluster has no {what.kind}")


class Double:
    """The double, in whose namespace `default` operators are played by tasks."""

    within_s = 120.0
    namespace = "default"
    scaler_host = "127.0.0.1"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.double = KubernetesDouble()
        self._plays: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self.double.start()
        self.double.cluster.lacks.add(LACKING)
        self._path = self.double.kubeconfig(self._folder / "kubeconfig")
        self.api = LightkubeApi(manager="springtide-test", kubeconfig=self._path)
        self.acting = await self.account("controller", CONTROLLER)
        await self.api.start()
        await self.acting.start()

    async def stop(self) -> None:
        for task in self._plays:
            task.cancel()
        await asyncio.gather(*self._plays, return_exceptions=True)
        await self.acting.stop()
        await self.api.stop()
        await self.double.kill()

    async def restart_api(self) -> None:
        await self.double.kill()
        await asyncio.sleep(1.0)
        await self.double.start()

    async def limit_pods(self, number: int) -> None:
        self.double.cluster.quota = number

    async def account(self, name: str, rights: tuple[Right, ...]) -> LightkubeApi:
        """The double grants all."""
        return LightkubeApi(manager="springtide", kubeconfig=self._path)

    async def seen_by_keda(self, name: str) -> None:
        """It is played here."""

    async def with_keda(self) -> None:
        self._plays.append(asyncio.create_task(self._play_keda()))

    async def with_operator(self, runs_as: Runs, what: Resource) -> None:
        self._plays.append(asyncio.create_task(self._play_operator(runs_as, what)))

    async def _play_keda(self) -> None:
        """Asks the scaler of each ScaledObject, and makes the metric the number of replicas."""
        while True:
            for one in self.double.all("ScaledObject"):
                [trigger] = one["spec"]["triggers"]
                metadata = {key: value for key, value in trigger["metadata"].items() if key != "scalerAddress"}
                reference = wire.ScaledObjectRef(name=one["metadata"]["name"], scalerMetadata=metadata)
                async with grpc.aio.insecure_channel(trigger["metadata"]["scalerAddress"]) as channel:
                    ask = channel.unary_unary(
                        "/externalscaler.ExternalScaler/GetMetrics",
                        lambda message: message.SerializeToString(),
                        wire.GetMetricsResponse.FromString,
                    )
                    with contextlib.suppress(grpc.aio.AioRpcError):  # nothing is known yet: it holds
                        [metric] = (await ask(wire.GetMetricsRequest(scaledObjectRef=reference))).metricValues
                        self._scale(one["spec"]["scaleTargetRef"]["name"], int(metric.metricValueFloat))
            await asyncio.sleep(0.02)

    def _scale(self, name: str, replicas: int) -> None:
        def change(one: Object) -> Object:
            return {**one, "spec": {**one["spec"], "replicas": replicas}}

        self.double.change("Deployment", name, change, manager="kube-controller-manager", subresource="scale")

    async def _play_operator(self, runs_as: Runs, what: Resource) -> None:
        """Pods for each job, and others where one was lost, as Kubeflow's operators have it."""
        while True:
            for job in self.double.all(what.kind):
                there = {pod["metadata"]["name"] for pod in self.double.all("Pod")}
                for number in range(_size(job, runs_as)):
                    name = f"{job['metadata']['name']}-{number}"
                    if name not in there:
                        self._make(name, number, job, runs_as)
            await asyncio.sleep(0.02)

    def _make(self, name: str, number: int, job: Object, runs_as: Runs) -> None:
        gang = job["metadata"]["name"]
        if runs_as is Runs.PYTORCHJOB:
            role = "worker" if number else "master"
            marks = {"training.kubeflow.org/job-name": gang, "training.kubeflow.org/job-role": role}
        else:
            index = {"batch.kubernetes.io/job-completion-index": str(number)}
            marks = {"jobset.sigs.k8s.io/jobset-name": gang, **index}
        owner = {"apiVersion": job["apiVersion"], "kind": job["kind"], "name": gang, "uid": job["metadata"]["uid"]}
        metadata = {"name": name, "labels": marks, "ownerReferences": [owner]}
        self.double.create({"kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": "main"}]}})
        self.double.cluster.ready(name)


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def _size(job: Object, runs_as: Runs) -> int:
    if runs_as is Runs.TRAINJOB:
        return int(job["spec"]["trainer"]["numNodes"])
    return sum(int(one["replicas"]) for one in job["spec"]["pytorchReplicaSpecs"].values())
