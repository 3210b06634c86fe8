"""Plain data as YAML that people read: keys in their order, long texts as blocks, comments where somebody would ask.

Promises: any YAML 1.1 or 1.2 reader reads back what was given; two runs write the same bytes.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*(?::[A-Za-z0-9_./-]+)*")  # a colon inside, never at the end
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}  # what YAML 1.1 takes for something else
_WIDTH = 110
Why = Callable[[tuple[str, ...]], str | None]  # the comment for a key, by its path without places in lists


def to_yaml(data: Mapping[str, Any], why: Why = lambda path: None) -> str:
    """One document, without `---`."""
    return "\n".join(_mapping(data, "", (), why)) + "\n"


def _mapping(data: Mapping[str, Any], indent: str, path: tuple[str, ...], why: Why) -> Iterator[str]:
    for key, value in data.items():
        here = (*path, str(key))
        comment = why(here)
        if comment:
            for line in textwrap.wrap(comment, _WIDTH - len(indent)):
                yield f"{indent}# {line}"
        yield from _entry(f"{indent}{_scalar(str(key))}:", value, indent, here, why)


def _entry(head: str, value: Any, indent: str, path: tuple[str, ...], why: Why) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        yield head
        yield from _mapping(value, f"{indent}  ", path, why)
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        yield head
        yield from _sequence(value, f"{indent}  ", path, why)
    elif isinstance(value, str) and "\n" in value and _is_a_block(value):
        yield f"{head} |"
        yield from (f"{indent}  {line}".rstrip() for line in value.removesuffix("\n").split("\n"))
    else:
        yield f"{head} {_scalar(value)}"


def _sequence(values: Sequence[Any], indent: str, path: tuple[str, ...], why: Why) -> Iterator[str]:
    for value in values:
        if isinstance(value, Mapping) and value:
            lines = list(_mapping(value, f"{indent}  ", path, why))
            first = next(at for at, line in enumerate(lines) if not line.lstrip().startswith("#"))
            yield from (line.replace(f"{indent}  #", f"{indent}#", 1) for line in lines[:first])
            yield f"{indent}- {lines[first].removeprefix(f'{indent}  ')}"
            yield from lines[first + 1 :]
        else:
            yield f"{indent}- {_scalar(value)}"


def _is_a_block(text: str) -> bool:
    return text.endswith("\n") and not text.endswith("\n\n") and not text.startswith((" ", "\n")) and "\t" not in text


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)
