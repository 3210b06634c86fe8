"""Makes docs/reference/cli.md from the commands themselves: run by `python docs/generate.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from springtide.cli.exits import MEANING
from springtide.cli.main import app

PAGE = Path(__file__).parent / "reference" / "cli.md"
HEAD = """# The command line

Commands that speak to a server find it by `--url`, `$SPRINGTIDE_URL`, or where the configuration's server runs; an API
key comes from `$SPRINGTIDE_API_KEY`, never from an argument. Results go to standard output, all else to standard error.
`springtide --install-completion` completes commands, models and the ids of jobs. This page is made from the code by
`python docs/generate.py`.

## Exit codes

| code | meaning |
|---|---|
"""


def render() -> str:
    """The page as it should be."""
    codes = "\n".join(f"| {code} | {meaning} |" for code, meaning in MEANING.items())
    return HEAD + codes + "\n" + "".join(_sections(get_command(app), "springtide")) + _NOTE


_NOTE = "\nEvery command has `--help`.\n"


def _sections(group: Any, name: str) -> Iterator[str]:
    for word, command in sorted(group.commands.items()):
        whole = f"{name} {word}"
        params = [one for one in command.params if not getattr(one, "hidden", False) and one.name != "help"]
        if not hasattr(command, "commands") or params:
            yield _section(command, whole, params)
        if hasattr(command, "commands"):
            yield from _sections(command, whole)


def _section(command: Any, name: str, params: list[Any]) -> str:
    arguments = [one for one in params if one.param_type_name == "argument"]
    words = "".join(f" {_metavar(one)}" for one in arguments)
    rows = "".join(f"| {_named(one)} | {_default(one)} | {one.help or ''} |\n" for one in params)
    table = f"\n| | default | |\n|---|---|---|\n{rows}" if rows else ""
    return f"\n## {name}\n\n`{name}{words}`\n\n{(command.help or '').strip()}\n{table}"


def _metavar(argument: Any) -> str:
    name = argument.name.upper() + ("…" if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _named(param: Any) -> str:
    if param.param_type_name == "argument":
        return f"`{_metavar(param)}`"
    value = "" if param.is_flag else " …"
    return ", ".join(f"`{one}{value}`" for one in (*param.opts, *param.secondary_opts))


def _default(param: Any) -> str:
    shown = param.default
    return "" if shown is None or shown is False or callable(shown) or shown == () or param.required else f"`{shown}`"


def write() -> None:
    PAGE.write_text(render())
