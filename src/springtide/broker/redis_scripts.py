"""The line to a Redis or Valkey server: connections, Lua scripts, and its errors in our own words.

Promises: every call ends within CALL_TIMEOUT_S (plus what a blocking call asked for), reconnects by itself, and raises
only `Unavailable`, `OutcomeUnknown` or `ConfigError`. No error or log line holds the password. Refuses servers before
7.0. It and `redis_clients` are the only modules that import the client library.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from importlib.resources import files
from typing import Any, TypeVar, cast

from redis import exceptions as redis_errors
from redis.asyncio import RedisCluster
from redis.asyncio.client import PubSub

from springtide.broker import redis_clients
from springtide.broker.protocol import EVENTS_PER_JOB
from springtide.broker.redis_line import LineBroken, ScriptLine
from springtide.broker.redis_wire import TICKET_BYTES
from springtide.domain.errors import ConfigError, OutcomeUnknown, SpringtideError, Unavailable
from springtide.policy import fairness

logger = logging.getLogger(__name__)

T = TypeVar("T")
Arg = str | bytes | int | float

CALL_TIMEOUT_S = 5.0  # all tries of one call together
SHORTEST_WAIT_S = 0.001  # to the server 0 is for ever
LINE_SHARE = 0.6  # of that: then the line counts as broken, and there is time for another connection
MAX_CALLS = 32  # at once from one process, each on a connection of its own; more callers wait for one
OLDEST_SERVER = (7, 0)  # before it XAUTOCLAIM gives holes for deleted entries

_PARTS = ("prelude", "order", "moves")
_CONSTANTS = {
    "EVENTS_PER_JOB": EVENTS_PER_JOB,
    "TICKET_BYTES": TICKET_BYTES,
    "TURNS": fairness.TURNS,
    "MOST_DELAY_S": fairness.MOST_DELAY_S,
    "HALF_DELAY_AT_S": fairness.HALF_DELAY_AT_S,
    "LEAST_COST_S": fairness.LEAST_COST_S,
    "SPARE_LOOKS": fairness.SPARE_LOOKS,
}
_FIELDS = (  # places in a job, as prelude.lua explains them: what it is there, then what is packed of it, in that order
    *("ID", "KEY", "STORY", "MORE", "IS_UNTOLD", "IS_CHANGED"),
    *(
        "STATUS",
        "ATTEMPT",
        "MOST",
        "TENANT",
        "CLASS",
        "SINCE",
        "COST",
        "DEADLINE",
        "OWNER",
        "BEGUN",
        "FRACTION",
        "STAGE",
    ),
    *("RETRY_AT", "RETURNED", "CHECKPOINT", "TICKET", "LAST_MS", "LAST_PLACE", "LAST_KIND", "LAST_AT", "REST"),
)
_NUMBERS = {name: repr(value) for name, value in {**_CONSTANTS, **{f: n for n, f in enumerate(_FIELDS, 1)}}.items()}
_NAMES = re.compile(rf"\b(?:{'|'.join(_NUMBERS)})\b")
BROKEN = (redis_errors.ConnectionError, redis_errors.TimeoutError, OSError)


class Script:
    """One Lua script with the shared parts before it, and the digest by which the server knows it."""

    def __init__(self, name: str) -> None:
        folder = files("springtide.broker") / "lua"
        *shared, body = [(folder / f"{part}.lua").read_text(encoding="utf-8") for part in (*_PARTS, name)]
        text = "\n".join([*shared, f"local function main()\n{body}end", "local reply = main()\nsettle()\nreturn reply"])
        # Written out: a local is one more for every function to be made with, in every call.
        self.source = _NAMES.sub(lambda found: _NUMBERS[found[0]], text)
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


class RedisLink:
    """Two clients of one server, Cluster or Sentinel service: one for calls that wait."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.where = redis_clients.shown(url)
        self.durability = "unknown"
        self._scripts: dict[str, Script] = {}
        self._clients = redis_clients.single(url)
        self._free = asyncio.Semaphore(MAX_CALLS)
        self._line: ScriptLine | None = ScriptLine(self._clients.connect)
        self._wait_line: ScriptLine | None = ScriptLine(self._clients.connect)

    async def open(self) -> None:
        """Connect, and look at what kind of server it is."""
        info = cast("dict[str, Any]", await self.call(lambda client: client.info()))
        version = str(info.get("valkey_version") or info.get("redis_version") or "")
        if not _at_least(version, OLDEST_SERVER):
            raise ConfigError(f"the broker at {self.where} is version {version}; the oldest supported is 7.0")
        self.durability = await self._find_durability(info)
        self._warn(info)
        if info.get("cluster_enabled") and not isinstance(self._clients.calls, RedisCluster):
            await self._become_cluster()

    async def _become_cluster(self) -> None:
        """The server is a node of a Cluster: speak with all of them, each model's keys with the one that has them."""
        await self.close()
        self._clients = redis_clients.cluster(self._url)
        await self.call(lambda client: client.initialize())
        await self.wait(lambda client: client.initialize(), 0.0)

    async def close(self) -> None:
        lines = self._line, self._wait_line
        self._line = self._wait_line = None
        for line in lines:
            if line is not None:
                await line.close()
        for client in self._clients.owned:
            try:
                await client.aclose()
            except BROKEN:
                logger.debug("connection to %s was broken already when it was closed", self.where)

    async def call(self, command: Callable[[Any], Awaitable[T]], *, spent_s: float = 0.0) -> T:
        """Run one command of the client library that returns at once. spent_s: of the time that it has."""
        async with self._translated(CALL_TIMEOUT_S - spent_s), self._free:
            return await command(self._clients.calls)

    async def wait(self, command: Callable[[Any], Awaitable[T]], wait_s: float) -> T:
        """Run one blocking command, on a connection of its own for as long as it waits."""
        async with self._translated(wait_s + CALL_TIMEOUT_S):
            return await command(self._clients.waits)

    async def pop(self, lists: Sequence[str], wait_s: float, *, is_usual: bool) -> tuple[bytes, bytes] | None:
        """Of the first of these lists that holds something its name and its first element, waited for.

        is_usual: the wait is rarely called off: it may have the line that one call at a time has."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + wait_s
        if is_usual and self._wait_line is not None:
            command = ("BLPOP", *lists, f"{max(wait_s, SHORTEST_WAIT_S):.3f}")
            with contextlib.suppress(LineBroken):
                return await self._wait_line.wait(command, wait_s + LINE_SHARE * CALL_TIMEOUT_S)
        left_s = max(ends_at - loop.time(), SHORTEST_WAIT_S)
        return await self.wait(lambda client: client.blpop(list(lists), timeout=left_s), left_s)

    async def run(self, name: str, tag: str, args: Sequence[Arg]) -> Any:
        """Run a script on the keys of one hash tag. Loads it where the server does not have it (any more)."""
        script = self._scripts.get(name)
        if script is None:
            script = self._scripts[name] = Script(name)

        loop = asyncio.get_running_loop()
        began_s = loop.time()
        if self._line is not None:
            with contextlib.suppress(LineBroken):
                return await self._line.evaluate(script.sha, tag, args, LINE_SHARE * CALL_TIMEOUT_S)

        async def evaluate(client: Any) -> Any:
            try:
                return await client.evalsha(script.sha, 1, tag, *args)
            except redis_errors.NoScriptError:
                return await client.eval(script.source, 1, tag, *args)

        return await self.call(evaluate, spent_s=loop.time() - began_s)

    def subscription(self) -> PubSub:
        """A connection for messages; whoever takes it closes it."""
        return self._clients.waits.pubsub()

    @contextlib.asynccontextmanager
    async def _translated(self, limit_s: float) -> AsyncGenerator[None]:
        try:
            async with asyncio.timeout(limit_s):
                yield
        except (redis_errors.RedisError, OSError, TimeoutError) as error:
            raise self.translate(error) from error

    def translate(self, error: Exception) -> SpringtideError:
        """The same in our own words: where, what, what to do."""
        text = str(error)
        if isinstance(error, redis_errors.AuthenticationError | redis_errors.AuthorizationError):
            return Unavailable(f"the broker at {self.where} refuses the user or password of broker.url")
        if isinstance(error, redis_errors.NoPermissionError):
            return Unavailable(f"the broker at {self.where} forbids this user a command, key or channel: {text}")
        if isinstance(error, redis_errors.BusyLoadingError):
            return Unavailable(f"the broker at {self.where} is still loading its data")
        if isinstance(error, redis_errors.TimeoutError | TimeoutError) and not text.startswith("Timeout connecting"):
            return OutcomeUnknown(f"the broker at {self.where} did not answer in time")
        if isinstance(error, BROKEN):
            return Unavailable(f"the broker at {self.where} cannot be reached: {text or type(error).__name__}")
        return Unavailable(f"the broker at {self.where} refuses the command: {text}")

    async def _find_durability(self, info: dict[str, Any]) -> str:
        """What survives the death of the server: "aof", "rdb", "none", or "unknown" where it does not say."""
        if info.get("aof_enabled"):
            return "aof"
        try:
            config = await self.call(lambda client: client.config_get("save"))
        except SpringtideError:
            return "unknown"  # CONFIG is often forbidden on managed servers, and INFO does not tell `save`
        return "rdb" if config.get("save", config.get(b"save")) not in {"", b"", None} else "none"

    def _warn(self, info: dict[str, Any]) -> None:
        fix = "set `appendonly yes` and `appendfsync everysec` on the server"
        if self.durability == "none":
            logger.warning(
                "The broker at %s keeps NOTHING on disk: when it stops, the queue, leases and results not yet recorded "
                "are lost. Accepted jobs come back from the ledger, but finished ones may run twice. To fix, %s.",
                self.where,
                fix,
            )
        elif self.durability == "rdb":
            logger.warning(
                "The broker at %s keeps only snapshots: a crash loses the minutes since the last one. To fix, %s.",
                self.where,
                fix,
            )
        elif self.durability == "unknown":
            logger.warning("The broker at %s does not say whether it keeps data on disk. Be sure: %s.", self.where, fix)
        policy = str(info.get("maxmemory_policy", "noeviction"))
        if policy != "noeviction" and info.get("maxmemory"):
            logger.warning(
                "The broker at %s drops keys when memory is short (maxmemory-policy %s), which loses queued jobs. "
                "To fix, set `maxmemory-policy noeviction` on the server.",
                self.where,
                policy,
            )


def _at_least(version: str, oldest: tuple[int, int]) -> bool:
    numbers = version.split(".")
    try:
        return (int(numbers[0]), int(numbers[1])) >= oldest
    except (IndexError, ValueError):
        return True  # a server that hides its version says no more; its first script will
