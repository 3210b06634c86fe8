"""The contract for engines notices engines that do not keep it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy
import pytest
from engine_world import DATA
from pydantic import BaseModel

from springtide.domain.ids import JobId, ModelName
from springtide.domain.job import JobError
from springtide.engines.binding import describe
from springtide.engines.protocol import Engine, Progress
from springtide.testing import engine_runs, engine_suite
from springtide.testing.engine_runs import Case, Ran, Rehearsal
from springtide.worker.frames import Made as MadeFile
from springtide.worker.run import Ending, Run

pytestmark = pytest.mark.xdist_group("engines")

PORTRAIT = DATA / "portrait.jpg"


class Plain(BaseModel):
    value: int = 0


class Result(BaseModel):
    value: int = 0


class Careless(Engine[Plain, Result]):
    """Breaks what can be broken without running."""

    stages = ("a", "a")

    def load(self) -> None:
        """Nothing."""

    def run(self, inputs: Plain, progress: Progress) -> Result:
        return Result(value=int(numpy.int64(1)))


class CarelessSuite(engine_suite.EngineSuite):
    engine = "test_engine_suite:Careless"
    inputs: ClassVar[dict[str, Any]] = {}
    refused_inputs: ClassVar[list[dict[str, Any]]] = [{"value": 3}]
    refused_settings: ClassVar[list[dict[str, Any]]] = [{"x": 1}]


CASE = Case(engine=CarelessSuite.engine, inputs={}, weights_folder=Path("none"))
MODEL = describe(ModelName("model"), Careless, engine_reference=CASE.engine)


@pytest.mark.parametrize(
    ("test", "given"),
    [
        ("it_says_what_it_is", {"engine_type": Careless, "model": MODEL}),
        ("its_schemas_are_whole_and_every_field_is_described", {"model": MODEL}),
        ("inputs_it_should_refuse_are_refused", {"engine_type": Careless, "case": CASE}),
        ("importing_it_and_asking_its_estimate_is_cheap_and_needs_no_file", {"case": CASE}),
        ("wrong_settings_are_a_config_error", {"engine_type": Careless, "case": CASE}),
        ("its_output_says_what_made_it", {"engine_type": Careless}),
    ],
)
def test_a_careless_engine_is_noticed_before_it_runs(test: str, given: dict[str, Any]) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(CarelessSuite(), f"test_{test}")(**given)


RUN = Run(JobId("job"), 1, b"", 1.0, "base", "base/own")
MADE = {"engine": "e", "model": "m", "version": "1", "license": "l", "generative": False, "seconds": 0.1}
GOOD = Ran(
    ending=Ending(run=RUN, run_s=2.0, outputs=MADE), told=[(0.1, "a"), (0.9, "b")], pid=7, threads=3, open_files=9,
    children=0,
)  # fmt: skip
FAILED = Ending(run=RUN, error=JobError(code="engine_failed", message="KeyError"))
ALL_GOOD = Rehearsal(load_s=1, first=GOOD, second=GOOD, broken={}, together=[], cancelled=GOOD, last=GOOD)


def but(ran: Ran = GOOD, **changes: Any) -> Ran:
    return msgspec.structs.replace(ran, **changes)


class Staged(Careless):
    stages = ("a", "b")


@pytest.mark.parametrize(
    ("test", "seen"),
    [
        ("it_runs_and_gives_its_output", {"first": but(ending=FAILED)}),
        ("the_same_inputs_give_a_result_twice_of_the_same_shape", {"second": but(ending=FAILED)}),
        ("progress_goes_forward_through_its_stages", {"first": but(told=[])}),
        ("progress_goes_forward_through_its_stages", {"first": but(told=[(0.5, "a"), (0.4, "b")])}),
        ("progress_goes_forward_through_its_stages", {"first": but(told=[(0.1, "b"), (0.5, "a")])}),
        ("progress_goes_forward_through_its_stages", {"first": but(told=[(0.1, "c")])}),
        ("what_made_the_result_is_told", {"first": but(ending=Ending(run=RUN, outputs={**MADE, "model": ""}))}),
        ("what_made_the_result_is_told", {"first": but(ending=Ending(run=RUN, run_s=0, outputs=MADE))}),
        ("a_cancel_takes_effect", {"cancelled": but(told=[(0.1, "a")])}),
        ("a_cancel_takes_effect", {"cancelled": but(ending=FAILED)}),
        ("a_file_that_is_cut_off_is_the_callers_fault", {"broken": {"image": but(ending=FAILED)}}),
        ("a_file_that_is_cut_off_is_the_callers_fault", {"broken": {"image": but(pid=8)}}),
        ("a_batch_gives_each_job_its_own_result", {"together": [GOOD, but(ending=FAILED)]}),
        ("it_still_works_afterwards_and_leaves_nothing_behind", {"last": but(threads=4)}),
        ("it_still_works_afterwards_and_leaves_nothing_behind", {"last": but(open_files=10)}),
        ("it_still_works_afterwards_and_leaves_nothing_behind", {"last": but(children=1)}),
        ("it_still_works_afterwards_and_leaves_nothing_behind", {"last": but(ending=FAILED)}),
    ],
)
def test_an_engine_that_runs_badly_is_noticed(test: str, seen: dict[str, Any]) -> None:
    given: dict[str, Any] = {"rehearsal": msgspec.structs.replace(ALL_GOOD, **seen)}
    if "stages" in test or "made" in test:
        given["engine_type"] = Staged
    suite = engine_suite.EngineSuite()
    with pytest.raises(AssertionError):
        getattr(suite, f"test_{test}")(**given)


def test_a_file_that_is_not_what_it_is_said_to_be_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "made.png").write_bytes(PORTRAIT.read_bytes())
    file = MadeFile(str(tmp_path / "made.png"), "image/png", "made.png")
    ran = but(ending=Ending(run=RUN, outputs={**MADE, "picture": {"$file": 0}}, files=(file,)))
    model = msgspec.structs.replace(MODEL, output_files=("picture",))
    with pytest.raises(AssertionError, match="image/jpeg, not image/png"):
        engine_suite.EngineSuite().test_its_files_are_what_it_says_they_are(
            msgspec.structs.replace(ALL_GOOD, first=ran), model
        )


def test_an_engine_that_does_not_load_is_named_with_the_reason(tmp_path: Path) -> None:
    case = Case(engine="synthetic", inputs={}, settings={"oom_cap_mb": "much"}, weights_folder=tmp_path)
    with pytest.raises(AssertionError, match=r"synthetic does not load.*oom_cap_mb"):
        engine_runs.rehearse(case, tmp_path)
