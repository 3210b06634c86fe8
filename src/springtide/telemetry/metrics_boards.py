"""The dashboards, as values from which Grafana's JSON is made: overview, one model, cost by tenant, autoscaler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT = 8, 8  # three panels a row of Grafana's 24 columns
SCHEMA_VERSION = 39  # Grafana 10 and later read it


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One graph: expressions by their legend."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    meaning: str = ""
    stacked: bool = False


@dataclass(frozen=True, kw_only=True)
class Board:
    """One dashboard. `variable`: the label that a viewer picks a value of."""

    name: str
    title: str
    panels: tuple[Panel, ...]
    variable: str | None = None
    variable_from: str = ""

    def json(self) -> dict[str, Any]:
        """As Grafana imports it."""
        places = enumerate(self.panels)
        return {
            "uid": f"springtide-{self.name}",
            "title": f"Springtide: {self.title}",
            "tags": ["springtide"],
            "timezone": "browser",
            "schemaVersion": SCHEMA_VERSION,
            "editable": True,
            "refresh": "30s",
            "time": {"from": "now-3h", "to": "now"},
            "templating": {"list": self._variables()},
            "panels": [_panel(panel, number) for number, panel in places],
        }

    def _variables(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = [{"name": "datasource", "type": "datasource", "query": "prometheus"}]
        if self.variable is not None:
            found.append(
                {
                    "name": self.variable,
                    "type": "query",
                    "datasource": DATASOURCE,
                    "query": f"label_values({self.variable_from}, {self.variable})",
                    "refresh": 2,
                    "multi": True,
                    "includeAll": True,
                    "current": {"text": "All", "value": "$__all"},
                }
            )
        return found


def _panel(panel: Panel, number: int) -> dict[str, Any]:
    per_row = 24 // WIDTH
    custom: dict[str, Any] = {"stacking": {"mode": "normal" if panel.stacked else "none"}}
    custom["fillOpacity"] = 40 if panel.stacked else 0
    return {
        "id": number + 1,
        "title": panel.title,
        "description": panel.meaning,
        "type": panel.kind,
        "datasource": DATASOURCE,
        "gridPos": {"x": number % per_row * WIDTH, "y": number // per_row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + place), "expr": expr, "legendFormat": legend, "datasource": DATASOURCE}
            for place, (legend, expr) in enumerate(panel.queries.items())
        ],
    }


def _rate(name: str, by: str, only: str = "") -> str:
    return f"sum by ({by}) (rate({name}{{{only}}}[$__rate_interval]))"


def _quantiles(name: str, by: str, only: str = "") -> dict[str, str]:
    sums = f"sum by (le, {by}) (rate({name}_bucket{{{only}}}[$__rate_interval]))"
    return {f"{{{{{by}}}}} P{q * 100:g}": f"histogram_quantile({q:g}, {sums})" for q in (0.5, 0.95)}


def _mean(name: str, by: str, only: str) -> str:
    return f"{_rate(f'{name}_sum', by, only)} / {_rate(f'{name}_count', by, only)}"


def _p95(name: str) -> str:
    return f"histogram_quantile(0.95, sum by (le) (rate({name}_bucket[$__rate_interval])))"


def _now(name: str, by: str = "model", only: str = "") -> str:
    """A gauge that several may tell alike."""
    return f"max by ({by}) ({name}{{{only}}})"


_MODEL, _TENANT = 'model=~"$model"', 'tenant=~"$tenant"'

_OVERVIEW = (
    Panel(title="Jobs accepted", queries={"{{model}}": _rate("springtide_jobs_accepted_total", "model")}, unit="ops"),
    Panel(title="Jobs ended", queries={"{{status}}": _rate("springtide_jobs_ended_total", "status")}, unit="ops"),
    Panel(
        title="Failed, by error",
        queries={"{{model}} {{error}}": _rate("springtide_jobs_ended_total", "model, error", 'status="failed"')},
        unit="ops",
        meaning="Which model fails, and of what: the codes are in docs/reference/errors.md.",
    ),
    Panel(title="Jobs that wait", queries={"{{model}}": _now("springtide_queue_jobs")}),
    Panel(title="Oldest wait", queries={"{{model}}": _now("springtide_queue_oldest_wait_seconds")}, unit="s"),
    Panel(title="From acceptance to result", queries=_quantiles("springtide_job_latency_seconds", "model"), unit="s"),
    Panel(
        title="Workers",
        queries={"{{model}} {{state}}": _now("springtide_workers", "model, state")},
        stacked=True,
    ),
    Panel(
        title="GPUs busy",
        queries={"{{model}}": "avg by (model) (springtide_worker_gpu_utilization_ratio)"},
        unit="percentunit",
        meaning="Empty without an NVIDIA GPU.",
    ),
    Panel(
        title="GPU memory in use",
        queries={"{{worker}}": _now("springtide_worker_gpu_memory_ratio", "worker")},
        unit="percentunit",
    ),
    Panel(
        title="Requests",
        queries={"{{status}}": _rate("springtide_http_requests_total", "status")},
        unit="reqps",
    ),
    Panel(
        title="Requests refused", queries={"{{code}}": _rate("springtide_http_problems_total", "code")}, unit="reqps"
    ),
    Panel(
        title="Time to the first byte",
        queries=_quantiles("springtide_http_request_duration_seconds", "route"),
        unit="s",
        meaning="A request that waits for its result counts with its wait.",
    ),
    Panel(
        title="Ledger and broker",
        queries={"{{dependency}}": "min by (dependency) (springtide_dependency_up)"},
        meaning="1: it answers.",
    ),
    Panel(
        title="Disk that is free",
        queries={"{{place}}": "min by (place) (springtide_disk_free_ratio)"},
        unit="percentunit",
        meaning="Where ledger and files lie on a disk of the gateway's. Below 5 % somebody is told.",
    ),
    Panel(
        title="From an end to its record",
        queries={"P95": _p95("springtide_record_lag_seconds")},
        unit="s",
    ),
    Panel(
        title="Background loops: since their last round",
        queries={"{{loop}}": "time() - max by (loop) (springtide_loop_last_success_timestamp_seconds)"},
        unit="s",
        meaning="The conductor's own loop waits for work: its round looks after it.",
    ),
    Panel(
        title="Messages to webhooks",
        queries={"{{result}} {{reason}}": _rate("springtide_webhook_sendings_total", "result, reason")},
        unit="ops",
    ),
    Panel(title="One message to a webhook", queries={"P95": _p95("springtide_webhook_duration_seconds")}, unit="s"),
    Panel(
        title="Leases expired, workers restarted",
        queries={
            "leases": "sum(increase(springtide_leases_expired_total[5m]))",
            "restarts {{model}}": "sum by (model) (increase(springtide_worker_restarts_total[5m]))",
        },
    ),
    Panel(
        title="Live clients, and the age of what they are told",
        queries={
            "clients": "sum(springtide_live_clients)",
            "P95, s": _p95("springtide_live_event_delay_seconds"),
        },
    ),
)

_PER_MODEL = (
    Panel(
        title="Accepted", queries={"{{model}}": _rate("springtide_jobs_accepted_total", "model", _MODEL)}, unit="ops"
    ),
    Panel(
        title="Ended", queries={"{{status}} {{error}}": _rate("springtide_jobs_ended_total", "status, error", _MODEL)}
    ),
    Panel(
        title="Retries", queries={"{{model}} {{error}}": _rate("springtide_job_retries_total", "model, error", _MODEL)}
    ),
    Panel(title="Wait", queries=_quantiles("springtide_job_wait_seconds", "model", _MODEL), unit="s"),
    Panel(title="Run", queries=_quantiles("springtide_job_run_seconds", "model", _MODEL), unit="s"),
    Panel(title="Latency", queries=_quantiles("springtide_job_latency_seconds", "model", _MODEL), unit="s"),
    Panel(
        title="Queue",
        queries={
            "{{model}} wait": _now("springtide_queue_jobs", only=_MODEL),
            "{{model}} run": _now("springtide_queue_running_jobs", only=_MODEL),
        },
    ),
    Panel(
        title="Predicted work that waits",
        queries={"{{model}}": _now("springtide_queue_work_seconds", only=_MODEL)},
        unit="s",
    ),
    Panel(
        title="Jobs that share a run",
        queries={"{{model}}": _mean("springtide_batch_jobs", "model", _MODEL)},
    ),
    Panel(title="Real-time factor", queries=_quantiles("springtide_real_time_factor", "model", _MODEL)),
    Panel(
        title="Sound a second",
        queries={"{{model}}": _rate("springtide_sound_seconds_total", "model", _MODEL)},
        unit="s",
        meaning="Seconds of sound worked off in a second, by all workers.",
    ),
    Panel(title="Frames a second of a job", queries=_quantiles("springtide_frames_per_second", "model", _MODEL)),
    Panel(title="Frames a second of all", queries={"{{model}}": _rate("springtide_frames_total", "model", _MODEL)}),
    Panel(
        title="Engines that died",
        queries={"{{model}} {{error}}": _rate("springtide_engine_deaths_total", "model, error", _MODEL)},
    ),
    Panel(title="Engine's start", queries=_quantiles("springtide_engine_start_seconds", "model", _MODEL), unit="s"),
    Panel(
        title="Processors and memory of workers",
        queries={
            "{{worker}} processors": _now("springtide_worker_cpu_ratio", "worker", _MODEL),
            "{{worker}} memory": _now("springtide_worker_memory_ratio", "worker", _MODEL),
        },
        unit="percentunit",
    ),
)

_TENANTS = (
    Panel(
        title="GPU seconds a second",
        queries={"{{tenant}}": _rate("springtide_gpu_seconds_total", "tenant", _TENANT)},
        stacked=True,
        meaning="Workers kept busy, on average: what is billed.",
    ),
    Panel(
        title="GPU hours in the time shown",
        queries={
            "{{tenant}}": f"sum by (tenant) (increase(springtide_gpu_seconds_total{{{_TENANT}}}[$__range])) / 3600"
        },
        kind="bargauge",
    ),
    Panel(
        title="GPU seconds by model",
        queries={"{{model}}": _rate("springtide_gpu_seconds_total", "model", _TENANT)},
        stacked=True,
    ),
    Panel(title="Jobs accepted", queries={"{{tenant}}": _rate("springtide_jobs_accepted_total", "tenant", _TENANT)}),
    Panel(
        title="Jobs ended",
        queries={"{{tenant}} {{status}}": _rate("springtide_tenant_jobs_ended_total", "tenant, status", _TENANT)},
    ),
    Panel(title="Jobs that wait", queries={"{{tenant}}": _now("springtide_tenant_queued_jobs", "tenant", _TENANT)}),
    Panel(title="Jobs that run", queries={"{{tenant}}": _now("springtide_tenant_running_jobs", "tenant", _TENANT)}),
    Panel(
        title="Refused",
        queries={
            "{{code}}": _rate("springtide_http_problems_total", "code", 'code=~"quota_exceeded|queue_full|no_capacity"')
        },
        meaning="Of all tenants; `springtide usage` tells whose.",
    ),
)

_SCALER = (
    Panel(
        title="Replicas",
        queries={
            "{{model}} {{state}}": _now("springtide_replicas", "model, state", _MODEL),
            "{{model}} wanted": _now("springtide_replicas_wanted", only=_MODEL),
        },
    ),
    Panel(
        title="Reason in force",
        queries={"{{model}} {{reason}}": _now("springtide_scaling_reason", "model, reason", _MODEL)},
        meaning="Why there are as many as there are; PAUSED and BY_HAND are orders of operators.",
    ),
    Panel(
        title="Decisions in 5 minutes",
        queries={
            "{{direction}} {{reason}}": _rate("springtide_scaling_decisions_total", "direction, reason", _MODEL)
            + " * 300"
        },
    ),
    Panel(title="Cold starts", queries=_quantiles("springtide_cold_start_seconds", "model", _MODEL), unit="s"),
    Panel(
        title="Usual cold start",
        queries={"{{model}}": _now("springtide_cold_start_usual_seconds", only=_MODEL)},
        unit="s",
    ),
    Panel(
        title="Share of jobs that begin too late",
        queries={
            "{{model}}": (
                f"sum by (model) (rate(springtide_objective_late_jobs_total{{{_MODEL}}}[30m]))"
                f" / sum by (model) (rate(springtide_objective_jobs_total{{{_MODEL}}}[30m]))"
            ),
            "{{model}} allowed": f"1 - max by (model) (springtide_objective_ratio{{{_MODEL}}})",
        },
        unit="percentunit",
    ),
    Panel(
        title="Replicas that have nothing to do",
        queries={
            "{{model}} idle": _rate("springtide_replica_idle_seconds_total", "model", _MODEL),
            "{{model}} busy": _rate("springtide_replica_busy_seconds_total", "model", _MODEL),
        },
    ),
    Panel(
        title="Queue",
        queries={
            "{{model}}": _now("springtide_queue_jobs", only=_MODEL),
            "{{model}} oldest, s": _now("springtide_queue_oldest_wait_seconds", only=_MODEL),
        },
    ),
    Panel(title="Restarts", queries={"{{model}}": "sum by (model) (increase(springtide_worker_restarts_total[10m]))"}),
    Panel(title="Rounds that failed", queries={"{{loop}}": "max by (loop) (springtide_loop_failures)"}),
)

BOARDS: tuple[Board, ...] = (
    Board(name="overview", title="overview", panels=_OVERVIEW),
    Board(name="model", title="per model", panels=_PER_MODEL, variable="model", variable_from="springtide_queue_jobs"),
    Board(
        name="tenants",
        title="cost per tenant",
        panels=_TENANTS,
        variable="tenant",
        variable_from="springtide_jobs_accepted_total",
    ),
    Board(name="autoscaler", title="autoscaler", panels=_SCALER, variable="model", variable_from="springtide_replicas"),
)
