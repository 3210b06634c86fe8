"""What a pod's status means for a worker: how it fares, and what keeps it from coming up, in words.

Pure reading of what the API server tells. Sources: `kubectl explain pod.status`; reasons in kubernetes
pkg/kubelet/{images,container}/, pkg/apis/core/types.go; the quota's condition was seen on a real control plane.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from springtide.domain.fleet import Replica, ReplicaPhase, Trouble
from springtide.domain.ids import ModelName, WorkerId
from springtide.fleet.kubernetes_api import Object

_PULLING = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
)
_UNSET = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_LOOP_AFTER = 2  # a container that died so often and is not ready is in a loop also while it just runs again
OUT_OF_MEMORY = 137  # SIGKILL, which is how the kernel ends what grew past its limit


def replica_of(pod: Object, model: ModelName) -> Replica:
    """A worker, by its pod."""
    trouble = trouble_of(pod)
    if pod["metadata"].get("deletionTimestamp"):
        phase = ReplicaPhase.DRAINING
    elif trouble is not None and trouble.code in _NOT_COMING:
        phase = ReplicaPhase.BACKING_OFF
    else:
        phase = ReplicaPhase.RUNNING
    ended = next((one for one in map(_last_end, _containers(pod)) if one), None)
    return Replica(
        worker=WorkerId(pod["metadata"]["name"]),
        model=model,
        phase=phase,
        restarts=max((one.get("restartCount", 0) for one in _containers(pod)), default=0),
        started_at_s=at_s(pod["metadata"]["creationTimestamp"]),
        last_exit=None if ended is None else _exit_text(ended),
        trouble=trouble,
    )


def is_over(pod: Object) -> bool:
    """Whether nothing of it runs or will: it only has not been cleared away."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def trouble_of(pod: Object) -> Trouble | None:
    """What keeps it from working; None where it works, leaves, or is on its way."""
    if pod["metadata"].get("deletionTimestamp"):
        return None
    for container in _containers(pod):
        trouble = _of_container(container)
        if trouble is not None:
            return trouble
    for condition in pod.get("status", {}).get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            message: str = condition.get("message", "")
            if condition.get("reason") == "SchedulingGated":
                return Trouble(code="scheduling_gated", message=f"its pod waits for a queue of the cluster: {message}")
            return Trouble(code="unschedulable", message=f"no node takes its pod: {message}")
    return None


def trouble_of_deployment(deployment: Object) -> Trouble | None:
    """What keeps it from having all of its pods."""
    for condition in deployment.get("status", {}).get("conditions") or ():
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            message: str = condition.get("message", "")
            code = "quota_exceeded" if "exceeded quota" in message else "pods_refused"
            return Trouble(code=code, message=f"the cluster refuses its pods: {message}")
    return None


def at_s(stamp: str) -> float:
    """A time in metadata, as seconds since the epoch."""
    return datetime.fromisoformat(stamp).timestamp()


_NOT_COMING = frozenset({"crash_looping", "image_not_pulled", "pod_misconfigured"})


def _containers(pod: Object) -> Iterable[Object]:
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _of_container(container: Object) -> Trouble | None:
    waiting = (container.get("state") or {}).get("waiting") or {}
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _PULLING:
        return Trouble(code="image_not_pulled", message=f"its image cannot be pulled ({reason}): {message}")
    if reason in _UNSET:
        return Trouble(code="pod_misconfigured", message=f"its container cannot be made ({reason}): {message}")
    ended = _last_end(container)
    restarts = container.get("restartCount", 0)
    is_looping = restarts >= _LOOP_AFTER and ended is not None and not container.get("ready") and _failed(ended)
    if reason == "CrashLoopBackOff" or is_looping:
        how = _exit_text(ended) if ended else "its end is not on record"
        named = container.get("name", "worker")
        return Trouble(code="crash_looping", message=f"container {named} died {restarts} times: {how}")
    return None


def _last_end(container: Object) -> Object | None:
    state, last = container.get("state") or {}, container.get("lastState") or {}
    return state.get("terminated") or last.get("terminated") or None


def _failed(ended: Object) -> bool:
    return bool(ended.get("exitCode", 0))


def _exit_text(ended: Object) -> str:
    code, reason, message = ended.get("exitCode", 0), ended.get("reason", ""), (ended.get("message") or "").strip()
    if reason == "OOMKilled":
        text = f"out of memory (exit code {code}): its limit is too low for the model"
    elif code == OUT_OF_MEMORY:
        text = "killed by SIGKILL (out of memory, or its node)"
    else:
        text = f"exit code {code}" + (f" ({reason})" if reason not in ("", "Error", "Completed") else "")
    return f"{text}: {message.splitlines()[-1][:300]}" if message else text
