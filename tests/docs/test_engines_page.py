"""The page for authors of engines: its code is the example's files, and it tells of everything there is."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest

from springtide.engines.made import Made
from springtide.engines.protocol import Engine, Media
from springtide.testing.engine_suite import EngineContract

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "engines.md").read_text()
OCR = ROOT / "examples" / "ocr"
TWENTY = 20


@pytest.mark.parametrize("name", ["ocr_engine.py", "springtide.toml", "test_ocr_engine.py"])
def test_the_files_on_the_page_are_the_files_that_are_tested(name: str) -> None:
    shown = re.search(rf"`{re.escape(name)}`[^\n]*:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert shown
    assert shown.group(1) == (OCR / name).read_text()


def test_the_engine_has_the_lines_that_the_page_promises() -> None:
    """Of code: neither blank nor a docstring."""
    text = (OCR / "ocr_engine.py").read_text()
    docstrings = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    code = [line for number, line in enumerate(text.splitlines(), 1) if line.strip() and number not in docstrings]
    assert len(code) == TWENTY


def _told() -> set[str]:
    """Names in the first column of the page's tables."""
    cells = re.findall(r"^\| ([^|]*) \|", PAGE, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)", cell)}


def test_everything_an_engine_can_say_is_on_the_page() -> None:
    own = {name for name in vars(Engine) if not name.startswith("_")} | set(Engine.__annotations__)
    of_made, of_media = set(Made.model_fields), {field.name for field in fields(Media)}
    assert own | of_made | of_media <= _told()


def test_everything_the_suite_can_be_told_is_on_the_page() -> None:
    assert set(EngineContract.__annotations__) <= _told()


def test_every_link_of_the_page_leads_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", PAGE)
    assert [target for target in targets if not (ROOT / "docs" / target).exists()] == []


def test_every_engine_has_a_page_that_is_linked() -> None:
    pages = {path.name for path in (ROOT / "docs" / "engines").glob("*.md")}
    assert {Path(link).name for link in re.findall(r"\]\((engines/[^)]+)\)", PAGE)} >= pages
