"""The README's blocks are run: its engine really is one, its paths and commands exist. The session: acceptance."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.main import get_command

from springtide.cli.main import app
from springtide.domain.ids import BlobId, ModelName
from springtide.engines.binding import bind, describe
from springtide.engines.protocol import InputFile

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def _block(language: str, *, has: str) -> str:
    [found] = [block for block in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if has in block]
    return found


class _Progress:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[tuple[float, str | None]] = []

    def __call__(self, fraction: float, stage: str | None = None) -> None:
        self.said.append((fraction, stage))


def test_the_engine_of_the_readme_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = types.ModuleType("readme_engine")
    monkeypatch.setitem(sys.modules, "readme_engine", module)
    exec(compile(_block("python", has="class Thumbnail"), "README.md", "exec"), module.__dict__)
    model = describe(ModelName("thumbnail"), module.Thumbnail, engine_reference="readme_engine:Thumbnail")
    assert [field.name for field in model.input_files] == ["image"]
    Image.new("RGB", (640, 480), "red").save(tmp_path / "in.png")
    blob = BlobId("blob_" + "0" * 32)
    file = InputFile(path=tmp_path / "in.png", media_type="image/png", bytes=1)
    inputs, _ = bind(module.Input, {"image": blob, "size": "64"}, {blob: file})
    engine = module.Thumbnail({}, tmp_path)
    engine.load()
    output = engine.run(inputs, _Progress(tmp_path))
    with Image.open(output.thumbnail.path) as thumbnail:
        assert thumbnail.size == (64, 48)


def test_every_link_of_the_readme_leads_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_every_command_of_the_readme_exists() -> None:
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    used = set(re.findall(r"^\$ \.venv/bin/springtide (\w+)", README, re.MULTILINE))
    assert used
    assert used <= commands
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?make (\w+)", README)) - {"and"} <= targets


def test_the_first_screen_has_a_sentence_a_picture_and_a_session() -> None:
    first = "\n".join(README.splitlines()[:27])
    assert first.index("![") < first.index("$ make run") < first.index("springtide run matting")
