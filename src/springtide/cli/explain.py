"""`springtide explain`: why a job waits or failed; why a model has as many replicas as it has."""

from __future__ import annotations

from datetime import datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from springtide.cli.results import as_json
from springtide.client import Explanation, Springtide
from springtide.client.models import Decision
from springtide.domain.errors import InvalidInput
from springtide.domain.ids import is_job_id

_out = Console()


def check(what: str, model: str | None) -> None:
    """Raises InvalidInput where the words do not say what to explain."""
    if what == "scaling":
        if model is None:
            raise InvalidInput("name the model: springtide explain scaling MODEL")
    elif not is_job_id(what):
        raise InvalidInput(f"{what!r} is neither a job's id nor the word 'scaling'; `springtide list` shows jobs")
    elif model is not None:
        raise InvalidInput(f"{model!r} is one word too many after a job's id")


def explain_scaling(client: Springtide, model: str, *, limit: int, json: bool) -> None:
    """The newest decisions, the newest last, with the figures they were made from."""
    found = client.models.scaling(model, limit=limit)
    if json:
        print(as_json(found))
        return
    if found.pool:
        _out.print(f"{model} shares the workers of {found.pool}, which is scaled as one.")
    if not found.decisions:
        _out.print(f"Nothing has changed the replicas of {model} yet.")
        return
    table = Table(
        Column("when", no_wrap=True), Column("replicas", no_wrap=True), Column("reason", no_wrap=True), "because"
    )
    for one in reversed(found.decisions):
        at = datetime.fromtimestamp(one.at_s).astimezone().strftime("%m-%d %H:%M:%S")
        figures = ", ".join(f"{name} {value:.4g}" for name, value in one.figures.items())
        because = escape(one.message) + (f"\n[dim]{escape(figures)}[/dim]" if figures else "")
        table.add_row(at, _change(one), one.reason, because)
    _out.print(table)


def _change(one: Decision) -> str:
    wish = "" if one.wish == one.replicas else f" (wished {one.wish})"
    return f"{one.before} → {one.replicas}{wish}"


def explain_job(client: Springtide, job: str, *, json: bool) -> None:
    """All that holds a job up, or what ended it, and what would help."""
    found = client.jobs.explain(job)
    if json:
        print(as_json(found))
        return
    _out.print(f"{found.job} ({found.model}): {found.status}", markup=False, highlight=False)
    for line in _lines(found):
        _out.print(f"  {line}", markup=False, highlight=False)


def _lines(found: Explanation) -> list[str]:
    lines: list[str] = []
    for reason in found.reasons:
        lines.append(f"{reason.message} ({reason.code})")
        lines += [f"  {reason.helps.replace('{id}', found.job)}"] if reason.helps else []
    if found.eta_s is not None:
        lines.append(f"ready in about {found.eta_s:.0f} s")
    return lines or ["nothing holds it up"]
