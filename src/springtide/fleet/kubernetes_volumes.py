"""Volumes that do not come to a pod, such as a share of model files that is down: its status says nothing of them, only
events do.

Promises: nobody looks as long as no pod has waited for long; then one request, now and then, tells of all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from springtide.domain.clock import Clock
from springtide.domain.errors import SpringtideError
from springtide.domain.fleet import Trouble
from springtide.fleet.kubernetes_api import EVENTS, KubernetesApi, Object

log = logging.getLogger(__name__)
CODE = "volume_not_mounted"
PATIENCE_S = 20.0  # a volume that is well comes within seconds; an image may take longer, and looks the same
LOOK_EVERY_S = 15.0
_REASONS = ("FailedMount", "FailedAttachVolume")  # of the kubelet, of the controller manager


class Volumes:
    """What is known of pods that wait for theirs. Ask `is_due`, and then `look`."""

    def __init__(self, api: KubernetesApi, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._messages: dict[str, str] = {}  # by the pod's uid
        self._since_s: dict[str, float] = {}  # monotonic, by the pod's uid: when it was seen first so
        self._looked_at_s = float("-inf")

    def is_due(self, pods: Iterable[Object]) -> bool:
        """Whether one of `pods` has waited for so long that it should be looked at now."""
        now_s = self._clock.monotonic_s()
        waiting = [pod["metadata"]["uid"] for pod in pods if is_being_set_up(pod)]
        self._since_s = {uid: self._since_s.get(uid, now_s) for uid in waiting}
        has_waited = any(since_s <= now_s - PATIENCE_S for since_s in self._since_s.values())
        return has_waited and now_s >= self._looked_at_s + LOOK_EVERY_S

    async def look(self) -> None:
        self._looked_at_s = self._clock.monotonic_s()
        try:
            self._messages = await failed_volumes(self._api)
        except SpringtideError as error:
            log.debug("it cannot be told whether volumes come: %s", error)

    def trouble_of(self, pod: Object) -> Trouble | None:
        message = self._messages.get(pod["metadata"]["uid"])
        if message is None or not is_being_set_up(pod):
            return None
        return Trouble(code=CODE, message=f"a volume of its pod does not come: {message}")


async def failed_volumes(api: KubernetesApi) -> dict[str, str]:
    """What events of the last hour say of volumes, the newest of each pod, by the pod's uid."""
    found = await api.list(EVENTS, fields="involvedObject.kind=Pod,type=Warning")
    told = [event for event in found.items if event.get("reason") in _REASONS]
    told.sort(key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
    return {event["involvedObject"].get("uid", ""): str(event.get("message", "")) for event in told}


def is_being_set_up(pod: Object) -> bool:
    """Whether it has a node, and none of its containers has begun: volumes and images come before."""
    status = pod.get("status", {})
    if status.get("phase") != "Pending" or pod["metadata"].get("deletionTimestamp"):
        return False
    containers = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
    return bool(containers) and not any(
        {"running", "terminated"} & (one.get("state") or {}).keys() for one in containers
    )
