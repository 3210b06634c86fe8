"""The commands about jobs, as they are typed: what each does is in `commands`, `following` and `batching`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from springtide.cli.options import (
    AllOption,
    CancelOption,
    ConfigOption,
    DeadlineOption,
    FilesArgument,
    InputOption,
    JobArgument,
    JobsArgument,
    JsonOption,
    KeyOption,
    ModelArgument,
    ModelOption,
    OutputOption,
    PriorityOption,
    ThenOption,
    TimeoutOption,
    UrlOption,
)


def register(app: typer.Typer, jobs: typer.Typer) -> None:
    """Add them; `springtide jobs` keeps those that look at ended ones."""
    for command in (run, submit, wait, watch, batch, get, cancel, retry, delete, explain, download):
        app.command()(command)
    app.command("list")(list_)
    jobs.command()(retry)
    jobs.command()(reproduce)


def run(
    model: ModelArgument,
    files: FilesArgument = None,
    inputs: InputOption = None,
    then: ThenOption = None,
    *,
    output: OutputOption = None,
    all_files: AllOption = None,
    priority: PriorityOption = None,
    start_deadline_s: DeadlineOption = None,
    key: KeyOption = None,
    detach: Annotated[bool, typer.Option("--detach", help="Print the job's id and do not wait, as `submit`.")] = False,
    timeout_s: TimeoutOption = None,
    cancel_on_interrupt: CancelOption = False,
    as_json: JsonOption = False,
    url: UrlOption = None,
    config: ConfigOption = None,
) -> None:
    """Run one job and wait for its result; starts a server for itself where none runs."""
    from springtide.cli import commands
    from springtide.cli.connecting import Where
    from springtide.cli.orders import Order

    order = Order(
        model=model,
        files=files or [],
        inputs=inputs or [],
        then=then or [],
        priority=priority,
        start_deadline_s=start_deadline_s,
        key=key,
    )
    if detach:
        raise typer.Exit(commands.submit_job(Where(url, config), order, json=as_json))
    code = commands.run_job(
        Where(url, config),
        order,
        output=output,
        all_files=all_files,
        json=as_json,
        timeout_s=timeout_s,
        cancel=cancel_on_interrupt,
    )
    raise typer.Exit(code)


def submit(
    model: ModelArgument,
    files: FilesArgument = None,
    inputs: InputOption = None,
    then: ThenOption = None,
    *,
    priority: PriorityOption = None,
    start_deadline_s: DeadlineOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    config: ConfigOption = None,
) -> None:
    """Submit one job and return at once with its id."""
    from springtide.cli import commands
    from springtide.cli.connecting import Where
    from springtide.cli.orders import Order

    order = Order(
        model=model,
        files=files or [],
        inputs=inputs or [],
        then=then or [],
        priority=priority,
        start_deadline_s=start_deadline_s,
        key=key,
    )
    raise typer.Exit(commands.submit_job(Where(url, config), order, json=as_json))


def wait(
    jobs: JobsArgument,
    *,
    timeout_s: TimeoutOption = None,
    cancel_on_interrupt: CancelOption = False,
    as_json: JsonOption = False,
    url: UrlOption = None,
    config: ConfigOption = None,
) -> None:
    """Wait until jobs have ended. Exit code 0 where all completed, 1 where one did not, 4 where time ran out."""
    from springtide.cli.connecting import Where, connected
    from springtide.cli.following import wait_for
    from springtide.cli.orders import check_jobs

    check_jobs(jobs)
    with connected(Where(url, config)) as client:
        raise typer.Exit(wait_for(client, jobs, timeout_s=timeout_s, json=as_json, cancel=cancel_on_interrupt))


def watch(
    jobs: Annotated[list[str] | None, typer.Argument(help="Ids of jobs; default: all that have not ended.")] = None,
    *,
    model: ModelOption = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    config: ConfigOption = None,
) -> None:
    """Show what happens to jobs until they have ended: a live table on a terminal, lines elsewhere."""
    from springtide.cli.commands import ACTIVE
    from springtide.cli.connecting import Where, connected
    from springtide.cli.following import watch_jobs
    from springtide.cli.orders import check_jobs

    check_jobs(jobs or [])
    with connected(Where(url, config)) as client:
        chosen = jobs or [job.id for job in client.jobs.list(model=model, status=ACTIVE)]
        raise typer.Exit(watch_jobs(client, chosen, json=as_json))


def batch(
    model: ModelArgument,
    source: Annotated[Path, typer.Argument(help="A folder of files, a .csv with a header, or .ndjson.")],
    inputs: InputOption = None,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("results"),
    detach: Annotated[bool, typer.Option("--detach", help="Submit only; the same again waits and fetches.")] = False,
    timeout_s: TimeoutOption = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    config: ConfigOption = None,
) -> None:
    """Run a model on many things; results go to a folder. The same command again goes on where it was."""
    from springtide.cli.batching import Wish, run_batch
    from springtide.cli.connecting import Where, connected

    wish = Wish(
        model=model,
        source=source,
        inputs=inputs or [],
        folder=output,
        detach=detach,
        timeout_s=timeout_s,
        json=as_json,
    )
    with connected(Where(url, config)) as client:
        raise typer.Exit(run_batch(client, wish))


def list_(
    *,
    model: ModelOption = None,
    status: Annotated[
        list[str] | None, typer.Option("--status", help="Only in this state, such as failed; repeatable.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 20,
    as_json: JsonOption = False,
    url: UrlOption = None,
    config: ConfigOption = None,
) -> None:
    """List jobs, newest first."""
    from springtide.cli import commands
    from springtide.cli.connecting import Where

    code = commands.list_jobs(Where(url, config), model=model, status=status or [], limit=limit, json=as_json)
    raise typer.Exit(code)


def get(job: JobArgument, *, as_json: JsonOption = False, url: UrlOption = None, config: ConfigOption = None) -> None:
    """Show one job, with the steps of a pipeline."""
    from springtide.cli import commands
    from springtide.cli.connecting import Where

    raise typer.Exit(commands.get_job(Where(url, config), job, json=as_json))


def cancel(
    jobs: JobsArgument, *, as_json: JsonOption = False, url: UrlOption = None, config: ConfigOption = None
) -> None:
    """Cancel jobs."""
    from springtide.cli import commands
    from springtide.cli.connecting import Where

    raise typer.Exit(commands.cancel_jobs(Where(url, config), jobs, json=as_json))


def delete(jobs: JobsArgument, *, url: UrlOption = None, config: ConfigOption = None) -> None:
    """Delete ended jobs with their files, at once and for ever."""
    from springtide.cli import commands
    from springtide.cli.connecting import Where

    raise typer.Exit(commands.delete_jobs(Where(url, config), jobs))


def retry(
    jobs: Annotated[list[str] | None, typer.Argument(help="Ids of ended jobs without a result.")] = None,
    *,
    failed: Annotated[bool, typer.Option("--failed", help="All that failed, instead of ids.")] = False,
    since: Annotated[str, typer.Option(help="With --failed: submitted in the last 90s, 30m, 1h, 2d.")] = "1d",
    model: Annotated[str | None, typer.Option(help="With --failed: only of this model, also as a step.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which.")] = False,
    as_json: JsonOption = False,
    url: UrlOption = None,
    config: ConfigOption = None,
) -> None:
    """Do jobs again as new ones; a pipeline goes on at the step that failed. Doing it twice does it once."""
    from springtide.cli import commands
    from springtide.cli.connecting import Where
    from springtide.cli.retry import Which

    which = Which(jobs or [], failed, since, model)
    raise typer.Exit(commands.retry_jobs(Where(url, config), which, dry_run=dry_run, json=as_json))


def explain(
    what: Annotated[str, typer.Argument(help="A job's id, or the word `scaling`.")],
    model: Annotated[str | None, typer.Argument(help="With `scaling`: the model.")] = None,
    *,
    limit: Annotated[int, typer.Option(help="With `scaling`: at most so many decisions.")] = 10,
    as_json: JsonOption = False,
    url: UrlOption = None,
    config: ConfigOption = None,
) -> None:
    """Say why a job waits or failed, or why a model has as many replicas as it has."""
    from springtide.cli import commands
    from springtide.cli.connecting import Where

    raise typer.Exit(commands.explain_it(Where(url, config), what, model, limit=limit, json=as_json))


def download(
    job: JobArgument,
    *,
    output: OutputOption = None,
    all_files: AllOption = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    config: ConfigOption = None,
) -> None:
    """Save the files of a completed job; without -o or --all its primary one, here. Goes on where it broke off."""
    from springtide.cli import commands
    from springtide.cli.connecting import Where

    code = commands.download_files(Where(url, config), job, output=output, all_files=all_files, json=as_json)
    raise typer.Exit(code)


def reproduce(
    job: JobArgument,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder to write; default: ./JOB.")] = None,
    *,
    url: UrlOption = None,
    config: ConfigOption = None,
) -> None:
    """Write a job's inputs, its attempts, and a program that runs its engine on them in one process."""
    from springtide.cli import commands
    from springtide.cli.connecting import Where

    raise typer.Exit(commands.reproduce_job(Where(url, config), job, output or Path(job)))
