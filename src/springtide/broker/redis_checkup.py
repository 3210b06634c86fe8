"""How a Redis is set up, as far as Springtide minds: whether it keeps what it has or may throw it away; its time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from springtide.broker.redis_clients import shown, single
from springtide.domain.errors import Unavailable


class Checkup(msgspec.Struct, frozen=True, kw_only=True):
    """What it says of itself."""

    place: str  # host and port
    persists: bool | None  # None: it does not tell
    evicts: str | None  # its policy where it may throw keys away; None: it never does
    ahead_s: float  # of our clock, half of the round trip taken off


async def look(url: str, now: Callable[[], float]) -> Checkup:
    """Ask it. now: our clock. Raises Unavailable, and ConfigError for a URL that cannot be read."""
    clients = single(url)
    try:
        began_s = now()
        seconds, micros = await clients.calls.time()
        middle_s = (began_s + now()) / 2
        info: dict[str, Any] = await clients.calls.info()
        return Checkup(
            place=shown(url),
            persists=await _persists(clients.calls, info),
            evicts=_evicts(info),
            ahead_s=seconds + micros / 1e6 - middle_s,
        )
    except Exception as error:  # of the library, of the system, of an old server: none of them answers the question
        raise Unavailable(f"{shown(url)} does not answer: {error or type(error).__name__}") from error
    finally:
        for client in clients.owned:
            if hasattr(client, "aclose"):
                await client.aclose()


async def _persists(calls: Any, info: dict[str, Any]) -> bool | None:
    if info.get("aof_enabled"):
        return True
    try:
        saves = await calls.config_get("save")
    except Exception:  # managed servers forbid CONFIG
        return None
    return bool(saves.get("save"))


def _evicts(info: dict[str, Any]) -> str | None:
    policy = info.get("maxmemory_policy", "noeviction")
    return policy if info.get("maxmemory") and policy != "noeviction" else None
