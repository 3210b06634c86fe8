"""The least of a controller manager, a scheduler and kubelets: Deployments have as many pods as they want, in the
states that a test asks for, and lose them in the order in which a ReplicaSet does.

Changes follow at once, within the write that caused them. A change of the template replaces no pods.
"""

from __future__ import annotations

import copy
import uuid
from typing import Any

from springtide.testing.kubernetes import errors
from springtide.testing.kubernetes.fields import Object
from springtide.testing.kubernetes.store import Happened, Owner, Store, stamp

COST = "controller.kubernetes.io/pod-deletion-cost"
_MANAGER = Owner("kube-controller-manager", "Update")
_KUBELET = Owner("kubelet", "Update", "status")
NO_GPU = "0/4 nodes are available: 4 Insufficient nvidia.com/gpu."


class Cluster:
    """Deployments → pods. A test says how pods fare: `next_pods`, `ready`, `crash_loop`, ..."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._deployments = store.kinds.named("Deployment")
        self._pods = store.kinds.named("Pod")
        self._events = store.kinds.named("Event")
        self._due: dict[tuple[str, str], None] = {}
        self._is_busy = False
        self.next_pods = "ready"  # ready, loading, scheduled, pending: as which new pods come
        self.room: int | None = None  # more pods than so many find no node
        self.lacks: set[str] = set()  # resources that no node offers: who asks for one finds none
        self.quota: int | None = None  # more pods than so many are refused
        self.holds_leaving = False  # pods that are deleted stay, terminating, until `gone`
        store.on_change.append(self._note)

    # --- how a pod fares ---

    def pods(self, deployment: str = "", namespace: str = "default") -> list[Object]:
        """Those of a deployment, oldest first; the leaving too."""
        found = [
            pod
            for pod in self._store.all(self._pods, namespace)
            if not deployment or any(one["name"] == deployment for one in pod["metadata"].get("ownerReferences", ()))
        ]
        return sorted(found, key=_age)

    def ready(self, name: str, namespace: str = "default") -> None:
        """Its model is loaded."""
        self._run(namespace, name, ready=True)

    def loading(self, name: str, namespace: str = "default") -> None:
        """It runs, and its model is not loaded yet."""
        self._run(namespace, name, ready=False)

    def unschedulable(
        self, name: str, message: str = NO_GPU, *, reason: str = "Unschedulable", namespace: str = "default"
    ) -> None:
        """No node takes it."""
        why = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
        self._set(namespace, name, {"phase": "Pending", "conditions": [why]})

    def waiting(self, name: str, reason: str, message: str = "", *, namespace: str = "default") -> None:
        """It has a node, and its container waits: ImagePullBackOff, CreateContainerConfigError, ContainerCreating."""
        state = {"waiting": {"reason": reason, "message": message}}
        self._contain(namespace, name, state, phase="Pending", ready=False)

    def fails_to_mount(self, name: str, message: str, *, namespace: str = "default") -> None:
        """It has a node, and a volume of it does not come: that is told in an event alone."""
        self.waiting(name, "ContainerCreating", namespace=namespace)
        uid = self._store.get(self._pods, namespace, name)["metadata"]["uid"]
        event = {
            "metadata": {"name": f"{name}.{uuid.uuid4().hex[:8]}"},
            "involvedObject": {"kind": "Pod", "namespace": namespace, "name": name, "uid": uid},
            "type": "Warning",
            "reason": "FailedMount",
            "message": message,
            "lastTimestamp": stamp(self._store.now()),
        }
        self._store.create(self._events, namespace, event, owner=Owner("kubelet", "Update"))

    def crash_loop(
        self,
        name: str,
        *,
        exit_code: int = 1,
        reason: str = "Error",
        message: str = "",
        restarts: int = 3,
        namespace: str = "default",
    ) -> None:
        """Its container has died again and waits for its next start."""
        told = f"back-off 40s restarting failed container=worker pod={name}"
        state = {"waiting": {"reason": "CrashLoopBackOff", "message": told}}
        ended = {"exitCode": exit_code, "reason": reason, "finishedAt": stamp(self._store.now())}
        ended |= {"message": message} if message else {}
        self._contain(namespace, name, state, phase="Running", ready=False, restarts=restarts, last=ended)

    def gone(self, name: str, namespace: str = "default") -> None:
        """A pod's containers have ended (of one that was deleted), or its node is no more."""
        self._store.delete(self._pods, namespace, name)

    def delete_pod(self, namespace: str, name: str, grace_s: int | None) -> Object:
        """As kubectl delete pod: told to leave; gone when it has ended, which is at once unless `holds_leaving`."""
        if grace_s == 0 or not self.holds_leaving:
            return self._store.delete(self._pods, namespace, name)
        pod = self._store.get(self._pods, namespace, name)
        own_s = pod["spec"].get("terminationGracePeriodSeconds", 30)
        return self._store.mark_deleted(self._pods, namespace, name, own_s if grace_s is None else grace_s)

    def _run(self, namespace: str, name: str, *, ready: bool) -> None:
        state = {"running": {"startedAt": stamp(self._store.now())}}
        self._contain(namespace, name, state, phase="Running", ready=ready)

    def _contain(
        self,
        namespace: str,
        name: str,
        state: Object,
        *,
        phase: str,
        ready: bool,
        restarts: int | None = None,
        last: Object | None = None,
    ) -> None:
        pod = self._store.get(self._pods, namespace, name)
        earlier = {one["name"]: one for one in pod.get("status", {}).get("containerStatuses", ())}
        names = [one["name"] for one in pod["spec"].get("containers", ())] or ["worker"]
        statuses = [
            {
                "name": one,
                "ready": ready,
                "started": ready,
                "restartCount": earlier.get(one, {}).get("restartCount", 0) if restarts is None else restarts,
                "state": state,
                "lastState": {"terminated": last} if last else earlier.get(one, {}).get("lastState", {}),
            }
            for one in names
        ]
        now = stamp(self._store.now())
        conditions = [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": now},
            {"type": "Ready", "status": str(ready), "lastTransitionTime": now},
        ]
        started = {"startTime": pod.get("status", {}).get("startTime", now)}
        self._set(namespace, name, {"phase": phase, "conditions": conditions, "containerStatuses": statuses, **started})

    def _set(self, namespace: str, name: str, status: Object) -> None:
        self._store.update(self._pods, namespace, name, lambda before: {**before, "status": status}, owner=_KUBELET)

    # --- the controller ---

    def _note(self, happened: Happened) -> None:
        metadata = happened.object["metadata"]
        namespace = metadata.get("namespace", "")
        if happened.kind is self._deployments:
            self._due[namespace, metadata["name"]] = None
        elif happened.kind is self._pods:
            for one in metadata.get("ownerReferences", ()):
                if one["kind"] == "Deployment":
                    self._due[namespace, one["name"]] = None
        if self._is_busy:
            return
        self._is_busy = True
        try:
            while self._due:
                due = next(iter(self._due))
                del self._due[due]
                self._sync(*due)
        finally:
            self._is_busy = False

    def _sync(self, namespace: str, name: str) -> None:
        try:
            deployment = self._store.get(self._deployments, namespace, name)
        except errors.Refusal:
            return  # it was deleted; its pods went with it
        wanted = deployment["spec"].get("replicas", 1)
        active = [pod for pod in self.pods(name, namespace) if _is_active(pod)]
        refused: str | None = None
        for _ in range(wanted - len(active)):
            there = sum(1 for _ in self._store.all(self._pods, namespace))
            if self.quota is not None and there >= self.quota:
                refused = (
                    f'pods "{name}" is forbidden: exceeded quota: springtide, requested: pods=1, used: pods={there}'
                )
                refused += f", limited: pods={self.quota}"
                break
            self._make(deployment)
        for pod in sorted(active, key=_leaves_first)[: max(0, len(active) - wanted)]:
            self.delete_pod(namespace, pod["metadata"]["name"], None)
        self._tell(deployment, refused)

    def _make(self, deployment: Object) -> None:
        meta, template = deployment["metadata"], deployment["spec"]["template"]
        labels = template.get("metadata", {}).get("labels", {})
        annotations = template.get("metadata", {}).get("annotations", {})
        owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": meta["name"], "uid": meta["uid"]}
        name = f"{meta['name']}-{uuid.uuid4().hex[:10]}-{uuid.uuid4().hex[:5]}"
        pod: Object = {
            "metadata": {"name": name, "labels": labels, "annotations": annotations, "ownerReferences": [owner]},
            "spec": copy.deepcopy(template.get("spec", {})),
            "status": {"phase": "Pending"},
        }
        namespace = meta["namespace"]
        containers: list[Object] = pod["spec"].get("containers", [])
        asked = {what for one in containers for what in (one.get("resources") or {}).get("limits", {})}
        lacking = sorted(asked & self.lacks)
        has_room = self.room is None or sum(1 for _ in self._store.all(self._pods)) < self.room
        self._store.create(self._pods, namespace, pod, owner=_MANAGER)
        if lacking:
            told = f"0/4 nodes are available: 4 Insufficient {lacking[0]}."
            self.unschedulable(name, told, namespace=namespace)
        elif not has_room:
            self.unschedulable(name, namespace=namespace)
        elif self.next_pods == "ready":
            self.ready(name, namespace)
        elif self.next_pods == "loading":
            self.loading(name, namespace)
        elif self.next_pods == "scheduled":
            self.waiting(name, "ContainerCreating", namespace=namespace)

    def _tell(self, deployment: Object, refused: str | None) -> None:
        namespace, name = deployment["metadata"]["namespace"], deployment["metadata"]["name"]
        active = [pod for pod in self.pods(name, namespace) if _is_active(pod)]
        ready = sum(_is_ready(pod) for pod in active)
        status: Object = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": len(active),
            "updatedReplicas": len(active),
            "readyReplicas": ready,
            "availableReplicas": ready,
        }
        if refused is not None:
            failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": refused}
            status["conditions"] = [failure]
        owner = Owner("kube-controller-manager", "Update", "status")
        self._store.update(self._deployments, namespace, name, lambda before: {**before, "status": status}, owner=owner)


