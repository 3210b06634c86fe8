"""Names and labels by which Springtide's objects in a cluster are found: written by `deploy`, read by the fleet.

Promises: every name is a DNS label and every label value is legal, whatever a model is called; two models never share a
name; a pod's name is its host name, uncut, so that a worker's id tells its pod. Selectors of a Deployment can never be
changed, so they hold only what never changes: nothing of the configuration but the names themselves.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from springtide.domain.ids import ModelName, WorkerId, parted, unit_name

APP = "app.kubernetes.io/name"  # always "springtide"
INSTANCE = "app.kubernetes.io/instance"  # [kubernetes] name: two installations in a namespace have two
COMPONENT = "app.kubernetes.io/component"  # gateway, controller, worker; redis, postgres, s3 of a trial
PART_OF = "app.kubernetes.io/part-of"
MANAGED_BY = "app.kubernetes.io/managed-by"
MODEL = "springtide.dev/model"  # of workers: the model, or the [workers] entry whose models share them
GANG_MODEL = "springtide.dev/gang-of"  # of a group of processes and its pods: the model, or version of one
VERSION = "springtide.dev/version"  # of workers: the version of the model that they serve

MODEL_ANNOTATION = "springtide.dev/model-name"  # the name as configured, where the label had to be shortened
MAX_REPLICAS_ANNOTATION = (
    "springtide.dev/max-replicas"  # for who reads: the ceiling, which a Deployment has no field for
)
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"  # idle pods have the lowest, and go first
WEIGHTS_PREFIX = (
    "weights.springtide.dev"  # of nodes: PREFIX/MODEL is there where the model's files are in the node's cache
)

APP_NAME = "springtide"
GATEWAY, CONTROLLER, WORKER = "gateway", "controller", "worker"
GROUP = "group"  # processes that run one attempt together
STABLE = "stable"  # the version of a model that has only one

_LONGEST = 46  # a pod's name adds 17 ("-" + 10 of the ReplicaSet, "-" + 5 of its own) and must stay a host name (63)
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_DNS = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")


def object_name(*parts: str) -> str:
    """A DNS label of the parts, at most 46 characters; what had to be changed is told apart by a digest."""
    wanted = "-".join(parts)
    name = re.sub(r"[^a-z0-9-]", "-", wanted.lower()).strip("-")
    if name == wanted and len(name) <= _LONGEST and _DNS.fullmatch(name):
        return name
    digest = hashlib.sha256(wanted.encode()).hexdigest()[:8]
    return f"{name[: _LONGEST - 9].rstrip('-')}-{digest}"


def label_value(text: str) -> str:
    """`text` as the value of a label (at most 63 characters): itself wherever that is legal."""
    if _LABEL.fullmatch(text):
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '-', text)[:54].strip('-_.')}-{digest}"


def worker_name(instance: str, model: str, version: str = STABLE) -> str:
    """Name of the Deployment (and disruption budget, scaler, ...) of a model's version."""
    return object_name(instance, WORKER, model + _tail(version))


def runtime_name(instance: str, model: str, version: str = STABLE) -> str:
    """Name of the TrainingRuntime that the TrainJobs of a model's version refer to."""
    return object_name(instance, GROUP, model + _tail(version))


def _tail(version: str) -> str:
    return "" if version == STABLE else f"--{version}"  # no model's name has two dashes in a row


def selector(instance: str, component: str) -> dict[str, str]:
    """Labels that select the pods of a component."""
    return {APP: APP_NAME, INSTANCE: instance, COMPONENT: component}


def worker_selector(instance: str, model: str | None = None, version: str | None = None) -> dict[str, str]:
    """Labels that select workers: all, those of a model, or those of one version of it."""
    labels = selector(instance, WORKER)
    if model is not None:
        labels[MODEL] = label_value(model)
    if version is not None:
        labels[VERSION] = label_value(version)
    return labels


def group_selector(instance: str, model: str) -> dict[str, str]:
    """Labels of the groups of processes of a model or version, and of their pods."""
    return {**selector(instance, GROUP), GANG_MODEL: label_value(model)}


def weights_label(model: str) -> str:
    """Key of the label of nodes that hold a model's files."""
    return f"{WEIGHTS_PREFIX}/{label_value(model)}"


def as_query(labels: dict[str, str]) -> str:
    """As the API server takes it in `?labelSelector=`."""
    return ",".join(f"{key}={value}" for key, value in labels.items())


def unit(model: ModelName, version: str = "") -> ModelName:
    """What is scaled by itself: a model, or a version of it that was declared beside it."""
    return model if version in ("", STABLE) else unit_name(model, version)


def parts(scaled: ModelName) -> tuple[ModelName, str]:
    """Model and version of such a unit."""
    model, version = parted(scaled)
    return model, version or STABLE


def pod_worker(environ: Mapping[str, str], host: str) -> WorkerId | None:
    """The id of the worker that this pod is: the pod's name, which nothing else has while it is there; None outside of
    pods. A container that is started anew is the same worker, and first lets go what the last one held."""
    if "KUBERNETES_SERVICE_HOST" not in environ:
        return None
    return WorkerId(environ.get("POD_NAME") or host)
