"""When somebody should be told: the alerts, as values from which rule files and Kubernetes objects are made.

Promises: each says what happens, how to see it and what to do. An alert on a figure that nobody tells does not fire for
its absence: what falls silent has alerts of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

RUNBOOK = "docs/faults.md"
CRITICAL, WARNING, INFO = "critical", "warning", "info"


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One alerting rule. `after`: for so long it must hold, as Prometheus writes durations."""

    name: str
    expr: str
    after: str
    severity: str
    summary: str
    description: str
    runbook: str  # what to look at and do, in a sentence

    def rule(self) -> dict[str, Any]:
        """As a rule file has it."""
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.after,
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook": f"{self.runbook} ({RUNBOOK})",
            },
        }


_ENDED = "springtide_jobs_ended_total"
_ERRORS = f'sum by (model) (rate({_ENDED}{{status="failed"}}[2m]))'
_ALL = f'sum by (model) (rate({_ENDED}{{status=~"completed|failed"}}[2m]))'
_QUEUED = "max by (model) (springtide_queue_jobs)"


def _late(window: str) -> str:
    """The share of jobs that began too late, in parts of what the objective allows."""
    late, seen = (f"sum by (model) (rate(springtide_objective_{one}_total[{window}]))" for one in ("late_jobs", "jobs"))
    return f"({late} / ({seen} > 0)) / (1 - max by (model) (springtide_objective_ratio))"


def _burning(factor: float, *windows: str) -> str:
    return " and ".join(f"{_late(window)} > {factor:g}" for window in windows)


