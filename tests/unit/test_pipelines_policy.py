"""What comes next in a pipeline, as tables: no broker, no ledger, no clock."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from springtide.domain.ids import DEFAULT_TENANT, BlobId, JobId, ModelName, pipeline_id, pipeline_of, step_id
from springtide.domain.job import TERMINAL, Adopted, BlobRef, Job, JobError, JobRef, JobStatus, Plan, PlanStep, Priority
from springtide.domain.model import FileField
from springtide.policy.pipelines import MAX_STEPS, End, Stop, Submit, accepts, decide, shares, step_job, step_jobs
from springtide.runtime.ids import new_job_id

NOW_S = 1000.0
PICTURE = FileField(name="image", media_types=("image/*",), required=True, many=False, max_bytes=100)


def step(name: str, **changed: Any) -> PlanStep:
    fields: dict[str, Any] = {"inputs": {}, "max_attempts": 3, "timeout_s": 60.0, "predicted_s": 1.0}
    return PlanStep(name=name, model=ModelName(name), model_version="1", **(fields | changed))


def pipeline(*steps: PlanStep, **changed: Any) -> Job:
    fields: dict[str, Any] = {
        "id": pipeline_id(new_job_id()),
        "status": JobStatus.QUEUED,
        "priority": Priority.BATCH,
        "start_deadline_at_s": NOW_S + 60,
        "plan": Plan(steps=steps or (step("a"), step("b"), step("c"))),
    }
    return Job(
        tenant=DEFAULT_TENANT,
        model=ModelName("a > b"),
        model_version="1",
        inputs={},
        input_files=(),
        max_attempts=1,
        timeout_s=1,
        predicted_s=1,
        created_at_s=NOW_S - 1,
        **(fields | changed),
    )


def ran(whole: Job, number: int, status: JobStatus = JobStatus.COMPLETED, **changed: Any) -> Job:
    job = step_job(whole, number, [None] * len(step_jobs(whole)), NOW_S)
    return msgspec.structs.replace(job, status=status, **{"started_at_s": NOW_S + number, **changed})


def blob(number: int, **changed: Any) -> BlobRef:
    fields: dict[str, Any] = {"media_type": "image/png", "bytes": 9, "sha256": "0" * 64}
    return BlobRef(id=BlobId(f"blob_{number:032x}"), **(fields | changed))


def test_the_ids_of_steps_are_always_the_same_and_lead_back_to_their_pipeline() -> None:
    whole = pipeline_id(new_job_id())
    ids = [step_id(whole, number) for number in range(MAX_STEPS)]
    assert len({whole, *ids}) == MAX_STEPS + 1
    assert ids == sorted(ids) == [step_id(whole, number) for number in range(MAX_STEPS)]
    assert {pipeline_of(job) for job in ids} == {whole}
    assert pipeline_of(whole) is None and pipeline_of(new_job_id()) is None
    assert whole < ids[0], "a step sorts after its pipeline"


def test_a_pipeline_without_a_job_begins_with_its_first_step() -> None:
    whole = pipeline()
    found = decide(whole, [None, None, None], NOW_S)
    assert isinstance(found, Submit) and found.began_at_s is None
    job = found.job
    assert (job.id, job.parent, job.step) == (step_id(whole.id, 0), whole.id, 0)
    assert (job.priority, job.start_deadline_at_s, job.created_at_s) == (Priority.BATCH, NOW_S + 60, NOW_S)


def test_the_next_step_has_no_deadline_for_starting_and_knows_when_the_first_began() -> None:
    whole = pipeline()
    found = decide(whole, [ran(whole, 0), None, None], NOW_S)
    assert isinstance(found, Submit)
    assert (found.job.step, found.job.start_deadline_at_s, found.began_at_s) == (1, None, NOW_S)


@pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.IN_PROGRESS])
def test_a_step_that_lives_is_waited_for_or_stopped_where_that_is_wished(status: JobStatus) -> None:
    whole = pipeline()
    steps = [ran(whole, 0), ran(whole, 1, status), None]
    assert decide(whole, steps, NOW_S) is None
    cancelled = pipeline(id=whole.id, cancel_asked_at_s=NOW_S)
    assert decide(cancelled, steps, NOW_S) == Stop(JobRef(ModelName("b"), step_id(whole.id, 1)))


def test_no_step_begins_after_a_cancel_was_asked_for() -> None:
    whole = pipeline(cancel_asked_at_s=NOW_S)
    for steps in ([None, None, None], [ran(whole, 0), None, None]):
        found = decide(whole, steps, NOW_S)
        assert isinstance(found, End) and found.outcome.status is JobStatus.CANCELLED


def test_a_cancel_that_came_after_the_last_step_changes_nothing() -> None:
    whole = pipeline(cancel_asked_at_s=NOW_S)
    found = decide(whole, [ran(whole, number) for number in range(3)], NOW_S)
    assert isinstance(found, End) and found.outcome.status is JobStatus.COMPLETED


def test_the_result_is_that_of_the_last_step() -> None:
    whole = pipeline()
    last = ran(whole, 2, outputs={"x": blob(1).id}, output_files=(blob(1),))
    found = decide(whole, [ran(whole, 0), ran(whole, 1), last], NOW_S + 9)
    assert isinstance(found, End)
    outcome = found.outcome
    assert (outcome.id, outcome.status, outcome.outputs) == (whole.id, JobStatus.COMPLETED, last.outputs)
    assert (outcome.output_files, outcome.started_at_s, outcome.finished_at_s) == ((blob(1),), NOW_S, NOW_S + 9)


@pytest.mark.parametrize("status", sorted(TERMINAL - {JobStatus.COMPLETED}))
def test_a_step_that_ends_otherwise_ends_the_pipeline_the_same_way(status: JobStatus) -> None:
    whole = pipeline()
    error = JobError(code="crashed", message="SIGSEGV", details={"signal": 11})
    found = decide(whole, [ran(whole, 0), ran(whole, 1, status, error=error), None], NOW_S)
    assert isinstance(found, End)
    assert found.outcome.status is status and found.outcome.error is not None
    assert (found.outcome.error.code, found.outcome.error.message) == ("crashed", "step 1 (b): SIGSEGV")
    assert found.outcome.error.details["signal"] == 11
    assert found.outcome.error.details["step"]["job"] == step_id(whole.id, 1)


def test_a_pipeline_that_has_ended_stops_what_still_runs_and_nothing_else() -> None:
    whole = pipeline(status=JobStatus.FAILED)
    assert decide(whole, [ran(whole, 0), None, None], NOW_S) is None
    assert decide(whole, [ran(whole, 0, JobStatus.FAILED), None, None], NOW_S) is None
    assert decide(whole, [ran(whole, 0, JobStatus.QUEUED), None, None], NOW_S) == Stop(
        JobRef(ModelName("a"), step_id(whole.id, 0))
    )


def test_a_retry_begins_at_the_first_step_without_a_result_and_that_one_has_the_deadline() -> None:
    before = Adopted(job=step_id(pipeline().id, 0), outputs={"x": 7})
    whole = pipeline(step("a", adopted=before), step("b", inputs={"n": {"$from": "0.x"}}), step("c"))
    found = decide(whole, [None, None, None], NOW_S)
    assert isinstance(found, Submit) and found.job.inputs == {"n": 7}
    assert (found.job.id, found.began_at_s) == (step_id(whole.id, 1), None)
    assert found.job.start_deadline_at_s == NOW_S + 60


def feeding(value: Any, field: FileField | None, **outputs: Any) -> Submit | End:
    takes = {} if field is None else {"image": field}
    whole = pipeline(step("a"), step("b", inputs={"image": value}, takes=takes))
    given = outputs.pop("files", (blob(1), blob(2)))
    found = decide(whole, [ran(whole, 0, outputs=outputs, output_files=given), None], NOW_S)
    assert isinstance(found, Submit | End)
    return found


def test_values_and_files_are_put_in_their_places() -> None:
    many = FileField(name="image", media_types=("*/*",), required=True, many=True, max_bytes=100)
    one, two = blob(1).id, blob(2).id
    for value, field, outputs, expected, files in (
        ({"$from": "0.x"}, None, {"x": {"deep": [1]}}, {"deep": [1]}, ()),
        ([{"$from": "0.x"}, [9]], None, {"x": [1, 2]}, [[1, 2], [9]], ()),
        ({"$from": "0.x"}, PICTURE, {"x": one}, one, (blob(1),)),
        ({"$from": "0.x"}, PICTURE, {"x": [two]}, two, (blob(2),)),
        ({"$from": "0.x"}, many, {"x": one}, [one], (blob(1),)),
        ([{"$from": "0.x"}, {"$from": "0.y"}], many, {"x": [one, two], "y": one}, [one, two, one], (blob(1), blob(2))),
    ):
        found = feeding(value, field, **outputs)
        assert isinstance(found, Submit)
        assert (found.job.inputs, found.job.input_files) == ({"image": expected}, files)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"x": None}, "image needs a file, and x of step 0 (a) gave none"),
        ({}, "image needs a file, and x of step 0 (a) gave none"),
        ({"x": [blob(1).id, blob(2).id]}, "image takes one file, and x of step 0 (a) gave 2"),
        ({"x": "text"}, "image takes a file, and x of step 0 (a) gave none"),
        (
            {"x": blob(3).id, "files": (blob(3, media_type="audio/wav"),)},
            "image takes image/*, and x of step 0 (a) is audio/wav",
        ),
        (
            {"x": blob(3).id, "files": (blob(3, bytes=101),)},
            "image takes at most 100 bytes, and x of step 0 (a) has 101",
        ),
    ],
)
def test_what_the_next_step_does_not_take_fails_the_pipeline(outputs: dict[str, Any], message: str) -> None:
    found = feeding({"$from": "0.x"}, PICTURE, **outputs)
    assert isinstance(found, End) and found.outcome.error is not None
    assert (found.outcome.status, found.outcome.error.code) == (JobStatus.FAILED, "invalid_input")
    assert found.outcome.error.message == f"step 1 (b): {message}"


def test_shares_follow_the_estimates_and_make_one() -> None:
    plan = Plan(steps=(step("a", predicted_s=3.0), step("b", predicted_s=0.0), step("c", predicted_s=1.0)))
    found = shares(plan)
    assert sum(found) == pytest.approx(1)
    assert found[0] == pytest.approx(3 * found[2]) and 0 < found[1] < found[2]


def test_media_types_are_taken_by_name_and_by_wildcard() -> None:
    assert accepts(("image/*",), "image/png") and accepts(("*/*",), "a/b") and accepts(("audio/wav",), "audio/wav")
    assert not accepts(("image/*", "audio/wav"), "audio/mpeg")


def test_no_pipeline_is_its_own_step() -> None:
    assert step_id(JobId("job_" + "0" * 12 + "7" + "0" * 19), 15).endswith("10")
