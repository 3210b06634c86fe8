"""What the pods of a distributed model's groups have in common. The pods themselves are made job by job by the worker
that starts groups, from a template (`fleet.gang_objects`); it calls this with the configuration that it has mounted.
"""

from __future__ import annotations

from typing import Any

from springtide.deploy import pods, weights, workers
from springtide.deploy.installation import Installation, WorkerGroup
from springtide.fleet import labels

LEAVE_S = 10  # a rank has nothing to finish when its group is stopped


def rank_pod(to: Installation, group: WorkerGroup) -> dict[str, Any]:
    """What all pods of a model's groups have in common, by the names that templates use."""
    [model] = group.members.values()
    shape, given = model.group, group.pods
    gpus = {given.gpu_resource: str(shape.gpus_each)} if shape.gpus_each else {}
    cpu = f"{round(shape.cpus_each * 1000)}m" if shape.cpus_each else None
    memory = f"{shape.memory_mb_each}Mi" if shape.memory_mb_each else given.memory
    return {
        "spec": {
            "serviceAccountName": to.named(labels.WORKER),
            "automountServiceAccountToken": False,
            **pods.pull_secrets(to),
            **pods.some(
                runtimeClassName=given.runtime_class, schedulerName=given.scheduler, nodeSelector=given.node_selector
            ),
            "tolerations": [*given.tolerations, *workers.gone(given.gone_after_s)],
            "securityContext": pods.pod_security(),
            "terminationGracePeriodSeconds": LEAVE_S,
            "volumes": [
                *pods.volumes(to, given.scratch),
                {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": given.memory}},
                *weights.volumes(to, copies=True),
            ],
        },
        "before": [weights.init_container(to, group)],
        "container": {
            "image": group.image,
            "imagePullPolicy": to.settings.images.pull_policy,
            "securityContext": pods.container_security(),
            "volumeMounts": [
                *pods.mounts(),
                {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - the pod's own
                {"name": "weights", "mountPath": pods.WEIGHTS_FOLDER, "readOnly": True},
            ],
        },
        "env": [
            *pods.environment(to, ledger=False),
            pods.variable("SPRINGTIDE_RANK_FOLDER", f"{pods.DATA_FOLDER}/rank"),
            *(pods.variable(name, value) for name, value in sorted(given.variables.items())),
        ],
        "resources": {
            "requests": {"cpu": given.cpu or cpu or "1", "memory": memory, **gpus},
            "limits": {"cpu": given.cpu_limit or cpu or "4", "memory": memory, **gpus},
        },
        "fetch_resources": {
            "requests": {"cpu": "500m", "memory": "512Mi"},
            "limits": {"cpu": "2", "memory": "1Gi"},
        },
    }
