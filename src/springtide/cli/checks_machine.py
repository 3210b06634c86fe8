"""What `springtide doctor` looks at on this machine: folders, disk, port, model files, GPUs."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from springtide.cli import folder
from springtide.domain.finding import Finding, risk, skipped, trouble, unknown, well

if TYPE_CHECKING:
    from springtide.config import Config
    from springtide.runtime.gpus import Gpu

LEAST_FREE_BYTES = 1 << 30  # a result of some minutes of video
LOW_FREE_SHARE = 0.05  # below it file systems fragment, and a day's uploads may fill the rest


def checks(config: Config, gpus: Callable[[], list[Gpu] | None]) -> Iterator[Finding]:
    """All of them."""
    yield data_folder(config.server.data_dir)
    yield disk(config.server.data_dir, shutil.disk_usage)
    yield port(config)
    yield model_share(config.weights_folder)
    yield from model_files(config)
    yield graphics(config, gpus)


def data_folder(path: Path) -> Finding:
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path, prefix=".doctor-") as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        cure = f"make it writable for this user (`chown`, `chmod u+rwx {path}`), or set [server] data_dir to another"
        return trouble("data folder", f"{path} cannot be written: {error.strerror}", cure)
    return well("data folder", f"{path} can be written")


def disk(path: Path, usage: Callable[[Path], shutil._ntuple_diskusage]) -> Finding:  # type: ignore[name-defined]  # the standard library's own name
    try:
        total, _, free = usage(path)
    except OSError as error:
        return unknown("disk", f"{path} cannot be looked at: {error.strerror}")
    told = f"{free / 1e9:.1f} GB of {total / 1e9:.0f} GB are free at {path}"
    cure = "free some, let jobs go sooner ([ledger] keep_s), or move [server] data_dir or the blobs to a larger one"
    if free < LEAST_FREE_BYTES:
        return trouble("disk", told, cure)
    if free < LOW_FREE_SHARE * total:
        return risk("disk", told, cure)
    return well("disk", told)


def port(config: Config) -> Finding:
    host, number = config.server.host, config.server.port
    if number == 0:
        return skipped("port", "a free one is picked")
    if folder.is_taken(config.server.data_dir):
        return well("port", "a server of this folder is running")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError as error:
            cure = "end what listens there, or choose another: [server] port, or `springtide up --port N`"
            return trouble("port", f"{host}:{number} cannot be taken: {error.strerror}", cure)
    return well("port", f"{host}:{number} is free")


def model_share(path: Path) -> Finding:
    try:
        count = sum(1 for _ in os.scandir(path))
    except FileNotFoundError:
        return skipped("model share", f"{path} is not there yet; `springtide models pull` makes it")
    except OSError as error:  # a share that is down: stale handle, input/output error, not permitted
        cure = "mount it again or mend the share; meanwhile [server] weights_dir may name a local folder"
        return trouble("model share", f"{path} cannot be read: {error.strerror}", cure)
    return well("model share", f"{path} can be read ({count} entries)")


def model_files(config: Config) -> Iterator[Finding]:
    """One for each model that lacks some, else one for all."""
    from springtide.engines import weights
    from springtide.engines.catalog import load_engine

    complete = True
    for name, model in config.models.items():
        lacking = weights.missing(load_engine(model.engine), config.weights_folder)
        if lacking:
            complete = False
            size_mb = sum(one.bytes for one in lacking) / 1e6
            message = f"{name}: {len(lacking)} model files are missing or damaged ({size_mb:.0f} MB)"
            yield trouble("model files", message, f"springtide models pull {name}")
    if complete:
        yield well("model files", f"those of all {len(config.models)} models are here")


def graphics(config: Config, gpus: Callable[[], list[Gpu] | None]) -> Finding:
    wanted = [name for name, model in config.models.items() if model.accelerators > 0]
    if not wanted or config.fleet.kind != "local":
        return skipped("GPU", "no model asks for one here")
    found = gpus()
    if found is None:
        return unknown("GPU", "it cannot be looked for", "pip install nvidia-ml-py")
    if not found:
        cure = "install the driver (`nvidia-smi` must answer); in a container run it with `--gpus all`"
        return trouble("GPU", f"{', '.join(wanted)} ask for one, and none is seen", cure)
    return well("GPU", f"{len(found)}: {', '.join(sorted({gpu.name for gpu in found}))}")
