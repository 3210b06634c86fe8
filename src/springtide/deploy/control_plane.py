"""Gateway and controller: their Deployments, Service, accounts and rights.

The gateway needs no right in the cluster, so it gets no token. The controller may change the scale of Deployments and
annotate pods, both in its own namespace only; it cannot change what a Deployment runs, nor delete anything.
"""

from __future__ import annotations

from springtide.config.kubernetes import ControlConfig
from springtide.deploy import pods
from springtide.deploy.installation import METRICS_PORT, PORT, SCALER_PORT, Installation, Object
from springtide.fleet import labels
from springtide.fleet.rights import CONTROLLER


def objects(to: Installation) -> list[Object]:
    """In the order in which they are to be applied."""
    gateway, controller = to.settings.gateway, to.settings.controller
    return [
        pods.account(to, labels.GATEWAY),
        pods.account(to, labels.CONTROLLER),
        *pods.rights(to, labels.CONTROLLER, CONTROLLER),
        _service(to, labels.GATEWAY, {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}),
        _service(
            to,
            labels.CONTROLLER,
            {"name": "metrics", "port": METRICS_PORT, "targetPort": "metrics", "protocol": "TCP"},
            {"name": "scaler", "port": SCALER_PORT, "targetPort": "scaler", "protocol": "TCP"},
        ),
        _deployment(to, labels.GATEWAY, gateway, _gateway_container(to)),
        _deployment(to, labels.CONTROLLER, controller, _controller_container(to)),
        *(
            pods.disruption_budget(to.metadata(to.named(part), part), labels.selector(to.name, part))
            for part, given in ((labels.GATEWAY, gateway), (labels.CONTROLLER, controller))
            if given.replicas > 1
        ),
    ]


def _service(to: Installation, component: str, *ports: Object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": to.metadata(to.named(component), component),
        "spec": {"type": "ClusterIP", "selector": labels.selector(to.name, component), "ports": list(ports)},
    }


def _deployment(to: Installation, component: str, given: ControlConfig, container: Object) -> Object:
    selector = labels.selector(to.name, component)
    leads = component == labels.CONTROLLER
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": to.metadata(to.named(component), component),
        "spec": {
            "replicas": given.replicas,
            "revisionHistoryLimit": 5,
            "selector": {"matchLabels": selector},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {
                    "labels": {**selector, labels.PART_OF: labels.APP_NAME},
                    "annotations": {pods.CONFIG_ANNOTATION: pods.digest_of(pods.read_by_all(to))},
                },
                "spec": {
                    "serviceAccountName": to.named(component),
                    "automountServiceAccountToken": leads,
                    **pods.pull_secrets(to),
                    **pods.priority(to, "control"),
                    "terminationGracePeriodSeconds": 60,
                    "securityContext": pods.pod_security(),
                    "affinity": {"podAntiAffinity": pods.apart(selector)},
                    "topologySpreadConstraints": pods.spread(selector, to.settings.worker.spread_over),
                    **pods.some(nodeSelector=given.node_selector, tolerations=given.tolerations),
                    "containers": [
                        {
                            **container,
                            "image": to.settings.images.gateway,
                            "imagePullPolicy": to.settings.images.pull_policy,
                            "securityContext": pods.container_security(),
                            "resources": {
                                "requests": {"cpu": given.cpu, "memory": given.memory},
                                "limits": {"cpu": given.cpu_limit, "memory": given.memory},
                            },
                            "volumeMounts": pods.mounts(),
                        }
                    ],
                    "volumes": pods.volumes(to, "20Gi"),
                },
            },
        },
    }


def _gateway_container(to: Installation) -> Object:
    return {
        "name": labels.GATEWAY,
        "args": ["gateway"],
        "env": [
            *pods.environment(to),
            pods.variable("SPRINGTIDE_SERVER__HOST", pods.EVERYWHERE),
            pods.variable("SPRINGTIDE_SERVER__PORT", str(PORT)),
            *pods.metrics_variables(),
        ],
        "ports": [pods.gateway_port(), pods.metrics_port()],
        "startupProbe": pods.probe("/healthz", "http", every_s=2, failures=90),
        "livenessProbe": pods.probe("/healthz", "http", every_s=10, failures=3),
        "readinessProbe": pods.probe("/readyz", "http", every_s=5, failures=2),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "5"]}}},
    }


def _controller_container(to: Installation) -> Object:
    return {
        "name": labels.CONTROLLER,
        "args": ["controller"],
        "env": [
            *pods.environment(to),
            *pods.metrics_variables(),
            *cluster_variables(to),
        ],
        "ports": [pods.metrics_port(), {"name": "scaler", "containerPort": SCALER_PORT, "protocol": "TCP"}],
        "startupProbe": pods.probe("/healthz", "metrics", every_s=2, failures=90),
        "livenessProbe": pods.probe("/healthz", "metrics", every_s=10, failures=3),
        "readinessProbe": pods.probe("/readyz", "metrics", every_s=5, failures=2),
    }


def cluster_variables(to: Installation) -> list[Object]:
    """Where in the cluster the controller is, and what it scales there."""
    return [
        *pods.place_variables(to),
        pods.variable("SPRINGTIDE_FLEET__KIND", "kubernetes"),
        pods.variable("SPRINGTIDE_KUBERNETES__SCALING", to.settings.scaling),
        pods.variable("SPRINGTIDE_KUBERNETES__KEDA__LISTEN", f"{pods.EVERYWHERE}:{SCALER_PORT}"),
    ]
