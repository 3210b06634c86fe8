"""`springtide models check`: what each model costs on this machine, tried, printed and kept for `/v1/models`."""

from __future__ import annotations

import sys
import time

import msgspec
from rich.console import Console
from rich.table import Table

from springtide.config import Config
from springtide.domain.errors import ConfigError
from springtide.engines.trial import Trial, keep_trials, try_engine

RUNS_WITHIN_S = 10.0  # of repeated runs, per model: enough to tell the first from the later ones


def check_models(config: Config, names: list[str], *, as_json: bool) -> bool:
    """Try the named models (all configured ones where none is named), one after the other. Whether all went well."""
    if unknown := [name for name in names if name not in config.units]:
        raise ConfigError(f"no such model: {', '.join(unknown)}; configured are {', '.join(config.units)}")
    trials: dict[str, Trial] = {}
    for name in names or config.units:
        model = config.units[name]
        sys.stderr.write(f"{name}: loading and running …\n")
        found = try_engine(
            model.engine,
            model.settings,
            config.weights_folder,
            runs_within_s=RUNS_WITHIN_S,
            timeout_s=model.load_timeout_s + model.timeout_s,
        )
        trials[name] = msgspec.structs.replace(found, at_s=round(time.time(), 3))
        keep_trials(config.server.data_dir, {name: trials[name]})  # at once: a later model may take long
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(trials)).decode())
    else:
        _print(trials)
    return all(one.problem is None for one in trials.values())


def _print(trials: dict[str, Trial]) -> None:
    console = Console()
    table = Table("model", "load", "first run", "later runs", "estimate", "loaded", "peak")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, one in trials.items():
        figures = [_seconds(value) for value in (one.load_s, one.first_run_s, one.run_s, one.estimated_s)]
        table.add_row(name, *figures, _megabytes(one.loaded_memory_mb), _megabytes(one.peak_memory_mb))
    console.print(table)
    for name, one in trials.items():
        if one.problem is not None:
            console.print(f"{name}: {one.problem}", markup=False)
        elif one.starts_slowly:
            console.print(f"{name}: its first job takes longer than later ones: load() should warm it up", markup=False)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _megabytes(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f} MB"
