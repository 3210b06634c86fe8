"""The engine that docs/engines.md writes is served from a folder with its file and a springtide.toml of two lines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from .conftest import Server

OCR = Path(__file__).parents[2] / "examples" / "ocr"


def test_the_engine_of_the_page_is_served_from_its_folder(tmp_path: Path) -> None:
    for name in ("ocr_engine.py", "springtide.toml", "letter.png"):
        shutil.copy(OCR / name, tmp_path)
    server = Server(tmp_path)
    try:
        done = server.cli("run", "ocr", "letter.png", "--json")
        assert done.returncode == 0, done.stderr
        (model,) = server.http.get("/v1/models").json()["data"]
    finally:
        server.close()
    outputs = json.loads(done.stdout)
    outputs = outputs.get("outputs", outputs)
    assert outputs["lines"] == ["Accepted means", "it will end.", "Order 4711", "22 November 2026"]
    assert (model["name"], model["title"], model["license"]) == ("ocr", "Text recognition", "Apache-2.0")