def _is_active(pod: Object) -> bool:
    phase = pod.get("status", {}).get("phase")
    return not pod["metadata"].get("deletionTimestamp") and phase not in ("Succeeded", "Failed")


def _is_ready(pod: Object) -> bool:
    conditions: list[Object] = pod.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _has_node(pod: Object) -> bool:
    conditions: list[Object] = pod.get("status", {}).get("conditions", [])
    return any(one["type"] == "PodScheduled" and one["status"] == "True" for one in conditions)


def _restarts(pod: Object) -> int:
    return max((one["restartCount"] for one in pod.get("status", {}).get("containerStatuses", ())), default=0)


def _age(pod: Object) -> tuple[str, int]:
    return (pod["metadata"]["creationTimestamp"], int(pod["metadata"]["resourceVersion"]))


def _leaves_first(pod: Object) -> tuple[Any, ...]:
    """Source: kubernetes pkg/controller/controller_utils.go, ActivePodsWithRanks.Less."""
    phases = {"Pending": 0, "Unknown": 1, "Running": 2}
    return (
        _has_node(pod),
        phases.get(pod.get("status", {}).get("phase", ""), 0),
        _is_ready(pod),
        int(pod["metadata"].get("annotations", {}).get(COST, "0")),
        -_restarts(pod),
        [-ord(letter) for letter in pod["metadata"]["creationTimestamp"]],
    )
