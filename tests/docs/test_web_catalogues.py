"""The page's two catalogues: whatever it says, it says in English and in Chinese."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WEB = Path(__file__).parents[2] / "web" / "src"
MOST_LINES = 6000  # of our own TypeScript
PLURALS = ("", "_one", "_other")


def keys(catalogue: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in catalogue.items():
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def catalogue(language: str) -> set[str]:
    return set(keys(json.loads((WEB / "i18n" / f"{language}.json").read_text())))


def sources() -> list[Path]:
    return [path for path in WEB.rglob("*.ts*") if path.name != "schema.d.ts"]


def test_what_is_in_english_is_in_chinese() -> None:
    assert catalogue("en") - catalogue("zh") == set()


def test_what_is_in_chinese_only_are_names_that_engines_have_in_english() -> None:
    groups = {key.split(".")[0] for key in catalogue("zh") - catalogue("en")}
    assert groups <= {"choice", "field", "help", "model", "output", "stage"}


def test_every_text_that_the_page_asks_for_is_there() -> None:
    asked = {
        key
        for path in sources()
        for key in re.findall(r"""\bt\((?:[^()"`]*\? ?)?["']([a-z][\w-]*\.[\w.-]+)["']""", path.read_text())
    }
    assert len(asked) > 150
    english = catalogue("en")
    assert [key for key in sorted(asked) if not any(key + plural in english for plural in PLURALS)] == []


def test_the_page_stays_small() -> None:
    assert sum(len(path.read_text().splitlines()) for path in sources()) <= MOST_LINES
