"""Writes docs/reference/metrics.md from the catalogue of metrics."""

from __future__ import annotations

from pathlib import Path

from springtide.telemetry import metrics_catalogue as catalogue
from springtide.telemetry.metrics import GAUGES_KEPT_S, Kind, Series
from springtide.telemetry.metrics_relay import TELL_EVERY_S

PAGE = Path(__file__).parent / "reference" / "metrics.md"
_HEAD = """# Metrics

`/metrics` in Prometheus' text format. This page is made from the code by `python docs/generate.py`.

- The gateway answers it on its own port; for `springtide up` with the figures of all its processes, which tell it
  theirs every {tell_s:g} s. On a server that asks for no key, whoever is on this machine may read it; else a key with
  the scope `metrics` may, and nothing else (`springtide keys create prometheus --scope metrics`).
- With `[telemetry] metrics_port` gateway, controller and worker each answer it on a port of their own, with `/healthz`
  and `/readyz` beside it; where the port is taken, on the next free one. Whoever reaches it may read it:
  `metrics_host` is this machine unless you say otherwise.

```yaml
scrape_configs:
  - job_name: springtide
    authorization: {{credentials_file: /etc/prometheus/springtide.key}}  # not on your own machine
    static_configs: [{{targets: ["127.0.0.1:8321"]}}]
```

Counters and histograms are each process's own: sum them. Gauges of shared things (queues, workers, replicas) are told
alike by every gateway that is scraped: take `max by (model)`. What cannot be measured is absent, not zero: without an
NVIDIA GPU and `nvidia-ml-py` there are no GPU figures, and while the broker is away there are none of queues. What a
process has said of itself is forgotten after {kept_s:g} s of silence; what it has counted stays counted. Dashboards and
alerts on these are in [deploy/grafana](../../deploy/grafana) and [deploy/prometheus](../../deploy/prometheus); what
shows which fault is in [faults](../faults.md).

No label holds an id of a job, a client or a URL. A label takes only so many values, a series only so many sets of them;
what comes after those is counted as `other`. Beside these there are Prometheus' usual `process_*` of the process that
answers. What counting costs is in [decision 0042](../decisions/0042-counted-in-plain-dicts.md).
"""
_TITLES = {
    catalogue.GATEWAY: "Told by the gateway",
    catalogue.RECORD: "Told beside the record: by the gateway of `springtide up`, else by the controller",
    catalogue.SCALER: "Told by the scaler: `springtide up`, else the controller",
    catalogue.WORKER: "Told by workers",
    catalogue.EVERY: "Told by every process",
}


def render() -> str:
    """The page as it should be."""
    parts = [_HEAD.format(tell_s=TELL_EVERY_S, kept_s=GAUGES_KEPT_S)]
    for teller, title in _TITLES.items():
        parts.append(f"\n## {title}\n\n| metric | kind | labels | meaning |\n|---|---|---|---|")
        parts += [_row(series) for series in catalogue.CATALOGUE.values() if series.teller == teller]
    labels = {label.name: label for series in catalogue.CATALOGUE.values() for label in series.labels}
    parts.append("\n## Labels\n\n| label | values kept apart | meaning |\n|---|---|---|")
    parts += [f"| `{label.name}` | {label.most} | {label.meaning} |" for _, label in sorted(labels.items())]
    return "\n".join(parts) + "\n"


def _row(series: Series) -> str:
    labels = ", ".join(f"`{label.name}`" for label in series.labels) or "none"
    kind = series.kind.value
    if series.kind is Kind.HISTOGRAM:
        kind += f", {series.buckets[0]:g} to {series.buckets[-1]:g}"
    return f"| `{series.name}` | {kind} | {labels} | {series.help} |"
