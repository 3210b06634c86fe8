"""The metrics of a process as text that Prometheus reads. Imported with the first scrape: 1 MB that an idle server need
not spend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from springtide.telemetry.metrics import Cell, Kind, Metrics, Series
from springtide.telemetry.metrics_catalogue import CATALOGUE

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_process = ProcessCollector(registry=cast("Any", None))  # memory, processor time, open files of this process


def text_of(metrics: Metrics, now_s: float) -> bytes:
    """All series that have a value, and those of the process itself."""
    return generate_latest(cast("CollectorRegistry", _Now(metrics, now_s)))


class _Now(Collector):
    """The metrics at one time, as `generate_latest` asks for them."""

    def __init__(self, metrics: Metrics, now_s: float) -> None:
        self._metrics = metrics
        self._now_s = now_s

    def collect(self) -> Iterator[Metric]:
        for series in CATALOGUE.values():
            family = self._family(series)
            if family.samples:
                yield family
        yield from _process.collect()

    def _family(self, series: Series) -> Metric:
        names = [label.name for label in series.labels]
        if series.kind is Kind.COUNTER:
            counter = CounterMetricFamily(series.name, series.help, labels=names)
            for labels, value in sorted(self._metrics.sums(series).items()):
                counter.add_metric(labels, value)
            return counter
        if series.kind is Kind.GAUGE:
            gauge = GaugeMetricFamily(series.name, series.help, labels=names)
            for labels, value in sorted(self._metrics.gauges(series, self._now_s).items()):
                gauge.add_metric(labels, value)
            return gauge
        histogram = HistogramMetricFamily(series.name, series.help, labels=names)
        for labels, cell in sorted(self._metrics.cells(series).items()):
            histogram.add_metric(labels, _buckets(series, cell), sum_value=cell[-1])
        return histogram


def _buckets(series: Series, cell: Cell) -> list[tuple[str, float]]:
    """Each end with how many values are below or at it."""
    total = 0.0
    buckets: list[tuple[str, float]] = []
    for end, count in zip((*series.buckets, float("inf")), cell, strict=False):
        total += count
        buckets.append(("+Inf" if end == float("inf") else repr(end), total))
    return buckets
