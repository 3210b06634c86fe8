"""What a job gave, saved and shown. Results go to standard output, all else to standard error."""

from __future__ import annotations

import json
import mimetypes
import sys
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from springtide.client import File, Job, Springtide
from springtide.domain.errors import InvalidInput, SpringtideError

_err = Console(stderr=True)


def as_json(value: Any) -> str:
    """A value of the client as the API would tell it, for people and programs."""
    return json.dumps(msgspec.to_builtins(value), ensure_ascii=False, indent=2)


def line(value: Any) -> str:
    """The same on one line: where there are many."""
    return msgspec.json.encode(value).decode()


def say(text: str) -> None:
    """To standard error, as it is."""
    _err.print(text, markup=False, highlight=False, soft_wrap=True)


def check_target(output: Path | None) -> None:
    """Whether a result can be saved there: before the job runs, not after."""
    if output is None:
        return
    if output.is_dir():
        raise InvalidInput(f"--output {output} is a folder; name a file in it, or use --all {output}")
    if not output.absolute().parent.is_dir():
        raise InvalidInput(f"--output {output}: there is no folder {output.absolute().parent}")


def save(client: Springtide, job: Job, *, output: Path | None, all_files: Path | None) -> list[Path]:
    """Fetch the file that `output` asks for, and all of them into the folder `all_files`."""
    saved: list[Path] = []
    is_shown = sys.stderr.isatty()
    if output is not None:
        if not job.files:
            raise SpringtideError(f"{job.model} gives no file to save as {output}")
        file = _chosen(job.files, output)
        saved.append(client.download(file, output, progress=is_shown))
        _warn_of_ending(output, file)
    if all_files is not None:
        all_files.mkdir(parents=True, exist_ok=True)
        for name, target in names(job):
            saved.append(client.download(target, all_files / name, progress=is_shown))
    return saved


def names(job: Job) -> list[tuple[str, File]]:
    """Every file of a result with a name to save it under, no two alike."""
    found: dict[str, File] = {}
    for field, files in job.files.items():
        for file in files:
            name = Path(file.name or field).name
            path = Path(name)
            number = 1
            while name in found:
                number += 1
                name = f"{path.stem}-{number}{path.suffix}"
            found[name] = file
    return list(found.items())


def show_result(job: Job, saved: list[Path], *, json: bool) -> None:
    """The whole job as JSON; else its text, or its outputs where nothing of it was saved."""
    if json:
        print(as_json(job))
        return
    outputs = job.outputs or {}
    text = outputs.get("text")
    if isinstance(text, str):
        print(text)
    elif not saved:
        print(as_json(outputs))
    for path in saved:
        say(f"saved {path}")


def _chosen(files: dict[str, list[File]], output: Path) -> File:
    """The output that the wanted suffix names (talk.srt: the srt), else the primary one."""
    suffix = output.suffix.lower()
    for name, [file, *_] in files.items():
        if suffix and (f".{name}" == suffix or Path(file.name or "").suffix.lower() == suffix):
            return file
    return next(iter(files.values()))[0]


def _warn_of_ending(output: Path, file: File) -> None:
    """The bytes are what the engine made, whatever the name says: say so where they differ."""
    made, own = file.media_type, Path(file.name or "").suffix.lower()
    suffix = output.suffix.lower()
    if not suffix or suffix == own or mimetypes.guess_type(output.name)[0] == made:
        return
    right = own or mimetypes.guess_extension(made) or ""
    advice = f"; the right name is {output.with_suffix(right).name}" if right else ""
    say(f"{output.name} holds {made}, not what {suffix} says{advice}")
