"""Jobs and models as tables: ids are for copying and are never cut, whatever the terminal's width."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Column, Table

from springtide.client.types import Job, StepState

ROOMY = 140  # characters of a terminal that all columns of the models' table fit
MOST_SHOWN = 300  # characters of an output that is no file: `--json` has all
_out = Console()


def show_jobs(jobs: Iterable[Job]) -> None:
    """One line a job."""
    table = _jobs_table()
    for one in jobs:
        table.add_row(one.id, one.model, one.status, escape(_note(one)))
    _out.print(table)


def show_job(job: Job) -> None:
    """One job, and the steps of a pipeline below it."""
    table = _jobs_table()
    table.add_row(job.id, job.model, job.status, escape(_note(job)))
    for step in job.steps or []:
        status = "reused" if step.reused else step.status
        table.add_row(step.job or "", f"{step.step} {step.name}", status, escape(_step_note(step)))
    _out.print(table)


def _jobs_table() -> Table:
    # An id is for copying: the model of a pipeline, which may be many, and the note give way.
    names = (Column("job", no_wrap=True), "model", Column("status", no_wrap=True))
    return Table(*names, Column("when, or why", overflow="fold"), pad_edge=False)


def show_outputs(job: Job, *, keep_s: float | str | None) -> None:
    """What a completed job gave, how to get its files, and how long they are kept. keep_s: as `/readyz` says it."""
    table = Table("output", "type", Column("size", justify="right", no_wrap=True), "value")
    for name, value in (job.outputs or {}).items():
        files = job.files.get(name, [])
        for file in files:
            table.add_row(name, file.media_type, decimal(file.bytes), escape(file.name or ""))
        if not files:
            table.add_row(name, _kind(value), "", escape(_short(value)))
    _out.print(table)
    if job.files:
        _out.print(f"fetch them: springtide download {job.id} --all FOLDER", markup=False, soft_wrap=True)
    if keep_s == "forever":
        _out.print("kept until somebody deletes it", style="dim")
    elif isinstance(keep_s, int | float) and job.finished_at_s is not None:
        until = datetime.fromtimestamp(job.finished_at_s + keep_s).astimezone().strftime("%Y-%m-%d %H:%M")
        _out.print(f"kept until {until} ([ledger] keep_s)", style="dim", markup=False)


def _kind(value: Any) -> str:
    names = {bool: "yes or no", str: "text", int: "number", float: "number", list: "list", dict: "table"}
    return names.get(type(value), "nothing")


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def _note(job: Job) -> str:
    if job.error is None and job.waiting is None and (job.progress is None or job.status == "completed"):
        return _when(datetime.fromtimestamp(job.created_at_s).astimezone())
    return _words(job)


def _when(then: datetime) -> str:
    """In twelve characters: beside an id that is all there is room for in 80. `--json` has it in full."""
    now = datetime.now().astimezone()
    if then.date() == now.date():
        return then.strftime("%H:%M:%S")
    return then.strftime("%d %b %H:%M" if then.year == now.year else "%d %b %Y")


def _step_note(step: StepState) -> str:
    return "" if step.status == "completed" else _words(step)


def _words(one: Job | StepState) -> str:
    if one.error is not None:
        return one.error.message
    if isinstance(one, Job) and one.waiting is not None:
        return f"waits: {one.waiting.message}"
    return f"{one.progress:.0%} {one.stage or ''}".strip() if one.progress is not None else ""


def show_models(found: Sequence[dict[str, Any]]) -> None:
    """A server's models, or the configured ones, as JSON has them."""
    # What a licence allows must never be cut off: in a narrow terminal two columns are left out, and others fold.
    whole = {"model", "licence", "commercial use"}
    names = ["model", "title", "engine", "licence", "commercial use", "takes", "gives"]
    if _out.width < ROOMY:
        names = [name for name in names if name not in {"title", "engine"}]
    table = Table(*(Column(name, no_wrap=name in whole, overflow="fold") for name in names))
    for one in found:
        shown = {
            "model": one["name"],
            "title": one["title"],
            "engine": one["engine"],
            "licence": one["license"],
            "commercial use": _commercial_use(one),
            "takes": ", ".join(_field_text(field) for field in one["input_files"]) or "-",
            "gives": ", ".join(one["output_files"]),
        }
        table.add_row(*(shown[name] for name in names))
    _out.print(table)
    for one in found:
        problem = (one.get("live") or {}).get("problem")
        if problem:
            _out.print(f"{one['name']}: its engine does not load: {problem['message']}", markup=False)


def _commercial_use(model: dict[str, Any]) -> str:
    """As a server says it, or as the configuration has it."""
    allowed = model["commercial_use"]
    return allowed if isinstance(allowed, str) else {True: "yes", False: "no"}.get(allowed, "unknown")


def _field_text(field: dict[str, Any]) -> str:
    return f"{field['name']} ({', '.join(field['media_types'])})"
