"""Gateway, controller and worker as processes of their own, as in a cluster: what a real Prometheus sees of them, and
whose part of a job's trace each tells.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from springtide.domain.ids import JobId
from springtide.telemetry.metrics_alerts import ALERTS, groups
from springtide.telemetry.metrics_boards import BOARDS
from springtide.telemetry.trace_ids import span_id_of
from springtide.testing.collector import Collector
from springtide.testing.prometheus import PrometheusServer, prometheus_server
from springtide.testing.servers import NoServer, free_port, valkey_server

pytestmark = pytest.mark.xdist_group("acceptance")
RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yaml"
CONFIG = """
[models.synthetic]
engine = "synthetic"
min_replicas = 1
max_replicas = 1
slots = 2
"""
LONG = {"model": "synthetic", "inputs": {"seconds": 60}}  # some begin before the queue hears of the pause
MANY = 25  # more than the 20 of which SpringtideQueueLong speaks
# Panels that have nothing to show here, and why.
EMPTY = {
    "GPUs busy": "no GPU",
    "GPU memory in use": "no GPU",
    "Real-time factor": "no speech",
    "Sound a second": "no speech",
    "Frames a second of a job": "no video",
    "Frames a second of all": "no video",
    "One message to a webhook": "no webhook",
    "Refused": "nobody was",
}


class Installation:
    """Three processes and a Valkey."""

    def __init__(self, folder: Path, broker: str, traces: str) -> None:
        self._port = free_port()
        config = folder / "springtide.toml"
        config.write_text(CONFIG)
        self.log = folder / "log.txt"
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=300, trust_env=False)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SPRINGTIDE_")}
        self._environment = {
            **kept,
            "SPRINGTIDE_CONFIG": str(config),
            "SPRINGTIDE_SERVER__DATA_DIR": str(folder / "data"),
            "SPRINGTIDE_SERVER__PORT": str(self._port),
            "SPRINGTIDE_BROKER__URL": broker,
            "SPRINGTIDE_TELEMETRY__METRICS_PORT": str(free_port()),
            "SPRINGTIDE_TELEMETRY__OTLP_ENDPOINT": traces,
        }
        self.processes = [self._start("gateway"), self._start("controller")]  # which starts the worker

    def _start(self, role: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            words = [sys.executable, "-m", "springtide", role]
            return subprocess.Popen(words, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def metrics(self) -> list[str]:
        """Addresses on which they tell their figures: the port in the configuration, and the next free ones."""
        family = [one for each in self.processes for one in _family(each.pid)]
        ports = {place.laddr.port for one in family for place in one.net_connections("tcp") if place.status == "LISTEN"}
        return [f"127.0.0.1:{port}" for port in sorted(ports - {self._port})]

    def job(self, *, headers: dict[str, str] | None = None, **inputs: Any) -> dict[str, Any]:
        """A job once it has ended."""
        wait = {"Prefer": "wait=60", **(headers or {})}
        answer = self.http.post("/v1/jobs", json={"model": "synthetic", "inputs": inputs}, headers=wait)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def close(self) -> None:
        self.http.close()
        below = [one for each in self.processes for one in _family(each.pid)[1:]]
        for one in reversed(self.processes):
            one.terminate()
        for one in self.processes:
            one.wait(60)
        for child in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as made:
        yield made


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Installation]:
    with valkey_server() as broker:
        made = Installation(tmp_path_factory.mktemp("apart"), broker.url, collector.url)
        _until_all_tell(made)
        yield made
        made.close()


def test_each_process_tells_its_own_part_of_a_trace(installation: Installation, collector: Collector) -> None:
    trace, caller = "ab" * 16, "cd" * 8
    job = installation.job(seconds=0.2, headers={"traceparent": f"00-{trace}-{caller}-01"})
    assert job["status"] == "completed", job
    names = {"accept", "job synthetic", "queue", "attempt 1", "run", "record"}
    found = collector.wait_for(trace, names)
    roles = {name: found[name].role for name in names}
    assert roles == {
        "accept": "gateway",
        "job synthetic": "controller",
        "queue": "controller",
        "attempt 1": "controller",
        "record": "controller",
        "run": "worker synthetic",
    }
    assert found["job synthetic"].parent == caller
    root = span_id_of(JobId(job["id"]))
    assert {found[name].parent for name in ("accept", "queue", "attempt 1", "record")} == {root}
    assert found["run"].parent == found["attempt 1"].span_id


def test_a_prometheus_sees_targets_dashboards_and_alerts(installation: Installation, tmp_path: Path) -> None:
    hasty = tmp_path / "hasty.yaml"
    hasty.write_text(json.dumps(_hasty()))
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(
                prometheus_server(tmp_path, targets={"springtide": installation.metrics()}, rules=[RULES, hasty])
            )
        except NoServer as missing:
            pytest.skip(str(missing))
        server.until(lambda: set(server.targets().values()) == {"up"}, lambda: f"all up, not {server.targets()}")
        _work(installation)
        _see_the_rules(server)
        assert "SpringtideQueueLong" not in server.alerts("firing")
        _post(installation, "/v1/models/synthetic/pause", {"note": "maintenance"})
        stuck = _post(installation, "/v1/jobs/batches", {"jobs": [LONG] * MANY})
        told = {"SpringtideQueueLong", "SpringtideModelPaused"}
        server.until(lambda: told <= server.alerts("firing"), lambda: f"firing, not {server.alerts('firing')}")
        server.until(lambda: told <= server.alerts("pending"), "pending, as those that are shipped wait some minutes")
        _see_the_dashboards(server)
        _post(installation, f"/v1/jobs/batches/{stuck['id']}/cancel", {})
        _post(installation, "/v1/models/synthetic/resume", {})
        server.until(lambda: "SpringtideQueueLong" not in server.alerts("firing"), "it is over")


def _work(installation: Installation) -> None:
    """Of each kind something."""
    for inputs in ({}, {"outcome": "fail"}, {"outcome": "crash"}, {"bad": 1}):
        installation.http.post("/v1/jobs", json={"model": "synthetic", "inputs": {"seconds": 0.05, **inputs}})
    assert installation.job(seconds=0.05)["status"] == "completed"


def _see_the_dashboards(server: PrometheusServer) -> None:
    """Every expression is one that Prometheus takes, and each panel has something to show where there is something."""
    panels = [panel for board in BOARDS for panel in board.panels]

    def silent() -> set[str]:
        answers = {panel.title: [server.ask(_asked(one)) for one in panel.queries.values()] for panel in panels}
        return {title for title, found in answers.items() if not any(found)}

    found: set[str] = set()

    def all_show() -> bool:
        found.clear()
        found.update(silent())
        return found <= EMPTY.keys()

    server.until(all_show, lambda: f"nothing in {sorted(found - EMPTY.keys())}")
    assert found == EMPTY.keys(), "some have something to show after all"


def _see_the_rules(server: PrometheusServer) -> None:
    def states() -> dict[str, str]:
        loaded = server.get("rules")["groups"]
        return {rule["name"]: rule["health"] for group in loaded for rule in group["rules"]}

    server.until(lambda: set(states().values()) == {"ok"}, "all rules were looked at, and could be")
    assert states().keys() == {alert.name for alert in ALERTS}


def _asked(query: str) -> str:
    """As Grafana asks it."""
    for name, value in (("$__rate_interval", "1m"), ("$__range", "1m"), ("$model", ".+"), ("$tenant", ".+")):
        query = query.replace(name, value)
    return query


def _hasty() -> dict[str, Any]:
    """The shipped alerts, which wait for nothing."""
    made = groups()
    for group in made["groups"]:
        group["name"] += " hasty"
        for rule in group["rules"]:
            rule["for"] = "0s"
    return made


def _post(installation: Installation, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = installation.http.post(path, json=body)
    assert answer.is_success, answer.text
    return dict(answer.json())


def _family(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def _until_all_tell(made: Installation) -> None:
    for _ in range(2400):
        with contextlib.suppress(httpx.HTTPError, psutil.NoSuchProcess):  # a process that is looked at may just end
            if made.http.get("/readyz", timeout=5).is_success and len(made.metrics()) == 3:
                return
        with contextlib.suppress(subprocess.TimeoutExpired):
            made.processes[0].wait(0.1)  # not longer where it has ended
            break
    pytest.fail(f"no server:\n{made.log.read_text()}")