ALERTS: tuple[Alert, ...] = (
    Alert(
        name="SpringtideErrorRate",
        expr=f"{_ERRORS} / ({_ALL} > 0) > 0.05",
        after="2m",
        severity=CRITICAL,
        summary="{{ $labels.model }}: {{ $value | humanizePercentage }} of jobs fail",
        description="More than 5 % of the jobs of {{ $labels.model }} have failed for two minutes.",
        runbook="See which error on the dashboard `per model`; `springtide explain JOB` of a failed one tells the rest",
    ),
    Alert(
        name="SpringtideNoProgress",
        expr=(
            f"{_QUEUED} > 0 unless on (model) (sum by (model) (rate({_ENDED}[5m])) > 0)"
            ' unless on (model) (max by (model) (springtide_scaling_reason{reason="PAUSED"}) == 1)'
            " unless on (model) (max by (model) (springtide_queue_running_jobs) > 0)"
        ),
        after="2m",
        severity=CRITICAL,
        summary="{{ $labels.model }}: {{ $value }} jobs wait and nothing runs",
        description="Jobs of {{ $labels.model }} wait, none runs, and none has ended in five minutes.",
        runbook="`springtide explain JOB` of one that waits names the reason; then the workers' log",
    ),
    Alert(
        name="SpringtideModelPaused",
        expr=f'max by (model) (springtide_scaling_reason{{reason="PAUSED"}}) == 1 and on (model) {_QUEUED} > 0',
        after="5m",
        severity=WARNING,
        summary="{{ $labels.model }} is paused and jobs wait",
        description="Somebody has paused {{ $labels.model }}; jobs have waited for five minutes.",
        runbook="`springtide resume MODEL` where the reason for the pause is gone",
    ),
    Alert(
        name="SpringtideWaitObjectiveBurnsFast",
        expr=_burning(14.4, "1h", "5m"),
        after="2m",
        severity=CRITICAL,
        summary="{{ $labels.model }}: {{ $value | humanize }} times as many jobs begin too late as may",
        description="At this rate two per cent of a month's allowance of late jobs are gone within an hour.",
        runbook="The dashboard `autoscaler` shows what the scaler wants and what holds it: CEILING, BUDGET or COST",
    ),
    Alert(
        name="SpringtideWaitObjectiveBurns",
        expr=_burning(6, "6h", "30m"),
        after="15m",
        severity=WARNING,
        summary="{{ $labels.model }}: {{ $value | humanize }} times as many jobs begin too late as may",
        description="At this rate a tenth of a month's allowance of late jobs is gone within twelve hours.",
        runbook="Raise max_replicas, or the objective; `springtide simulate` tells beforehand what it would cost",
    ),
    Alert(
        name="SpringtideQueueLong",
        expr=f"{_QUEUED} > 20",
        after="3m",
        severity=WARNING,
        summary="{{ $labels.model }}: {{ $value }} jobs wait",
        description="More than 20 jobs of {{ $labels.model }} have waited for three minutes.",
        runbook="The dashboard `autoscaler`: are replicas loading, or is a limit in force? Whose jobs: `per tenant`",
    ),
    Alert(
        name="SpringtideGpuMemoryFull",
        expr="max by (model, worker) (springtide_worker_gpu_memory_ratio) > 0.9",
        after="5m",
        severity=WARNING,
        summary="{{ $labels.worker }}: {{ $value | humanizePercentage }} of its GPUs' memory is in use",
        description="The next larger job of {{ $labels.model }} may run out of memory.",
        runbook="Lower `batch`, move other models away, or take a larger GPU; retries show as out_of_memory",
    ),
    Alert(
        name="SpringtideGpuBusy",
        expr="avg by (model) (springtide_worker_gpu_utilization_ratio) > 0.85",
        after="5m",
        severity=INFO,
        summary="{{ $labels.model }}: GPUs are {{ $value | humanizePercentage }} busy",
        description="The GPUs of {{ $labels.model }} have been busy for five minutes: good for cost, near the limit.",
        runbook="Nothing, unless jobs wait too; then raise max_replicas",
    ),
    Alert(
        name="SpringtideGpuIdle",
        expr=(
            "avg by (model) (springtide_worker_gpu_utilization_ratio) < 0.05 and on (model)"
            ' sum by (model) (springtide_workers{state=~"ready|busy"}) > 0'
        ),
        after="30m",
        severity=INFO,
        summary="{{ $labels.model }}: GPUs are paid for and do nothing",
        description="The GPUs of {{ $labels.model }} have computed for less than 5 % of the last half hour.",
        runbook="Lower min_replicas or idle_s; a floor by the hour ([[...schedule]]) keeps mornings quick",
    ),
    Alert(
        name="SpringtideRestarts",
        expr=(
            "sum by (model) (increase(springtide_worker_restarts_total[10m])) > 3"
            " or sum by (model) (increase(springtide_engine_deaths_total[10m])) > 3"
        ),
        after="0m",
        severity=CRITICAL,
        summary="{{ $labels.model }}: {{ $value | humanize }} restarts in ten minutes",
        description="Workers or engines of {{ $labels.model }} die again and again.",
        runbook="springtide_engine_deaths_total tells the error; /readyz names an engine that does not load, and why",
    ),
    Alert(
        name="SpringtideEngineDoesNotLoad",
        expr='max by (model) (springtide_workers{state="failing"}) > 0',
        after="1m",
        severity=CRITICAL,
        summary="{{ $labels.model }}: its engine does not load",
        description="{{ $value }} worker(s) of {{ $labels.model }} have tried to load their engine several times.",
        runbook="/readyz and `springtide explain JOB` say why: weights that are missing, or a library",
    ),
    Alert(
        name="SpringtideColdStartsSlow",
        expr=(
            "(sum by (model) (rate(springtide_cold_start_seconds_sum[30m]))"
            " / sum by (model) (rate(springtide_cold_start_seconds_count[30m])))"
            " > 1.5 * (sum by (model) (rate(springtide_cold_start_seconds_sum[1d]))"
            " / sum by (model) (rate(springtide_cold_start_seconds_count[1d]))) > 1"
        ),
        after="5m",
        severity=WARNING,
        summary="{{ $labels.model }}: cold starts take {{ $value | humanizeDuration }}, half as long again as usual",
        description="The cold starts of the last half hour against those of the last day.",
        runbook="springtide_engine_start_seconds is the loading; what is beyond it is the image, the disk or the node",
    ),
    Alert(
        name="SpringtideDependencyDown",
        expr="min by (dependency) (springtide_dependency_up) == 0",
        after="30s",
        severity=CRITICAL,
        summary="The {{ $labels.dependency }} does not answer",
        description="The {{ $labels.dependency }} is out of reach. Accepted jobs are safe; new ones may wait.",
        runbook="/readyz says what it answers; jobs go on by themselves when it is back",
    ),
    Alert(
        name="SpringtideDiskFull",
        expr="min by (place) (springtide_disk_free_ratio) < 0.05",
        after="1m",
        severity=CRITICAL,
        summary="The disk of the {{ $labels.place }} has {{ $value | humanizePercentage }} free",
        description="On a full disk new jobs are refused (503) and ends wait for their record; nothing is lost.",
        runbook="Free some, let jobs go sooner ([ledger] keep_s), or a larger disk; `springtide doctor` says how much",
    ),
    Alert(
        name="SpringtideTargetDown",
        expr='up{job=~".*springtide.*"} == 0',
        after="1m",
        severity=CRITICAL,
        summary="{{ $labels.instance }} does not answer",
        description="A process of Springtide could not be scraped for a minute: it is gone, stopped, or out of reach.",
        runbook="Its log; `springtide up` starts its gateway and workers again by itself",
    ),
    Alert(
        name="SpringtideRecorderLags",
        expr=(
            'time() - max(springtide_loop_last_success_timestamp_seconds{loop="recorder"}) > 30'
            " or histogram_quantile(0.95, sum by (le) (rate(springtide_record_lag_seconds_bucket[5m]))) > 10"
        ),
        after="1m",
        severity=CRITICAL,
        summary="Ends of jobs are not put on record",
        description="The recorder has not come round for half a minute, or ends wait ten seconds for their record.",
        runbook="Look at the ledger's disk and connections: results are kept by the broker until it goes on",
    ),
    Alert(
        name="SpringtideEventsLag",
        expr="histogram_quantile(0.95, sum by (le) (rate(springtide_live_event_delay_seconds_bucket[5m]))) > 5",
        after="5m",
        severity=WARNING,
        summary="Live events reach clients after {{ $value | humanizeDuration }}",
        description="One in twenty live events is older than five seconds when it leaves a gateway.",
        runbook="Processor time of the gateway and the broker; springtide_live_clients says how many follow",
    ),
    Alert(
        name="SpringtideScalerSilent",
        expr=(
            'time() - max(springtide_loop_last_success_timestamp_seconds{loop="scaler"}) > 60'
            ' or (absent(springtide_loop_last_success_timestamp_seconds{loop="scaler"})'
            " and on () sum(springtide_queue_jobs) > 0)"
        ),
        after="1m",
        severity=CRITICAL,
        summary="Nobody decides how many workers there are",
        description="The scaler has not decided for a minute: replicas stay as they are, dead ones too.",
        runbook="Is the controller (or `springtide up`) there, stopped, or waiting for the broker? Its log says so",
    ),
    Alert(
        name="SpringtideWebhookCertificates",
        expr='sum(increase(springtide_webhook_sendings_total{reason="certificate"}[15m])) > 0',
        after="0m",
        severity=WARNING,
        summary="The certificate of a webhook's receiver is not accepted",
        description="{{ $value | humanize }} messages in 15 minutes found a certificate that has expired or is wrong.",
        runbook="`GET /v1/webhooks` shows which; its tenant renews it, and messages are sent again for 76 hours",
    ),
    Alert(
        name="SpringtideWebhooksFail",
        expr=(
            'sum(rate(springtide_webhook_sendings_total{result!="delivered"}[10m]))'
            " / (sum(rate(springtide_webhook_sendings_total[10m])) > 0) > 0.5"
        ),
        after="5m",
        severity=WARNING,
        summary="{{ $value | humanizePercentage }} of messages to webhooks fail",
        description="More than half of the messages sent in ten minutes were not taken.",
        runbook="The label reason tells whether receivers answer 5xx, or are not reached; `GET /v1/webhooks` which",
    ),
    Alert(
        name="SpringtideRefusals",
        expr=(
            "sum by (code) (rate(springtide_http_problems_total"
            '{code=~"quota_exceeded|queue_full|no_capacity"}[5m])) > 0.1'
        ),
        after="5m",
        severity=INFO,
        summary="Requests are refused: {{ $labels.code }}",
        description="{{ $value | humanize }} requests a second have been refused for five minutes.",
        runbook="The dashboard `per tenant` shows whose; raise the quota, or ask them to slow down",
    ),
)


def groups() -> dict[str, Any]:
    """A rule file's content."""
    return {"groups": [{"name": "springtide", "rules": [alert.rule() for alert in ALERTS]}]}


def prometheus_rule() -> dict[str, Any]:
    """The same for the Prometheus operator."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "springtide", "labels": {"app.kubernetes.io/name": "springtide"}},
        "spec": groups(),
    }
