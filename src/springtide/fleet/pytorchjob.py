"""Gangs as objects of a cluster: one PyTorchJob or TrainJob for each attempt.

What a gang is made of is watched, not only its own status: a pod that failed, or that was there and is not any more,
ends the gang at once, though the training operator would put another in its place. Promises: a start whose answer got
lost makes no second object; a gang counts as gone when its object and all its pods are. Every act is an Event on it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from springtide.domain.clock import Clock
from springtide.domain.errors import ConfigError, Unavailable
from springtide.domain.ids import ModelName, WorkerId
from springtide.domain.job import JobError
from springtide.domain.lease import Lease
from springtide.fleet.gang_objects import (
    RESOURCES,
    WORKER_ANNOTATION,
    render,
)
from springtide.fleet.gangs import REPORTED_EXIT, GangPhase, GangPods, GangShape, GangView, Runs, attempt_of, gang_name
from springtide.fleet.kubernetes_api import PODS, ApiRefused, LightkubeApi, Object
from springtide.fleet.kubernetes_events import Events
from springtide.fleet.kubernetes_reflector import Reflector
from springtide.fleet.kubernetes_volumes import LOOK_EVERY_S, Volumes
from springtide.fleet.labels import as_query, group_selector
from springtide.runtime.waiting import first_of

log = logging.getLogger(__name__)

# Labels that pods of a gang carry in any case: the training operator's, JobSet's (which TrainJobs become).
POD_LABELS = {Runs.PYTORCHJOB: "training.kubeflow.org/job-name", Runs.TRAINJOB: "jobset.sigs.k8s.io/jobset-name"}
GONE_WITHIN_S = 120.0  # beyond a pod's grace: after that it is said that some may be left
REFUSED_FOR_S = 15.0  # an API server that has just begun refuses what it allows once it has read its own rules
_ENDS = {"Succeeded": True, "Complete": True, "Failed": False}


class ClusterGangs:
    """`Gangs` of one worker."""

    def __init__(
        self,
        api: LightkubeApi,
        model: ModelName,
        worker: WorkerId,
        *,
        shape: GangShape,
        given: GangPods,
        runs_as: Runs,
        clock: Clock,
    ) -> None:
        self._api = api
        self._worker = worker
        self._shape = shape
        self._given = given
        self._runs_as = runs_as
        self._what = RESOURCES[runs_as]
        self._clock = clock
        self._query = as_query(group_selector(given.instance, model))
        self._pod_label = POD_LABELS[runs_as]
        notify: dict[str, Any] = {"on_set": self._note, "on_gone": self._note}
        self._jobs = Reflector(api, self._what, clock, labels=self._query, **notify)
        self._pods = Reflector(api, PODS, clock, labels=self._pod_label, **notify)
        self._volumes = Volumes(api, clock)
        self._events = Events(api, clock, component="springtide-worker", instance=worker)
        self._news = asyncio.Event()
        self._made: dict[str, Object] = {}  # by this worker, as the API server answered
        self._seen_jobs: set[str] = set()
        self._seen_pods: dict[str, dict[str, str]] = {}  # gang -> pod -> uid
        self._lost: dict[str, str] = {}  # gang -> the pod that went away
        self._is_open = False

    async def open(self) -> None:
        if self._is_open:
            return
        await self._api.start()
        try:
            await self._api.list(self._what, labels=self._query)
        except ApiRefused as error:
            why = "the cluster has no such kind: install its operator" if error.is_missing else error.message
            raise ConfigError(f"{self._what.kind} ({self._what.api_version}): {why}") from error
        for service in (self._events, self._jobs, self._pods):
            await service.start()
        self._is_open = True

    async def close(self) -> None:
        if self._is_open:
            self._is_open = False
            for service in (self._pods, self._jobs, self._events):
                await service.stop()
        await self._api.stop()

    async def start(self, lease: Lease) -> GangView:
        name = gang_name(lease.id, lease.attempt)
        wanted = render(lease, self._shape, self._given, runs_as=self._runs_as)
        try:
            made = self._made[name] = await self._create(wanted)
            about = f"attempt {lease.attempt} of job {lease.id}, in {self._shape.processes} processes"
            self._tell(made, "Started", about)
        except ApiRefused as error:
            if not error.is_conflict:
                raise ConfigError(f"{self._what.kind} {name} is refused: {error.message}") from error
            there = await self._api.get(self._what, name)
            if _worker_of(there) != self._worker or "deletionTimestamp" in there["metadata"]:
                raise Unavailable(f"another {self._what.kind} {name} is not gone yet") from error
        log.info("%s: %s created", name, self._what.kind)
        return GangView(name=name, job=lease.id, attempt=lease.attempt, worker=self._worker, phase=GangPhase.PENDING)

    async def _create(self, wanted: Object) -> Object:
        until_s = self._clock.monotonic_s() + REFUSED_FOR_S
        while True:
            try:
                return await self._api.create(self._what, wanted)
            except ApiRefused as error:
                if error.status not in (403, 404) or self._clock.monotonic_s() >= until_s:
                    raise
            await self._clock.sleep(1.0)

    async def change(self, seen: GangView) -> GangView:
        while True:
            news = self._news
            view = self._view(seen)
            if view != seen:
                if view.error is not None and (job := self._jobs.objects.get(seen.name)) is not None:
                    self._tell(job, "Lost", f"{view.error.message}; all of it is stopped", is_warning=True)
                return view
            if view.phase is GangPhase.PENDING:  # events are not watched, and they alone tell of a volume
                await first_of(news.wait(), self._clock.sleep(LOOK_EVERY_S))
                if self._volumes.is_due(self._pods.objects.values()):
                    await self._volumes.look()
            else:
                await news.wait()

    async def stop(self, name: str) -> None:
        known = self._jobs.objects.get(name) or self._made.get(name)
        try:
            await self._api.delete(self._what, name)
            if known is not None:
                self._tell(known, "Deleted", f"its attempt is over for {self._worker}")
        except ApiRefused as error:
            if not error.is_missing:
                raise Unavailable(f"{name} cannot be deleted: {error.message}") from error
        # Asked, not watched: what the watch has not heard of yet must count too.
        until_s = self._clock.monotonic_s() + GONE_WITHIN_S
        while (await self._api.list(PODS, labels=f"{self._pod_label}={name}")).items:
            if self._clock.monotonic_s() > until_s:
                raise Unavailable(f"pods of {name} are still there {GONE_WITHIN_S:.0f} s after it was deleted")
            await self._clock.sleep(0.5)
        for forgotten in (self._seen_pods, self._lost, self._made):
            forgotten.pop(name, None)
        self._seen_jobs.discard(name)

    async def list(self) -> list[GangView]:
        found = await self._api.list(self._what, labels=self._query)
        views: list[GangView] = []
        for one in found.items:
            name = one["metadata"]["name"]
            if (told := attempt_of(name)) is not None:
                job, attempt = told
                phase = GangPhase.PENDING
                views.append(GangView(name=name, job=job, attempt=attempt, worker=_worker_of(one), phase=phase))
        return views

    def _tell(self, one: Object, reason: str, message: str, *, is_warning: bool = False) -> None:
        about = {"apiVersion": self._what.api_version, "kind": self._what.kind, **one}
        self._events.tell(about, reason, message, is_warning=is_warning)

    # --- how a gang is ----------------------------------------------------------------------------------------------

    def _note(self, one: Object) -> None:
        name = one["metadata"]["labels"].get(self._pod_label)
        if name is None:
            self._seen_jobs.add(one["metadata"]["name"])
        else:
            self._note_pod(name, one)
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _note_pod(self, gang: str, pod: Object) -> None:
        """A pod that ran and is gone, or is another one of the same name, is a lost rank."""
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        before = self._seen_pods.setdefault(gang, {}).setdefault(name, uid)
        is_there = name in self._pods.objects
        has_ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
        if (before != uid or not is_there) and not has_ended:
            self._lost.setdefault(gang, name)

    def _view(self, seen: GangView) -> GangView:
        def at(phase: GangPhase, message: str = "", error: JobError | None = None) -> GangView:
            return GangView(
                name=seen.name,
                job=seen.job,
                attempt=seen.attempt,
                worker=seen.worker,
                phase=phase,
                message=message,
                error=error,
            )

        pods = [
            pod for pod in self._pods.objects.values() if pod["metadata"]["labels"].get(self._pod_label) == seen.name
        ]
        ends = [end for pod in pods for end in _ends_of(pod)]
        if any(code == REPORTED_EXIT for _, code, _ in ends) or any(map(_is_done, pods)):
            return at(GangPhase.SUCCEEDED)
        job = self._jobs.objects.get(seen.name)
        is_well = _has_ended(job)
        if is_well:
            return at(GangPhase.SUCCEEDED)
        error = self._loss(seen.name, pods, ends)
        if error is None and is_well is False:
            error = JobError(code="worker_lost", message=f"its group has failed: {_why(job)}", retryable=True)
        if error is None and job is None and seen.name in self._seen_jobs and self._jobs.is_current:
            error = JobError(code="worker_lost", message="its group was deleted", retryable=True)
        if error is not None:
            return at(GangPhase.FAILED, error=error)
        running = sum(pod.get("status", {}).get("phase") in ("Running", "Succeeded") for pod in pods)
        if running >= self._shape.processes:
            return at(GangPhase.RUNNING)
        return seen if seen.phase is GangPhase.RUNNING else at(GangPhase.PENDING, self._waits_for(job, pods))

    def _loss(self, name: str, pods: list[Object], ends: list[tuple[str, int, str]]) -> JobError | None:
        for pod, code, reason in ends:
            if code != 0:
                is_memory = reason == "OOMKilled"
                by_signal = f"was ended by signal {code - 128}" if code > 128 else f"ended with exit code {code}"
                how = "ran out of memory" if is_memory else by_signal
                return JobError(
                    code="out_of_memory" if is_memory else "crashed",
                    message=f"rank {pod.removeprefix(name).strip('-')} {how}",
                    retryable=True,
                    details={"pod": pod, "exit_code": code, **({"reason": reason} if reason else {})},
                )
        for pod in pods:
            status = pod.get("status", {})
            if status.get("phase") == "Failed":
                why = status.get("message") or status.get("reason") or "no reason given"
                message = f"pod {pod['metadata']['name']} has failed: {why}"
                return JobError(code="worker_lost", message=message, retryable=True)
        if name in self._lost:
            return JobError(code="worker_lost", message=f"pod {self._lost[name]} went away", retryable=True)
        return None

    def _waits_for(self, job: Object | None, pods: list[Object]) -> str:
        """In one line: the queue it is in, the node that no pod finds, the volume or image that does not come."""
        for condition in _conditions(job):
            if condition.get("type") == "Suspended" and condition.get("status") == "True":
                return "it is queued by the cluster (suspended)"
        for pod in pods:
            status = pod.get("status", {})
            for condition in status.get("conditions", ()):
                if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                    return str(condition.get("message") or condition.get("reason") or "no node takes it")
            if (trouble := self._volumes.trouble_of(pod)) is not None:
                return trouble.message
            for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
                waiting = container.get("state", {}).get("waiting")
                if waiting and waiting.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
                    return f"{waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
        return f"{sum(pod.get('status', {}).get('phase') == 'Running' for pod in pods)} of its pods run" if pods else ""


def _worker_of(one: Object) -> WorkerId:
    return WorkerId(one["metadata"].get("annotations", {}).get(WORKER_ANNOTATION, ""))


def _has_ended(job: Object | None) -> bool | None:
    """Well or not, by its conditions; None while it has not."""
    for condition in _conditions(job):
        if condition.get("status") == "True" and condition.get("type") in _ENDS:
            return _ENDS[condition["type"]]
    return None


def _why(job: Object | None) -> str:
    failed = [one for one in _conditions(job) if one.get("type") == "Failed"]
    return str(failed[0].get("message") or failed[0].get("reason")) if failed else "no reason given"


def _conditions(job: Object | None) -> list[Mapping[str, Any]]:
    return [] if job is None else job.get("status", {}).get("conditions") or []


def _ends_of(pod: Object) -> list[tuple[str, int, str]]:
    """(pod, exit code, reason) of containers that have ended, those that fetch too."""
    status = pod.get("status", {})
    states = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    ends = [one["state"]["terminated"] for one in states if "terminated" in one.get("state", {})]
    return [(pod["metadata"]["name"], int(end.get("exitCode", 0)), end.get("reason", "")) for end in ends]


def _is_done(pod: Object) -> bool:
    """Whether it is rank 0's, and has ended well: the object says so a moment later."""
    marks, phase = pod["metadata"]["labels"], pod.get("status", {}).get("phase")
    first = ("training.kubeflow.org/job-role", "master"), ("batch.kubernetes.io/job-completion-index", "0")
    return phase == "Succeeded" and any(marks.get(key) == value for key, value in first)
