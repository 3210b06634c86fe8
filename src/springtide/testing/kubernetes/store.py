"""Objects with versions, owners of fields, finalizers and a history that watches read: what etcd and the generic part
of an API server promise. No I/O: the server in front and the controllers beside it call this."""

from __future__ import annotations

import copy
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from springtide.testing.kubernetes import errors
from springtide.testing.kubernetes.fields import (
    Object,
    Path,
    fields_v1,
    leaves,
    merged,
    spelled,
    strategically_merged,
    without,
)
from springtide.testing.kubernetes.kinds import Kind, Kinds
from springtide.testing.kubernetes.rules import check, check_applied

HISTORY = 10_000  # events kept for watches
_ServerSet = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "deletionTimestamp")


class Happened(NamedTuple):
    """One change, as a watch tells it."""

    version: int
    type: str  # ADDED, MODIFIED, DELETED
    kind: Kind
    object: Object
    before: Object | None


class Owner(NamedTuple):
    """Who wrote fields, and how."""

    manager: str
    operation: str  # Apply or Update
    subresource: str = ""

    def __str__(self) -> str:
        where = f' with subresource "{self.subresource}"' if self.subresource else ""
        return f'"{self.manager}"{where}'


Key = tuple[str, str, str, str]  # group, plural, namespace, name


