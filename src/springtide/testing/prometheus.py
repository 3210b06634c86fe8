"""A real Prometheus for tests: scrapes what it is told, on a free port of this machine, stopped with the block.

    with prometheus_server(folder, targets={"springtide": ["127.0.0.1:8321"]}, rules=[path]) as server:
        server.ask("up")                     # an instant query's result
        server.alerts("firing")              # names of the alerts that fire now

The server is `prometheus` on the PATH (Debian: the package prometheus). Raises NoServer where there is none; tests skip
on it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from springtide.testing.servers import NoServer, free_port

START_S = 120.0
LOOK_EVERY_S = 0.3


class PrometheusServer:
    """Its HTTP API, as far as tests ask it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, timeout=60, trust_env=False)

    def get(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer. Raises AssertionError with Prometheus' own words where it is an error."""
        answer = self._http.get(f"/api/v1/{path}", params=parameters).json()
        assert answer["status"] == "success", f"{parameters}: {answer.get('error')}"
        return answer["data"]

    def ask(self, query: str) -> list[Any]:
        """What an instant query gives now: labels (`metric`) and `value`."""
        return list(self.get("query", query=query)["result"])

    def targets(self) -> dict[str, str]:
        """The health of each scraped address, or what is wrong with it."""
        return {
            one["labels"]["instance"]: one["lastError"] or one["health"] for one in self.get("targets")["activeTargets"]
        }

    def alerts(self, state: str) -> set[str]:
        """Names of the alerts in that state, `pending` or `firing`."""
        return {one["labels"]["alertname"] for one in self.get("alerts")["alerts"] if one["state"] == state}

    def until(self, is_so: Callable[[], bool], what: str | Callable[[], str], *, most_s: float = 240.0) -> float:
        """Seconds until it is so. what: is said where it never is. Raises AssertionError."""
        began_s = time.monotonic()
        while not is_so():
            if time.monotonic() - began_s > most_s:
                raise AssertionError(f"after {most_s:.0f} s not yet: {what if isinstance(what, str) else what()}")
            time.sleep(LOOK_EVERY_S)
        return time.monotonic() - began_s

    def is_ready(self) -> bool:
        try:
            return self._http.get("/-/ready").is_success
        except httpx.HTTPError:
            return False

    def close(self) -> None:
        self._http.close()


@contextlib.contextmanager
def prometheus_server(
    folder: Path, *, targets: Mapping[str, Sequence[str]], rules: Sequence[Path] = (), every_s: float = 1.0
) -> Generator[PrometheusServer]:
    """targets: addresses by the job they are scraped as. every_s: between scrapes, and between looks at the rules."""
    binary = shutil.which("prometheus")
    if binary is None:
        raise NoServer("prometheus is not on the PATH (Debian: the package prometheus)")
    every = f"{every_s * 1000:.0f}ms"
    config = {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "rule_files": [str(path.absolute()) for path in rules],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": list(hosts)}]} for job, hosts in targets.items()
        ],
    }
    path = folder / "prometheus.yml"
    path.write_text(json.dumps(config))  # JSON is YAML
    port = free_port()
    data, log = folder / "prometheus", folder / "prometheus.log"
    words = [f"--config.file={path}", f"--storage.tsdb.path={data}", f"--web.listen-address=127.0.0.1:{port}"]
    with log.open("wb") as out:
        process = subprocess.Popen([binary, *words], stdout=out, stderr=out)
    server = PrometheusServer(f"http://127.0.0.1:{port}")
    try:
        ends_at = time.monotonic() + START_S
        while not server.is_ready():
            if process.poll() is not None or time.monotonic() > ends_at:
                raise RuntimeError(f"prometheus did not start:\n{log.read_text()}")
            time.sleep(LOOK_EVERY_S)
        yield server
    finally:
        server.close()
        process.terminate()
        process.wait(120)
