"""Whether two requests ask for the same: what an idempotency key is checked against."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from springtide.domain.ids import BlobId
from springtide.domain.job import BlobRef, Plan, PlanStep

_canonical = msgspec.json.Encoder(order="sorted")


def fingerprint(model: str, inputs: Mapping[str, Any], files: Sequence[BlobRef]) -> str:
    """SHA-256 over what was asked for. model: with its version where that was named. A file counts by its bytes, not by
    the id it was given this time."""
    hashes = {ref.id: f"sha256:{ref.sha256}" for ref in files}
    return hashlib.sha256(_canonical.encode([model, _by_hash(inputs, hashes)])).hexdigest()


def plan_fingerprint(plan: Plan) -> str:
    """The same for a pipeline: the steps' own, in order."""
    steps = [
        [fingerprint(_asked(step), step.inputs, step.input_files), step.adopted and step.adopted.job]
        for step in plan.steps
    ]
    return hashlib.sha256(_canonical.encode(steps)).hexdigest()


def _asked(step: PlanStep) -> str:
    return f"{step.model}@{step.model_version}" if step.is_pinned else step.model


def _by_hash(value: Any, hashes: Mapping[BlobId, str]) -> Any:
    if not hashes:
        return value
    if isinstance(value, str):
        return hashes.get(BlobId(value), value)
    if isinstance(value, dict):
        return {key: _by_hash(item, hashes) for key, item in value.items()}
    if isinstance(value, list):
        return [_by_hash(item, hashes) for item in value]
    return value
