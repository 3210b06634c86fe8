"""The double as tests hold it: a server, its objects, its controllers and its faults."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from springtide.testing.kubernetes import errors
from springtide.testing.kubernetes.api import Api, Asked
from springtide.testing.kubernetes.cluster import Cluster
from springtide.testing.kubernetes.fields import Object
from springtide.testing.kubernetes.kinds import CUSTOM, Kinds
from springtide.testing.kubernetes.store import Owner, Store
from springtide.testing.kubernetes.wire import Dropped, Reply, Request, Wire

T = TypeVar("T")
_TEST = Owner("test", "Update")


class Fault(msgspec.Struct, kw_only=True):
    """What happens to the next `times` requests that `applies` to."""

    times: int = 1
    code: int = 500
    retry_after_s: int | None = None
    drop: bool = False  # the connection is cut instead
    after: bool = False  # it is done first, and only the answer is lost
    hold: asyncio.Event | None = None  # nothing until this is set
    applies: Callable[[Asked], bool] = lambda asked: True


class KubernetesDouble:
    """`start`, `kill`, `start` again: the same port, the same objects, as an API server over its etcd."""

    def __init__(self) -> None:
        self.kinds = Kinds(*CUSTOM)
        self.store = Store(self.kinds)
        # Watches hear of a change before the controllers react to it, or they would hear of the reaction first.
        self._api = Api(self.store, self._delete_pod)
        self.cluster = Cluster(self.store)
        self.faults: list[Fault] = []
        self.requests: list[Asked] = []  # everything asked so far
        self.rights: frozenset[tuple[str, str, str]] | None = None  # (group, resource[/sub], verb); None: all
        self._wire = Wire(self._answer)
        self.store.create(self.kinds.named("Namespace"), "", {"metadata": {"name": "default"}}, owner=_TEST)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._wire.port}"

    async def start(self) -> None:
        await self._wire.start()

    async def kill(self) -> None:
        """As kill -9 of the API server: nobody answers, connections are reset, objects stay and so do pods."""
        await self._wire.kill()

    async def end_watches(self) -> None:
        """As an API server that is stopped in order: each watch ends without an error."""
        await self._api.close()

    def bookmark_every(self, seconds: float) -> None:
        """The real one sends one a minute."""
        self._api.bookmark_s = seconds

    def fail(self, *, verb: str | None = None, plural: str | None = None, **what: Any) -> Fault:
        """Let the next requests of a kind fail: `fail(code=429, retry_after_s=1, verb="patch", times=2)`."""

        def applies(asked: Asked) -> bool:
            return verb in (None, asked.verb) and plural in (None, asked.kind.plural)

        self.faults.append(fault := Fault(applies=applies, **what))
        return fault

    def kubeconfig(self, path: Path, namespace: str = "default") -> Path:
        """Write what clients find it by (JSON is YAML, too)."""
        body = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "double",
            "clusters": [{"name": "double", "cluster": {"server": self.url}}],
            "users": [{"name": "double", "user": {}}],
            "contexts": [
                {"name": "double", "context": {"cluster": "double", "user": "double", "namespace": namespace}}
            ],
        }
        path.write_text(json.dumps(body))
        return path

    # --- objects past the wire ---

    def create(self, given: Object, namespace: str = "default") -> Object:
        """By its `kind`."""
        kind = self.kinds.named(given["kind"])
        return self.store.create(kind, namespace if kind.is_namespaced else "", given, owner=_TEST)

    def get(self, kind: str, name: str, namespace: str = "default") -> Object:
        return self.store.get(self.kinds.named(kind), namespace, name)

    def all(self, kind: str, namespace: str | None = None) -> list[Object]:
        return list(self.store.all(self.kinds.named(kind), namespace))

    def change(
        self, kind: str, name: str, change: Callable[[Object], Object], *, namespace: str = "default", **owner: str
    ) -> Object:
        """owner: manager= and subresource= of who does it; status is only changed by subresource="status"."""
        who = Owner(owner.get("manager", "test"), "Update", owner.get("subresource", ""))
        return self.store.update(self.kinds.named(kind), namespace, name, change, owner=who)

    def delete(self, kind: str, name: str, namespace: str = "default") -> None:
        self.store.delete(self.kinds.named(kind), namespace, name)

    def count(self, *, verb: str, plural: str, subresource: str = "") -> int:
        """How often it was asked."""
        return sum((one.verb, one.kind.plural, one.subresource) == (verb, plural, subresource) for one in self.requests)

    # --- answering ---

    def _delete_pod(self, namespace: str, name: str, grace_s: int | None) -> Object:
        return self.cluster.delete_pod(namespace, name, grace_s)

    async def _answer(self, request: Request) -> Reply:
        if request.path in ("/version", "/readyz", "/livez", "/healthz"):
            body = {"major": "1", "minor": "36", "gitVersion": "v1.36.2"} if request.path == "/version" else "ok"
            return Reply(body=msgspec.json.encode(body))
        try:
            asked = self._api.asked(request)
            self.requests.append(asked)
            self._authorize(asked)
            fault = next((one for one in self.faults if one.times > 0 and one.applies(asked)), None)
            if fault is None:
                return self._api.answer(request, asked)
            return await self._at_fault(fault, request, asked)
        except errors.Refusal as refusal:
            return Reply(code=refusal.code, body=msgspec.json.encode(refusal.status()), headers=refusal.headers)

    async def _at_fault(self, fault: Fault, request: Request, asked: Asked) -> Reply:
        fault.times -= 1
        reply = self._api.answer(request, asked) if fault.after or fault.hold else None
        if fault.hold is not None:
            await fault.hold.wait()
            assert reply is not None
            return reply
        if fault.drop:
            raise Dropped
        reasons = {
            403: "Forbidden",
            404: "NotFound",
            429: "TooManyRequests",
            500: "InternalError",
            503: "ServiceUnavailable",
            410: "Expired",
        }
        headers = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
        raise errors.Refusal(fault.code, reasons.get(fault.code, "Unknown"), "a fault of the test", headers=headers)

    def _authorize(self, asked: Asked) -> None:
        plural = asked.kind.plural + (f"/{asked.subresource}" if asked.subresource else "")
        if self.rights is None or (asked.kind.group, plural, asked.verb) in self.rights:
            return
        where = f' in API group "{asked.kind.group}"'
        message = (
            f'{asked.kind.resource} is forbidden: User "springtide" cannot {asked.verb} resource "{plural}"{where}'
        )
        raise errors.Refusal(403, "Forbidden", message)


@contextlib.asynccontextmanager
async def kubernetes_double() -> AsyncGenerator[KubernetesDouble]:
    """A running double in this event loop."""
    double = KubernetesDouble()
    await double.start()
    try:
        yield double
    finally:
        for fault in double.faults:
            if fault.hold is not None:
                fault.hold.set()
        await double.kill()


class ThreadedDouble:
    """A double in a thread of its own, for code that is not asynchronous. Touch `double` only through `do`."""

    def __init__(self, double: KubernetesDouble, loop: asyncio.AbstractEventLoop) -> None:
        self.double = double
        self._loop = loop

    def do(self, work: Callable[[KubernetesDouble], T]) -> T:
        """Run it in the double's thread."""

        async def there() -> T:
            return work(self.double)

        return asyncio.run_coroutine_threadsafe(there(), self._loop).result(30)


@contextlib.contextmanager
def threaded_double(objects: Iterable[Object] = ()) -> Generator[ThreadedDouble]:
    """A running double in a thread."""
    ready: list[ThreadedDouble] = []
    is_ready, is_over = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with kubernetes_double() as double:
            for one in objects:
                double.create(one)
            ready.append(ThreadedDouble(double, asyncio.get_running_loop()))
            is_ready.set()
            await is_over.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    is_ready.wait(30)
    try:
        yield ready[0]
    finally:
        ready[0].do(lambda double: is_over.set())
        thread.join(30)
