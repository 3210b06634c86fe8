"""Makes `springtide.client.sync` from `springtide.client.aio`, word for word: run by `python docs/generate.py`."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).parents[1] / "src" / "springtide" / "client"
WRITTEN, MADE = CLIENT / "aio", CLIENT / "sync"
NOTE = "# Made from {name} by `python docs/generate.py`; a change there, not here.\n"
WORDS = [
    (r"await asyncio\.to_thread\(([\w.]+), ?", r"\1("),  # a thread that may wait does it itself
    (r"await asyncio\.to_thread\(([\w.]+)\)", r"\1()"),
    (r"asyncio\.sleep", "time.sleep"),
    (r"^import asyncio\n", "import time\n"),
    (r"websockets\.asyncio", "websockets.sync"),
    (r"springtide\.client\.aio", "springtide.client.sync"),
    (r"contextlib\.asynccontextmanager", "contextlib.contextmanager"),
    (r"Awaitable\[None\]", "None"),
    (r", Awaitable\b", ""),
    (r"\bawait ", ""),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\b__a(enter|exit)__\b", r"__\1__"),
    (r"\ba(close|read|iter_bytes)\b", r"\1"),
    (r"\bAsync([A-Z]\w+)", r"\1"),
]


def made() -> dict[str, str]:
    """The modules of the synchronous client by file name, as they should be."""
    return {path.name: _formatted(_made(path)) for path in sorted(WRITTEN.glob("*.py"))}


def write() -> None:
    MADE.mkdir(exist_ok=True)
    for name, text in made().items():
        (MADE / name).write_text(text)


def _made(path: Path) -> str:
    if path.name == "__init__.py":
        return '"""The synchronous client. Made from `springtide.client.aio`: python docs/generate.py."""\n'
    text = path.read_text()
    for pattern, put in WORDS:
        text = re.sub(pattern, put, text, flags=re.MULTILINE)
    return NOTE.format(name=f"aio/{path.name}") + text


def _formatted(text: str) -> str:
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or "ruff"
    for words in (["check", "--select", "I,F401", "--fix", "--quiet"], ["format"]):
        command = [ruff, *words, "--stdin-filename", str(MADE / "module.py"), "-"]
        text = subprocess.run(command, input=text, capture_output=True, text=True, check=True, cwd=CLIENT).stdout
    return text


if __name__ == "__main__":
    write()
