"""The object of a cluster that is one gang, from a Jinja2 template: shipped ones, or the operator's own.

Promises: text arrives byte for byte, whatever is in it: the order travels in base64, and the filter `yaml` writes any
value as JSON that YAML reads the same (line separators, surrogates and control characters too). A name that a template
spells wrong is an error. What a template gives must be one object of the right kind with the gang's name; else
ConfigError.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from springtide.domain.errors import AttemptFailed, ConfigError
from springtide.domain.lease import Lease, Payload
from springtide.fleet import labels
from springtide.fleet.gangs import GangPods, GangShape, Runs, gang_name
from springtide.fleet.kubernetes_api import Object, Resource

PYTORCH_JOBS = Resource(group="kubeflow.org", version="v1", plural="pytorchjobs", kind="PyTorchJob")
TRAIN_JOBS = Resource(group="trainer.kubeflow.org", version="v1alpha1", plural="trainjobs", kind="TrainJob")
RESOURCES = {Runs.PYTORCHJOB: PYTORCH_JOBS, Runs.TRAINJOB: TRAIN_JOBS}

ORDER = "SPRINGTIDE_RANK_ORDER"  # the lease: msgpack in base64
WORKER_ANNOTATION = "springtide.dev/worker"  # who holds the lease
KUEUE_QUEUE = "kueue.x-k8s.io/queue-name"
ORDER_BYTES_MAX = 96 << 10  # Linux takes 128 KiB in a variable, etcd 1.5 MiB in an object
LATE_S = 300  # beyond start and run: the worker stops a gang long before the cluster does
# What a runtimePatch of a TrainJob may say of pods (trainer v2.3, its CRD).
PATCHABLE = (
    "affinity",
    "imagePullSecrets",
    "nodeSelector",
    "securityContext",
    "serviceAccountName",
    "terminationGracePeriodSeconds",
    "tolerations",
    "volumes",
)
_NOT_PLAIN = re.compile(r"[^\x20-\x7e]")


def as_yaml(value: Any) -> str:
    """`value` as JSON on one line of ASCII that YAML reads as the same: `\\u2028` would be a line break, a pair of
    surrogates two characters."""
    return _NOT_PLAIN.sub(_escaped, json.dumps(value, ensure_ascii=False, default=_refused))


def for_variable(text: str) -> str:
    """Text for the value of an environment variable or an argument of a container, where `$(NAME)` is replaced."""
    return text.replace("$", "$$")


def render(lease: Lease, shape: GangShape, given: GangPods, *, runs_as: Runs) -> Object:
    """The object. Raises AttemptFailed for a job whose inputs do not fit into one, ConfigError for a template that
    cannot be used."""
    from jinja2 import Environment, StrictUndefined, TemplateError

    environment = Environment(undefined=StrictUndefined, autoescape=False)  # noqa: S701 - YAML, by a filter of its own
    environment.filters.update(yaml=as_yaml, tojson=as_yaml, variable=for_variable)
    where = given.template or f"the template of {runs_as}"
    try:
        text = environment.from_string(_source(given, runs_as)).render(_context(lease, shape, given))
    except (TemplateError, TypeError, ValueError) as error:
        raise ConfigError(f"{where} cannot be used: {error}") from error
    return _checked(text, gang_name(lease.id, lease.attempt), RESOURCES[runs_as], where)


def _context(lease: Lease, shape: GangShape, given: GangPods) -> dict[str, Any]:
    order = base64.b64encode(msgspec.msgpack.encode(lease)).decode()
    if len(order) > ORDER_BYTES_MAX:
        raise AttemptFailed(
            f"the job's inputs take {len(order):,} bytes; at most {ORDER_BYTES_MAX:,} pass to a group in a cluster: "
            "give what is large as a file",
            retryable=False,
            code="invalid_input",
        )
    queue = {KUEUE_QUEUE: given.queue} if given.queue else {}
    return {
        "name": gang_name(lease.id, lease.attempt),
        "job": lease.id,
        "attempt": lease.attempt,
        "tenant": lease.tenant,
        "model": lease.model,
        "inputs": msgspec.msgpack.decode(lease.payload, type=Payload).inputs,
        "processes": shape.processes,
        "gpus_each": shape.gpus_each,
        "deadline_s": int(shape.start_timeout_s + lease.timeout_s) + LATE_S,
        "keep_s": given.keep_s,
        "labels": {**labels.group_selector(given.instance, lease.model), **queue},
        "annotations": {WORKER_ANNOTATION: lease.worker, labels.MODEL_ANNOTATION: lease.model},
        "env": [{"name": ORDER, "value": order}],
        "pod": {**given.pod, "patch": {key: given.pod["spec"][key] for key in PATCHABLE if key in given.pod["spec"]}}
        if given.pod
        else {},
        "runtime": given.runtime,
        "runtime_kind": "TrainingRuntime" if given.runtime_is_ours else "ClusterTrainingRuntime",
        "volcano_queue": given.volcano_queue,
    }


def _source(given: GangPods, runs_as: Runs) -> str:
    if given.template is None:
        return (files("springtide.fleet") / "templates" / f"{runs_as}.yaml.j2").read_text(encoding="utf-8")
    try:
        return Path(given.template).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"the template {given.template} cannot be read: {error.strerror}") from error


def _checked(text: str, name: str, what: Resource, where: str) -> Object:
    import yaml

    try:
        found: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} gives no YAML: {error}") from error
    wanted = {"apiVersion": what.api_version, "kind": what.kind}
    if not isinstance(found, Mapping) or {key: found.get(key) for key in wanted} != wanted:  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - YAML of the operator's
        raise ConfigError(f"{where} gives no {what.kind} of {what.api_version}")
    one: Object = dict(found)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - as above
    metadata: Any = one.get("metadata")
    if not isinstance(metadata, Mapping) or metadata.get("name") != name:  # pyright: ignore[reportUnknownMemberType] - as above
        raise ConfigError(f"{where} must call its object {name}: metadata.name is {{{{ name | yaml }}}}")
    return one


def _refused(value: Any) -> Any:
    """A name that nobody gave a value says so itself when it is looked at; anything else is not JSON."""
    raise TypeError(f"{value!s:.100} is a {type(value).__name__}, which has no form in YAML here")


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
