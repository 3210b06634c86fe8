"""The report of the simulator beside life is that of its record."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]


def made() -> ModuleType:
    spec = importlib.util.spec_from_file_location("life_page", ROOT / "docs" / "life_page.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_and_its_pictures_are_those_of_the_record() -> None:
    life = made()
    assert life.PAGE.read_text() == life.render(), "run: python docs/generate.py"
    for path, text in life.pictures().items():
        assert path.read_text() == text, "run: python docs/generate.py"
        assert f"(images/{path.name})" in life.render()
        lines = ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}path")
        assert len(list(lines)) >= 2, "life and the simulator"
