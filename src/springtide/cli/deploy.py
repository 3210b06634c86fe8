"""`springtide deploy`: the configuration as Kubernetes objects, or as values for the Helm chart."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from springtide.domain.errors import ConfigError

deploy_app = typer.Typer(help="Springtide in a Kubernetes cluster.", no_args_is_help=True)

FileOption = Annotated[
    Path | None, typer.Option("--file", "-f", help="springtide.toml to use; default: ./springtide.toml, if there.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="key=value on top of the file, such as kubernetes.scaling=keda.")
]


@deploy_app.command()
def render(
    file: FileOption = None,
    sets: SetOption = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files, or - for the screen.")] = Path(
        "-"
    ),
) -> None:
    """Write the Kubernetes objects of a configuration, for `kubectl apply --server-side -f`."""
    from springtide.deploy import render, values

    to = values.installation(_file(file), sets or [])
    if str(output) == "-":
        sys.stdout.write(render.as_text(render.objects(to)))
        return
    texts = {name: render.as_text(objects) for name, objects in render.files(to).items()}
    try:
        output.mkdir(parents=True, exist_ok=True)
        for stale in sorted(output.glob("[0-9][0-9]-*.yaml")):
            if stale.name not in texts:
                stale.unlink()  # of an earlier rendering: what is not wished any more
        for name, text in texts.items():
            (output / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write to {output}: {error.strerror}") from error
    count = sum(len(objects) for objects in render.files(to).values())
    print(f"{count} objects in {len(texts)} files: kubectl apply --server-side -f {output}")


@deploy_app.command("values")
def write_values(file: FileOption = None, sets: SetOption = None) -> None:
    """Write the same configuration as values for the Helm chart (deploy/chart)."""
    from springtide.deploy import values
    from springtide.deploy.yaml_text import to_yaml

    to = values.installation(_file(file), sets or [])
    sys.stdout.write(to_yaml(values.chart_values(to)))


def _file(named: Path | None) -> Path | None:
    from springtide.config import FILE_NAME

    here = Path(FILE_NAME)
    return named if named is not None else here if here.exists() else None
