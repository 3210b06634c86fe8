"""`springtide explain`: why a job waits or failed; why a model has as many replicas as it has."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from springtide.cli.client import Api
from springtide.domain.errors import InvalidInput
from springtide.domain.ids import is_job_id

_out = Console()


def check(what: str, model: str | None) -> None:
    """Raises InvalidInput where the words do not say what to explain."""
    if what == "scaling":
        if model is None:
            raise InvalidInput("name the model: springtide explain scaling MODEL")
    elif not is_job_id(what):
        raise InvalidInput(f"{what!r} is neither a job's id nor the word 'scaling'; `springtide status` lists jobs")
    elif model is not None:
        raise InvalidInput(f"{model!r} is one word too many after a job's id")


def explain_scaling(api: Api, model: str, *, limit: int, as_json: bool) -> None:
    """The newest decisions, the newest last, with the figures they were made from."""
    found = api.get(f"/v1/models/{model}/scaling", limit=limit)
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
        return
    if found["pool"]:
        _out.print(f"{model} shares the workers of {found['pool']}, which is scaled as one.")
    if not found["decisions"]:
        _out.print(f"Nothing has changed the replicas of {model} yet.")
        return
    table = Table(
        Column("when", no_wrap=True), Column("replicas", no_wrap=True), Column("reason", no_wrap=True), "because"
    )
    for one in reversed(found["decisions"]):
        at = datetime.fromtimestamp(one["at_s"]).astimezone().strftime("%m-%d %H:%M:%S")
        figures = ", ".join(f"{name} {value:.4g}" for name, value in one["figures"].items())
        because = escape(one["message"]) + (f"\n[dim]{escape(figures)}[/dim]" if figures else "")
        table.add_row(at, _change(one), one["reason"], because)
    _out.print(table)


def _change(one: dict[str, Any]) -> str:
    wish = "" if one["wish"] == one["replicas"] else f" (wished {one['wish']})"
    return f"{one['before']} → {one['replicas']}{wish}"


def explain_job(api: Api, job: str, *, as_json: bool) -> None:
    """What holds a job up, or what ended it."""
    found = api.get(f"/v1/jobs/{job}")
    if as_json:
        keys = ("id", "model", "status", "attempt", "waiting", "eta_s", "error")
        print(json.dumps({key: found.get(key) for key in keys}, ensure_ascii=False, indent=2))
        return
    _out.print(f"{found['id']} ({found['model']}): {found['status']}", markup=False, highlight=False)
    for line in _lines(found):
        _out.print(f"  {line}", markup=False, highlight=False)


def _lines(job: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    if job.get("waiting"):
        lines.append(f"waits: {job['waiting']['message']} ({job['waiting']['code']})")
    if job.get("error"):
        again = "another attempt may help" if job["error"].get("retryable") else "the same again would end the same"
        lines.append(f"{job['error']['message']} ({job['error']['code']}; {again})")
    if job.get("progress") is not None and job["status"] == "in_progress":
        lines.append(f"{job['progress']:.0%} done{': ' + job['stage'] if job.get('stage') else ''}")
    if job.get("eta_s") is not None:
        lines.append(f"ready in about {job['eta_s']:.0f} s")
    return lines or ["nothing holds it up"]
