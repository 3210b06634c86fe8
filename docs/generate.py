"""Writes docs/reference/configuration.md from the settings' own descriptions: `python docs/generate.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from springtide.config import (
    BlobsConfig,
    BrokerConfig,
    LedgerConfig,
    ModelConfig,
    ServerConfig,
)

TARGET = Path(__file__).parent / "reference" / "configuration.md"
SECTIONS: list[tuple[str, type[BaseModel]]] = [
    ("server", ServerConfig),
    ("broker", BrokerConfig),
    ("ledger", LedgerConfig),
    ("blobs", BlobsConfig),
    ("models.NAME", ModelConfig),
]
HEAD = """# Configuration

One file, `springtide.toml`, is read from `--config`, else `$SPRINGTIDE_CONFIG`, else the current folder. Without one, the
defaults below serve `matting`, `speech` and `synthetic`. A variable overrides the file: `SPRINGTIDE_SERVER__PORT=9000` is
`[server] port = 9000`. All problems are told at once. This page is made from the code by `python docs/generate.py`.
"""


def render() -> str:
    """The page as it should be."""
    parts = [HEAD]
    for name, section in SECTIONS:
        parts.append(f"\n## [{name}]\n\n{(section.__doc__ or '').strip()}\n\n| key | default | allowed | meaning |")
        parts.append("|---|---|---|---|")
        for key, field in section.model_fields.items():
            parts.append(f"| `{key}` | {_default(field)} | {_allowed(field)} | {field.description} |")
    return "\n".join(parts) + "\n"


def _default(field: Any) -> str:
    if field.default_factory is not None:
        return "`{}`"
    if field.default is PydanticUndefined:
        return "required"
    return "none" if field.default is None else f"`{field.default}`"


def _allowed(field: Any) -> str:
    words = {"Ge": "≥", "Gt": ">", "Le": "≤", "Lt": "<"}
    bounds = [
        f"{sign} {getattr(rule, name.lower())}"
        for rule in field.metadata
        for name, sign in words.items()
        if type(rule).__name__ == name
    ]
    return ", ".join(bounds) or "any"


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(render())
