"""The API server as the rest of this package sees it: a small port, and lightkube's connection behind it.

lightkube finds the credentials (KUBECONFIG, or of the pod, or ~/.kube/config), renews them and speaks TLS. Objects stay
plain dictionaries: decoding what is looked at takes a tenth of what typed models take, and custom resources are no
special case. Its `AsyncClient` cannot ask for bookmarks and lets a watch wait for ever on a connection that is dead;
docs/decisions/0035 says more.

Errors: Unavailable (down, overloaded, too slow; `details["retry_after_s"]` where it said so), OutcomeUnknown (a write
whose answer got lost), ApiRefused (it said no, and would again).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import httpx2
import msgspec
from lightkube.config.client_adapter import AsyncClient as http_client
from lightkube.config.client_adapter import ConnectionParams
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.core.exceptions import ConfigError as LightkubeConfigError

from springtide.domain.errors import ConfigError, OutcomeUnknown, SpringtideError, Unavailable

Object = dict[str, Any]
TIMEOUT_S = 10.0  # an API server that is well answers in tens of milliseconds
WATCH_S = 300  # a watch is asked for anew so often, as client-go does in 5 to 10 minutes
SILENT_S = 100.0  # bookmarks come about once a minute, but are not promised: then it is asked for anew
PAGE = 500  # as client-go


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of object and where it is served."""

    group: str
    version: str
    plural: str
    kind: str
    is_namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


PODS = Resource(group="", version="v1", plural="pods", kind="Pod")
EVENTS = Resource(group="", version="v1", plural="events", kind="Event")
NODES = Resource(group="", version="v1", plural="nodes", kind="Node", is_namespaced=False)
QUOTAS = Resource(group="", version="v1", plural="resourcequotas", kind="ResourceQuota")
CLAIMS = Resource(group="", version="v1", plural="persistentvolumeclaims", kind="PersistentVolumeClaim")
DEPLOYMENTS = Resource(group="apps", version="v1", plural="deployments", kind="Deployment")
LEASES = Resource(group="coordination.k8s.io", version="v1", plural="leases", kind="Lease")
CRDS = Resource(
    group="apiextensions.k8s.io",
    version="v1",
    plural="customresourcedefinitions",
    kind="CustomResourceDefinition",
    is_namespaced=False,
)
SCALED_OBJECTS = Resource(group="keda.sh", version="v1alpha1", plural="scaledobjects", kind="ScaledObject")


class ApiRefused(SpringtideError):
    """The API server said no. `status` is HTTP's, `reason` Kubernetes' (NotFound, Conflict, Forbidden, ...)."""

    code = "kubernetes_refused"

    def __init__(self, message: str, *, status: int, reason: str) -> None:
        super().__init__(message, status=status, reason=reason)
        self.status = status
        self.reason = reason

    @property
    def is_missing(self) -> bool:
        return self.status == 404

    @property
    def is_conflict(self) -> bool:
        """Somebody else has written it since, or owns a field of it, or it exists already."""
        return self.status == 409

    @property
    def is_expired(self) -> bool:
        """The history from there on is not kept: list again."""
        return self.status == 410


class Listed(msgspec.Struct, frozen=True):
    """Objects, and the version to watch from."""

    items: Sequence[Object]
    version: str


