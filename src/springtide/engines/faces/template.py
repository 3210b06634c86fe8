"""Which alignment a face restorer was trained on. Apart from `align`, so that settings can name it without NumPy."""

from __future__ import annotations

from enum import StrEnum


class Template(StrEnum):
    """Where eyes, nose and mouth stand in the square."""

    FFHQ = "ffhq"
    GPEN = "gpen"
