"""Workers as pods: one Deployment a model, scaled by its scale subresource and by nothing else.

Promises: what a controller without leadership wishes is not done. Idle pods are marked to leave first before the number
falls, and marks of those that work again are taken back. While the API server is away nothing is done, what was seen
last holds, and the newest wish is done when it is back. Every act is an Event on the object.

It refuses to make or change Deployments: those are the operator's, as `springtide deploy render` writes them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence

import msgspec

from springtide.domain.clock import Clock
from springtide.domain.errors import OutcomeUnknown, SpringtideError, Unavailable
from springtide.domain.fleet import Decision, Replica, ReplicaPhase, Trouble
from springtide.domain.ids import ModelName, WorkerId
from springtide.fleet import labels
from springtide.fleet.kubernetes_api import DEPLOYMENTS, PODS, ApiRefused, KubernetesApi, Object
from springtide.fleet.kubernetes_events import Events
from springtide.fleet.kubernetes_pods import is_over, replica_of, trouble_of_deployment
from springtide.fleet.kubernetes_reflector import Reflector
from springtide.fleet.kubernetes_volumes import Volumes
from springtide.fleet.wishes import Wishes
from springtide.runtime.backoff import Backoff

log = logging.getLogger(__name__)
IDLE_COST = -1000  # any other pod has 0; the one that has been idle for longest has the lowest
FIRST_RETRY_S = 0.2
MOST_RETRY_S = 10.0


class _Wish(msgspec.Struct, frozen=True):
    decision: Decision
    drain_first: Sequence[WorkerId]


class KubernetesFleet:
    """`Fleet` in one namespace of a cluster."""

    def __init__(
        self,
        api: KubernetesApi,
        clock: Clock,
        models: Iterable[ModelName],
        *,
        instance: str,
        may_act: Callable[[], bool],
        scales: bool = True,
        on_gone: Callable[[ModelName, WorkerId], Awaitable[None]] | None = None,
    ) -> None:
        """instance: the name of the installation. may_act: asked before each act, as leadership may be lost any time.
        scales: False where KEDA or a HorizontalPodAutoscaler does it: then pods are only marked. on_gone: told of each
        worker whose pod is no more."""
        self._api = api
        self._clock = clock
        self._names = {model: labels.worker_name(instance, *labels.parts(model)) for model in models}
        self._models = {_marks_of(model): model for model in self._names}
        self._may_act = may_act
        self._scales = scales
        self._on_gone = on_gone
        query = labels.as_query(labels.worker_selector(instance))
        self._pods = Reflector(api, PODS, clock, labels=query, on_gone=self._note_gone)
        self._deployments = Reflector(api, DEPLOYMENTS, clock, labels=query)
        self._events = Events(api, clock, component="springtide-controller")
        self._volumes = Volumes(api, clock)
        self._wanted: dict[ModelName, _Wish] = {}
        self._acts: dict[ModelName, asyncio.Task[None]] = {}
        self._written: dict[ModelName, tuple[int, str]] = {}  # replicas, and the version that made them
        self._refusals: dict[ModelName, Trouble] = {}
        self._errands: set[asyncio.Task[None]] = set()
        self._evicting: set[WorkerId] = set()
        self.wishes = Wishes(self._names)

    async def start(self) -> None:
        for service in (self._events, self._deployments, self._pods):
            await service.start()

    async def stop(self, grace_s: float) -> None:
        """Pods stay: they are the cluster's, and the next controller finds them."""
        tasks = [*self._acts.values(), *self._errands]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for service in (self._pods, self._deployments, self._events):
            await service.stop()

    async def seen(self) -> None:
        """Wait until the cluster has been seen once."""
        await self._deployments.listed()
        await self._pods.listed()

    async def observe(self) -> list[Replica]:
        if not (self._pods.has_listed and self._deployments.has_listed):
            why = self._pods.problem or self._deployments.problem or "it was not asked yet"
            raise Unavailable(f"the cluster has not been seen yet: {why}")
        replicas: list[Replica] = []
        if self._volumes.is_due(self._pods.objects.values()):
            self._in_passing(self._volumes.look())
        for pod in self._pods.objects.values():
            model = self._model_of(pod)
            if model is not None and not is_over(pod):
                one = replica_of(pod, model)
                trouble = one.trouble or self._volumes.trouble_of(pod)
                replicas.append(msgspec.structs.replace(one, trouble=trouble))
        for model in self._names:
            replicas += self._missing(model, sum(one.model == model and _stays(one) for one in replicas))
        return replicas

    async def apply(self, decision: Decision, *, drain_first: Sequence[WorkerId]) -> None:
        """Returns at once: an API server that is slow must not hold up the other models."""
        model = decision.model
        self._wanted[model] = _Wish(decision, drain_first)
        self.wishes.tell(model, decision.replicas)
        if model not in self._acts and self._may_act() and self._is_due(model):
            self._acts[model] = asyncio.create_task(self._act(model), name=f"scale {model}")

    async def drain(self, workers: Sequence[WorkerId]) -> None:
        """By eviction: their pods leave as gently as at a node's end, and a disruption budget may put it off. Said
        again with each round, so what fails is tried again then."""
        for worker in workers:
            pod = self._pods.objects.get(worker)
            if pod is not None and _is_here(pod) and self._may_act() and worker not in self._evicting:
                self._evicting.add(worker)
                self._in_passing(self._evict(worker, pod))

    async def _evict(self, worker: WorkerId, pod: Object) -> None:
        try:
            await self._api.evict(worker)
            log.info("%s drains, as ordered", worker)
            self._events.tell({**pod, "apiVersion": "v1", "kind": "Pod"}, "Drained", "as an operator ordered")
        except SpringtideError as error:
            is_refused = isinstance(error, ApiRefused) and not error.is_missing  # no budget, and not gone: a fault
            log.log(logging.WARNING if is_refused else logging.DEBUG, "%s is not drained yet: %s", worker, error)
            await self._clock.sleep(MOST_RETRY_S)  # a disruption budget does not change by the second
        finally:
            self._evicting.discard(worker)

    def _in_passing(self, doing: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(doing)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    # --- looking ---

    def _model_of(self, one: Object) -> ModelName | None:
        marks = one["metadata"].get("labels") or {}
        return self._models.get((marks.get(labels.MODEL, ""), marks.get(labels.VERSION, labels.STABLE)))

    def _missing(self, model: ModelName, there: int) -> list[Replica]:
        """Replicas that its Deployment wants and the cluster does not make, or that nobody can want of it."""
        deployment = self._deployments.objects.get(self._names[model])
        wish = self._wanted.get(model)
        wished = wish.decision.replicas if wish else 0
        if deployment is None:
            wanted, trouble = wished, _no_deployment(self._names[model])
        elif (refusal := self._refusals.get(model)) is not None:
            wanted, trouble = wished, refusal
        else:
            wanted, trouble = _replicas(deployment), trouble_of_deployment(deployment)
        if trouble is None:
            return []  # the cluster is about to
        return [
            Replica(
                worker=WorkerId(f"{self._names[model]}-waiting-{number}"),
                model=model,
                phase=ReplicaPhase.BACKING_OFF,
                restarts=0,
                started_at_s=self._clock.now_s(),
                trouble=trouble,
            )
            for number in range(max(0, wanted - there))
        ]

    def _note_gone(self, pod: Object) -> None:
        model = self._model_of(pod)
        if model is None or self._on_gone is None:
            return
        self._in_passing(self._say_gone(model, WorkerId(pod["metadata"]["name"]), self._on_gone))

    async def _say_gone(
        self, model: ModelName, worker: WorkerId, on_gone: Callable[[ModelName, WorkerId], Awaitable[None]]
    ) -> None:
        try:
            await on_gone(model, worker)
        except Exception as error:  # its lease runs out by itself; the word was only to be quicker
            log.debug("could not say that %s is gone: %s", worker, error)

    # --- acting ---

    def _is_due(self, model: ModelName) -> bool:
        """Whether what was seen last is not what is wished."""
        deployment = self._deployments.objects.get(self._names[model])
        if deployment is None:
            return False
        surplus = self._current(model, deployment) - self._wanted[model].decision.replicas
        return surplus != 0 if self._scales else bool(surplus > 0 and self._marks(model, surplus))

    def _current(self, model: ModelName, deployment: Object) -> int:
        """Replicas that it wants: as was written here last, until that has come back by the watch."""
        replicas, version = self._written.get(model, (0, ""))
        if version and _is_older(deployment["metadata"]["resourceVersion"], version):
            return replicas
        return _replicas(deployment)

    async def _act(self, model: ModelName) -> None:
        """Until the newest wish is done."""
        backoff = Backoff(FIRST_RETRY_S, MOST_RETRY_S)
        try:
            while self._may_act() and self._is_due(model):
                wish = self._wanted[model]
                try:
                    await self._bring(model)
                    self._refusals.pop(model, None)
                    if self._wanted[model] is wish:
                        return
                    continue  # another came while this one was done
                except (Unavailable, OutcomeUnknown) as error:
                    self._note(model, error, is_first=backoff.failures == 0)
                    least_s = error.details.get("retry_after_s") or 0.0
                except ApiRefused as error:
                    if not error.is_conflict:  # a conflict: somebody else has written it; look again
                        self._note(model, error, is_first=model not in self._refusals)
                        self._refusals[model] = _refused(error)
                    least_s = 0.0
                await self._clock.sleep(max(least_s, backoff.next_s()))
        except Exception:
            log.exception("%s cannot be scaled", model)
        finally:
            del self._acts[model]

    async def _bring(self, model: ModelName) -> None:
        """To the number that is wished: idle pods marked, then the scale written, if nobody has written it since."""
        name, wish = self._names[model], self._wanted[model]
        if not self._scales:
            await self._mark(model, _replicas(self._deployments.objects[name]) - wish.decision.replicas)
            return
        scale = await self._api.get(DEPLOYMENTS, name, subresource="scale")
        before, replicas = int((scale.get("spec") or {}).get("replicas") or 0), wish.decision.replicas
        if replicas < before:
            await self._mark(model, before - replicas)
        if replicas == before or not self._may_act():
            return
        version = {"resourceVersion": scale["metadata"]["resourceVersion"]}
        patch = {"metadata": version, "spec": {"replicas": replicas}}
        written = await self._api.merge(DEPLOYMENTS, name, patch, subresource="scale")
        self._written[model] = (replicas, written["metadata"]["resourceVersion"])
        why = f"{wish.decision.reason}: {wish.decision.message}".removesuffix(": ")
        log.info("%s: %d → %d pods (%s)", name, before, replicas, why)
        reason = "ScaledOut" if replicas > before else "ScaledIn"
        deployment = self._deployments.objects.get(name)
        if deployment is not None:
            about = {"apiVersion": DEPLOYMENTS.api_version, "kind": DEPLOYMENTS.kind, **deployment}
            self._events.tell(about, reason, f"{before} to {replicas} workers ({why})")

    def _marks(self, model: ModelName, surplus: int) -> dict[str, str | None]:
        """Costs to be written, by pod: the lowest for the idle that shall leave, none for those that shall stay."""
        pods = {name: pod for name, pod in self._pods.objects.items() if self._model_of(pod) == model and _is_here(pod)}
        idle = [name for name in self._wanted[model].drain_first if name in pods]
        wanted: dict[str, str] = {name: str(IDLE_COST + rank) for rank, name in enumerate(idle[:surplus])}
        found = {name: _cost(pod) for name, pod in pods.items()}
        return {
            name: wanted.get(name)
            for name, cost in found.items()
            if cost != wanted.get(name) and (name in wanted or _is_ours(cost))
        }

    async def _mark(self, model: ModelName, surplus: int) -> None:
        for name, cost in self._marks(model, surplus).items():
            try:
                pod = await self._api.merge(PODS, name, {"metadata": {"annotations": {labels.DELETION_COST: cost}}})
            except ApiRefused as error:
                if not error.is_missing:
                    raise
                continue  # it has left by itself
            if cost is not None:
                self._events.tell(pod, "MarkedIdle", "holds no job: leaves before others when the number falls")

    def _note(self, model: ModelName, error: SpringtideError, *, is_first: bool) -> None:
        log.log(logging.WARNING if is_first else logging.DEBUG, "%s is not scaled yet: %s", model, error)


def _marks_of(scaled: ModelName) -> tuple[str, str]:
    model, version = labels.parts(scaled)
    return labels.label_value(model), labels.label_value(version)


def _replicas(deployment: Mapping[str, Object]) -> int:
    return int(deployment["spec"].get("replicas", 1))


def _is_older(version: str, than: str) -> bool:
    """Of two resourceVersions of one object: numbers that rise, as every API server has them (KEP-5504)."""
    return version.isdigit() and than.isdigit() and int(version) < int(than)


def _stays(replica: Replica) -> bool:
    return replica.phase is not ReplicaPhase.DRAINING


def _is_here(pod: Object) -> bool:
    return not pod["metadata"].get("deletionTimestamp") and not is_over(pod)


def _cost(pod: Object) -> str | None:
    return (pod["metadata"].get("annotations") or {}).get(labels.DELETION_COST)


def _is_ours(cost: str | None) -> bool:
    """Whether we have written it: anybody else's stays."""
    return cost is not None and cost.startswith("-") and IDLE_COST <= int(cost) < IDLE_COST + 1000


def _no_deployment(name: str) -> Trouble:
    message = f"the cluster has no Deployment {name}: apply what `springtide deploy render` writes"
    return Trouble(code="no_deployment", message=message)


def _refused(error: ApiRefused) -> Trouble:
    return Trouble(code="scaling_refused", message=f"the Kubernetes API refuses to scale it: {error.message}")
