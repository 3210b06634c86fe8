"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def _models(incomplete: str) -> list[str]:
    from springtide.cli import completing

    return completing.models(incomplete)


def _jobs(incomplete: str) -> list[tuple[str, str]]:
    from springtide.cli import completing

    return completing.jobs(incomplete)


ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="springtide.toml to use.")]
SupervisedOption = Annotated[bool, typer.Option("--supervised", hidden=True)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON; of several, one on each line.")]
UrlOption = Annotated[
    str | None, typer.Option("--url", help="Address of a running server; default: $SPRINGTIDE_URL, else as configured.")
]
InputOption = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", help="An input as name=value, or name=@file; repeatable, several make a list."),
]
ThenOption = Annotated[
    list[str] | None,
    typer.Option("--then", help="A step to do next: 'MODEL name=value name=@file name=from:output'; repeatable."),
]
PriorityOption = Annotated[str | None, typer.Option("--priority", help="interactive, standard or batch.")]
DeadlineOption = Annotated[
    float | None, typer.Option("--start-deadline", help="Let it expire if it has not started within so many seconds.")
]
KeyOption = Annotated[
    str | None, typer.Option("--idempotency-key", help="The same key once more is the same job; default: a fresh one.")
]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="Where to save the primary result file.")]
AllOption = Annotated[Path | None, typer.Option("--all", help="Folder to save every result file in.")]
TimeoutOption = Annotated[
    float | None, typer.Option("--timeout", help="Wait at most so many seconds (exit code 4); the job goes on.")
]
CancelOption = Annotated[bool, typer.Option("--cancel-on-interrupt", help="Ctrl-C cancels too; else the job goes on.")]
FilesArgument = Annotated[list[Path] | None, typer.Argument(help="Files; each to the first input that takes its kind.")]
ModelArgument = Annotated[str, typer.Argument(help="The model to run.", autocompletion=_models)]
ServedArgument = Annotated[str, typer.Argument(help="The model.", autocompletion=_models)]
JobArgument = Annotated[str, typer.Argument(help="The job's id.", autocompletion=_jobs)]
JobsArgument = Annotated[list[str], typer.Argument(help="Ids of jobs.", autocompletion=_jobs)]
ModelOption = Annotated[str | None, typer.Option("--model", help="Only of this model.", autocompletion=_models)]
