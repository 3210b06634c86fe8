"""What keeps pods within bounds: priorities, a quota, and who may talk to whom."""

from __future__ import annotations

from springtide.deploy.installation import METRICS_PORT, PORT, SCALER_PORT, Installation, Object
from springtide.fleet import labels

METADATA = "169.254.169.254/32"  # where clouds tell a machine its credentials; no pod of ours has business there
METADATA_V6 = "fd00:ec2::254/128"


def priorities(to: Installation) -> list[Object]:
    """Who stays where there is room for some only. They belong to the cluster, so their names tell the installation."""
    if not to.settings.priority_classes:
        return []
    wanted = (
        (
            "control",
            100_000,
            "PreemptLowerPriority",
            "Springtide's gateways and controllers: without them nothing runs.",
        ),
        ("workers", 10_000, "Never", "Springtide's workers: before others in the queue, but they drive nobody away."),
    )
    found: list[Object] = []
    for part, value, preemption, why in wanted:
        metadata = to.metadata(to.named(part), labels.WORKER if part == "workers" else labels.CONTROLLER)
        del metadata["namespace"]
        found.append(
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": metadata,
                "value": value,
                "globalDefault": False,
                "preemptionPolicy": preemption,
                "description": why,
            }
        )
    return found


def quota(to: Installation) -> list[Object]:
    given = to.settings.quota
    if not given.enabled:
        return []
    return [
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": to.metadata(to.name, labels.CONTROLLER),
            "spec": {
                "hard": {
                    "pods": str(given.pods),
                    "requests.cpu": given.cpu,
                    "requests.memory": given.memory,
                    f"requests.{to.settings.worker.gpu_resource}": str(given.gpus),
                }
            },
        }
    ]


def network(to: Installation) -> list[Object]:
    """Nobody may reach anything of ours but what is said here."""
    given = to.settings.network
    if not given.policies:
        return []
    outside = _namespaces(given.from_namespaces) if given.from_namespaces else None
    to_gateway: Object = {"ports": [_tcp(PORT)]}
    if outside is not None:
        to_gateway["from"] = outside
    watchers: list[Object] = []
    if given.monitoring_namespaces:  # a rule for none of them would be refused
        watchers.append({"from": _namespaces(given.monitoring_namespaces), "ports": [_tcp(METRICS_PORT)]})
    keda: Object = {"from": _namespaces([given.keda_namespace]), "ports": [_tcp(SCALER_PORT)]}
    of_controller = [*watchers, keda] if to.settings.scaling == "keda" else watchers
    found = [
        _policy(to, labels.GATEWAY, [to_gateway, *watchers], _out(to)),
        _policy(to, labels.CONTROLLER, of_controller, _out(to)),
        _policy(to, labels.WORKER, watchers, _out(to)),
    ]
    if any(group.launches for group in to.groups):
        ranks: Object = {"podSelector": {"matchLabels": labels.selector(to.name, labels.GROUP)}}
        found.append(_policy(to, labels.GROUP, [{"from": [ranks]}], [*_out(to), {"to": [ranks]}]))
    trial = to.settings.trial
    for part, enabled, port in (
        ("redis", trial.redis, 6379),
        ("postgres", trial.postgres, 5432),
        ("s3", trial.s3, 9000),
    ):
        if enabled:
            found.append(_policy(to, part, [{"from": [_ours(to)], "ports": [_tcp(port)]}], []))
    return found


def _policy(to: Installation, component: str, ingress: list[Object], egress: list[Object]) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": to.metadata(to.named(component), component),
        "spec": {
            "podSelector": {"matchLabels": labels.selector(to.name, component)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": egress,
        },
    }


def _out(to: Installation) -> list[Object]:
    """Names, the servers that we stand on, and what callers' URLs name."""
    dns = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    anywhere: list[Object] = [{"ipBlock": {"cidr": "0.0.0.0/0"}}, {"ipBlock": {"cidr": "::/0"}}]
    if not to.settings.network.cloud_metadata:
        for each, barred in zip(anywhere, (METADATA, METADATA_V6), strict=True):
            each["ipBlock"]["except"] = [barred]
    ports = [_tcp(port) for port in to.settings.network.egress_ports]
    return [{"ports": dns}, *([{"to": anywhere, "ports": ports}] if ports else [])]  # no ports at all would mean every


def _ours(to: Installation) -> Object:
    return {"podSelector": {"matchLabels": {labels.APP: labels.APP_NAME, labels.INSTANCE: to.name}}}


def _namespaces(names: list[str]) -> list[Object]:
    key = "kubernetes.io/metadata.name"
    return [{"namespaceSelector": {"matchExpressions": [{"key": key, "operator": "In", "values": names}]}}]


def _tcp(port: int) -> Object:
    return {"protocol": "TCP", "port": port}
