"""What the pods of a distributed model's groups have in common. The pods themselves are made job by job by the worker
that starts groups, from a template (`fleet.gang_objects`); it calls this with the configuration that it has mounted.

A TrainJob takes its pods from a runtime, which is there before: it is rendered, one for each model that is run so.
"""

from __future__ import annotations

from typing import Any

from springtide.deploy import pods, weights, workers
from springtide.deploy.installation import Installation, Object, WorkerGroup
from springtide.fleet import labels
from springtide.fleet.gangs import FETCH, Runs

LEAVE_S = 10  # a rank has nothing to finish when its group is stopped
TRAINER_STEP = "trainer.kubeflow.org/trainjob-ancestor-step"  # by which Kubeflow's trainer finds the job to size


def objects(to: Installation) -> list[Object]:
    """Runtimes of models whose groups are TrainJobs, unless they name one of the cluster or a template of their own."""
    return [_runtime(to, group) for group in to.groups if group.runs_as is Runs.TRAINJOB and _is_ours(group)]


def _is_ours(group: WorkerGroup) -> bool:
    return not any(model.group.runtime or model.group.template for model in group.members.values())


def _runtime(to: Installation, group: WorkerGroup) -> Object:
    """Restarts nothing: a lost rank ends its group, and the next attempt has a new one."""
    [model] = group.members.values()
    common = rank_pod(to, group)
    whole = {"env": common["env"], **common["container"]}
    pod = {
        **common["spec"],
        "restartPolicy": "Never",
        "initContainers": [
            *common["before"],
            {"name": FETCH, "args": ["rank", "fetch"], "resources": common["fetch_resources"], **whole},
        ],
        "containers": [{"name": "node", "args": ["rank", "run"], "resources": common["resources"], **whole}],
    }
    job = {
        "backoffLimit": 0,
        "template": {"metadata": {"labels": labels.group_selector(to.name, group.name)}, "spec": pod},
    }
    node = {"name": "node", "replicas": 1, "template": {"metadata": {"labels": {TRAINER_STEP: "trainer"}}, "spec": job}}
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainingRuntime",
        "metadata": to.metadata(labels.runtime_name(to.name, group.model, group.version), labels.GROUP),
        "spec": {
            "mlPolicy": {"numNodes": model.group.processes, "torch": {}},
            **({"podGroupPolicy": {"volcano": {}}} if model.group.volcano_queue else {}),
            "template": {"spec": {"replicatedJobs": [node]}},
        },
    }


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
            **pods.priority(to, "workers"),
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
