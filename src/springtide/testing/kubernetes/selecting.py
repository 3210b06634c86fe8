"""Label and field selectors, as lists and watches take them."""

from __future__ import annotations

import re
from typing import Any

from springtide.testing.kubernetes import errors
from springtide.testing.kubernetes.fields import Object

_SET = re.compile(r"^\s*([\w./-]+)\s+(in|notin)\s+\(([^)]*)\)\s*$")


def by_labels(selector: str, one: Object) -> bool:
    """a=b, a==b, a!=b, a, !a, a in (b, c), a notin (b): all of them."""
    labels: dict[str, str] = one["metadata"].get("labels") or {}
    return all(_holds(term.strip(), labels) for term in re.split(r",(?![^(]*\))", selector) if term.strip())


def by_fields(selector: str, one: Object) -> bool:
    """metadata.name=x, status.phase!=Running, ...: all of them."""
    for term in selector.split(","):
        if not term.strip():
            continue
        name, unlike, value = re.split(r"(!?={1,2})", term.strip(), maxsplit=1)
        found: Any = one
        for step in name.split("."):
            found = found.get(step) if isinstance(found, dict) else None
        if ((found or "") == value) == unlike.startswith("!"):
            return False
    return True


def _holds(term: str, labels: dict[str, str]) -> bool:
    if among := _SET.match(term):
        name, how, values = among.groups()
        is_in = labels.get(name) in {value.strip() for value in values.split(",")}
        return is_in == (how == "in")
    if "!=" in term:
        name, _, value = term.partition("!=")
        return labels.get(name.strip()) != value.strip()
    if "=" in term:
        name, _, value = term.replace("==", "=").partition("=")
        return labels.get(name.strip()) == value.strip()
    if term.startswith("!"):
        return term[1:].strip() not in labels
    if not re.fullmatch(r"[\w./-]+", term):
        raise errors.bad_request(f"unable to parse requirement: {term}")
    return term in labels
