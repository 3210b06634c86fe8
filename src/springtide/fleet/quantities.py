"""Quantities as Kubernetes writes them."""

from __future__ import annotations

_DECIMAL = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_UNITS = {**_DECIMAL, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}


def quantity(text: str) -> float:
    """As a number: 4, 500m, 64Gi."""
    unit = next((one for one in sorted(_UNITS, key=len, reverse=True) if text.endswith(one)), "")
    return float(text.removesuffix(unit)) * _UNITS.get(unit, 1.0)
