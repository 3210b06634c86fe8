"""Writes deploy/grafana and deploy/prometheus from the alerts and dashboards of `springtide.telemetry`."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from springtide.telemetry.metrics_alerts import groups, prometheus_rule
from springtide.telemetry.metrics_boards import BOARDS

DEPLOY = Path(__file__).parents[1] / "deploy"
_MADE = "# Made by `python docs/generate.py` from src/springtide/telemetry/metrics_alerts.py.\n"


def made() -> dict[Path, str]:
    """Every file with its content."""
    boards = {DEPLOY / "grafana" / f"{board.name}.json": json.dumps(board.json(), indent=1) + "\n" for board in BOARDS}
    rules = {"alerts.yaml": groups(), "prometheusrule.yaml": prometheus_rule()}
    texts = {
        name: _MADE + yaml.safe_dump(content, sort_keys=False, width=120, allow_unicode=True)
        for name, content in rules.items()
    }
    return {**boards, **{DEPLOY / "prometheus" / name: text for name, text in texts.items()}}


def write() -> None:
    for path, text in made().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
