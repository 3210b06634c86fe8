"""Where files stand in an engine's JSON result. Apart from `binding`: a worker need not load pydantic for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from springtide.domain.ids import BlobId

FILE_KEY = "$file"


def place(json: Mapping[str, Any], ids: Sequence[BlobId]) -> dict[str, Any]:
    """Put blob ids where `collect` left `{"$file": n}`."""

    def placed(value: Any) -> Any:
        if isinstance(value, dict) and len(value) == 1 and isinstance(value.get(FILE_KEY), int):
            return ids[value[FILE_KEY]]
        if isinstance(value, list):
            return [placed(item) for item in value]
        return value

    return {name: placed(value) for name, value in json.items()}
