"""Jobs, outcomes and blobs for the ledger's contract suite."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from springtide.domain.ids import BlobId, JobId, ModelName, TenantId, WorkerId
from springtide.domain.job import BlobRef, Checkpoint, Job, JobError, JobStatus, Plan, PlanStep, Priority
from springtide.domain.lease import LiveJob, Outcome
from springtide.domain.model import FileField
from springtide.ledger.protocol import Ledger, LiveRef, PendingUpload, StoredBlob

Reopen = Callable[[], Awaitable[Ledger]]

ACME = TenantId("acme")
GLOBEX = TenantId("globex")
MATTING = ModelName("matting")
SPEECH = ModelName("speech")
NOW_S = 1_795_000_000.1234567  # more digits than a decimal column would keep


def job(number: int, **changed: Any) -> Job:
    """A queued job; a greater number is a later one."""
    fields: dict[str, Any] = {
        "id": JobId(f"job_{number:032x}"),
        "tenant": ACME,
        "model": MATTING,
        "model_version": "1",
        "status": JobStatus.QUEUED,
        "inputs": {
            "image": f"blob_{number:032x}",
            "strength": 0.1 + 0.2,
            "note": "猫 🐈 \x00 end",
            "many": [1, 2.5, None],
        },
        "input_files": (blob_ref(number),),
        "priority": Priority.STANDARD,
        "max_attempts": 3,
        "timeout_s": 300.0,
        "predicted_s": 1.7,
        "created_at_s": NOW_S + number,
    }
    return Job(**(fields | changed))


def blob_ref(number: int, **changed: Any) -> BlobRef:
    fields: dict[str, Any] = {
        "media_type": "image/png",
        "bytes": 5_000_000_000,
        "sha256": "a" * 64,
        "name": "猫\x00.png",
    }
    return BlobRef(id=BlobId(f"blob_{number:032x}"), **(fields | changed))


def loose(number: int, since_s: float) -> StoredBlob:
    return StoredBlob(ref=blob_ref(number), tenant=ACME, created_at_s=since_s, loose_since_s=since_s)


def upload(number: int, **changed: Any) -> PendingUpload:
    fields: dict[str, Any] = {"name": "猫\x00.png", "media_type": "image/png", "sha256": "a" * 64}
    return PendingUpload(
        id=BlobId(f"blob_{number:032x}"),
        tenant=ACME,
        bytes=5_000_000_000,
        created_at_s=NOW_S,
        expires_at_s=NOW_S + 59 + number,
        token_sha256="b" * 64,
        **(fields | changed),
    )


def plan_step(name: str, **changed: Any) -> PlanStep:
    fields: dict[str, Any] = {
        "model_version": "1",
        "inputs": {"image": {"$from": "0.cutout"}, "n": 0.5},
        "max_attempts": 3,
        "timeout_s": 300.0,
        "predicted_s": 2.5,
        "input_files": (blob_ref(5),),
        "takes": {"image": FileField(name="image", media_types=("image/*",), required=True, many=False, max_bytes=9)},
    }
    return PlanStep(name=name, model=MATTING, **(fields | changed))


def pipeline(number: int, **changed: Any) -> Job:
    return job(number, plan=Plan(steps=(plan_step("one"), plan_step("two"))), **changed)


def outcome(of: Job, status: JobStatus, attempt: int = 1, **changed: Any) -> Outcome:
    fields: dict[str, Any] = {"finished_at_s": NOW_S + 100 + attempt}
    if attempt:
        fields |= {"worker": WorkerId(f"w{attempt}"), "started_at_s": NOW_S + 50 + attempt}
    if status is JobStatus.COMPLETED:
        fields |= {"outputs": {"cut": f"blob_{99:032x}", "score": 0.3}, "output_files": (blob_ref(99),)}
    elif attempt and status is not JobStatus.EXPIRED:
        fields["error"] = JobError(code="crashed", message=f"attempt {attempt}", details={"signal": 11})
    return Outcome(seq=f"{attempt}-0", id=of.id, model=of.model, status=status, attempt=attempt, **(fields | changed))


def running(of: Job, attempt: int, worker: str = "w", checkpoint: Checkpoint | None = None) -> LiveJob:
    return LiveJob(
        id=of.id,
        status=JobStatus.IN_PROGRESS,
        attempt=attempt,
        worker=WorkerId(worker),
        started_at_s=NOW_S + 50 + attempt,
        checkpoint=checkpoint,
    )


def ids(jobs: Sequence[Job | LiveRef]) -> list[int]:
    """The numbers the jobs were made from."""
    return [int(each.id[4:], 16) for each in jobs]


async def only(ledger: Ledger, of: Job) -> Job:
    (found,) = await ledger.get([of.id])
    assert found is not None
    return found
