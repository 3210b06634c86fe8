"""A configuration that cannot be used: everything that is wrong with it is told at once, and nothing is started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ENGINES = """
[models.a]
engine = "mattin"

[models.b]
engine = "speech"
[models.b.settings]
threads = "many"
language = 7

[models.c]
engine = "nowhere.engines:Engine"
"""
SERVER = """
[server]
port = 70000
data_dir = "{data}"
"""
PARTS = [
    "models.a",
    "'mattin'",
    "an installed engine (",
    "matting, ",
    "models.b",
    "threads",
    "language",
    "models.c",
    "nowhere",
]


def up(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """`springtide up` on this configuration, which must end by itself."""
    file = folder / "springtide.toml"
    file.write_text(text)
    env = {name: value for name, value in os.environ.items() if not name.startswith("SPRINGTIDE_")}
    return subprocess.run(
        [sys.executable, "-m", "springtide", "up", "--config", str(file)],
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )


def test_wrong_engines_and_settings_of_several_models_are_told_at_once(tmp_path: Path) -> None:
    ended = up(tmp_path, SERVER.format(data=tmp_path / "data").replace("70000", "0") + ENGINES)
    assert ended.returncode == 2
    assert [part for part in PARTS if part not in ended.stderr] == [], ended.stderr
    assert "Traceback" not in ended.stderr


def test_they_are_told_together_with_every_other_problem(tmp_path: Path) -> None:
    ended = up(tmp_path, SERVER.format(data=tmp_path / "data") + ENGINES.replace('"mattin"', '"mattin"\nslots = 0'))
    assert ended.returncode == 2
    assert [part for part in [*PARTS, "server.port", "models.a.slots"] if part not in ended.stderr] == [], ended.stderr
    assert not (tmp_path / "data").exists()
