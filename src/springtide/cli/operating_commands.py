"""The operators' commands as they are typed: what each does is in `operating` and `story`."""

from __future__ import annotations

from typing import Annotated

import typer

from springtide.cli.options import ConfigOption, JobArgument, JsonOption, ServedArgument, UrlOption

NoteOption = Annotated[str | None, typer.Option("--note", help="Why, for whoever asks.")]


def register(app: typer.Typer) -> None:
    for command in (status, top, scale, pause, resume, drain, logs):
        app.command()(command)


def status(as_json: JsonOption = False, url: UrlOption = None, config: ConfigOption = None) -> None:
    """Show whether the server is ready, and queue and workers of each model. Exit code 1 where it is not ready."""
    from springtide.cli import operating
    from springtide.cli.connecting import Where

    raise typer.Exit(operating.status(Where(url, config), json=as_json))


def top(
    *,
    every_s: Annotated[float, typer.Option("--every", help="Seconds between looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="One look.")] = False,
    as_json: JsonOption = False,
    url: UrlOption = None,
    config: ConfigOption = None,
) -> None:
    """Watch queue and fleet: per model what waits, arrivals, replicas, waits, use, and the last decision's reason."""
    from springtide.cli import operating
    from springtide.cli.connecting import Where

    raise typer.Exit(operating.top(Where(url, config), every_s=every_s, once=once, json=as_json))


def scale(
    model: ServedArgument,
    replicas: Annotated[str, typer.Argument(help="How many; or auto: as the policy says.")],
    *,
    span: Annotated[str | None, typer.Option("--for", help="Holds for 90s, 30m, 8h, 7d; default: until auto.")] = None,
    until: Annotated[str | None, typer.Option(help="Or until an instant, such as 2026-11-22T18:00:00Z.")] = None,
    note: NoteOption = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    config: ConfigOption = None,
) -> None:
    """Set a model's replicas by hand, for a time or until `auto`. What runs is finished."""
    from springtide.cli import operating
    from springtide.cli.connecting import Where

    where = Where(url, config)
    raise typer.Exit(operating.scale(where, model, replicas, span=span, until=until, note=note, json=as_json))


def pause(
    model: ServedArgument,
    note: NoteOption = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    config: ConfigOption = None,
) -> None:
    """Pause a model: its jobs are taken in and kept, none is begun, what runs is finished."""
    from springtide.cli import operating
    from springtide.cli.connecting import Where

    raise typer.Exit(operating.pause(Where(url, config), model, note=note, json=as_json))


def resume(
    model: ServedArgument, as_json: JsonOption = False, url: UrlOption = None, config: ConfigOption = None
) -> None:
    """Resume a paused model: what waited is begun in its old order."""
    from springtide.cli import operating
    from springtide.cli.connecting import Where

    raise typer.Exit(operating.resume(Where(url, config), model, json=as_json))


def drain(
    worker: Annotated[str, typer.Argument(help="The worker's id, as `springtide status` shows it.")],
    note: NoteOption = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    config: ConfigOption = None,
) -> None:
    """Let a worker finish what it holds and leave; whether another takes its place is decided as usual."""
    from springtide.cli import operating
    from springtide.cli.connecting import Where

    raise typer.Exit(operating.drain(Where(url, config), worker, note=note, json=as_json))


def logs(job: JobArgument, as_json: JsonOption = False, url: UrlOption = None, config: ConfigOption = None) -> None:
    """Tell one job's story across processes: what is on record of it, and the lines of the logs that name it."""
    from springtide.cli import story
    from springtide.cli.connecting import Where

    raise typer.Exit(story.tell(Where(url, config), job, json=as_json))
