"""What the API server would refuse of rendered objects though each value by itself is right: told with its setting
before anything is applied. No schema knows these rules.

Sources: kubernetes pkg/apis/core/validation (requests within limits); server-side apply takes no variable twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from springtide.deploy import groups, render
from springtide.deploy.installation import Installation, Object
from springtide.fleet import labels
from springtide.fleet.quantities import quantity


def refusals(to: Installation) -> list[str]:
    """Each in a line."""
    pods = [(each["metadata"], one["spec"]) for each in render.objects(to) for one in _pods(each)]
    for group in to.groups:
        if group.launches:  # its pods are made job by job
            rank = groups.rank_pod(to, group)
            container = {"env": rank["env"], "resources": rank["resources"]}
            pods.append((to.metadata(group.object_name, labels.GROUP), {"containers": [container]}))
    return list(dict.fromkeys(line for metadata, spec in pods for line in _of_pod(metadata, spec)))


def _pods(each: Object) -> Iterable[Object]:
    if each["kind"] in ("Deployment", "StatefulSet"):
        return [each["spec"]["template"]]
    if each["kind"] == "TrainingRuntime":
        return [one["template"]["spec"]["template"] for one in each["spec"]["template"]["spec"]["replicatedJobs"]]
    return []


def _of_pod(metadata: Object, spec: Object) -> Iterator[str]:
    where = _section(metadata)
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        asked, most = container["resources"]["requests"], container["resources"]["limits"]
        for name in asked.keys() & most.keys():
            if quantity(asked[name]) > quantity(most[name]):
                yield (
                    f"{where}.{name}: {metadata['name']} would ask for {asked[name]} and be limited to {most[name]}: "
                    f"raise {name}_limit, too"
                )
        counted = Counter(variable["name"] for variable in container.get("env", ()))
        for name, count in counted.items():
            if count > 1:
                yield f"{where}.variables: {name} is set for its pods already ({metadata['name']})"


def _section(metadata: Object) -> str:
    """Where the file says what its pods are like."""
    component: str = metadata["labels"][labels.COMPONENT]
    return f"kubernetes.{labels.WORKER if component == labels.GROUP else component}"
