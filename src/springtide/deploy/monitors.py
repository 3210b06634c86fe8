"""PodMonitors: how the Prometheus operator finds the metrics of every process. The gateway's are asked for on the port
that no ingress leads to: on its own it wants a key."""

from __future__ import annotations

from springtide.deploy.installation import Installation, Object
from springtide.fleet import labels


def objects(to: Installation) -> list[Object]:
    if not to.settings.pod_monitors:
        return []
    return [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PodMonitor",
            "metadata": to.metadata(to.named(component), component),
            "spec": {
                "selector": {"matchLabels": labels.selector(to.name, component)},
                "podMetricsEndpoints": [{"port": "metrics", "path": "/metrics", "interval": "15s"}],
            },
        }
        for component in (labels.GATEWAY, labels.CONTROLLER, labels.WORKER)
    ]
