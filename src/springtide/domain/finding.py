"""What `springtide doctor` found: one check, how it came out, and what to do about it."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Health(StrEnum):
    """How a check came out."""

    WELL = "well"
    RISK = "risk"  # it works now, and will not when it matters
    TROUBLE = "trouble"
    UNKNOWN = "unknown"  # it could not be looked at
    SKIPPED = "skipped"  # it does not matter here


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One check's outcome. `cure`: what to do, where there is something to be done."""

    check: str
    health: Health
    message: str
    cure: str | None = None


def well(check: str, message: str) -> Finding:
    return Finding(check=check, health=Health.WELL, message=message)


def risk(check: str, message: str, cure: str) -> Finding:
    return Finding(check=check, health=Health.RISK, message=message, cure=cure)


def trouble(check: str, message: str, cure: str) -> Finding:
    return Finding(check=check, health=Health.TROUBLE, message=message, cure=cure)


def unknown(check: str, message: str, cure: str | None = None) -> Finding:
    return Finding(check=check, health=Health.UNKNOWN, message=message, cure=cure)


def skipped(check: str, message: str) -> Finding:
    return Finding(check=check, health=Health.SKIPPED, message=message)