class Told(msgspec.Struct, frozen=True):
    """One event of a watch: ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: Object


class KubernetesApi(Protocol):
    """What is asked of an API server. `namespace` None: the one of the credentials."""

    @property
    def namespace(self) -> str: ...

    async def get(self, what: Resource, name: str, *, subresource: str = "") -> Object: ...

    async def list(self, what: Resource, *, labels: str = "", fields: str = "") -> Listed:
        """All of them, in as many pages as it takes."""
        ...

    def watch(self, what: Resource, *, since: str, labels: str = "") -> AsyncGenerator[Told]:
        """What happens from a version on; ends in order after some minutes, or after silence. Raises ApiRefused
        (`is_expired`) where the history is too short."""
        ...

    async def create(self, what: Resource, given: Object) -> Object: ...

    async def replace(self, what: Resource, given: Object) -> Object:
        """Write it whole; refused (`is_conflict`) where its resourceVersion is not the newest."""
        ...

    async def merge(self, what: Resource, name: str, patch: Object, *, subresource: str = "") -> Object:
        """JSON merge patch; None deletes."""
        ...

    async def apply(self, what: Resource, given: Object, *, force: bool = False) -> Object:
        """Server-side apply by this program's name; refused (`is_conflict`) where another owns a field."""
        ...

    async def delete(self, what: Resource, name: str, *, uid: str | None = None) -> None:
        """With what it owns, in the background. uid: only that very object."""
        ...

    async def evict(self, pod: str) -> None:
        """Let it leave in its own time. Unavailable while a disruption budget forbids it."""
        ...


class LightkubeApi:
    """`KubernetesApi` over HTTP. A service: `start`, `stop`."""

    def __init__(self, *, manager: str, namespace: str | None = None, kubeconfig: Path | None = None) -> None:
        """manager: as which fields are owned. kubeconfig: default: by KUBECONFIG, of the pod, or ~/.kube/config."""
        self._manager = manager
        self._config = _config(kubeconfig)
        self._namespace = namespace or self._config.namespace
        self._http: httpx2.AsyncClient | None = None

    @property
    def namespace(self) -> str:
        return self._namespace

    async def start(self) -> None:
        timeout = httpx2.Timeout(TIMEOUT_S)
        try:
            self._http = http_client(self._config, ConnectionParams(timeout=timeout))
        except (OSError, LightkubeConfigError) as error:
            raise ConfigError(f"the credentials for the Kubernetes API cannot be used: {error}") from error

    async def stop(self, grace_s: float = 0.0) -> None:
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def get(self, what: Resource, name: str, *, subresource: str = "") -> Object:
        return await self._ask("GET", self._path(what, name, subresource))

    async def list(self, what: Resource, *, labels: str = "", fields: str = "") -> Listed:
        query = {"limit": str(PAGE), **_selecting(labels, fields)}
        items: list[Object] = []
        while True:
            page = await self._ask("GET", self._path(what), query=query)
            items += page["items"]
            more: str | None = page["metadata"].get("continue")
            if not more:
                return Listed(items, page["metadata"]["resourceVersion"])
            query["continue"] = more

    async def watch(self, what: Resource, *, since: str, labels: str = "") -> AsyncGenerator[Told]:
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": since,
            "timeoutSeconds": str(WATCH_S),
            **_selecting(labels),
        }
        timeout = httpx2.Timeout(TIMEOUT_S, read=SILENT_S)
        try:
            async with self._there.stream("GET", self._path(what), params=query, timeout=timeout) as answer:
                if answer.status_code >= 400:
                    await answer.aread()
                    raise _refusal(answer)
                async for line in _lines(answer):
                    event = msgspec.json.decode(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise _said_no(status.get("code", 500), status)
                    yield Told(event["type"], event["object"])
        except (httpx2.HTTPError, msgspec.DecodeError) as error:
            raise Unavailable(f"the watch of {what.plural} broke: {_text(error)}") from error

    async def create(self, what: Resource, given: Object) -> Object:
        body = {"apiVersion": what.api_version, "kind": what.kind, **given}
        return await self._ask("POST", self._path(what), body=body)

    async def replace(self, what: Resource, given: Object) -> Object:
        return await self._ask("PUT", self._path(what, given["metadata"]["name"]), body=given)

    async def merge(self, what: Resource, name: str, patch: Object, *, subresource: str = "") -> Object:
        path = self._path(what, name, subresource)
        return await self._ask("PATCH", path, body=patch, kind="application/merge-patch+json")

    async def apply(self, what: Resource, given: Object, *, force: bool = False) -> Object:
        body = {"apiVersion": what.api_version, "kind": what.kind, **given}
        path = self._path(what, given["metadata"]["name"])
        query = {"force": "true"} if force else {}
        return await self._ask("PATCH", path, query=query, body=body, kind="application/apply-patch+yaml")

    async def delete(self, what: Resource, name: str, *, uid: str | None = None) -> None:
        body: Object = {"propagationPolicy": "Background"}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        await self._ask("DELETE", self._path(what, name), body=body)

    async def evict(self, pod: str) -> None:
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": self._namespace}}
        await self._ask("POST", self._path(PODS, pod, "eviction"), body=body)

    # --- the wire ---

    @property
    def _there(self) -> httpx2.AsyncClient:
        if self._http is None:
            raise Unavailable("the connection to the Kubernetes API is not open")
        return self._http

    def _path(self, what: Resource, name: str = "", subresource: str = "") -> str:
        root = f"apis/{what.group}/{what.version}" if what.group else f"api/{what.version}"
        within = f"namespaces/{self._namespace}/" if what.is_namespaced else ""
        return "/".join(part for part in (f"{root}/{within}{what.plural}", name, subresource) if part)

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        kind: str = "application/json",
    ) -> Object:
        is_write = method != "GET"
        params = {**(query or {}), **({"fieldManager": self._manager} if method in ("POST", "PUT", "PATCH") else {})}
        content = None if body is None else msgspec.json.encode(body)
        try:
            answer = await self._there.request(
                method, path, params=params, content=content, headers={"Content-Type": kind}
            )
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            raise Unavailable(f"the Kubernetes API cannot be reached: {_text(error)}") from error
        except httpx2.HTTPError as error:
            message = f"the Kubernetes API did not answer {method} {path}: {_text(error)}"
            raise (OutcomeUnknown if is_write else Unavailable)(message) from error
        if answer.status_code >= 400:
            raise _refusal(answer)
        return msgspec.json.decode(answer.content)


