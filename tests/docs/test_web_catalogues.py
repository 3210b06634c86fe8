"""The page's two catalogues: whatever it says, it says in English and in Chinese."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from springtide.controller.rollouts import REASON as ROLLOUT
from springtide.engines.catalog import GROUP, load_engine
from springtide.gateway.explaining import HELPS
from springtide.policy.elastic.view import Reason

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web" / "src"
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
    assert groups <= {"choice", "field", "help", "helpOf", "model", "output", "stage"}


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


# --- what the server says by codes ------------------------------------------------------------------------------------

PAGE_OF_ERRORS = ROOT / "docs" / "reference" / "errors.md"  # a test holds it to the code
GROUPS = {
    "A request is refused": "fault",
    "A file is refused": "fault",
    "A job ended without a result": "fault",
    "A job is queued: why it waits": "why",
    "Explained, and no reason to wait": "why",
}
# Engines of the package; what-if has a page of its own.
SHIPPED = sorted(
    each.name for each in entry_points(group=GROUP) if each.value.startswith("springtide.") and each.name != "what-if"
)
FORMATS = {"png", "webp", "jpeg", "webm", "mov", "wav", "flac", "prores"}  # called so in every language


def codes(language: str) -> dict[str, dict[str, str | list[str]]]:
    return json.loads((WEB / "i18n" / f"codes.{language}.json").read_text())


def closed_lists() -> set[tuple[str, str]]:
    """Every code that the page may have to tell of, with its group in the catalogues."""
    parts = re.split(r"^## ", PAGE_OF_ERRORS.read_text(), flags=re.MULTILINE)
    listed = {
        (GROUPS[title], code)
        for title, _, body in (part.partition("\n") for part in parts)
        if title in GROUPS
        for code in re.findall(r"^\| `([a-z_]+)`", body, re.MULTILINE)
    }
    return listed | {("decision", reason) for reason in (*Reason, ROLLOUT)} | {("helps", code) for code in HELPS}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_code_of_the_closed_lists_has_a_sentence(language: str) -> None:
    wanted = closed_lists()
    assert len(wanted) > 150
    known = codes(language)
    assert sorted((group, code) for group, code in wanted if not known[group].get(code)) == []
    extra = {(group, code) for group in ("fault", "why", "decision") for code in known[group]} - wanted
    assert extra == set(), "nobody says these any more"


def test_a_sentence_asks_for_the_same_figures_in_both_languages() -> None:
    english, chinese = codes("en"), codes("zh")
    assert {group: words.keys() for group, words in english.items()} == {
        group: words.keys() for group, words in chinese.items()
    }
    for group, words in english.items():
        assert [code for code in words if _holes(words[code]) != _holes(chinese[group][code])] == []


def _holes(said: str | list[str]) -> list[set[str]]:
    return [set(re.findall(r"{{(\w+)}}", one)) for one in ([said] if isinstance(said, str) else said)]


def test_every_figure_of_a_decision_has_a_name() -> None:
    named = {
        name
        for path in (ROOT / "src" / "springtide" / "policy" / "elastic").glob("*.py")
        for block in re.findall(r"figures = \{(.*?)\}", path.read_text(), re.DOTALL)
        for name in re.findall(r'"(\w+)": ', block)
    }
    assert {"planned_jobs", "utilization"} <= named
    assert named - codes("zh")["figure"].keys() == set()


@pytest.mark.parametrize("name", SHIPPED)
def test_what_an_engine_of_the_package_asks_and_gives_has_chinese_words(name: str) -> None:
    engine, words = load_engine(name), json.loads((WEB / "i18n" / "zh.json").read_text())
    schema = engine.Input.model_json_schema()
    own = words["helpOf"].get(name, {})
    fields = schema["properties"]
    assert [field for field in fields if field not in words["field"]] == []
    assert [field for field in fields if field not in own and field not in words["help"]] == []
    assert [stage for stage in engine.stages if stage not in words["stage"]] == []
    assert [output for output in engine.Output.model_fields if output not in words["output"]] == []
    choices = {
        str(choice)
        for one in (*fields.values(), *schema.get("$defs", {}).values())
        for choice in one.get("enum", [])
        if re.fullmatch(r"[a-z][a-z_-]+", str(choice))
    }
    assert choices - words["choice"].keys() - FORMATS - words["familyName"].keys() == set()
