"""The harness works: a tiny run writes a well-formed record, and its arithmetic is right. No speed is asserted."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from benchmarks import __main__ as harness
from benchmarks import claims, soak, soak_watch
from benchmarks.machine import machine
from benchmarks.plan import REPOSITORY, quick_plan
from benchmarks.report import Goal, Report, percentile

PAGE = (REPOSITORY / "docs" / "benchmarks.md").read_text()


@pytest.mark.parametrize("name", harness.NAMES)
def test_every_benchmark_can_be_imported_and_is_on_the_page(name: str) -> None:
    assert callable(importlib.import_module(f"benchmarks.{name}").measure)
    assert f"| `{name}` |" in PAGE


def test_a_tiny_run_writes_a_well_formed_record(tmp_path: Path) -> None:
    arguments = ["queue", "--quick", "--seconds", "0.1", "--only", "springtide", "--results", str(tmp_path)]
    assert harness.main(arguments) == 0
    record = json.loads((tmp_path / "queue.json").read_text())
    at = arguments.index("--results")  # a folder of this machine is no part of the record
    assert record["command"] == "python -m benchmarks " + " ".join(arguments[:at] + arguments[at + 2 :])
    assert record["machine"]["cores"] >= 1
    assert record["machine"]["file_system"] != "unknown"
    assert "springtide" in record["versions"]
    [values] = record["systems"]["springtide"]["rounds"]
    assert set(record["systems"]["springtide"]["median"]) == set(values)
    assert values["jobs"] >= 1
    assert values["done_p99_ms"] >= values["done_p50_ms"] >= values["accepted_p50_ms"] > 0
    assert record["problems"] == []


def test_ratios_are_formed_round_by_round_and_goals_on_medians() -> None:
    report = _report(ours=[10.0, 30.0, 90.0], peer=[5.0, 10.0, 15.0])
    document = report.document(plan={}, machine={}, command="")
    [ratio] = document["ratios"]["peer"].values()
    assert (ratio["min"], ratio["median"], ratio["max"]) == (2.0, 3.0, 6.0)
    assert [goal["met"] for goal in document["goals"]] == [True, False]


def test_a_peer_that_missed_a_round_gets_no_ratio_and_the_problem_is_kept() -> None:
    report = _report(ours=[10.0, 30.0], peer=[5.0])
    report.fail("peer", RuntimeError("its worker died"))
    document = report.document(plan={}, machine={}, command="")
    assert document["ratios"]["peer"] == {}
    assert document["problems"] == ["peer: RuntimeError: its worker died"]


def test_a_goal_without_a_figure_is_neither_met_nor_missed() -> None:
    document = _report(ours=[], peer=[]).document(plan={}, machine={}, command="")
    assert {goal["met"] for goal in document["goals"]} == {None}


def test_percentiles_are_values_that_were_measured() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([1.0] * 99 + [7.0], 0.99) == 1.0
    assert percentile([4.0], 0.99) == 4.0


def test_the_machine_is_told_with_the_file_system_of_the_data(tmp_path: Path) -> None:
    told = machine(quick_plan(tmp_path).folder)
    assert told["memory_gb"] > 0
    assert told["python"]


def _report(*, ours: list[float], peer: list[float]) -> Report:
    report = Report(
        "any",
        title="Any",
        goals=(
            Goal(metric="speed", bound=30, at_least=True, what="fast"),
            Goal(metric="speed", bound=29, at_least=False, what="slow"),
        ),
    )
    report.compare = ("speed",)
    report.describe("springtide", "ours")
    report.describe("peer", "theirs")
    for value in ours:
        report.add("springtide", {"speed": value})
    for value in peer:
        report.add("peer", {"speed": value})
    return report


def test_claims_are_written_between_their_marks_and_link_what_they_quote() -> None:
    row = claims.Row(what="8 workers", claimed="8 times", source="http://a.test", simulated="7.9 ×", real="7.8 ×")
    told = claims.section([row], date="2026-11-22", cpu="2 cores")
    assert told.startswith(claims.BEGIN) and told.endswith(claims.END)
    assert "| 8 workers | [8 times](http://a.test) | 7.9 × | 7.8 × |" in told
    assert PAGE.count(claims.BEGIN) == PAGE.count(claims.END) == 1
    kept = json.loads((REPOSITORY / "benchmarks" / "results" / "claims.json").read_text())
    written = PAGE[PAGE.index(claims.BEGIN) : PAGE.index(claims.END)]
    assert all(one["what"] in written and one["simulated"] in written for one in kept["rows"]), "run make bench-claims"


def test_a_soak_is_bounded() -> None:
    for minutes in ("0", "100000"):
        with pytest.raises(SystemExit, match="--minutes"):
            soak.main(["--minutes", minutes])


def test_a_series_that_grows_is_a_bad_verdict_and_one_that_wavers_is_good() -> None:
    grows = [(5.0 * number, 70.0 + number) for number in range(50)]
    wavers = [(5.0 * number, 70.0 + number % 3) for number in range(50)]
    assert not soak_watch.flat("memory", grows, 3.0, 0.04).good
    assert soak_watch.flat("memory", wavers, 3.0, 0.04).good
    assert not soak_watch.flat("memory", [], 3.0, 0.04).good
