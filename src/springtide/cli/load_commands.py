"""`springtide loadtest`, as it is typed; what it does is in `loadtest`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from springtide.cli.options import ConfigOption, InputOption, JsonOption

KeyEnvOption = Annotated[
    list[str] | None, typer.Option(help="contention: a variable with a tenant's API key; one for each tenant.")
]
KillsOption = Annotated[
    int | None, typer.Option(help="failover: workers to kill, at most 20. Default: 2.", show_default=False)
]
RateOption = Annotated[
    float | None,
    typer.Option(help="Jobs a second on average; default: 2, contention 4. Never above 200.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Add it."""
    app.command()(loadtest)


def loadtest(
    scenario: Annotated[str, typer.Argument(help="burst, ramp, sustained, contention or failover.")],
    files: Annotated[list[Path] | None, typer.Argument(help="Real media: files that every job is given.")] = None,
    *,
    model: Annotated[
        list[str] | None, typer.Option(help="The model to load; repeatable. Default: the synthetic one.")
    ] = None,
    inputs: InputOption = None,
    up: Annotated[bool, typer.Option("--up", help="On a temporary server of its own, in a folder of its own.")] = False,
    server: Annotated[
        str | None, typer.Option("--server", "--url", help="Or on this one; default: the one that runs here.")
    ] = None,
    rate: RateOption = None,
    span: Annotated[str, typer.Option("--for", help="Submit for so long; at most 1h, and 20,000 jobs.")] = "60s",
    drain: Annotated[str, typer.Option(help="Then wait at most so long for their ends; at most 30m.")] = "5m",
    job: Annotated[str, typer.Option(help="A synthetic job's run, and its spread: 1s~0.5.")] = "1s~0.5",
    workers: Annotated[int, typer.Option(min=1, max=64, help="With --up and synthetic jobs: workers at most.")] = 3,
    kills: KillsOption = None,
    kill_workers: Annotated[
        bool, typer.Option("--kill-workers", help="failover: kill those of the server running here, too.")
    ] = False,
    key_env: KeyEnvOption = None,
    expect: Annotated[
        list[str] | None, typer.Option(help="p95=10s, wait_p99=30s, lost=0, success=99%, ...: exit code 1 if not.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed is the same load.")] = 1,
    html: Annotated[Path | None, typer.Option(help="The report; default: loadtest-SCENARIO.html.")] = None,
    as_json: JsonOption = False,
    remote: Annotated[
        bool, typer.Option("--remote-i-mean-it", help="Allow a server that is not this machine.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Put load on a server and write a report with charts: latency, queue, workers, errors, and what was lost."""
    from springtide.cli.connecting import Where
    from springtide.cli.loadtest import Wish, run_loadtest

    wish = Wish(
        scenario=scenario,
        models=model or (),
        files=files or (),
        inputs=inputs or (),
        rate=rate,
        span=span,
        drain=drain,
        job=job,
        kills=kills,
        workers=workers,
        seed=seed,
        up=up,
        key_envs=key_env or (),
        kill_workers=kill_workers,
        remote=remote,
        expect=expect or (),
        html=html,
        as_json=as_json,
    )
    raise typer.Exit(run_loadtest(wish, Where(server, config)))
