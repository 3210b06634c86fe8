"""Who sets the number of workers, where it is not Springtide's controller: KEDA, asking it, or a plain autoscaler.

KEDA gets the policy's wish as a metric with a target of 1, so its replicas are the wish. A plain autoscaler knows queue
and utilisation only: no forecast, no slow starts, and never fewer than one replica.
"""

from __future__ import annotations

from typing import Any

from springtide.deploy import workers
from springtide.deploy.installation import SCALER_PORT, Installation, Object, WorkerGroup
from springtide.deploy.yaml_text import to_yaml
from springtide.fleet import labels
from springtide.telemetry.metrics_catalogue import QUEUE_JOBS

QUEUE_METRIC = QUEUE_JOBS.name  # jobs that wait, by model
GPU_METRIC = "springtide_gpu_utilization_percent"  # made by the adapter of DCGM's
_GPU_SERIES = "DCGM_FI_DEV_GPU_UTIL"
_AUTOSCALING = "autoscaling/v2"


def objects(to: Installation) -> list[Object]:
    if to.settings.scaling == "keda":
        return [_scaled_object(to, group) for group in to.groups]
    if to.settings.scaling == "hpa":
        return [*(_autoscaler(to, group) for group in to.groups), _adapter_rules(to)]
    return []


def _scaled_object(to: Installation, group: WorkerGroup) -> Object:
    given = to.settings.keda
    address = f"{to.named(labels.CONTROLLER)}.{to.namespace}.svc:{SCALER_PORT}"
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": workers.metadata(to, group),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": group.object_name},
            "minReplicaCount": group.min_replicas,
            "maxReplicaCount": max(1, group.max_replicas),
            "pollingInterval": given.polling_s,
            "cooldownPeriod": given.cooldown_s,
            "fallback": {
                "failureThreshold": given.failures,
                "replicas": given.fallback_replicas,
                "behavior": "currentReplicasIfHigher",
            },
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _at_once(is_exact=given.exact)}},
            "triggers": [
                {
                    "type": "external-push" if given.push else "external",
                    "name": "wish",
                    "metricType": "AverageValue",
                    "metadata": {"scalerAddress": address, "model": group.model, "version": group.version},
                }
            ],
        },
    }


def _at_once(*, is_exact: bool) -> Object:
    """The policy has thought already: what it wishes is done, without a window."""
    step: Object = {"type": "Percent", "value": 100, "periodSeconds": 15}
    pods: Object = {"type": "Pods", "value": 100, "periodSeconds": 15}
    usual: Object = {"stabilizationWindowSeconds": 0, "selectPolicy": "Max"}
    if is_exact:
        usual["tolerance"] = 0
    return {"scaleUp": {**usual, "policies": [step, pods]}, "scaleDown": {**usual, "policies": [step]}}


def _autoscaler(to: Installation, group: WorkerGroup) -> Object:
    return {
        "apiVersion": _AUTOSCALING,
        "kind": "HorizontalPodAutoscaler",
        "metadata": workers.metadata(to, group),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": group.object_name},
            "minReplicas": max(1, group.min_replicas),
            "maxReplicas": max(1, group.max_replicas),
            "metrics": _metrics(to, group),
            "behavior": {
                "scaleUp": {
                    "stabilizationWindowSeconds": 0,
                    "selectPolicy": "Max",
                    "policies": [
                        {"type": "Pods", "value": 4, "periodSeconds": 15},
                        {"type": "Percent", "value": 100, "periodSeconds": 15},
                    ],
                },
                "scaleDown": {
                    "stabilizationWindowSeconds": to.settings.hpa.scale_in_after_s,
                    "selectPolicy": "Max",
                    "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
                },
            },
        },
    }


def _metrics(to: Installation, group: WorkerGroup) -> list[Object]:
    given = to.settings.hpa
    found: list[Object] = [
        {
            "type": "External",
            "external": {
                "metric": {"name": QUEUE_METRIC, "selector": {"matchLabels": {"model": name}}},
                "target": {"type": "AverageValue", "averageValue": str(given.queue_average)},
            },
        }
        for name in group.members
    ]
    for resource, percent in (("cpu", given.cpu_percent), ("memory", given.memory_percent)):
        target: Object = {"type": "Utilization", "averageUtilization": percent}
        found.append(
            {
                "type": "ContainerResource",
                "containerResource": {"name": resource, "container": labels.WORKER, "target": target},
            }
        )
    if group.accelerators > 0:
        wanted: Object = {"type": "AverageValue", "averageValue": str(given.gpu_percent)}
        found.append({"type": "Pods", "pods": {"metric": {"name": GPU_METRIC}, "target": wanted}})
    return found


def _adapter_rules(to: Installation) -> Object:
    """For prometheus-adapter: its own configuration file (of its chart: `rules.existing`), or to be merged into it."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": to.metadata(to.named("prometheus-adapter"), labels.WORKER),
        "data": {"config.yaml": to_yaml(adapter_config())},
    }


def adapter_config() -> dict[str, Any]:
    """Rules for every metric that the autoscalers ask for."""
    by_pod = {"namespace": {"resource": "namespace"}, "pod": {"resource": "pod"}}
    each = "<<.Series>>{<<.LabelMatchers>>}"
    cpu, memory = "container_cpu_usage_seconds_total", "container_memory_working_set_bytes"
    return {
        "externalRules": [
            {
                "seriesQuery": f'{{__name__="{QUEUE_METRIC}",namespace!=""}}',
                "resources": {"overrides": {"namespace": {"resource": "namespace"}}},
                "name": {"as": QUEUE_METRIC},
                "metricsQuery": f"max({each}) by (model)",  # every gateway tells the same figure: not their sum
            }
        ],
        "rules": [
            {
                "seriesQuery": f'{{__name__="{_GPU_SERIES}",namespace!="",pod!=""}}',
                "resources": {"overrides": by_pod},
                "name": {"as": GPU_METRIC},
                "metricsQuery": f"avg({each}) by (<<.GroupBy>>)",
            }
        ],
        "resourceRules": {
            "cpu": {
                "containerQuery": f"sum by (<<.GroupBy>>) (rate({cpu}{{<<.LabelMatchers>>}}[3m]))",
                "nodeQuery": f'sum by (<<.GroupBy>>) (rate({cpu}{{<<.LabelMatchers>>,id="/"}}[3m]))',
                "resources": {"overrides": {"node": {"resource": "node"}, **by_pod}},
                "containerLabel": "container",
            },
            "memory": {
                "containerQuery": f"sum by (<<.GroupBy>>) ({memory}{{<<.LabelMatchers>>}})",
                "nodeQuery": f'sum by (<<.GroupBy>>) ({memory}{{<<.LabelMatchers>>,id="/"}})',
                "resources": {"overrides": {"node": {"resource": "node"}, **by_pod}},
                "containerLabel": "container",
            },
            "window": "3m",
        },
    }
