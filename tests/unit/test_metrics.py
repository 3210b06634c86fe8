"""Counting: exact, bounded, and the same after a way through another process."""

from __future__ import annotations

import msgspec
import pytest

from springtide.telemetry.metrics import GAUGES_KEPT_S, OTHER, Kind, Label, Metrics, Series, Told
from springtide.telemetry.metrics_catalogue import BATCH_JOBS, CATALOGUE, JOBS_ACCEPTED, LOOP_FAILURES, QUEUE_JOBS
from springtide.telemetry.metrics_text import text_of

NOW_S = 1_700_000_000.0
BANNED_LABELS = {"job", "job_id", "attempt", "request_id", "client", "path", "url", "key"}


def _lines(metrics: Metrics, name: str, *, at_s: float = NOW_S) -> list[str]:
    text = text_of(metrics, at_s).decode()
    return [line for line in text.splitlines() if line.startswith(name)]


def test_what_is_counted_is_told_in_prometheus_own_format() -> None:
    metrics = Metrics()
    metrics.add(JOBS_ACCEPTED, "matting", "acme")
    metrics.add(JOBS_ACCEPTED, "matting", "acme", amount=2)
    metrics.set(QUEUE_JOBS, "matting", value=7)
    for together in (1, 2, 3, 1000):
        metrics.observe(BATCH_JOBS, "matting", value=together)
    assert _lines(metrics, "springtide_jobs_accepted_total") == [
        'springtide_jobs_accepted_total{model="matting",tenant="acme"} 3.0'
    ]
    assert _lines(metrics, "springtide_queue_jobs") == ['springtide_queue_jobs{model="matting"} 7.0']
    told = _lines(metrics, "springtide_batch_jobs")
    assert 'springtide_batch_jobs_bucket{le="1.0",model="matting"} 1.0' in told, (
        "a value at the end of a bucket is in it"
    )
    assert 'springtide_batch_jobs_bucket{le="2.0",model="matting"} 2.0' in told
    assert 'springtide_batch_jobs_bucket{le="256.0",model="matting"} 3.0' in told
    assert 'springtide_batch_jobs_bucket{le="+Inf",model="matting"} 4.0' in told
    assert 'springtide_batch_jobs_sum{model="matting"} 1006.0' in told


def test_what_nobody_can_tell_any_more_is_absent_not_zero() -> None:
    metrics = Metrics()
    metrics.set(QUEUE_JOBS, "matting", value=7)
    metrics.forget(QUEUE_JOBS)
    assert _lines(metrics, "springtide_queue_jobs") == []


def test_a_series_counted_at_zero_is_there() -> None:
    metrics = Metrics()
    metrics.add(JOBS_ACCEPTED, "matting", "acme", amount=0)
    assert len(_lines(metrics, "springtide_jobs_accepted_total")) == 1


@pytest.mark.parametrize("series", [one for one in CATALOGUE.values() if one.labels], ids=lambda one: one.name)
def test_no_series_grows_without_bound_whatever_its_labels_are(series: Series) -> None:
    metrics = Metrics()
    values = [[f"{label.name}{n}" for n in range(label.most + 50)] for label in series.labels]
    for n in range(5000):
        labels = [each[n % len(each)] for each in values]
        if series.kind is Kind.COUNTER:
            metrics.add(series, *labels)
        elif series.kind is Kind.GAUGE:
            metrics.set(series, *labels, value=1)
        else:
            metrics.observe(series, *labels, value=1)
    if series.kind is Kind.COUNTER:
        kept = metrics.sums(series)
        assert sum(kept.values()) == 5000, "what is not kept apart is counted all the same"
    elif series.kind is Kind.GAUGE:
        kept = metrics.gauges(series, NOW_S)
    else:
        kept = metrics.cells(series)
        assert sum(cell[-1] for cell in kept.values()) == 5000
    assert len(kept) <= series.most + 1
    for place, label in enumerate(series.labels):
        seen = {labels[place] for labels in kept}
        assert len(seen) <= label.most + 1 and OTHER in seen


