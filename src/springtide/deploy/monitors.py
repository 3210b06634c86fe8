"""PodMonitors: how the Prometheus operator finds the metrics of every process."""

from __future__ import annotations

from springtide.deploy.installation import Installation, Object
from springtide.fleet import labels


def objects(to: Installation) -> list[Object]:
    if not to.settings.pod_monitors:
        return []
    ports = {labels.GATEWAY: "http", labels.CONTROLLER: "metrics", labels.WORKER: "metrics"}
    return [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PodMonitor",
            "metadata": to.metadata(to.named(component), component),
            "spec": {
                "selector": {"matchLabels": labels.selector(to.name, component)},
                "podMetricsEndpoints": [{"port": port, "path": "/metrics", "interval": "15s"}],
            },
        }
        for component, port in ports.items()
    ]
