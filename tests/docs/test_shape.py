"""The written style, measured: sizes, parameters, banned names. Each exception is listed here with its reason."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "springtide"
MODULES = sorted(SOURCE.rglob("*.py"))

MOST_LINES = 700
MOST_FUNCTION_LINES = 60
MOST_POSITIONAL = 5
LONG_MODULES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {}
MANY_PARAMETERS = {
    "cli/main.py:simulate": "Typer reads the parameters as the command's arguments and options",
}
BANNED_NAMES = re.compile(r"(utils?|helpers?|common|misc|manager|handlers?)$")


def _name(path: Path) -> str:
    return str(path.relative_to(SOURCE))


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_module_is_named_documented_and_of_a_size_to_read(path: Path) -> None:
    assert not BANNED_NAMES.search(path.stem), "a name that says nothing"
    text = path.read_text()
    lines = len(text.splitlines())
    assert lines <= MOST_LINES or _name(path) in LONG_MODULES, f"{lines} lines: split it"
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), "a module says why it exists"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_functions_fit_on_a_screen_and_take_few_parameters(path: Path) -> None:
    problems: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        where = f"{_name(path)}:{node.name}"
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > MOST_FUNCTION_LINES and where not in LONG_FUNCTIONS:
            problems.append(f"{where} has {length} lines")
        positional = [arg for arg in (*node.args.posonlyargs, *node.args.args) if arg.arg not in {"self", "cls"}]
        if len(positional) > MOST_POSITIONAL and where not in MANY_PARAMETERS:
            problems.append(f"{where} takes {len(positional)} positional parameters")
    assert not problems, "\n".join(problems)


def test_no_exception_is_listed_in_vain() -> None:
    names = {_name(path) for path in MODULES}
    listed = [*LONG_MODULES, *LONG_FUNCTIONS, *MANY_PARAMETERS]
    assert not [entry for entry in listed if entry.partition(":")[0] not in names]
