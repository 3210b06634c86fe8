"""The keys of this installation in memory: a request is authenticated without a question to the ledger.

Promises: a key that was made holds, and one that was revoked or has expired does not, LOOK_EVERY_S later in every
gateway, and who follows a stream with it is told; a guess learns nothing, not even whether a prefix exists. While the
ledger cannot be asked, what was known last goes on to count. Refuses to keep a key: only digests are in memory.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Callable

from springtide.domain.clock import Clock
from springtide.domain.errors import OutcomeUnknown, Unavailable
from springtide.domain.keys import KEY_PREFIX, PREFIX_LENGTH, ApiKey
from springtide.ledger.keys import Keys
from springtide.runtime.loops import Loop

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
NOTE_EVERY_S = 60.0  # when keys were used last is for people who clean up
_PREFIX = slice(len(KEY_PREFIX), len(KEY_PREFIX) + PREFIX_LENGTH)  # where it stands in a key
_NOBODY: tuple[ApiKey | None, bytes] = (None, bytes(32))  # what a key of no known prefix is compared with

OnEnd = Callable[[str], None]


class Keyring:
    """Made from nothing it holds no key, and finds none."""

    def __init__(self, keys: Keys | None, clock: Clock) -> None:
        self.record = keys
        self._clock = clock
        self._keys: dict[str, ApiKey] = {}
        self._digests: dict[bytes, tuple[ApiKey | None, bytes]] = {}
        self._changes: int | None = None
        self._watchers: dict[str, dict[object, OnEnd]] = {}
        self._used: dict[str, float] = {}
        self._noted_at_s = clock.monotonic_s()
        self._loop = Loop("keyring", self.refresh, every_s=LOOK_EVERY_S, clock=clock)

    async def start(self) -> None:
        """Raises Unavailable where the ledger cannot be asked: without keys nobody could come in."""
        await self.refresh()
        if self.record is not None:
            await self._loop.start()

    async def stop(self, grace_s: float = 0.0) -> None:
        await self._loop.stop(grace_s)
        try:
            await self._note_used()
        except (Unavailable, OutcomeUnknown) as error:
            log.debug("when keys were used last is not noted: %s", error)

    def has_valid_key(self) -> bool:
        now_s = self._clock.now_s()
        return any(key.is_valid(now_s) for key in self._keys.values())

    def find(self, sent: bytes) -> ApiKey | None:
        """The key on record that this is, be it valid or not. Takes as long for a wrong secret as for a right one."""
        key, digest = self._digests.get(sent[_PREFIX], _NOBODY)
        if not hmac.compare_digest(hashlib.sha256(sent).digest(), digest) or key is None:
            return None
        self._used[key.prefix] = self._clock.now_s()
        return key

    def watch(self, prefix: str, on_end: OnEnd) -> Callable[[], None]:
        """Call `on_end(code)` once when the key holds no longer; the result of this stops that."""
        mark = object()
        self._watchers.setdefault(prefix, {})[mark] = on_end

        def unwatch() -> None:
            watchers = self._watchers.get(prefix, {})
            watchers.pop(mark, None)
            if not watchers:
                self._watchers.pop(prefix, None)

        return unwatch

    async def refresh(self) -> None:
        """Look what has changed. Runs once a LOOK_EVERY_S."""
        if self.record is not None:
            changes = await self.record.changes()
            if changes != self._changes:
                self._keys = {key.prefix: key for key in await self.record.keys()}
                self._digests = {
                    prefix.encode(): (key, bytes.fromhex(key.digest)) for prefix, key in self._keys.items()
                }
                self._changes = changes
            if self._clock.monotonic_s() - self._noted_at_s >= NOTE_EVERY_S:
                await self._note_used()
        self._tell()

    def _tell(self) -> None:
        now_s = self._clock.now_s()
        for prefix in list(self._watchers):
            key = self._keys.get(prefix)
            if key is None or not key.is_valid(now_s):
                for on_end in self._watchers.pop(prefix).values():
                    on_end("key_expired" if key is not None and key.revoked_at_s is None else "key_revoked")

    async def _note_used(self) -> None:
        self._noted_at_s = self._clock.monotonic_s()
        used, self._used = self._used, {}
        if self.record is not None and used:
            await self.record.note_used(used)
