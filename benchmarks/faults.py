"""Twelve faults brought about in real processes, and how long until each shows: `python -m benchmarks.faults`.

Each site is one of our own on this machine, in a folder of its own, and ended by its process's id. What is timed is the
moment at which the figures of an alert say so in `/metrics`, looked at every half second; Prometheus adds its scrape
interval and the alert's own `for`, which is told beside it. Bounded: a fault that does not show in LIMIT_S is told so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import trustme

from springtide.telemetry.metrics_alerts import ALERTS
from springtide.testing.postgres import postgres_server
from springtide.testing.servers import free_port, valkey_server

LIMIT_S = 150.0
LOOK_EVERY_S = 0.5
START_S = 90.0
SYNTHETIC = '[models.syn]\nengine = "synthetic"\nmin_replicas = 1\n'
Figures = dict[str, float]


class Site:
    """`springtide up`, or a gateway and a controller, on a configuration."""

    def __init__(self, folder: Path, config: str, *roles: str, data: Path | None = None) -> None:
        self.port = free_port()
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=5.0)
        path = folder / "springtide.toml"
        path.write_text(f'[server]\nport = {self.port}\ndata_dir = "{data or folder / "data"}"\n{config}')
        self._log = (folder / "log.txt").open("wb")
        env = {**os.environ, "SPRINGTIDE_CONFIG": str(path)}
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-m", "springtide", *role.split()], env=env, stderr=self._log, stdout=self._log
            )
            for role in roles or ("up",)
        ]

    def figures(self) -> Figures:
        """What `/metrics` says; nothing where it does not answer."""
        try:
            text = self.http.get("/metrics").text
        except httpx.HTTPError:
            return {}
        lines = (line.rpartition(" ") for line in text.splitlines() if line.startswith("springtide"))
        return {name: float(value) for name, _, value in lines}

    def submit(self, model: str = "syn", **inputs: Any) -> str:
        return self.http.post("/v1/jobs", json={"model": model, "inputs": inputs}).json().get("id", "")

    def explain(self, job: str) -> str:
        return self.http.get(f"/v1/jobs/{job}/explain").text

    def below(self, *words: str) -> list[psutil.Process]:
        """Processes of this site by the words of their command line."""
        found = [child for one in self.processes for child in psutil.Process(one.pid).children(recursive=True)]
        return [one for one in found if all(word in one.cmdline() for word in words)]

    def end(self) -> None:
        for one in self.processes:
            with contextlib.suppress(psutil.Error):
                for child in psutil.Process(one.pid).children(recursive=True):
                    child.send_signal(signal.SIGCONT)
                    child.kill()
            one.send_signal(signal.SIGCONT)
            one.kill()
            one.wait()
        self._log.close()


@contextlib.contextmanager
def site(config: str = SYNTHETIC, *roles: str, ready: str = "idle", data: Path | None = None) -> Iterator[Site]:
    """data: a folder of its own for the ledger and files."""
    with tempfile.TemporaryDirectory(prefix="springtide-faults-") as folder:
        made = Site(Path(folder), config, *roles, data=data)
        try:
            until(lambda: made.figures().get('springtide_dependency_up{dependency="ledger"}') == 1, START_S)
            if ready:
                until(lambda: total(made.figures(), "springtide_workers", 'state="ready"') > 0, START_S)
            yield made
        finally:
            made.end()


def total(figures: Figures, name: str, *labels: str) -> float:
    return sum(
        value
        for key, value in figures.items()
        if re.match(rf"{name}(\{{|$)", key) and all(one in key for one in labels)
    )


def until(is_so: Callable[[], bool], limit_s: float = LIMIT_S) -> float:
    """Seconds until it is so. Raises TimeoutError."""
    began_s = time.monotonic()
    while not is_so():
        if time.monotonic() - began_s > limit_s:
            raise TimeoutError
        time.sleep(LOOK_EVERY_S)
    return time.monotonic() - began_s


# --- the faults: each brings it about and returns the seconds until it shows, and what is said of it ---------------


def engine_fails() -> tuple[float, str]:
    with site() as one:
        jobs = [one.submit(seconds=0.1, outcome="fail") for _ in range(5)]
        took_s = until(lambda: total(one.figures(), "springtide_jobs_ended_total", 'status="failed"') > 0)
        return took_s, one.explain(jobs[0])


def weights_missing() -> tuple[float, str]:
    with site('weights_dir = "/nonexistent"\n[models.cut]\nengine = "matting"\nmin_replicas = 1\n', ready="") as one:
        took_s = until(lambda: total(one.figures(), "springtide_workers", 'state="failing"') > 0)
        return took_s, one.http.get("/readyz").text


def worker_killed_in_a_loop() -> tuple[float, str]:
    with site() as one:

        def shown() -> bool:
            for worker in one.below("worker", "syn"):
                with contextlib.suppress(psutil.Error):
                    worker.kill()
            return total(one.figures(), "springtide_worker_restarts_total") > 3

        return until(shown), one.explain(one.submit(seconds=0.1))


def broker_gone() -> tuple[float, str]:
    with valkey_server() as server, site(f'[broker]\nurl = "{server.url}"\n{SYNTHETIC}') as one:
        job = one.submit(seconds=30)
        server.kill()
        took_s = until(lambda: one.figures().get('springtide_dependency_up{dependency="broker"}') == 0)
        return took_s, one.explain(job)


def ledger_gone() -> tuple[float, str]:
    with postgres_server() as server, valkey_server() as queue:
        config = f'[broker]\nurl = "{queue.url}"\n[ledger]\nurl = "{server.new_database()}"\n{SYNTHETIC}'
        with site(config) as one:
            server.kill()
            took_s = until(lambda: one.figures().get('springtide_dependency_up{dependency="ledger"}') == 0)
            return took_s, one.http.get("/readyz").text


def webhook_certificate() -> tuple[float, str]:
    class Taken(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("elsewhere.example").configure_cert(context)
    receiver = HTTPServer(("127.0.0.1", 0), Taken)
    receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    with site(f'[egress]\nallow = ["127.0.0.1"]\n{SYNTHETIC}') as one:
        hook = {"url": f"https://127.0.0.1:{receiver.server_port}/", "events": ["job.completed"]}
        told = one.http.post("/v1/webhooks", json=hook)
        one.submit(seconds=0.1)
        took_s = until(lambda: total(one.figures(), "springtide_webhook_sendings_total", 'reason="certificate"') > 0)
        deliveries = one.http.get(f"/v1/webhooks/{told.json()['id']}/deliveries").text
    receiver.shutdown()
    return took_s, deliveries


def model_paused() -> tuple[float, str]:
    with site() as one:
        one.http.post("/v1/models/syn/pause", json={"note": "maintenance"}).raise_for_status()
        job = ""

        def shown() -> bool:
            nonlocal job
            job = one.submit(seconds=0.1)  # the queue hears of the pause within a sweep; until then jobs begin
            figures = one.figures()
            is_paused = total(figures, "springtide_scaling_reason", 'reason="PAUSED"') > 0
            return is_paused and total(figures, "springtide_queue_jobs") > 0

        return until(shown), one.explain(job)


def cold_start_slow() -> tuple[float, str]:
    slow = '[models.syn]\nengine = "synthetic"\n[models.syn.settings]\ncold_start_s = 20.0\n'
    with site(slow, ready="") as one:
        job = one.submit(seconds=0.1)
        said = ""

        def shown() -> bool:
            nonlocal said
            said = said or (text if "load" in (text := one.explain(job)) else "")
            return total(one.figures(), "springtide_cold_start_seconds_sum") > 15

        return until(shown), said


def gateway_stopped() -> tuple[float, str]:
    with site() as one:
        for process in one.below("gateway"):
            process.suspend()
        return until(lambda: not one.figures()), "the target is down"


def worker_silent() -> tuple[float, str]:
    with site() as one:
        job = one.submit(seconds=60)
        until(lambda: total(one.figures(), "springtide_queue_running_jobs") > 0)
        for process in one.below("worker"):
            process.suspend()
        return until(lambda: total(one.figures(), "springtide_leases_expired_total") > 0), one.explain(job)


def quota_reached() -> tuple[float, str]:
    with site(f"[tenant_defaults]\nrequests_per_minute = 30\n{SYNTHETIC}") as one:
        answers = [one.http.post("/v1/jobs", json={"model": "syn", "inputs": {"seconds": 0}}) for _ in range(45)]
        refused = next((one.text for one in answers if one.status_code == 429), "")
        return until(lambda: _refused(one) > 0), refused


def disk_full() -> tuple[float, str]:
    with small_disk() as disk, site(data=disk) as one:
        job = one.submit(seconds=0.1)
        until(lambda: "completed" in one.http.get(f"/v1/jobs/{job}").text)
        with contextlib.suppress(OSError), (disk / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(4096))
        took_s = until(lambda: total(one.figures(), "springtide_disk_free_ratio", '"ledger"') < 0.05)
        return took_s, one.http.post("/v1/jobs", json={"model": "syn", "inputs": {"seconds": 0.1}}).text


@contextlib.contextmanager
def small_disk() -> Iterator[Path]:
    """A real file system of 24 MB. Raises CalledProcessError where this user may not mount one."""
    with tempfile.TemporaryDirectory(prefix="springtide-faults-") as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def _refused(one: Site) -> float:
    return total(one.figures(), "springtide_http_problems_total", 'code="quota_exceeded"')


FAULTS: dict[str, tuple[Callable[[], tuple[float, str]], str]] = {
    "engine fails": (engine_fails, "SpringtideErrorRate"),
    "weights missing": (weights_missing, "SpringtideEngineDoesNotLoad"),
    "worker killed in a loop": (worker_killed_in_a_loop, "SpringtideRestarts"),
    "broker gone": (broker_gone, "SpringtideDependencyDown"),
    "ledger gone": (ledger_gone, "SpringtideDependencyDown"),
    "webhook's certificate wrong": (webhook_certificate, "SpringtideWebhookCertificates"),
    "model paused": (model_paused, "SpringtideModelPaused"),
    "cold start slow": (cold_start_slow, "SpringtideColdStartsSlow"),
    "gateway stopped (SIGSTOP)": (gateway_stopped, "SpringtideTargetDown"),
    "worker stopped (SIGSTOP)": (worker_silent, "dashboard overview: leases expired"),
    "disk full": (disk_full, "SpringtideDiskFull"),
    "quota reached": (quota_reached, "SpringtideRefusals"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faults", nargs="*", help="some of them; default: all")
    after = {alert.name: alert.after for alert in ALERTS}
    for name in parser.parse_args().faults or FAULTS:
        fault, alert = FAULTS[name]
        try:
            took_s, said = fault()
            row: dict[str, Any] = {"fault": name, "shows_after_s": round(took_s, 1), "alert": alert}
            row |= {"for": after.get(alert), "said": said[:400]}
        except (TimeoutError, subprocess.CalledProcessError):
            row = {"fault": name, "shows_after_s": None, "alert": alert}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
