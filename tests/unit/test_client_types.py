"""The client's values are the gateway's: same fields, same types. And it loads nothing of the platform."""

from __future__ import annotations

import subprocess
import sys
import types as python_types
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
import pytest

from springtide.client import batches, models, operating, orders, rollouts, types
from springtide.gateway import (
    operating_views,
    schemas,
    schemas_batches,
    schemas_files,
    schemas_models,
    schemas_orders,
    schemas_rollouts,
)

MIRRORS: dict[type[msgspec.Struct], type[msgspec.Struct]] = {
    schemas.FieldProblem: types.FieldProblem,
    schemas.ErrorView: types.ErrorInfo,
    schemas.AcceptedView: types.Job,
    schemas.ExplainedReason: types.ExplainedReason,
    schemas.ExplainView: types.Explanation,
    schemas_models.CapabilityView: models.Capability,
    schemas_batches.BatchCounts: batches.BatchCounts,
    schemas_batches.RefusedItem: batches.RefusedItem,
    schemas_batches.BatchView: batches.Batch,
    schemas_batches.BatchPage: batches.BatchPage,
    schemas_batches.BatchItemView: batches.BatchItem,
    schemas_batches.BatchItemPage: batches.BatchItemPage,
    schemas.ReasonView: types.Reason,
    schemas.StepView: types.StepState,
    schemas.JobView: types.Job,
    schemas.JobPage: types.JobPage,
    schemas_files.FileView: types.File,
    schemas_files.BlobView: types.Blob,
    schemas_files.UploadView: types.Upload,
    schemas.AttemptView: types.Attempt,
    schemas.AttemptList: types.AttemptList,
    schemas.EventView: types.Event,
    schemas.WaitingEventView: types.Event,
    schemas_models.WorkerFigures: models.WorkerFigures,
    schemas_models.LiveFigures: models.LiveFigures,
    schemas_models.FileFieldView: models.FileField,
    schemas_models.MeasuredView: models.Measured,
    schemas_models.WeightsView: models.ModelFile,
    schemas_models.ModelView: models.Model,
    schemas_models.ModelList: models.ModelList,
    schemas_models.DecisionView: models.Decision,
    schemas_models.SampleView: models.Sample,
    schemas_models.ScalingView: models.Scaling,
    schemas_rollouts.VersionView: rollouts.Version,
    schemas_rollouts.MeasuredVersionView: rollouts.MeasuredVersion,
    schemas_rollouts.ComparedView: rollouts.Compared,
    schemas_rollouts.MarginsView: rollouts.Margins,
    schemas_rollouts.RolloutView: rollouts.Rollout,
    schemas_orders.PauseView: orders.Paused,
    schemas_orders.PinView: orders.Pinned,
    operating_views.OperatedView: operating.Operated,
    operating_views.UsageFigures: operating.UsageFigures,
    operating_views.HeldView: operating.HeldJob,
    operating_views.WorkerModelView: operating.WorkerModel,
    operating_views.WorkerRow: operating.Worker,
    operating_views.WorkerList: operating.WorkerList,
}
NOT_MIRRORED = {schemas.Problem, schemas.Health, schemas.Readiness}  # an error, and what probes ask
WIDER = {types.Event, types.Job}  # one value for several answers: they have fields that one of those lacks


@pytest.mark.parametrize("theirs", MIRRORS, ids=lambda one: one.__name__)
def test_the_clients_value_has_the_servers_fields(theirs: type[msgspec.Struct]) -> None:
    ours = MIRRORS[theirs]
    sent = {field.name: _mirrored(field.type) for field in msgspec.structs.fields(theirs)}
    read = {field.name: _loose(field.type) for field in msgspec.structs.fields(ours)}
    if ours not in WIDER or theirs is schemas.JobView:
        assert sent.keys() == read.keys(), "springtide/client/types.py mirrors springtide/gateway/schemas.py"
    assert {name: kind for name, kind in sent.items() if not _holds(read.get(name), kind)} == {}
    optional = {field.name for field in msgspec.structs.fields(ours) if not field.required}
    assert read.keys() - sent.keys() <= optional, "what only some answers have needs a default"


def test_every_shape_that_goes_out_is_mirrored() -> None:
    defined = {
        one
        for module in (
            schemas,
            schemas_batches,
            schemas_files,
            schemas_models,
            schemas_orders,
            schemas_rollouts,
            operating_views,
        )
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, msgspec.Struct) and one.__module__ == module.__name__
    }
    assert defined - NOT_MIRRORED == set(MIRRORS), "add it to springtide/client, and here"


def test_a_field_of_a_newer_server_is_ignored() -> None:
    found = msgspec.json.decode(b'{"loc":"a","message":"b","hint":"c"}', type=types.FieldProblem)
    assert found == types.FieldProblem(loc="a", message="b")


def test_the_client_loads_httpx_and_msgspec_and_nothing_of_the_platform() -> None:
    program = (
        "import sys, httpx, msgspec; before = set(sys.modules); import springtide.client;"
        "print(*sorted(name for name in set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    added = done.stdout.split()
    ours = {name for name in added if name.startswith("springtide")}
    allowed = ("springtide.client", "springtide.domain")
    assert {name for name in ours if not name.startswith(allowed)} == {"springtide"}
    assert {name.partition(".")[0] for name in added} - {"springtide"} <= set(sys.stdlib_module_names)


def test_a_job_finds_its_files() -> None:
    file = {"id": "blob_1", "url": "/f", "media_type": "image/png", "bytes": 3, "sha256": "0", "name": "a.png"}
    told = {"id": "job_1", "status": "completed", "model": "m", "model_version": "1", "created_at": ""}
    urls = {"status_url": "", "result_url": "", "events_url": "", "cancel_url": "", "created_at_s": 0.0}
    outputs = {"note": {"id": "x"}, "cutout": file, "layers": [file, file], "none": None}
    job = msgspec.convert({**told, **urls, "outputs": outputs}, types.Job)
    assert {name: len(files) for name, files in job.files.items()} == {"cutout": 1, "layers": 2}
    assert job.file() == job.file("cutout")
    with pytest.raises(KeyError, match="it has cutout, layers"):
        job.file("mask")
    with pytest.raises(KeyError, match="no file among"):
        msgspec.structs.replace(job, outputs=None).file()


def _holds(read: Any, sent: Any) -> bool:
    """A status, which may get new words, is read as text."""
    is_word = read is str and (
        (isinstance(sent, tuple) and sent[0] is Literal) or (isinstance(sent, type) and issubclass(sent, StrEnum))
    )
    return read == sent or read == frozenset({sent, python_types.NoneType}) or is_word


def _mirrored(kind: Any) -> Any:
    """A type of the schemas, with the client's in the places of theirs."""
    if kind in MIRRORS:
        return MIRRORS[kind]
    origin, args = get_origin(kind), tuple(_mirrored(one) for one in get_args(kind))
    return _rebuilt(kind, origin, args)


def _loose(kind: Any) -> Any:
    """A type of the client's; a Sequence is a list."""
    origin, args = get_origin(kind), tuple(_loose(one) for one in get_args(kind))
    return _rebuilt(kind, list if origin is Sequence else origin, args)


def _rebuilt(kind: Any, origin: Any, args: tuple[Any, ...]) -> Any:
    if origin in (Union, python_types.UnionType):
        return frozenset(args)
    return (origin, args) if args else kind
