"""`springtide simulate` and `springtide trace export`, as one types them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from springtide.cli.main import app
from springtide.domain.errors import ConfigError
from springtide.domain.ids import ModelName, TenantId, first_job_id_at
from springtide.domain.job import JobStatus
from springtide.ledger.sql import SqlLedger
from springtide.sim.pool.traces import read_trace
from springtide.testing.ledger_cases import job

TRACE = ("simulate", "invent:tide", "--until", "2h", "--load", "3")


def told(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_policies_are_compared_in_a_table_as_json_and_as_a_report(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    shown = told(*TRACE, "--policies", "tide,static-6", "--html", str(path))
    assert "static-6" in shown
    assert "99 % of jobs begin within 30 s" in shown.replace("\n", " ")
    found = json.loads(told(*TRACE, "--policies", "tide,static-6", "--json", "--objective", "wait=1m:0.95"))
    assert [one["policy"] for one in found["outcomes"]] == ["tide", "static-6"]
    assert (found["wait_s"], found["share"]) == (60.0, 0.95)
    assert found["outcomes"][1]["replica_hours"] == pytest.approx(6 * found["span_s"] / 3600, rel=0.01)
    page = path.read_text()
    assert page.count("<svg") == 5
    assert "http" not in page.replace("http-equiv", ""), "it loads nothing from anywhere"
    assert "<script" not in page
    assert "Springtide&#x27;s default" in page, "a reader need not know what a policy's name means"


def test_tuning_prints_lines_that_the_configuration_takes() -> None:
    lines = told(*TRACE, "--tune", "--objective", "wait=30s:0.9")
    bounds = tomllib.loads(lines)["models"]["MODEL"]
    assert 0 <= bounds["min_replicas"] < bounds["max_replicas"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("simulate", "nowhere.csv"), "cannot be read"),
        (("simulate", "invent:weather"), "tide, weekly"),
        ((*TRACE, "--objective", "soon"), "wait=30s:0.99"),
        ((*TRACE, "--cold-start", "long"), "90s, 30m"),
        ((*TRACE, "--cold-start", "40s~wide"), "40s~0.3"),
        ((*TRACE, "--policies", "magic"), "no policy is called"),
        ((*TRACE, "--policies", " , "), "no policy is named"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_would(arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        CliRunner().invoke(app, list(arguments), catch_exceptions=False)


async def test_ones_own_history_becomes_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPRINGTIDE_SERVER__DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    from springtide.cli import build
    from springtide.cli.simulate import _exported  # pyright: ignore[reportPrivateUsage]

    config = build.load(None)
    ledger = SqlLedger(config.ledger_url)
    await ledger.start()
    base_s = 1_800_000_000.0
    done = {"status": JobStatus.COMPLETED, "tenant": TenantId("press")}
    await ledger.insert(
        [
            job(
                number,
                id=first_job_id_at(base_s + number) + f"{number:020x}",
                model=ModelName("matting"),
                created_at_s=base_s + number,
                started_at_s=base_s + 10.0,
                finished_at_s=base_s + 10.0 + number,
                predicted_s=2.0,
                **done,
            )
            for number in (1, 2, 4)
        ]
    )
    await ledger.stop()
    path = tmp_path / "mine.csv"
    path.write_text(await _exported(config, base_s))
    assert path.read_text().splitlines()[1] == "0.000,matting,press,1.000,2.000"
    jobs = read_trace(path)
    assert (list(jobs.at_s), list(jobs.run_s)) == ([0.0, 1.0, 3.0], [1.0, 2.0, 4.0])
