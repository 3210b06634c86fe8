"""Every promise on the page names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "guarantees.md").read_text()
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)))


def test_every_promise_names_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert len(rows) > 20
    assert all("::test_" in row for row in rows)


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[name for _, name in NAMED])
def test_the_named_test_is_there(file: str, name: str) -> None:
    path = REPOSITORY / (file if file.startswith("src/") else f"tests/{file}")
    assert re.search(rf"def {name}\(", path.read_text()), f"{path} has no {name}"