async def _lines(answer: httpx2.Response) -> AsyncGenerator[bytes]:
    """By line feeds alone: `aiter_lines` also parts at U+0085 and its like, which JSON may hold as they are. Silence is
    the end: whether it is a dead connection the next request tells."""
    rest = b""
    with contextlib.suppress(httpx2.ReadTimeout):
        async for chunk in answer.aiter_bytes():
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield line


def _config(path: Path | None) -> SingleConfig:
    """Raises ConfigError where there are no credentials."""
    named = path or os.environ.get("KUBECONFIG")  # before those of the pod, as kubectl has it
    try:
        found = (KubeConfig.from_file(named) if named else KubeConfig.from_env()).get()
    except (LightkubeConfigError, OSError, KeyError, ValueError) as error:
        raise ConfigError(
            f"no credentials for the Kubernetes API: {error}; in a pod give it a service account, elsewhere set "
            f"KUBECONFIG or have ~/.kube/config"
        ) from error
    if found is None:
        raise ConfigError("no credentials for the Kubernetes API: the kubeconfig names no current context")
    return found


def _selecting(labels: str = "", fields: str = "") -> dict[str, str]:
    return {**({"labelSelector": labels} if labels else {}), **({"fieldSelector": fields} if fields else {})}


def _refusal(answer: httpx2.Response) -> SpringtideError:
    try:
        status = msgspec.json.decode(answer.content, type=dict[str, Any])
    except msgspec.MsgspecError:  # a proxy in between answers in its own words
        status = {"message": answer.text[:200], "reason": answer.reason_phrase}
    after = answer.headers.get("retry-after", "")
    return _said_no(answer.status_code, status, float(after) if after.isdigit() else None)


def _said_no(code: int, status: Mapping[str, Any], retry_after_s: float | None = None) -> SpringtideError:
    message = str(status.get("message") or status.get("reason") or f"HTTP {code}")
    if code == 429 or code >= 500:
        return Unavailable(f"the Kubernetes API answers {code}: {message}", retry_after_s=retry_after_s)
    return ApiRefused(message, status=code, reason=str(status.get("reason") or ""))


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
