"""The reference pages say what the code does."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from springtide.config import Config
from springtide.telemetry import metrics_catalogue
from springtide.telemetry.metrics import Series
from springtide.telemetry.metrics_catalogue import CATALOGUE

ROOT = Path(__file__).parents[2]


def _generator() -> Any:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    return generate


def test_the_configuration_page_is_made_from_the_code() -> None:
    generate = _generator()
    assert generate.PAGE.read_text() == generate.render(), "run: python docs/generate.py"


def test_the_web_pages_types_are_made_from_the_api_as_it_is() -> None:
    generate = _generator()
    assert generate.OPENAPI.read_text() == generate.render_openapi(), "run: python docs/generate.py"


def test_the_example_file_says_the_defaults() -> None:
    generate = _generator()
    assert generate.EXAMPLE.read_text() == generate.render_example(), "run: python docs/generate.py"
    assert Config(**tomllib.loads(generate.EXAMPLE.read_text())) == Config()


def test_every_error_code_is_documented_and_every_documented_one_exists() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "src" / "springtide").rglob("*.py"))
    source += "\n".join(path.read_text() for path in (ROOT / "src" / "springtide").rglob("*.lua"))
    used = set(re.findall(r'\bcode\s*=\s*"([a-z_]+)"', source))
    page = (ROOT / "docs" / "reference" / "errors.md").read_text()
    documented = set(re.findall(r"^\| `([a-z_]+)`", page, re.MULTILINE))
    assert used - documented == set(), "write these into docs/reference/errors.md"
    assert {code for code in documented if f'"{code}"' not in source} == set(), "these are nowhere in the code"


def test_the_page_of_metrics_is_made_from_their_catalogue() -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        page: Any = importlib.import_module("metrics_page")
    finally:
        sys.path.pop(0)
    assert page.PAGE.read_text() == page.render(), "run: python docs/generate.py"
    assert all(f"`{name}`" in page.render() for name in CATALOGUE)


def test_every_metric_is_counted_somewhere_and_named_nowhere_else() -> None:
    catalogue = ROOT / "src" / "springtide" / "telemetry" / "metrics_catalogue.py"
    constants = {
        name: value.name
        for name, value in vars(metrics_catalogue).items()
        if isinstance(value, Series) and name.isupper()
    }
    assert set(constants.values()) == set(CATALOGUE)
    telemetry = {
        catalogue.with_name(name) for name in ("metrics_alerts.py", "metrics_boards.py", "metrics_catalogue.py")
    }
    sources = {path: path.read_text() for path in (ROOT / "src" / "springtide").rglob("*.py") if path not in telemetry}
    text = "\n".join(sources.values())
    assert [name for name in constants if not re.search(rf"\b{name}\b", text)] == [], "told by nobody"
    assert [name for name in CATALOGUE if f'"{name}' in text] == [], "names live in the catalogue"


def test_the_repository_names_no_machine_and_no_registry() -> None:
    pattern = re.compile(r"(?<![\w./-])/(?:work|farm|root)/\w|https?://[\w.-]*(?:npmjs|pypi|debian)\.", re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for folder in ("src", "docs", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".md", ".toml", ".lua", ".json", ".txt"} and not {".peers", ".work"} & set(path.parts)
        for match in pattern.finditer(path.read_text(errors="ignore"))
        if path.name != "test_reference.py"
    ]
    assert found == []
