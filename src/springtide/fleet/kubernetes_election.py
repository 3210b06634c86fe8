"""Which of several controllers acts: the holder of a Lease, as Kubernetes' own controllers have it.

Promises: `leads` is never true in two processes at once, whatever their clocks say, as long as time passes equally fast
in both. A holder counts from before it asked, and stops acting RENEW_WITHIN_S later unless it was told yes; others take
over only LEASE_S after they have seen the Lease change for the last time. A holder that stops in order gives it back.

Source: client-go tools/leaderelection, with its usual times.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import UTC, datetime

from springtide.domain.clock import Clock
from springtide.domain.errors import OutcomeUnknown, SpringtideError, Unavailable
from springtide.fleet.kubernetes_api import LEASES, ApiRefused, KubernetesApi, Object
from springtide.runtime.loops import Loop

log = logging.getLogger(__name__)
LEASE_S = 15.0
RENEW_WITHIN_S = 10.0
RETRY_S = 2.0
LOOK_S = 0.5  # how often a holder looks whether its time is over


class Election:
    """A service: `start`, `stop`; `leads` says whether this process may act now."""

    def __init__(self, api: KubernetesApi, clock: Clock, *, lease: str, me: str) -> None:
        """lease: its name. me: of this process, unlike any other's."""
        self._api = api
        self._clock = clock
        self._lease = lease
        self._me = me
        self._until_s = float("-inf")  # monotonic: as long as this it may act
        self._seen: tuple[str, str] | None = None  # holder and renewal, as seen last
        self._seen_at_s = float("-inf")  # monotonic: when it was seen to change
        self._won = asyncio.Event()
        self._lost = asyncio.Event()
        self._lost.set()
        self._loops = [
            Loop("election", self._try, every_s=RETRY_S, clock=clock),
            Loop("end of leadership", self._look, every_s=LOOK_S, clock=clock),
        ]

    @property
    def leads(self) -> bool:
        return self._clock.monotonic_s() < self._until_s

    @property
    def holder(self) -> str | None:
        """Who leads, as seen last."""
        return self._seen[0] or None if self._seen else None

    async def won(self) -> None:
        """Wait until this process leads."""
        await self._won.wait()

    async def lost(self) -> None:
        """Wait until it does not any more."""
        await self._lost.wait()

    async def start(self) -> None:
        for loop in self._loops:
            await loop.start()

    async def stop(self, grace_s: float = 0.0) -> None:
        """Give the Lease back, so that nobody has to wait for its end. Stop what acts before."""
        for loop in self._loops:
            await loop.stop()
        if not self.leads:
            return
        self._set_until(float("-inf"))
        with contextlib.suppress(SpringtideError):
            found = await self._api.get(LEASES, self._lease)
            if found["spec"].get("holderIdentity") == self._me:
                spec = {**found["spec"], "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": self._stamp()}
                await self._api.replace(LEASES, {**found, "spec": spec})

    async def _try(self) -> None:
        began_s = self._clock.monotonic_s()
        try:
            is_mine = await self._take_or_renew(began_s)
        except ApiRefused as error:
            if not error.is_conflict:  # a conflict: another was quicker
                log.warning("leadership cannot be asked for: %s", error)
            return
        except (Unavailable, OutcomeUnknown) as error:
            log.log(logging.WARNING if self.leads else logging.DEBUG, "leadership is not renewed: %s", error)
            return
        self._set_until(began_s + RENEW_WITHIN_S if is_mine else float("-inf"))

    async def _take_or_renew(self, began_s: float) -> bool:
        try:
            found = await self._api.get(LEASES, self._lease)
        except ApiRefused as error:
            if not error.is_missing:
                raise
            made = {"metadata": {"name": self._lease}, "spec": self._spec(None)}
            self._see(await self._api.create(LEASES, made), began_s)
            return True
        self._see(found, began_s)
        holder = found["spec"].get("holderIdentity")
        lasts_s = float(found["spec"].get("leaseDurationSeconds") or LEASE_S)
        if holder and holder != self._me and began_s < self._seen_at_s + lasts_s:
            return False
        self._see(await self._api.replace(LEASES, {**found, "spec": self._spec(found["spec"])}), began_s)
        return True

    def _spec(self, before: Object | None) -> Object:
        now, earlier = self._stamp(), before or {}
        is_mine = earlier.get("holderIdentity") == self._me
        return {
            "holderIdentity": self._me,
            "leaseDurationSeconds": int(LEASE_S),
            "acquireTime": earlier.get("acquireTime", now) if is_mine else now,
            "renewTime": now,
            "leaseTransitions": earlier.get("leaseTransitions", 0) + (0 if is_mine or before is None else 1),
        }

    def _see(self, lease: Object, at_s: float) -> None:
        spec = lease.get("spec") or {}
        seen = (spec.get("holderIdentity") or "", spec.get("renewTime") or "")
        if seen != self._seen:
            self._seen, self._seen_at_s = seen, at_s

    async def _look(self) -> None:
        if self._won.is_set() and not self.leads:
            log.warning("leadership is over: it could not be renewed in time")
            self._set_until(float("-inf"))

    def _set_until(self, until_s: float) -> None:
        self._until_s = until_s
        if self.leads and not self._won.is_set():
            log.info("this controller leads")
            self._lost.clear()
            self._won.set()
        elif not self.leads and self._won.is_set():
            log.info("this controller stands by; %s leads", self.holder or "nobody")
            self._won.clear()
            self._lost.set()

    def _stamp(self) -> str:
        return datetime.fromtimestamp(self._clock.now_s(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
