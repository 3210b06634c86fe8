"""The alerts fire when they should and not when they should not; dashboards and alerts ask only for what is told."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from springtide.telemetry.metrics import Kind
from springtide.telemetry.metrics_alerts import ALERTS, groups, prometheus_rule
from springtide.telemetry.metrics_boards import BOARDS
from springtide.telemetry.metrics_catalogue import CATALOGUE

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
_NAME = re.compile(r"springtide_[a-z0-9_]+")
Series = dict[str, str]  # as promtool's unit tests write values: start+step x times


@dataclass(frozen=True)
class Case:
    """Figures by which an alert fires after `minutes`, and such by which it does not."""

    fires: Series
    quiet: Series
    minutes: int = 20


def _ended(completed: str, failed: str) -> Series:
    base = 'springtide_jobs_ended_total{model="m",'
    return {base + 'status="completed",error=""}': completed, base + 'status="failed",error="crashed"}': failed}


def _objective(late: str) -> Series:
    return {
        'springtide_objective_jobs_total{model="m"}': "0+100x1000",
        'springtide_objective_late_jobs_total{model="m"}': late,
        'springtide_objective_ratio{model="m"}': "0.99x1000",
    }


def _gauge(name: str, value: float, labels: str = 'model="m"') -> Series:
    return {f"springtide_{name}{{{labels}}}": f"{value}x1000"}


def _loop(loop: str, values: str) -> Series:
    return {f'springtide_loop_last_success_timestamp_seconds{{loop="{loop}"}}': values}


def _bucketed(name: str, *, slow: bool, labels: str = "") -> Series:
    """Ten a minute, all in the last bucket or all in the first."""
    series = CATALOGUE[name]
    ends = [*map(repr, series.buckets), "+Inf"]
    first = "0x1000" if slow else "0+10x1000"
    values = {f'{name}_bucket{{{labels}le="{end}"}}': first for end in ends}
    return {**values, f'{name}_bucket{{{labels}le="+Inf"}}': "0+10x1000"}


def _starts(recent_s: int) -> Series:
    """Cold starts of 10 s for a day (one a minute), then of `recent_s` for the last half hour."""
    name = 'springtide_cold_start_seconds_{}{{model="m"}}'
    return {name.format("count"): "0+1x1500", name.format("sum"): f"0+10x1400 {14_000 + recent_s}+{recent_s}x100"}


QUEUED = _gauge("queue_jobs", 5)
CASES: dict[str, Case] = {
    "SpringtideErrorRate": Case(fires=_ended("0+90x100", "0+10x100"), quiet=_ended("0+96x100", "0+4x100")),
    "SpringtideNoProgress": Case(
        fires={**QUEUED, **_ended("7x100", "0x100")}, quiet={**QUEUED, **_ended("0+1x100", "0x100")}
    ),
    "SpringtideModelPaused": Case(
        fires={**QUEUED, **_gauge("scaling_reason", 1, 'model="m",reason="PAUSED"')},
        quiet={**_gauge("queue_jobs", 0), **_gauge("scaling_reason", 1, 'model="m",reason="PAUSED"')},
    ),
    "SpringtideWaitObjectiveBurnsFast": Case(fires=_objective("0+20x1000"), quiet=_objective("0+10x1000"), minutes=90),
    "SpringtideWaitObjectiveBurns": Case(fires=_objective("0+8x1000"), quiet=_objective("0+5x1000"), minutes=400),
    "SpringtideQueueLong": Case(fires=_gauge("queue_jobs", 21), quiet=_gauge("queue_jobs", 20)),
    "SpringtideGpuMemoryFull": Case(
        fires=_gauge("worker_gpu_memory_ratio", 0.95, 'model="m",worker="w"'),
        quiet=_gauge("worker_gpu_memory_ratio", 0.85, 'model="m",worker="w"'),
    ),
    "SpringtideGpuBusy": Case(
        fires=_gauge("worker_gpu_utilization_ratio", 0.9, 'model="m",worker="w"'),
        quiet=_gauge("worker_gpu_utilization_ratio", 0.8, 'model="m",worker="w"'),
    ),
    "SpringtideGpuIdle": Case(
        fires={
            **_gauge("worker_gpu_utilization_ratio", 0.01, 'model="m",worker="w"'),
            **_gauge("workers", 1, 'model="m",state="ready"'),
        },
        quiet={
            **_gauge("worker_gpu_utilization_ratio", 0.2, 'model="m",worker="w"'),
            **_gauge("workers", 1, 'model="m",state="ready"'),
        },
        minutes=60,
    ),
    "SpringtideRestarts": Case(
        fires={'springtide_worker_restarts_total{model="m"}': "0+1x100"},
        quiet={'springtide_worker_restarts_total{model="m"}': "0x10 1x100"},
    ),
    "SpringtideEngineDoesNotLoad": Case(
        fires=_gauge("workers", 1, 'model="m",state="failing"'),
        quiet=_gauge("workers", 1, 'model="m",state="starting"'),
    ),
    "SpringtideColdStartsSlow": Case(fires=_starts(30), quiet=_starts(12), minutes=1460),
    "SpringtideDependencyDown": Case(
        fires=_gauge("dependency_up", 0, 'dependency="ledger"'), quiet=_gauge("dependency_up", 1, 'dependency="ledger"')
    ),
    "SpringtideDiskFull": Case(
        fires=_gauge("disk_free_ratio", 0.01, 'place="ledger"'), quiet=_gauge("disk_free_ratio", 0.2, 'place="ledger"')
    ),
    "SpringtideTargetDown": Case(
        fires={'up{job="springtide",instance="a"}': "0x100"}, quiet={'up{job="springtide",instance="a"}': "1x100"}
    ),
    "SpringtideRecorderLags": Case(
        fires=_loop("recorder", "1x100"),
        quiet={**_loop("recorder", "0+60x100"), **_bucketed("springtide_record_lag_seconds", slow=False)},
    ),
    "SpringtideEventsLag": Case(
        fires=_bucketed("springtide_live_event_delay_seconds", slow=True),
        quiet=_bucketed("springtide_live_event_delay_seconds", slow=False),
    ),
    "SpringtideScalerSilent": Case(fires=QUEUED, quiet={**QUEUED, **_loop("scaler", "0+60x100")}),
    "SpringtideWebhookCertificates": Case(
        fires={'springtide_webhook_sendings_total{result="retried",reason="certificate"}': "0+1x100"},
        quiet={'springtide_webhook_sendings_total{result="retried",reason="5xx"}': "0+1x100"},
    ),
    "SpringtideWebhooksFail": Case(
        fires={
            'springtide_webhook_sendings_total{result="retried",reason="5xx"}': "0+6x100",
            'springtide_webhook_sendings_total{result="delivered",reason="2xx"}': "0+4x100",
        },
        quiet={
            'springtide_webhook_sendings_total{result="retried",reason="5xx"}': "0+4x100",
            'springtide_webhook_sendings_total{result="delivered",reason="2xx"}': "0+6x100",
        },
    ),
    "SpringtideRefusals": Case(
        fires={'springtide_http_problems_total{code="quota_exceeded"}': "0+60x100"},
        quiet={'springtide_http_problems_total{code="not_found"}': "0+60x100"},
    ),
}


def _promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not on the PATH (Debian: the package prometheus)")
    return found


def _unit(name: str, figures: Series, minutes: int, *, fires: bool) -> dict[str, Any]:
    """One of promtool's unit tests: whether an alert fires at the end."""
    samples = [{"labels": "{}", "value": 1}] if fires else []
    firing = f'ALERTS{{alertname="{name}",alertstate="firing"}}'
    asked = {"expr": f"count({firing})", "eval_time": f"{minutes}m", "exp_samples": samples}
    series = [{"series": one, "values": values} for one, values in figures.items()]
    return {"name": f"{name} {fires}", "interval": "1m", "input_series": series, "promql_expr_test": [asked]}


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    assert set(CASES) == {alert.name for alert in ALERTS}


