"""The few rules of the API server's validation that a client of ours could break, in its own words (seen on 1.20)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from springtide.fleet.quantities import quantity
from springtide.testing.kubernetes import errors
from springtide.testing.kubernetes.fields import Object
from springtide.testing.kubernetes.kinds import Kind


def check(kind: Kind, given: Object) -> None:
    """Raises Refusal for an object that must not be stored so."""
    if kind.name == "Deployment":
        _deployment(given)
    if kind.name == "NetworkPolicy":
        for path, one in _peers(given):
            if not one.get("values"):
                told = f"{path}.values: Required value: must be specified when `operator` is 'In' or 'NotIn'"
                raise errors.invalid("NetworkPolicy.networking.k8s.io", given["metadata"]["name"], told)


def check_applied(given: Object) -> None:
    """Raises Refusal where server-side apply cannot tell the items of a list apart."""
    for path, container in _containers(given):
        for name, count in Counter(one["name"] for one in container.get("env", ())).items():
            if count > 1:
                where = f'.{path}[name="{container["name"]}"].env'
                told = f'failed to create typed patch object: {where}: duplicate entries for key [name="{name}"]'
                raise errors.Refusal(500, "", told)


def _deployment(given: Object) -> None:
    name, spec = given["metadata"]["name"], given.get("spec") or {}
    wanted = (spec.get("selector") or {}).get("matchLabels")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not wanted:
        raise errors.invalid("Deployment.apps", name, "spec.selector: Required value")
    if any(labels.get(label) != value for label, value in wanted.items()):
        raise errors.invalid("Deployment.apps", name, "`selector` does not match template `labels`")
    if spec.get("replicas", 1) < 0:
        raise errors.invalid("Deployment.apps", name, "spec.replicas: must be greater than or equal to 0")
    for path, container in _containers(given):
        resources = container.get("resources") or {}
        limits = resources.get("limits") or {}
        for what, asked in (resources.get("requests") or {}).items():
            if what in limits and quantity(asked) > quantity(limits[what]):
                told = (
                    f'{path}.resources.requests: Invalid value: "{asked}": must be less than or equal to {what} limit'
                )
                raise errors.invalid("Deployment.apps", name, told)


def _containers(given: Object) -> Iterator[tuple[str, Object]]:
    pod = ((given.get("spec") or {}).get("template") or {}).get("spec") or {}
    for part in ("initContainers", "containers"):
        for one in pod.get(part) or ():
            yield f"spec.template.spec.{part}", one


def _peers(policy: Object) -> Iterator[tuple[str, Object]]:
    """Label expressions that need values."""
    for side, key in (("ingress", "from"), ("egress", "to")):
        for rule in policy["spec"].get(side) or ():
            for peer in rule.get(key) or ():
                for one in (peer.get("namespaceSelector") or {}).get("matchExpressions") or ():
                    if one["operator"] in ("In", "NotIn"):
                        yield f"spec.{side}.{key}.namespaceSelector.matchExpressions", one
