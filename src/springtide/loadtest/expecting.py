"""What a load test shall keep, as typed: `p95=10s`, `lost=0`, `success=99%`; and whether it did."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec

from springtide.domain.errors import ConfigError
from springtide.loadtest.figures import Figures, Percentiles

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "%": 0.01}
_OF: dict[str, Callable[[Figures], Percentiles]] = {
    "": lambda one: one.latency,
    "wait_": lambda one: one.wait,
    "submit_": lambda one: one.submit,
}
_AT_MOST: dict[str, Callable[[Figures], float | None]] = {
    "lost": lambda one: one.lost,
    "failed": lambda one: one.failed,
    "refused": lambda one: one.refused,
    "unfinished": lambda one: one.unfinished,
    "recovery": lambda one: one.recovery_s,
    "queue": lambda one: one.peak_queue,
    "workers": lambda one: one.peak_workers,
}
_AT_LEAST: dict[str, Callable[[Figures], float | None]] = {
    "throughput": lambda one: one.throughput,
    "utilization": lambda one: one.utilization,
    "success": lambda one: one.success,
    "completed": lambda one: one.completed,
}
NAMES = (
    *(f"{of}{name}" for of in _OF for name in ("mean", "p50", "p95", "p99", "max")),
    *_AT_MOST,
    *_AT_LEAST,
)


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """One figure and its bound. Times in seconds, shares from 0 to 1."""

    text: str
    name: str
    bound: float

    @property
    def at_least(self) -> bool:
        return self.name in _AT_LEAST


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether it was kept. measured None: the test had no such figure, which keeps nothing."""

    expectation: str
    measured: float | None
    kept: bool


def read_expectations(texts: Sequence[str]) -> list[Expectation]:
    """Each as typed. Raises ConfigError with what there is."""
    return [_read(text) for text in texts]


def judged(found: Figures, expectations: Sequence[Expectation]) -> tuple[Verdict, ...]:
    """A verdict on each."""
    return tuple(_judge(found, one) for one in expectations)


def _read(text: str) -> Expectation:
    match = re.fullmatch(r"([a-z0-9_]+)\s*=\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|%)?", text.strip())
    if match is None or match[1] not in NAMES:
        raise ConfigError(
            f"--expect takes name=value such as p95=10s, lost=0 or success=99%, not {text!r}; there are: "
            f"{', '.join(NAMES)}"
        )
    return Expectation(text=text.strip(), name=match[1], bound=float(match[2]) * _UNITS[match[3] or ""])


def _judge(found: Figures, one: Expectation) -> Verdict:
    measured = _measured(found, one.name)
    if measured is None:
        kept = False
    elif one.at_least:
        kept = measured >= one.bound
    else:
        kept = measured <= one.bound
    return Verdict(expectation=one.text, measured=None if measured is None else float(measured), kept=kept)


def _measured(found: Figures, name: str) -> float | None:
    of = {**_AT_MOST, **_AT_LEAST}.get(name)
    if of is not None:
        return of(found)
    kind, _, which = name.rpartition("_")
    times = _OF[f"{kind}_" if kind else ""](found)
    return getattr(times, which) if times.count else None