class Store:
    """All objects. `on_change` is called after each change, within the call that made it."""

    def __init__(self, kinds: Kinds, now: Callable[[], float] = time.time) -> None:
        self.kinds = kinds
        self.now = now
        self.version = 1000
        self.oldest = 1000  # watches from before it get 410
        self.history: deque[Happened] = deque(maxlen=HISTORY)
        self.on_change: list[Callable[[Happened], None]] = []
        self._objects: dict[Key, Object] = {}
        self._owned: dict[Key, dict[Owner, set[Path]]] = {}

    # --- reading ---

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """A copy. Raises Refusal 404."""
        found = self._objects.get(_key(kind, namespace, name))
        if found is None:
            raise errors.not_found(kind.resource, name)
        return copy.deepcopy(found)

    def all(self, kind: Kind, namespace: str | None = None) -> Iterator[Object]:
        """Copies, by name; of every namespace where none is given."""
        for key in sorted(self._objects):
            if key[:2] == (kind.group, kind.plural) and namespace in (None, key[2]):
                yield copy.deepcopy(self._objects[key])

    def forget_history(self) -> None:
        """As compaction does: whoever watches from now or before has to list again."""
        self.version += 1
        self.oldest = self.version
        self.history.clear()

    # --- writing ---

    def create(self, kind: Kind, namespace: str, given: Object, *, owner: Owner, dry_run: bool = False) -> Object:
        metadata = dict(given.get("metadata") or {})
        if not metadata.get("name"):
            if not metadata.get("generateName"):
                raise errors.invalid(kind.name, "", "metadata.name: Required value: name or generateName is required")
            metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
        if metadata.get("namespace", namespace) != namespace:
            raise errors.bad_request("the namespace of the provided object does not match the namespace sent")
        name = metadata["name"]
        if _key(kind, namespace, name) in self._objects:
            raise errors.already_exists(kind.resource, name)
        namespaces = self.kinds.named("Namespace")
        if kind.is_namespaced and _key(namespaces, "", namespace) not in self._objects:
            raise errors.not_found("namespaces", namespace)
        for field in _ServerSet:
            metadata.pop(field, None)
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": stamp(self.now()), "generation": 1}
        if kind.is_namespaced:
            metadata["namespace"] = namespace
        fresh = {**given, "apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata}
        check(kind, fresh)
        if not dry_run:
            self._own(_key(kind, namespace, name), owner, {}, fresh)
            self._put(kind, namespace, fresh, None)
        return copy.deepcopy(fresh)

    def update(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        change: Callable[[Object], Object],
        *,
        owner: Owner,
        dry_run: bool = False,
    ) -> Object:
        """Replace an object by what `change` makes of it. A resourceVersion in it must be the newest: 409 else."""
        before = self.get(kind, namespace, name)
        after = copy.deepcopy(change(copy.deepcopy(before)))
        meta = after.setdefault("metadata", {})
        if meta.get("resourceVersion") not in (None, before["metadata"]["resourceVersion"]):
            raise errors.modified(kind.resource, name)
        if meta.get("uid") not in (None, before["metadata"]["uid"]):
            raise errors.conflict(kind.resource, name, "the UID in the precondition is not that of the object")
        if meta.get("name", name) != name:
            raise errors.bad_request("the name of the object does not match the name on the URL")
        for field in _ServerSet:
            meta.pop(field, None)
            if field in before["metadata"]:
                meta[field] = before["metadata"][field]
        after |= {"apiVersion": kind.api_version, "kind": kind.name}
        if kind.has_status and owner.subresource != "status":
            after.pop("status", None)
            after |= {"status": before["status"]} if "status" in before else {}
        elif owner.subresource == "status":
            after = {**before, "status": after.get("status", {})}
        check(kind, after)
        if after == before or dry_run:
            return after
        if after.get("spec") != before.get("spec"):
            after["metadata"]["generation"] = before["metadata"].get("generation", 1) + 1
        self._own(_key(kind, namespace, name), owner, before, after)
        if after["metadata"].get("deletionTimestamp") and not after["metadata"].get("finalizers"):
            self._drop(kind, namespace, name)
        else:
            self._put(kind, namespace, after, before)
        return copy.deepcopy(after)

    def apply(
        self, kind: Kind, namespace: str, name: str, given: Object, *, owner: Owner, force: bool, dry_run: bool = False
    ) -> Object:
        """Server-side apply: 409 with the owners where another has set a field to something else."""
        key = _key(kind, namespace, name)
        intent = {part: value for part, value in given.items() if part not in ("apiVersion", "kind", "status")}
        if given.get("metadata", {}).get("managedFields"):
            raise errors.bad_request("metadata.managedFields must be nil")
        check_applied(given)
        if key not in self._objects:
            return self.create(
                kind, namespace, merged(given, {"metadata": {"name": name}}), owner=owner, dry_run=dry_run
            )
        wanted = _ownable(intent)
        current, owned = self._objects[key], self._owned.setdefault(key, {})
        is_now = leaves(current)
        clashes = [
            (other, path)
            for other, paths in owned.items()
            if other != owner
            for path in sorted(paths & wanted.keys())
            if is_now.get(path) != wanted[path]
        ]
        if clashes and not force:
            raise _apply_conflict(clashes)
        stale = owned.get(owner, set()) - wanted.keys()
        held = set[Path]().union(*(paths for other, paths in owned.items() if other != owner))

        def change(before: Object) -> Object:
            return strategically_merged(without(before, stale - held), intent)

        after = self.update(kind, namespace, name, change, owner=owner, dry_run=dry_run)
        if not dry_run and key in self._objects:
            for other, paths in owned.items():
                if other != owner:
                    paths -= {path for clash, path in clashes if clash == other}
            owned[owner] = set(wanted)
            self._objects[key]["metadata"]["managedFields"] = self._managed(key)
            after = copy.deepcopy(self._objects[key])
        return after

    def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None, cascade: bool = True) -> Object:
        """At once, or marked where finalizers hold it. Dependents follow unless orphaned."""
        found = self.get(kind, namespace, name)
        if uid not in (None, found["metadata"]["uid"]):
            raise errors.conflict(kind.resource, name, "the UID in the precondition is not that of the object")
        if found["metadata"].get("finalizers"):
            return self.mark_deleted(kind, namespace, name)
        self._drop(kind, namespace, name, cascade=cascade)
        return found

    def mark_deleted(self, kind: Kind, namespace: str, name: str, grace_s: int = 0) -> Object:
        """Set its deletionTimestamp: it is on its way out."""
        before = self.get(kind, namespace, name)
        if before["metadata"].get("deletionTimestamp"):
            return before
        after = copy.deepcopy(before)
        after["metadata"] |= {"deletionTimestamp": stamp(self.now() + grace_s), "deletionGracePeriodSeconds": grace_s}
        self._put(kind, namespace, after, before)
        return copy.deepcopy(after)

    # --- inside ---

    def _put(self, kind: Kind, namespace: str, fresh: Object, before: Object | None) -> None:
        self.version += 1
        if kind.name == "Deployment":
            fresh["spec"].setdefault("replicas", 1)  # a default is nobody's field
        fresh["metadata"]["resourceVersion"] = str(self.version)
        key = _key(kind, namespace, fresh["metadata"]["name"])
        fresh["metadata"]["managedFields"] = self._managed(key)
        self._objects[key] = copy.deepcopy(fresh)
        self._tell(Happened(self.version, "MODIFIED" if before else "ADDED", kind, copy.deepcopy(fresh), before))

    def _drop(self, kind: Kind, namespace: str, name: str, *, cascade: bool = True) -> None:
        key = _key(kind, namespace, name)
        gone = self._objects.pop(key)
        self._owned.pop(key, None)
        self.version += 1
        gone["metadata"]["resourceVersion"] = str(self.version)
        self._tell(Happened(self.version, "DELETED", kind, gone, gone))
        for other, found in list(self._objects.items()) if cascade else ():
            owners = found["metadata"].get("ownerReferences", ())
            if found["metadata"]["uid"] != gone["metadata"]["uid"] and any(
                one["uid"] == gone["metadata"]["uid"] for one in owners
            ):
                dependent = self.kinds.named(found["kind"])
                if other in self._objects:
                    self.delete(dependent, other[2], other[3])

    def _tell(self, event: Happened) -> None:
        if len(self.history) == HISTORY:
            self.oldest = self.history[0].version
        self.history.append(event)
        for listener in list(self.on_change):
            listener(event)

    def _own(self, key: Key, owner: Owner, before: Object, after: Object) -> None:
        """Whoever changed a field owns it alone; nobody owns one that is gone."""
        was, now = _ownable(before), _ownable(after)
        changed = {path for path, value in now.items() if path not in was or was[path] != value}
        owned = self._owned.setdefault(key, {})
        for other, paths in owned.items():
            if other != owner:
                paths -= changed
            paths &= now.keys()
        mine = owned.setdefault(owner, set())
        mine |= changed
        for other in [one for one, paths in owned.items() if not paths]:
            del owned[other]

    def _managed(self, key: Key) -> list[Mapping[str, Any]]:
        kind = next((one for one in self.kinds if (one.group, one.plural) == key[:2]), None)
        return [
            {
                "manager": owner.manager,
                "operation": owner.operation,
                "apiVersion": kind.api_version if kind else "v1",
                "time": stamp(self.now()),
                "fieldsType": "FieldsV1",
                "fieldsV1": fields_v1(paths),
                **({"subresource": owner.subresource} if owner.subresource else {}),
            }
            for owner, paths in self._owned.get(key, {}).items()
        ]


def stamp(at_s: float) -> str:
    """A time as metadata carries it: whole seconds, UTC."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _key(kind: Kind, namespace: str, name: str) -> Key:
    return (kind.group, kind.plural, namespace if kind.is_namespaced else "", name)


def _ownable(given: Object) -> dict[Path, Any]:
    metadata = given.get("metadata") or {}
    kept = {part: metadata[part] for part in ("labels", "annotations", "finalizers") if metadata.get(part)}
    rest = {part: value for part, value in given.items() if part not in ("apiVersion", "kind", "metadata")}
    return leaves({**rest, **({"metadata": kept} if kept else {})}) if rest or kept else {}


def _apply_conflict(clashes: list[tuple[Owner, Path]]) -> errors.Refusal:
    count = f"{len(clashes)} conflict{'s' if len(clashes) > 1 else ''}"
    if len(clashes) == 1:
        told = f"conflict with {clashes[0][0]}: {spelled(clashes[0][1])}"
    else:
        told = "conflicts with " + ", ".join(f"{owner}: {spelled(path)}" for owner, path in clashes)
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {owner}", "field": spelled(path)}
        for owner, path in clashes
    ]
    return errors.Refusal(409, "Conflict", f"Apply failed with {count}: {told}", details={"causes": causes})
