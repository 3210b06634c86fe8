"""What the pods of all roles have in common: who they run as, what they may write, what they read of the settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from springtide.deploy.installation import METRICS_PORT, PORT, Installation, Object
from springtide.deploy.toml_text import to_toml
from springtide.fleet import labels
from springtide.fleet.rights import Right, as_rules

USER = 10001  # of the images; no system user of any distribution has it
CONFIG_FOLDER = "/etc/springtide"
DATA_FOLDER = "/var/lib/springtide"
WEIGHTS_FOLDER = "/weights"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - a pod is reached by its own address; NetworkPolicies say by whom
CONFIG_ANNOTATION = "springtide.dev/config"  # changes with what the pod reads: a changed file reaches running pods
WORKER_SECTIONS = ("server", "broker", "blobs", "provenance")  # besides its models: nothing else restarts a worker


def config_map(to: Installation) -> Object:
    """springtide.toml, as all pods read it."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": to.metadata(to.named("config"), labels.CONTROLLER),
        "data": {"springtide.toml": to_toml(to.file)},
    }


def read_by_all(to: Installation) -> dict[str, Any]:
    """What restarts gateways and controllers where it changes. Of [kubernetes] they know what matters to them from
    variables."""
    return {key: value for key, value in to.file.items() if key != "kubernetes"}


def digest_of(data: Any) -> str:
    """What changes where `data` does."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def account(to: Installation, part: str, component: str = "") -> Object:
    """A service account; its token is only where a pod asks for it."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": to.metadata(to.named(part), component or part),
        "automountServiceAccountToken": False,
    }


def rules(rights: Iterable[Right]) -> list[Object]:
    """Of a Role: what the fleet says that it needs."""
    return [dict(rule) for rule in as_rules(rights)]


def rights(to: Installation, part: str, needed: Iterable[Right], component: str = "") -> list[Object]:
    """A Role with just these rights, bound to the account of the same name."""
    name = to.named(part)
    return [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": to.metadata(name, component or part),
            "rules": rules(needed),
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": to.metadata(name, component or part),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": to.namespace}],
        },
    ]


def place_variables(to: Installation) -> list[Object]:
    """Where in the cluster a pod is, for those that ask the API server."""
    return [
        from_field("POD_NAME", "metadata.name"),
        variable("SPRINGTIDE_KUBERNETES__NAME", to.name),
        from_field("SPRINGTIDE_KUBERNETES__NAMESPACE", "metadata.namespace"),
    ]


def pod_security() -> Object:
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Object:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def variable(name: str, value: str) -> Object:
    return {"name": name, "value": value}


def from_secret(name: str, reference: str) -> Object:
    """reference: "secret/key"."""
    secret, _, key = reference.partition("/")
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def from_field(name: str, path: str) -> Object:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def environment(to: Installation, *, broker: bool = True, ledger: bool = True) -> list[Object]:
    """Variables of a pod that needs the blob store, and so much more; of Secrets first, others hold what they say."""
    secrets, trial = to.settings.secrets, to.settings.trial
    found: list[Object] = []
    if trial.s3 or (broker and trial.redis) or (ledger and trial.postgres):
        found.append(from_secret("TRIAL_PASSWORD", secrets.trial_password))
    if broker and trial.redis:
        found.append(variable("SPRINGTIDE_BROKER__URL", f"redis://:$(TRIAL_PASSWORD)@{to.named('redis')}:6379/0"))
    elif broker:
        found.append(from_secret("SPRINGTIDE_BROKER__URL", secrets.broker_url))
    if ledger and trial.postgres:
        url = f"postgresql://springtide:$(TRIAL_PASSWORD)@{to.named('postgres')}:5432/springtide"
        found.append(variable("SPRINGTIDE_LEDGER__URL", url))
    elif ledger:
        found.append(from_secret("SPRINGTIDE_LEDGER__URL", secrets.ledger_url))
    return [
        *found,
        *_blobs(to),
        variable("SPRINGTIDE_CONFIG", f"{CONFIG_FOLDER}/springtide.toml"),
        variable("SPRINGTIDE_SERVER__DATA_DIR", DATA_FOLDER),
        variable("SPRINGTIDE_SERVER__WEIGHTS_DIR", WEIGHTS_FOLDER),
    ]


def _blobs(to: Installation) -> list[Object]:
    secrets = to.settings.secrets
    if to.settings.trial.s3:
        return [
            variable(
                "SPRINGTIDE_BLOBS__URL", f"s3://springtide/?endpoint=http://{to.named('s3')}:9000&region=us-east-1"
            ),
            variable("SPRINGTIDE_BLOBS__ACCESS_KEY_ID", "springtide"),
            variable("SPRINGTIDE_BLOBS__SECRET_ACCESS_KEY", "$(TRIAL_PASSWORD)"),
            variable("SPRINGTIDE_BLOBS__PRESIGNED_UPLOADS", "false"),
        ]
    if not secrets.access_key_id or not secrets.secret_access_key:
        return []
    return [
        from_secret("SPRINGTIDE_BLOBS__ACCESS_KEY_ID", secrets.access_key_id),
        from_secret("SPRINGTIDE_BLOBS__SECRET_ACCESS_KEY", secrets.secret_access_key),
    ]


def metrics_variables() -> list[Object]:
    return [
        variable("SPRINGTIDE_TELEMETRY__METRICS_HOST", EVERYWHERE),
        variable("SPRINGTIDE_TELEMETRY__METRICS_PORT", str(METRICS_PORT)),
    ]


def gateway_port() -> Object:
    return {"name": "http", "containerPort": PORT, "protocol": "TCP"}


def metrics_port() -> Object:
    return {"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"}


def probe(path: str, port: str, *, every_s: int, failures: int, timeout_s: int = 5, **more: Any) -> Object:
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": every_s,
        "timeoutSeconds": timeout_s,
        "failureThreshold": failures,
        **more,
    }


def volumes(to: Installation, scratch: str) -> list[Object]:
    """The configuration, and all that a pod may write."""
    return [
        {"name": "config", "configMap": {"name": to.named("config")}},
        {"name": "data", "emptyDir": {"sizeLimit": scratch}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
    ]


def mounts() -> list[Object]:
    return [
        {"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True},
        {"name": "data", "mountPath": DATA_FOLDER},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own, nobody else is in it
    ]


def apart(selector: Mapping[str, str]) -> Object:
    """Pods of `selector` rather not on one host."""
    return {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {
                "weight": 100,
                "podAffinityTerm": {
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {"matchLabels": dict(selector)},
                },
            }
        ]
    }


def spread(selector: Mapping[str, str], over: str) -> list[Object]:
    """Pods of `selector` evenly over the values of a label of nodes, where that is possible."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": over,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": dict(selector)},
        }
    ]


def pull_secrets(to: Installation) -> Object:
    names = to.settings.images.pull_secrets
    return {"imagePullSecrets": [{"name": name} for name in names]} if names else {}


def priority(to: Installation, part: str) -> Object:
    return {"priorityClassName": to.named(part)} if to.settings.priority_classes else {}


def disruption_budget(metadata: Object, selector: Mapping[str, str]) -> Object:
    """One pod at a time may be evicted: with a share or a minimum, one replica could never leave its node."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata,
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": dict(selector)},
        },
    }


def some(**parts: Any) -> Object:
    """Those of `parts` that say anything: no null and nothing empty is ever applied."""
    return {key: value for key, value in parts.items() if value not in (None, "", [], {})}


def chain(*many: Iterable[Object]) -> list[Object]:
    return [each for one in many for each in one]
