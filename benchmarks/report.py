"""A benchmark's record: every value of every round, medians, ratios from the same rounds, goals met or missed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

OURS = "springtide"


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """A figure the product is held to: `system`'s median of `metric`, at least or at most `bound`."""

    metric: str
    bound: float
    at_least: bool
    what: str
    system: str = OURS
    over: str | None = None  # then it is the median of the ratios to this system, round by round


class System(msgspec.Struct, kw_only=True):
    """One measured thing: what it is, what it keeps on disk, and its values round by round."""

    description: str
    durable: str | None = None
    rounds: list[dict[str, float]] = []


class Report:
    """Filled round by round, written once."""

    def __init__(self, name: str, *, title: str, goals: Sequence[Goal] = ()) -> None:
        self.name = name
        self.title = title
        self.goals = goals
        self.systems: dict[str, System] = {}
        self.compare: tuple[str, ...] = ()  # metrics for which ratios to the peers are formed
        self.notes: list[str] = []
        self.versions: dict[str, str] = {}
        self.problems: list[str] = []
        self.curves: dict[str, Any] = {}  # what a page draws of it

    def describe(self, system: str, description: str, *, durable: str | None = None) -> None:
        self.systems[system] = System(description=description, durable=durable)

    def add(self, system: str, values: Mapping[str, float]) -> None:
        """One round's values of one system."""
        self.systems[system].rounds.append({name: round(value, 4) for name, value in values.items()})

    def fail(self, system: str, error: Exception) -> None:
        """A round that gave no figure is on record too."""
        self.problems.append(f"{system}: {type(error).__name__}: {error}")

    def document(self, *, plan: Mapping[str, Any], machine: Mapping[str, Any], command: str) -> dict[str, Any]:
        """The whole record, ready for JSON."""
        return {
            "benchmark": self.name,
            "title": self.title,
            "date_utc": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "command": command,
            "plan": dict(plan),
            "machine": dict(machine),
            "versions": self.versions,
            "systems": {name: self._system(one) for name, one in self.systems.items()},
            "ratios": self._ratios(),
            "goals": [self._goal(goal) for goal in self.goals],
            "notes": self.notes,
            "problems": self.problems,
            **({"curves": self.curves} if self.curves else {}),
        }

    def _system(self, one: System) -> dict[str, Any]:
        kept = {"durable": one.durable} if one.durable else {}
        return {"description": one.description, **kept, "median": summaries(one.rounds), "rounds": one.rounds}

    def _ratios(self) -> dict[str, Any]:
        """Ours / peer, formed within each round, so that a slow minute of the machine hits both sides."""
        own = [name for name in self.systems if name.startswith(OURS)]
        found: dict[str, Any] = {}
        for peer in self.systems:
            if peer in own or not self.systems[peer].rounds:  # our own variants are no peers
                continue
            found[peer] = {
                f"{metric}: {name} / {peer}": spread(values)
                for name in own
                for metric in self.compare
                if (values := self._round_by_round(name, peer, metric))
            }
        return found

    def _round_by_round(self, one: str, other: str, metric: str) -> list[float]:
        ours = self.systems[one].rounds if one in self.systems else []
        theirs = self.systems[other].rounds if other in self.systems else []
        if len(ours) != len(theirs):
            return []
        pairs = zip(ours, theirs, strict=True)
        return [a[metric] / b[metric] for a, b in pairs if a.get(metric) and b.get(metric)]

    def _goal(self, goal: Goal) -> dict[str, Any]:
        if goal.over is not None:
            values = self._round_by_round(goal.system, goal.over, goal.metric)
        else:
            one = self.systems.get(goal.system)
            values = [values[goal.metric] for values in one.rounds if goal.metric in values] if one else []
        measured = statistics.median(values) if values else None
        met = None if measured is None else (measured >= goal.bound if goal.at_least else measured <= goal.bound)
        sign = ">=" if goal.at_least else "<="
        of = f"{goal.system} / {goal.over}" if goal.over else goal.system
        text = f"{goal.metric} of {of} {sign} {goal.bound:g}"
        return {"what": goal.what, "goal": text, "measured": measured, "met": met}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, least, most, and the values."""
    return {
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
        "rounds": [round(value, 4) for value in values],
    }


def summaries(rounds: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """`metric: "median [min-max]"` over the rounds that have it."""
    names = dict.fromkeys(name for values in rounds for name in values)
    return {name: _text([values[name] for values in rounds if name in values]) for name in names}


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def write(document: Mapping[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


def table(document: Mapping[str, Any]) -> str:
    """The record for a terminal."""
    lines = [f"\n{document['title']}  ({document['date_utc']}, {document['machine']['cpu']})"]
    for name, one in document["systems"].items():
        lines.append(f"  {name}: {one['description']}")
        if one.get("durable"):
            lines.append(f"      on disk: {one['durable']}")
        lines += [f"      {metric:<28} {text}" for metric, text in one["median"].items()]
    for ratios in document["ratios"].values():
        lines += [f"  {what:<44} {v['median']:.2f} [{v['min']:.2f}-{v['max']:.2f}]" for what, v in ratios.items()]
    for goal in document["goals"]:
        word = {True: "met", False: "MISSED", None: "not measured"}[goal["met"]]
        lines.append(f"  goal {word}: {goal['what']} ({goal['goal']}; measured {goal['measured']})")
    lines += [f"  problem: {text}" for text in document["problems"]]
    return "\n".join(lines)


def _text(values: Sequence[float]) -> str:
    return f"{_short(statistics.median(values))} [{_short(min(values))}-{_short(max(values))}]"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
