"""All objects of an installation, in the order in which they are to be applied, and as text.

Stable: the same configuration gives the same bytes. Nothing is null, nothing has a status, nothing says what somebody
else owns, so that `kubectl apply --server-side` may be repeated for ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from springtide.deploy import control_plane, edges, groups, guards, monitors, pods, rollouts, scaling, trial, workers
from springtide.deploy.comments import why_of
from springtide.deploy.installation import Installation, Object
from springtide.deploy.yaml_text import to_yaml

Files = dict[str, list[Object]]


def files(to: Installation) -> Files:
    """Objects by the file that they are written to."""
    found: Files = {
        "00-cluster.yaml": [*guards.priorities(to), *guards.quota(to)],
        "10-config.yaml": [pods.config_map(to)],
        "20-trial.yaml": trial.objects(to),
        "30-control-plane.yaml": control_plane.objects(to),
        "40-workers.yaml": [*workers.objects(to), *groups.objects(to)],
        "50-scaling.yaml": scaling.objects(to),
        "60-network.yaml": [*guards.network(to), *edges.objects(to), *rollouts.objects(to)],
        "70-monitoring.yaml": monitors.objects(to),
    }
    return {name: objects for name, objects in found.items() if objects}


def objects(to: Installation) -> list[Object]:
    """All of them."""
    return [each for some in files(to).values() for each in some]


def as_text(objects: Sequence[Mapping[str, object]]) -> str:
    """YAML documents with comments."""
    return "".join(f"---\n{to_yaml(each, why_of(each))}" for each in objects)