def test_each_alert_fires_when_it_should_and_not_when_it_should_not(tmp_path: Path) -> None:
    promtool = _promtool()
    for name, case in CASES.items():
        alone = {"groups": [{**group, "rules": _of(name, group["rules"])} for group in groups()["groups"]]}
        (tmp_path / f"{name}.rules").write_text(json.dumps(alone))  # with all the others it takes ten times the time
        units = [_unit(name, case.fires, case.minutes, fires=True), _unit(name, case.quiet, case.minutes, fires=False)]
        told = {"rule_files": [f"{name}.rules"], "evaluation_interval": "1m", "tests": units}
        (tmp_path / f"{name}.yaml").write_text(json.dumps(told))
    files = [f"{name}.yaml" for name in CASES]
    done = subprocess.run([promtool, "test", "rules", *files], cwd=tmp_path, capture_output=True, timeout=500)
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()


def _of(name: str, rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """That alert, and what is recorded for any."""
    return [rule for rule in rules if rule.get("alert", name) == name]


def test_the_rule_file_is_one_that_prometheus_reads() -> None:
    promtool = _promtool()
    done = subprocess.run([promtool, "check", "rules", str(DEPLOY / "prometheus" / "alerts.yaml")], capture_output=True)
    assert done.returncode == 0 and f"{len(ALERTS)} rules found" in done.stdout.decode(), done.stderr.decode()


def test_each_alert_says_what_happens_and_what_to_do() -> None:
    for alert in ALERTS:
        assert alert.summary and alert.description.endswith(".") and len(alert.runbook) > 20, alert.name
        assert alert.severity in {"critical", "warning", "info"} and re.fullmatch(r"\d+[smh]", alert.after)


def test_the_page_of_faults_names_alerts_that_there_are() -> None:
    named = set(re.findall(r"Springtide[A-Z]\w+", (ROOT / "docs" / "faults.md").read_text()))
    assert named and named <= {alert.name for alert in ALERTS}


def _known() -> set[str]:
    names: set[str] = set()
    for series in CATALOGUE.values():
        parts = ("_bucket", "_sum", "_count") if series.kind is Kind.HISTOGRAM else ("",)
        names |= {series.name + part for part in parts}
    return names


def test_every_metric_that_a_dashboard_or_an_alert_asks_for_is_told() -> None:
    asked = {f"alert {alert.name}": alert.expr for alert in ALERTS}
    for board in BOARDS:
        for panel in board.panels:
            asked[f"{board.name}: {panel.title}"] = " ".join(panel.queries.values())
    unknown = {where: set(_NAME.findall(text)) - _known() for where, text in asked.items()}
    assert {where: names for where, names in unknown.items() if names} == {}
    shown = set(_NAME.findall(" ".join(asked.values())))
    assert [name for name in CATALOGUE if not any(one.startswith(name) for one in shown)] == [], (
        "told, and shown nowhere"
    )


def test_every_label_that_a_dashboard_or_an_alert_asks_for_is_there() -> None:
    labels = {label.name for series in CATALOGUE.values() for label in series.labels}
    known = labels | {"le", "job", "instance"}
    texts = [alert.expr for alert in ALERTS] + [q for b in BOARDS for p in b.panels for q in p.queries.values()]
    for text in texts:
        named = {one.strip() for group in re.findall(r"(?:by|on) \(([^)]*)\)", text) for one in group.split(",") if one}
        named |= set(re.findall(r'(\w+)(?:=|=~|!=)"', text))
        assert named <= known, (text, named - known)


def test_the_dashboards_expressions_are_promql(tmp_path: Path) -> None:
    promtool = _promtool()
    queries = [
        q.replace("$__rate_interval", "5m").replace("$__range", "3h")
        for b in BOARDS
        for p in b.panels
        for q in p.queries.values()
    ]
    rules = [{"record": f"q:{n}", "expr": query} for n, query in enumerate(queries)]
    (tmp_path / "queries.yaml").write_text(json.dumps({"groups": [{"name": "q", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", "queries.yaml"], cwd=tmp_path, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()


def _files() -> dict[Path, str]:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        module: Any = importlib.import_module("monitoring_files")
    finally:
        sys.path.pop(0)
    return module.made()


def test_the_shipped_files_are_made_from_the_code() -> None:
    assert {path: path.read_text() for path in _files()} == _files(), "run: python docs/generate.py"


def test_the_dashboards_lie_on_the_grid_and_their_panels_have_numbers() -> None:
    for board in BOARDS:
        made = board.json()
        spots = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in made["panels"]]
        assert len(set(spots)) == len(spots) and all(x + 8 <= 24 for x, _ in spots)
        assert [panel["id"] for panel in made["panels"]] == list(range(1, len(spots) + 1))
        assert all(panel["targets"] for panel in made["panels"])


def test_the_operators_object_is_one_that_its_schema_takes(definitions: Callable[..., Any]) -> None:
    assert definitions("monitoring.coreos.com_prometheusrules")(prometheus_rule()) == []


def test_the_alertmanagers_example_routes_to_receivers_that_are_there_and_holds_no_secret() -> None:
    text = (DEPLOY / "prometheus" / "alertmanager.example.yaml").read_text()
    made = yaml.safe_load(text)
    receivers = {one["name"]: one for one in made["receivers"]}
    routes = [made["route"], *made["route"]["routes"]]
    assert {route["receiver"] for route in routes} <= set(receivers)
    kinds = {kind for one in receivers.values() for kind in one}
    assert {"email_configs", "slack_configs", "wechat_configs", "webhook_configs"} <= kinds
    secret = re.compile(r"^\s*-?\s*(\w*(?:password|secret|token|api_url|api_key)\w*):", re.MULTILINE)
    assert all(key.endswith("_file") for key in secret.findall(text)), "secrets are in files"
    names = {alert.name for alert in ALERTS}
    matchers = [one for rule in made["inhibit_rules"] for one in (*rule["source_matchers"], *rule["target_matchers"])]
    assert {name for one in matchers for name in re.findall(r"Springtide\w+", one)} <= names
