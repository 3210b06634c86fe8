"""`springtide rollout`: two versions of a model side by side, on a server that runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from springtide.cli.options import ConfigOption, JsonOption, UrlOption

if TYPE_CHECKING:
    from typing import Literal

    from springtide.client import Springtide
    from springtide.client.rollouts import MeasuredVersion, Rollout

rollout_app = typer.Typer(help="Versions of a model, side by side.", no_args_is_help=True)
ModelArgument = Annotated[str, typer.Argument(help="The model.")]
ReasonOption = Annotated[str | None, typer.Option(help="Why, for whoever asks.")]


@rollout_app.command()
def start(
    model: ModelArgument,
    *,
    version: Annotated[str, typer.Option(help="As declared in [models.NAME.versions.V].")],
    weight: Annotated[float, typer.Option(help="Per cent of the jobs that name no version.")] = 10.0,
    sticky: Annotated[str, typer.Option(help="What stays with its version: job or tenant.")] = "job",
    max_failure_rate_margin: Annotated[
        float, typer.Option(help="So much more of its jobs may fail; 0.05 is five of a hundred.")
    ] = 0.05,
    max_p95_margin: Annotated[float, typer.Option(help="Its P95 run may be so much longer; 0.5 is by half.")] = 0.5,
    min_samples: Annotated[int, typer.Option(help="Told from so many jobs of each version on.")] = 20,
    engine: Annotated[str | None, typer.Option(help="Refuse where the version has another engine.")] = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    config: ConfigOption = None,
) -> None:
    """Send a share of a model's jobs to another version. It is aborted by itself where it fails or dawdles."""

    def work(client: Springtide) -> Rollout:
        if engine is not None:
            _check_engine(client, f"{model}@{version}", engine)
        return client.rollouts.start(
            model,
            version,
            weight=weight,
            sticky=cast("Literal['tenant', 'job']", sticky),
            max_failure_rate_margin=max_failure_rate_margin,
            max_p95_margin=max_p95_margin,
            min_samples=min_samples,
        )

    _show(work, url, config, as_json=as_json)


@rollout_app.command()
def status(
    model: ModelArgument, as_json: JsonOption = False, url: UrlOption = None, config: ConfigOption = None
) -> None:
    """How the last rollout of a model goes, or went."""
    _show(lambda client: client.rollouts.get(model), url, config, as_json=as_json)


@rollout_app.command()
def weight(
    model: ModelArgument,
    percent: Annotated[float, typer.Argument(help="Per cent of the jobs that name no version.")],
    as_json: JsonOption = False,
    url: UrlOption = None,
    config: ConfigOption = None,
) -> None:
    """Send more or less to the canary."""
    _show(lambda client: client.rollouts.change(model, weight=percent), url, config, as_json=as_json)


@rollout_app.command()
def promote(
    model: ModelArgument,
    reason: ReasonOption = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    config: ConfigOption = None,
) -> None:
    """Make the canary the stable version; the old one finishes what waits for it."""
    _show(lambda client: client.rollouts.promote(model, reason=reason), url, config, as_json=as_json)


@rollout_app.command()
def abort(
    model: ModelArgument,
    reason: ReasonOption = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    config: ConfigOption = None,
) -> None:
    """Send everything to the stable version again, with what waits for the canary."""
    _show(lambda client: client.rollouts.abort(model, reason=reason), url, config, as_json=as_json)


@rollout_app.command()
def route(
    model: ModelArgument,
    *,
    service: Annotated[
        list[str] | None,
        typer.Option(help="VERSION=NAME of a version's Service; repeatable. Default: [kubernetes.routes.NAME]."),
    ] = None,
    gateway: Annotated[str | None, typer.Option(help="An HTTPRoute of this Gateway.")] = None,
    host: Annotated[str | None, typer.Option(help="Or an Istio VirtualService of this host.")] = None,
    port: Annotated[int, typer.Option(help="Of the Services.")] = 80,
    url: UrlOption = None,
    config: ConfigOption = None,
) -> None:
    """Print the weights of a model's versions as an HTTP route of a cluster, for model servers behind a mesh."""
    from springtide.cli.connecting import Where, connected
    from springtide.cli.orders import pairs
    from springtide.deploy.installation import Installation
    from springtide.deploy.rollouts import configured, http_route, virtual_service
    from springtide.deploy.yaml_text import to_yaml
    from springtide.domain.errors import ConfigError

    where = Where(url, config)
    with connected(where) as client:
        weights = {each.version: each.weight for each in client.models.get(model).versions}
    if service is None:
        to = Installation(where.settings(), {})
        given = to.settings.routes.get(model)
        if given is None:
            raise ConfigError(f"say --service VERSION=NAME, or write [kubernetes.routes.{model}] into the file")
        print(to_yaml(configured(to, model, given, weights)), end="")
        return
    services = {version: names[-1] for version, names in pairs(service).items()}
    if (gateway is None) == (host is None):
        raise ConfigError("say either --gateway NAME or --host NAME")
    if gateway is not None:
        print(to_yaml(http_route(model, gateway, services, weights, port)), end="")
    elif host is not None:
        print(to_yaml(virtual_service(model, host, services, weights)), end="")


def _check_engine(client: Springtide, unit: str, engine: str) -> None:
    from springtide.domain.errors import ConfigError

    found = client.models.get(unit).engine
    if found != engine:
        raise ConfigError(f"{unit} is configured with the engine {found}, not {engine}")


def _show(work: Callable[[Springtide], Rollout], url: str | None, config: Path | None, *, as_json: bool) -> None:
    from springtide.cli.connecting import Where, connected
    from springtide.cli.results import line

    with connected(Where(url, config)) as client:
        found = work(client)
    print(line(found) if as_json else _told(found))


def _told(one: Rollout) -> str:
    share = f"{one.weight:g} % of jobs, by {one.sticky}" if one.state == "running" else one.reason or ""
    lines = [f"{one.model}: version {one.canary} beside {one.stable}: {one.state}; {share}"]
    if one.compared is not None:
        sides = ((f"stable {one.stable}", one.compared.stable), (f"canary {one.canary}", one.compared.canary))
        lines += [f"  {name}: {_figures(side)}" for name, side in sides]
    return "\n".join(lines)


def _figures(side: MeasuredVersion) -> str:
    p95 = "" if side.run_s_p95 is None else f", P95 run {side.run_s_p95:.3g} s"
    return f"{side.jobs} jobs, {side.failed} failed{p95}"
