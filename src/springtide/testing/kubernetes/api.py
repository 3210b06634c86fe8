"""From requests to the store and back: paths, verbs, selectors, subresources, watches."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec

from springtide.testing.kubernetes import errors
from springtide.testing.kubernetes.fields import Object, json_patched, merged, strategically_merged
from springtide.testing.kubernetes.kinds import Kind
from springtide.testing.kubernetes.selecting import by_fields, by_labels
from springtide.testing.kubernetes.store import Happened, Owner, Store
from springtide.testing.kubernetes.wire import Reply, Request

WATCH_S = 1800.0  # as long as a watch lives where the client does not say
_VERBS = {"GET": "get", "PUT": "update", "PATCH": "patch", "POST": "create", "DELETE": "delete"}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a request is about, as authorization sees it."""

    verb: str  # get, list, watch, create, update, patch, delete, deletecollection
    kind: Kind
    namespace: str | None  # None: all
    name: str | None = None
    subresource: str = ""


class Api:
    """Answers requests. delete_pod: how a pod goes, which takes its time."""

    def __init__(self, store: Store, delete_pod: Callable[[str, str, int | None], Object]) -> None:
        self._store = store
        self._delete_pod = delete_pod
        self._watches: set[asyncio.Queue[Happened | None]] = set()
        self.bookmark_s = 60.0  # as the API server: one a minute
        store.on_change.append(self._pass_on)

    def asked(self, request: Request) -> Asked:
        """Raises Refusal 404 for a path that is not served."""
        parts = [part for part in request.path.split("/") if part]
        if parts[:1] == ["api"]:
            group, version, rest = "", *parts[1:2], parts[2:]
        elif parts[:1] == ["apis"] and len(parts) > 3:
            group, version, rest = parts[1], parts[2], parts[3:]
        else:
            raise errors.no_such_resource()
        namespace: str | None = None
        if rest[:1] == ["namespaces"] and len(rest) > 2 and rest[2] not in ("status", "finalize"):
            namespace, rest = rest[1], rest[2:]
        kind = self._store.kinds.find(group, version, rest[0]) if rest else None
        name = rest[1] if len(rest) > 1 else None
        subresource = rest[2] if len(rest) > 2 else ""
        if kind is None or (subresource and not _has(kind, subresource)):
            raise errors.no_such_resource()
        verb = _VERBS[request.method]
        if name is None and verb == "get":
            verb = "watch" if request.query.get("watch") in ("1", "true") else "list"
        elif name is None and verb == "delete":
            verb = "deletecollection"
        return Asked(verb=verb, kind=kind, namespace=namespace, name=name, subresource=subresource)

    def answer(self, request: Request, asked: Asked) -> Reply:
        """Raises Refusal."""
        if asked.verb == "watch":
            return Reply(lines=self._watch(asked, request.query))
        if asked.verb == "list":
            return _json(self._list(asked, request.query))
        if asked.verb == "deletecollection":
            for one in self._selected(asked, request.query):
                self._delete(asked.kind, one["metadata"]["namespace"], one["metadata"]["name"], {})
            return _json({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})
        given: Any = msgspec.json.decode(request.body) if request.body else {}
        namespace = asked.namespace or ""
        owner = Owner(
            request.query.get("fieldManager") or request.headers.get("user-agent", "unknown").partition("/")[0],
            "Apply" if "apply-patch" in request.headers.get("content-type", "") else "Update",
            asked.subresource,
        )
        dry_run = request.query.get("dryRun") == "All"
        if asked.subresource == "eviction":
            self._delete_pod(namespace, asked.name or "", None)
            return _json({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}, 201)
        if asked.subresource == "token":
            return _json({**given, "status": {"token": f"{namespace}:{asked.name}"}}, 201)
        if asked.verb == "create":
            made = self._store.create(asked.kind, namespace, given, owner=owner, dry_run=dry_run)
            return _json(made, 201)
        assert asked.name is not None
        if asked.verb == "delete":
            return _json(self._delete(asked.kind, namespace, asked.name, {**given, **request.query}))
        if asked.subresource == "scale":
            return _json(self._scale(asked, given, request, owner, dry_run=dry_run))
        if asked.verb == "get":
            return _json(self._store.get(asked.kind, namespace, asked.name))
        return self._write(asked, given, request, owner, dry_run=dry_run)

    async def close(self) -> None:
        """End every watch."""
        for queue in self._watches:
            queue.put_nowait(None)

    # --- writing ---

    def _write(self, asked: Asked, given: Any, request: Request, owner: Owner, *, dry_run: bool) -> Reply:
        assert asked.name is not None
        namespace = asked.namespace or ""
        if owner.operation == "Apply" and asked.verb == "patch":
            if "fieldManager" not in request.query:
                raise errors.bad_request("PatchOptions.meta.k8s.io is invalid: fieldManager: Required value")
            force = request.query.get("force") == "true"
            applied = self._store.apply(
                asked.kind, namespace, asked.name, given, owner=owner, force=force, dry_run=dry_run
            )
            return _json(applied)
        patch = _patch(request) if asked.verb == "patch" else None

        def change(before: Object) -> Object:
            if patch is None:
                return given
            after = patch(before, given)
            # Only what the client itself says is a precondition.
            if isinstance(given, list) or "resourceVersion" not in (given.get("metadata") or {}):
                after["metadata"].pop("resourceVersion", None)
            return after

        return _json(self._store.update(asked.kind, namespace, asked.name, change, owner=owner, dry_run=dry_run))

    def _scale(self, asked: Asked, given: Any, request: Request, owner: Owner, *, dry_run: bool) -> Object:
        kind, namespace, name = asked.kind, asked.namespace or "", asked.name or ""
        assert kind.scale is not None
        before = _scale_of(self._store.get(kind, namespace, name), kind)
        if asked.verb == "get":
            return before
        wanted = given if asked.verb == "update" else _patch(request)(before, given)
        version = given.get("metadata", {}).get("resourceVersion") if isinstance(given, dict) else None
        replicas = (wanted.get("spec") or {}).get("replicas", 0)
        if not isinstance(replicas, int) or replicas < 0:
            raise errors.invalid("Scale.autoscaling", name, "spec.replicas: must be greater than or equal to 0")

        def change(whole: Object) -> Object:
            whole["metadata"].pop("resourceVersion", None)
            patch: Any = replicas
            for step in reversed(kind.scale or ()):
                patch = {step: patch}
            after = merged(whole, patch)
            return merged(after, {"metadata": {"resourceVersion": version}}) if version else after

        return _scale_of(self._store.update(kind, namespace, name, change, owner=owner, dry_run=dry_run), kind)

    def _delete(self, kind: Kind, namespace: str, name: str, options: Mapping[str, Any]) -> Object:
        conditions: Mapping[str, Any] = options.get("preconditions") or {}
        uid: str | None = conditions.get("uid")
        if kind.plural == "pods":
            found = self._store.get(kind, namespace, name)
            if uid not in (None, found["metadata"]["uid"]):
                raise errors.conflict("pods", name, "the UID in the precondition is not that of the object")
            grace = options.get("gracePeriodSeconds")
            return self._delete_pod(namespace, name, None if grace is None else int(grace))
        cascade = options.get("propagationPolicy") != "Orphan"
        return self._store.delete(kind, namespace, name, uid=uid, cascade=cascade)

    # --- reading ---

    def _selected(self, asked: Asked, query: Mapping[str, str]) -> list[Object]:
        return [
            one
            for one in self._store.all(asked.kind, asked.namespace)
            if by_labels(query.get("labelSelector", ""), one) and by_fields(query.get("fieldSelector", ""), one)
        ]

    def _list(self, asked: Asked, query: Mapping[str, str]) -> Object:
        items = self._selected(asked, query)
        begin = int(base64.b64decode(query["continue"])) if query.get("continue") else 0
        end = begin + int(query.get("limit") or len(items) or 1)
        metadata = {"resourceVersion": str(self._store.version)}
        if end < len(items):
            metadata["continue"] = base64.b64encode(str(end).encode()).decode()
        kind = f"{asked.kind.name}List"
        return {"kind": kind, "apiVersion": asked.kind.api_version, "metadata": metadata, "items": items[begin:end]}

    async def _watch(self, asked: Asked, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[Happened | None] = asyncio.Queue()
        since = int(query.get("resourceVersion") or 0)
        if since == 0:
            for one in self._selected(asked, query):
                yield _event("ADDED", one)
            since = self._store.version
        elif since < self._store.oldest:
            yield _event("ERROR", errors.expired(since, self._store.oldest).status())
            return
        for event in self._store.history:
            if event.version > since:
                queue.put_nowait(event)
        self._watches.add(queue)
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + float(query.get("timeoutSeconds") or WATCH_S)
        is_marked = query.get("allowWatchBookmarks") == "true"
        try:
            while (left_s := ends_at - loop.time()) > 0:
                try:
                    async with asyncio.timeout(min(left_s, self.bookmark_s)):  # wait_for may lose a cancel (3.11)
                        happened = await queue.get()
                except TimeoutError:
                    if is_marked:
                        yield _event("BOOKMARK", self._bookmark(asked.kind))
                    continue
                if happened is None:
                    return
                told = _told(happened, asked, query)
                if told is not None:
                    yield told
        finally:
            self._watches.discard(queue)

    def _bookmark(self, kind: Kind) -> Object:
        metadata = {"resourceVersion": str(self._store.version), "creationTimestamp": None}
        return {"kind": kind.name, "apiVersion": kind.api_version, "metadata": metadata}

    def _pass_on(self, event: Happened) -> None:
        for queue in self._watches:
            queue.put_nowait(event)


def _told(happened: Happened, asked: Asked, query: Mapping[str, str]) -> bytes | None:
    """The event as this watch sees it: what stops matching its selector is gone, what begins to is new."""
    if (happened.kind.group, happened.kind.plural) != (asked.kind.group, asked.kind.plural):
        return None
    if asked.namespace not in (None, happened.object["metadata"].get("namespace")):
        return None

    def matches(one: Object) -> bool:
        return by_labels(query.get("labelSelector", ""), one) and by_fields(query.get("fieldSelector", ""), one)

    was = happened.before is not None and matches(happened.before)
    now = happened.type != "DELETED" and matches(happened.object)
    if not (was or now):
        return None
    return _event("MODIFIED" if was and now else "ADDED" if now else "DELETED", happened.object)


def _has(kind: Kind, subresource: str) -> bool:
    if subresource == "eviction":
        return kind.plural == "pods"
    if subresource == "token":
        return kind.plural == "serviceaccounts"
    return (subresource == "status" and kind.has_status) or (subresource == "scale" and kind.scale is not None)


def _patch(request: Request) -> Callable[[Any, Any], Any]:
    content_type = request.headers.get("content-type", "").partition(";")[0]
    if content_type == "application/merge-patch+json":
        return merged
    if content_type == "application/strategic-merge-patch+json":
        return strategically_merged
    if content_type == "application/json-patch+json":
        return _json_patched
    raise errors.Refusal(
        415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {content_type}"
    )


def _json_patched(before: Object, operations: Any) -> Object:
    try:
        return json_patched(before, operations)
    except ValueError as error:
        raise errors.Refusal(
            422, "Invalid", f"the server rejected our request due to an error in our request: {error}"
        ) from error


def _scale_of(whole: Object, kind: Kind) -> Object:
    assert kind.scale is not None
    replicas: Any = whole
    for step in kind.scale:
        replicas = (replicas or {}).get(step) if isinstance(replicas, dict) else None
    labels: dict[str, str] = ((whole.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    metadata = whole["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    there = (whole.get("status") or {}).get("replicas", 0)
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {part: metadata[part] for part in kept if part in metadata},
        "spec": {"replicas": replicas or 0},
        "status": {"replicas": there, "selector": ",".join(f"{name}={value}" for name, value in labels.items())},
    }


def _event(kind: str, what: Object) -> bytes:
    return msgspec.json.encode({"type": kind, "object": what})


def _json(what: Any, code: int = 200) -> Reply:
    return Reply(code=code, body=msgspec.json.encode(what))
