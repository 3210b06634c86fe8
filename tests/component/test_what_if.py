"""The simulator as a model: what the command finds, how far it is, a way to stop it, and what is wrong in words."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from springtide.domain.errors import ConfigError, InvalidInput
from springtide.engines.protocol import Cancelled, InputFile
from springtide.sim.pool.contenders import OWN, PEERS
from springtide.sim.pool.families import FAMILIES
from springtide.sim.pool.grids import GRIDS, TUNED
from springtide.sim.what_if import POLICY, Family, Input, WhatIf


class Line:
    """An engine's line to the outside that writes down what it hears; it says stop after so many words."""

    def __init__(self, folder: Path, stop_after: int | None = None) -> None:
        self.folder, self.checkpoint = folder, None
        self.heard: list[tuple[float, str | None]] = []
        self._stop_after = stop_after

    def __call__(self, fraction: float, stage: str | None = None, *, checkpoint: Any = None) -> None:
        self.heard.append((fraction, stage))
        if self._stop_after is not None and len(self.heard) > self._stop_after:
            raise Cancelled


@pytest.fixture
def engine() -> WhatIf:
    made = WhatIf({}, Path())
    made.load()
    return made


def asked(**changed: Any) -> Input:
    return Input.model_validate(
        {"invent": "steady", "days": 0.1, "load": 3, "policies": ["tide", "static-6"], **changed}
    )


def csv(folder: Path, text: str) -> InputFile:
    path = folder / "blob"
    path.write_text(text)
    return InputFile(path=path, media_type="text/plain", bytes=len(text), name="monday.csv")


def test_policies_are_compared_and_the_settings_are_lines_for_the_configuration(engine: WhatIf, tmp_path: Path) -> None:
    line = Line(tmp_path)
    found = engine.run(asked(share=0.9), line)
    assert [one.policy for one in found.policies] == ["tide", "static-6"]
    assert found.policies[1].replica_hours == pytest.approx(6 * found.span_s / 3600, rel=0.01)
    assert found.best in ("tide", "static-6")
    assert found.settings is not None
    assert tomllib.loads(found.settings.lines)["models"]["MODEL"]["max_replicas"] >= 1
    curves = json.loads(found.curves.path.read_text())
    assert set(curves) == {"tide", "static-6"} and len(curves["tide"]["rows"][0]) == 7
    assert "<script" not in found.report.path.read_text()
    fractions = [fraction for fraction, _ in line.heard]
    assert fractions == sorted(fractions) and fractions[-1] <= 1
    assert {stage for _, stage in line.heard} == {"compare", "tune"}


def test_bounds_hold_for_every_policy_and_for_the_settings(engine: WhatIf, tmp_path: Path) -> None:
    found = engine.run(
        asked(policies=["tide", "hpa", "idle"], min_replicas=2, max_replicas=4, share=0.9), Line(tmp_path)
    )
    curves = json.loads(found.curves.path.read_text())
    for one in found.policies:
        assert one.peak <= 4
        assert min(row[4] for row in curves[one.policy]["rows"]) >= 2
    assert found.settings is not None
    settings = tomllib.loads(found.settings.lines)["models"]["MODEL"]
    assert settings["min_replicas"] >= 2 and settings["max_replicas"] <= 4


def test_an_uploaded_trace_keeps_its_name_and_what_it_does_not_tell_is_said(engine: WhatIf, tmp_path: Path) -> None:
    trace = csv(tmp_path, "arrival_s,seconds\n" + "".join(f"{at * 20}.5,10\n" for at in range(200)))
    found = engine.run(asked(invent=None, trace=trace, load=None, tune=False), Line(tmp_path))
    assert (found.trace, found.jobs, found.settings) == ("monday", 200, None)
    assert "predictions learnt" in found.note


def test_a_file_that_is_no_trace_is_the_callers_mistake_in_words(engine: WhatIf, tmp_path: Path) -> None:
    trace = csv(tmp_path, "name,colour\nfoam,white\n")
    with pytest.raises(InvalidInput, match="has no column of times"):
        engine.run(asked(invent=None, trace=trace), Line(tmp_path))


def test_a_simulation_stops_when_it_is_cancelled(engine: WhatIf, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        engine.run(asked(), Line(tmp_path, stop_after=3))


@pytest.mark.parametrize(
    "wrong",
    [
        {"invent": None},
        {"policies": ["magic"]},
        {"policies": []},
        {"min_replicas": 5, "max_replicas": 4},
        {"share": 1.5},
        {"invent": "weather"},
    ],
)
def test_what_makes_no_sense_is_refused_before_it_is_a_job(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        asked(**wrong)


def test_the_names_it_takes_are_those_of_the_simulator() -> None:
    assert set(get_args(Family)) == set(FAMILIES)
    tuned = [f"{kind}{TUNED}" for kind in [*GRIDS, "static"]]
    for name in [*OWN, *PEERS, *tuned, "static-8", "idle-120"]:
        assert re.fullmatch(POLICY, name), name
    for name in ("tide-tuned", "static-0", "static", "keda-3", "tide "):
        assert not re.match(POLICY, name), name


def test_longer_traces_and_more_policies_are_thought_to_take_longer(engine: WhatIf) -> None:
    few, long, many = asked(), asked(days=2), asked(policies=["tide", "kpa-tuned", "static-6"])
    assert engine.estimate(few) < engine.estimate(long)
    assert engine.estimate(few) < engine.estimate(many)
    assert set(engine.features(few)) == {"jobs", "runs"}


def test_nothing_can_be_set_in_its_table() -> None:
    with pytest.raises(ConfigError, match="what-if"):
        WhatIf({"threads": 2}, Path())
