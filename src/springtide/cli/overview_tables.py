"""The overview as tables: as much as the terminal's width takes, the figures first, reasons folded."""

from __future__ import annotations

from datetime import datetime

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from springtide.cli.overview import ModelRow, Overview

ROOMY = 130  # columns: from there on utilisation and P95 have a place


def shown(found: Overview, width: int, *, workers: bool) -> RenderableType:
    """The whole of it. workers: below the models, one line each."""
    at = datetime.fromtimestamp(found.at_s).astimezone().strftime("%H:%M:%S")
    parts: list[RenderableType] = [Text(f"{found.server}  {at}", style="dim"), _models(found, width)]
    if workers and found.workers:
        parts.append(_workers(found))
    elif workers and found.workers is None:
        parts.append(Text("workers are shown to keys with the scope admin", style="dim"))
    return Group(*parts)


def _models(found: Overview, width: int) -> Table:
    is_roomy = width >= ROOMY
    columns = [Column("model", no_wrap=True), _number("queued"), _number("oldest"), _number("per min"), "replicas"]
    columns += [_number("wait p95"), _number("in use")] if is_roomy else []
    table = Table(*columns, Column("last decision", overflow="fold"), expand=True)
    for row in found.models:
        extra = [_seconds(row.wait_s_p95), _in_use(row)] if is_roomy else []
        arrivals = "–" if row.arrivals_per_min is None else f"{row.arrivals_per_min:.1f}"
        queued = "?" if row.queued is None else str(row.queued)
        table.add_row(_name(row), queued, _seconds(row.oldest_wait_s), arrivals, _replicas(row), *extra, _decision(row))
    return table


def _workers(found: Overview) -> Table:
    columns = [Column("worker", no_wrap=True), "state", "model", _number("memory"), _number("gpu"), "job"]
    table = Table(*columns, expand=True)
    for one in found.workers or ():
        state = f"{one.state}, leaving" if one.leaving and one.state != "draining" else one.state
        memory = "–" if one.memory_mb is None else f"{one.memory_mb:.0f} MB"
        jobs = " ".join(one.jobs[:1]) + (f" +{len(one.jobs) - 1}" if len(one.jobs) > 1 else "")
        table.add_row(one.id, state, " ".join(one.models), memory, _share(one.gpu), jobs)
    return table


def _number(title: str) -> Column:
    return Column(title, justify="right", no_wrap=True)


def _name(row: ModelRow) -> str:
    marks = [" [yellow]paused[/yellow]"] if row.paused else []
    marks += [f" [cyan]{row.pinned} by hand[/cyan]"] if row.pinned is not None else []
    return escape(row.model) + "".join(marks)


def _replicas(row: ModelRow) -> str:
    states = {"busy": row.busy, "ready": row.ready, "loading": row.loading, "draining": row.draining}
    words = [f"{count} {state}" for state, count in states.items() if count]
    words += [f"[red]{row.failing} failing[/red]"] if row.failing else []
    return ", ".join(words) or "none"


def _in_use(row: ModelRow) -> str:
    if row.gpu is not None:
        return f"{row.gpu:.0%} gpu"
    if row.busy_share is not None:
        return f"{row.busy_share:.0%}"
    return "–"


def _decision(row: ModelRow) -> str:
    if row.problem is not None:
        return f"[red]{escape(row.problem)}[/red]"
    if row.decided_at_s is None:
        return "[dim]none yet[/dim]"
    at = datetime.fromtimestamp(row.decided_at_s).astimezone().strftime("%H:%M:%S")
    return f"{at} {row.decision} [bold]{row.reason}[/bold] [dim]{escape(row.because or '')}[/dim]"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"