def test_all_series_together_stay_within_what_a_prometheus_bears() -> None:
    """At worst: every label at its most, every set there is."""

    def sets(series: Series) -> int:
        count = 1
        for label in series.labels:
            count *= label.most + 1
        return min(count, series.most + 1) * (len(series.buckets) + 3 if series.kind is Kind.HISTOGRAM else 1)

    assert sum(map(sets, CATALOGUE.values())) < 150_000
    usual = {"model": 10, "tenant": 20, "route": 60, "status": 12, "error": 12, "worker": 20}

    def usually(series: Series) -> int:
        count = 1
        for label in series.labels:
            count *= min(usual.get(label.name, label.most), label.most)
        return min(count, series.most)

    assert sum(map(usually, CATALOGUE.values())) < 15_000


def test_no_label_holds_the_id_of_anything_that_comes_and_goes_by_the_thousand() -> None:
    assert not {label.name for series in CATALOGUE.values() for label in series.labels} & BANNED_LABELS


def test_what_another_process_counts_is_added_and_what_it_says_of_now_is_replaced() -> None:
    worker, gateway = Metrics(), Metrics()
    for _ in range(2):
        worker.add(JOBS_ACCEPTED, "matting", "acme")
        worker.observe(BATCH_JOBS, "matting", value=4)
        worker.set(LOOP_FAILURES, "scaler", value=3)
        told = msgspec.msgpack.decode(msgspec.msgpack.encode(worker.take("worker 1")), type=Told)
        gateway.take_in(told, CATALOGUE, NOW_S)
    assert gateway.sums(JOBS_ACCEPTED) == {("matting", "acme"): 2.0}
    assert gateway.cells(BATCH_JOBS)[("matting",)][-1] == 8.0
    assert gateway.gauges(LOOP_FAILURES, NOW_S) == {("scaler",): 3.0}
    assert gateway.gauges(LOOP_FAILURES, NOW_S + GAUGES_KEPT_S + 1) == {}, "a process that fell silent says nothing"
    assert gateway.sums(JOBS_ACCEPTED) == {("matting", "acme"): 2.0}, "what it has counted stays counted"


def test_series_of_another_version_are_left_out() -> None:
    gateway = Metrics()
    counts = [("springtide_of_tomorrow_total", ("a",), 1.0), (JOBS_ACCEPTED.name, ("only one",), 1.0)]
    gateway.take_in(Told(source="w", counts=counts, cells=[(BATCH_JOBS.name, ("m",), [1.0])]), CATALOGUE, NOW_S)
    assert gateway.sums(JOBS_ACCEPTED) == {} and gateway.cells(BATCH_JOBS) == {}


def test_names_follow_prometheus() -> None:
    for series in CATALOGUE.values():
        assert series.name.startswith("springtide_")
        assert series.name.endswith("_total") == (series.kind is Kind.COUNTER), series.name
        assert not series.name.endswith(("_count", "_sum", "_bucket", "_info")), series.name
        assert series.help.endswith(".") and len({label.name for label in series.labels}) == len(series.labels)
        assert (series.kind is Kind.HISTOGRAM) == bool(series.buckets)
        assert list(series.buckets) == sorted(set(series.buckets))


def test_a_set_of_labels_too_many_is_counted_as_other() -> None:
    narrow = Series(
        name="springtide_x_total",
        kind=Kind.COUNTER,
        help="X.",
        teller="test",
        labels=(Label(name="a", meaning="", most=10), Label(name="b", meaning="", most=10)),
        most=3,
    )
    metrics = Metrics()
    for a in range(5):
        for b in range(5):
            metrics.add(narrow, str(a), str(b))
    assert metrics.sums(narrow) == {("0", "0"): 1.0, ("0", "1"): 1.0, ("0", "2"): 1.0, (OTHER, OTHER): 22.0}
