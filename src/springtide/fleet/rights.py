"""What Springtide's own processes need to be allowed in a cluster, in one place: `deploy` renders roles from it,
`doctor` checks it, and the tests of the fleet run with exactly these.

Nothing here creates, changes or deletes a Deployment or a pod: scaling is the scale subresource alone; a pod only ever
gets an annotation, or is evicted, which its disruption budget may forbid.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

import msgspec

from springtide.fleet.gangs import Runs


class Right(msgspec.Struct, frozen=True, kw_only=True):
    """One rule of a Role."""

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    why: str


EVENTS_READ = Right(
    group="", resources=("events",), verbs=("list",), why="a volume that does not come is told in events alone"
)
EVENTS = Right(group="", resources=("events",), verbs=("create",), why="says what was done on the object")
FLEET = (
    Right(
        group="apps",
        resources=("deployments",),
        verbs=("list", "watch"),
        why="how many workers are wanted and there, and what keeps new ones away (quota)",
    ),
    Right(
        group="apps",
        resources=("deployments/scale",),
        verbs=("get", "patch"),
        why="the number of workers, and nothing else of a Deployment",
    ),
    Right(
        group="",
        resources=("pods",),
        verbs=("list", "watch", "patch"),
        why="how each worker fares; idle ones are marked to leave first (pod-deletion-cost)",
    ),
    Right(group="", resources=("pods/eviction",), verbs=("create",), why="one worker drained by an operator's order"),
    EVENTS_READ,
    EVENTS,
)
ELECTION = (
    Right(
        group="coordination.k8s.io",
        resources=("leases",),
        verbs=("get", "create", "update"),
        why="one of two controllers acts",
    ),
)
CONTROLLER = (*FLEET, *ELECTION)
_GANG_VERBS = ("get", "list", "watch", "create", "delete")
GANG_KINDS = {
    Runs.PYTORCHJOB: Right(
        group="kubeflow.org",
        resources=("pytorchjobs",),
        verbs=_GANG_VERBS,
        why="a group of processes is one PyTorchJob",
    ),
    Runs.TRAINJOB: Right(
        group="trainer.kubeflow.org",
        resources=("trainjobs",),
        verbs=_GANG_VERBS,
        why="a group of processes is one TrainJob",
    ),
}
GANG = (  # beside the right to the object itself
    Right(group="", resources=("pods",), verbs=("list", "watch"), why="how each process of a group fares"),
    EVENTS_READ,
    EVENTS,
)
DOCTOR = (
    Right(
        group="",
        resources=("pods", "events", "resourcequotas", "persistentvolumeclaims"),
        verbs=("list",),
        why="what keeps workers from coming up",
    ),
    Right(group="apps", resources=("deployments",), verbs=("list",), why="whether the workers are there"),
    Right(group="keda.sh", resources=("scaledobjects",), verbs=("list",), why="whether KEDA can ask the controller"),
)
DOCTOR_CLUSTER = (  # of a ClusterRole: what is not in a namespace
    Right(group="", resources=("nodes",), verbs=("list",), why="whether nodes offer GPUs"),
    Right(
        group="apiextensions.k8s.io",
        resources=("customresourcedefinitions",),
        verbs=("list",),
        why="whether KEDA and the training operator are there",
    ),
)


def gang_rights(kinds: Set[Runs]) -> tuple[Right, ...]:
    """Of workers whose jobs run as groups of processes: they, not the controller, start them."""
    return (*(right for kind, right in GANG_KINDS.items() if kind in kinds), *GANG)


def as_rules(rights: Iterable[Right]) -> list[dict[str, list[str]]]:
    """As `rules` of a Role."""
    return [
        {"apiGroups": [right.group], "resources": list(right.resources), "verbs": list(right.verbs)} for right in rights
    ]


def as_triples(rights: Iterable[Right]) -> frozenset[tuple[str, str, str]]:
    """Each (group, resource, verb) by itself."""
    return frozenset(
        (right.group, resource, verb) for right in rights for resource in right.resources for verb in right.verbs
    )
