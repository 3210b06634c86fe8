"""Counts what happens in one process, cheaply, for whoever scrapes it.

Promises: counting costs well under a microsecond and never raises; memory is bounded whatever callers send, because a
label takes only so many values and a series only so many sets of them, and what comes after those counts as `other`.
Everything is told from one thread, the event loop's.

Refuses to know the exposition format: `metrics_text` does, and is loaded only where somebody scrapes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeVar

import msgspec

OTHER = "other"  # the value of a label beyond those that are kept apart
GAUGES_KEPT_S = 30.0  # six reports: what a process said of itself is forgotten when it has fallen silent

ValueT = TypeVar("ValueT")
Labels = tuple[str, ...]
Cell = list[float]  # of a histogram: a count for each bucket and one beyond the last, then the sum


class Kind(StrEnum):
    """As Prometheus has them."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """One label, and how many values of it are kept apart."""

    name: str
    meaning: str
    most: int = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """One metric: its name, kind and labels. Told apart by identity: each exists once, in `metrics_catalogue`."""

    name: str
    kind: Kind
    help: str
    teller: str  # whose process counts it
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()
    most: int = 2000  # sets of label values


class Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one process has counted since it said so last, on its way to the one that is scraped. Series by name."""

    source: str
    counts: list[tuple[str, Labels, float]] = []
    cells: list[tuple[str, Labels, Cell]] = []
    gauges: list[tuple[str, Labels, float]] = []


class MetricsBoard(Protocol):
    """Takes in what other processes have counted; stands beside the embedded broker, on the same socket."""

    async def report_metrics(self, told: Told) -> None: ...


@dataclass(slots=True)
class _Known:
    """The values of labels that one series keeps apart."""

    values: list[set[str]]
    sets: set[Labels] = field(default_factory=set[Labels])


class Metrics:
    """The counters, histograms and gauges of this process, and what others have told it of theirs."""

    def __init__(self) -> None:
        self._sums: dict[Series, dict[Labels, float]] = {}
        self._cells: dict[Series, dict[Labels, Cell]] = {}
        self._gauges: dict[Series, dict[Labels, float]] = {}
        self._known: dict[Series, _Known] = {}
        self._elsewhere: dict[str, tuple[float, dict[Series, dict[Labels, float]]]] = {}

    def add(self, series: Series, *labels: str, amount: float = 1.0) -> None:
        """Count. An amount of 0 makes the series visible, so that its first increase is seen as one."""
        try:
            self._sums[series][labels] += amount
        except KeyError:
            sums = self._sums.setdefault(series, {})
            kept = self._kept(series, labels)
            sums[kept] = sums.get(kept, 0.0) + amount

    def observe(self, series: Series, *labels: str, value: float) -> None:
        """Count into a histogram."""
        try:
            cell = self._cells[series][labels]
        except KeyError:
            cell = self._cell(series, labels)
        cell[bisect_left(series.buckets, value)] += 1
        cell[-1] += value

    def observe_all(self, series: Series, *labels: str, values: Sequence[float]) -> None:
        """The same for many at once."""
        if not values:
            return
        cell, buckets = self._cell(series, labels), series.buckets
        for value in values:
            cell[bisect_left(buckets, value)] += 1
        cell[-1] += sum(values)

    def set(self, series: Series, *labels: str, value: float) -> None:
        """Say how much there is now."""
        self._gauges.setdefault(series, {})[self._kept(series, labels)] = value

    def forget(self, *series: Series) -> None:
        """What these gauges said is no longer known: no data is not zero."""
        for one in series:
            self._gauges.pop(one, None)
            self._known.pop(one, None)

    # --- other processes ----------------------------------------------------------------------------------------

    def take(self, source: str) -> Told:
        """Everything counted since the last time, and the gauges as they are."""
        sums, self._sums = self._sums, {}
        cells, self._cells = self._cells, {}
        return Told(
            source=source,
            counts=[(series.name, labels, value) for series, labels, value in _flat(sums)],
            cells=[(series.name, labels, cell) for series, labels, cell in _flat(cells)],
            gauges=[(series.name, labels, value) for series, labels, value in _flat(self._gauges)],
        )

    def count_in(self, told: Told, catalogue: Mapping[str, Series]) -> None:
        """Add what was counted. Series of another version that are not known here are left out."""
        for name, labels, value in told.counts:
            if (series := catalogue.get(name)) is not None and len(labels) == len(series.labels):
                self.add(series, *labels, amount=value)
        for name, labels, cell in told.cells:
            series = catalogue.get(name)
            if series is not None and len(labels) == len(series.labels) and len(cell) == len(series.buckets) + 2:
                mine = self._cell(series, labels)
                mine[:] = [one + other for one, other in zip(mine, cell, strict=True)]

    def take_in(self, told: Told, catalogue: Mapping[str, Series], now_s: float) -> None:
        """The same for what another process has counted, whose gauges take the place of those that it told before."""
        self.count_in(told, catalogue)
        gauges: dict[Series, dict[Labels, float]] = {}
        for name, labels, value in told.gauges:
            if (series := catalogue.get(name)) is not None and len(labels) == len(series.labels):
                gauges.setdefault(series, {})[labels] = value
        self._elsewhere = {source: one for source, one in self._elsewhere.items() if _is_fresh(one[0], now_s)}
        self._elsewhere[told.source] = (now_s, gauges)

    # --- who is asked -------------------------------------------------------------------------------------------

    def sums(self, series: Series) -> dict[Labels, float]:
        """A counter's values."""
        return self._sums.get(series, {})

    def cells(self, series: Series) -> dict[Labels, Cell]:
        """A histogram's values."""
        return self._cells.get(series, {})

    def gauges(self, series: Series, now_s: float) -> dict[Labels, float]:
        """A gauge's values, those of other processes included; where several tell the same, the largest."""
        found = dict(self._gauges.get(series, {}))
        for at_s, gauges in self._elsewhere.values():
            for labels, value in gauges.get(series, {}).items() if _is_fresh(at_s, now_s) else ():
                kept = self._kept(series, labels)
                found[kept] = max(value, found.get(kept, value))
        return found

    # --- bounds -------------------------------------------------------------------------------------------------

    def _cell(self, series: Series, labels: Labels) -> Cell:
        cells = self._cells.setdefault(series, {})
        kept = self._kept(series, labels)
        cell = cells.get(kept)
        if cell is None:
            cell = cells[kept] = [0.0] * (len(series.buckets) + 2)
        return cell

    def _kept(self, series: Series, labels: Labels) -> Labels:
        """The labels under which this is counted."""
        assert len(labels) == len(series.labels), f"{series.name} has the labels {[one.name for one in series.labels]}"
        known = self._known.get(series)
        if known is None:
            known = self._known[series] = _Known([set() for _ in series.labels])
        if labels in known.sets:
            return labels
        kept = tuple(
            value if value in seen or len(seen) < label.most else OTHER
            for value, seen, label in zip(labels, known.values, series.labels, strict=True)
        )
        if kept not in known.sets and len(known.sets) >= series.most:
            return tuple(OTHER for _ in labels)
        for value, seen in zip(kept, known.values, strict=True):
            seen.add(value)
        known.sets.add(kept)
        return kept


def _is_fresh(at_s: float, now_s: float) -> bool:
    return abs(now_s - at_s) <= GAUGES_KEPT_S


def _flat(values: dict[Series, dict[Labels, ValueT]]) -> Iterator[tuple[Series, Labels, ValueT]]:
    for series, cells in values.items():
        for labels, value in cells.items():
            yield series, labels, value
