"""The life of a worker's container, as it is rendered: process 1 of a PID namespace, its variables, its probes and its
preStop hook. What a cluster would do to it is done to it here, but for the image."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from springtide.deploy import render
from springtide.deploy.values import installation
from springtide.testing.servers import ValkeyServer, free_port, valkey_server

from .conftest import World, is_alive

APART = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
TRIAL = Path(__file__).parents[2] / "deploy" / "trial.toml"


def container() -> dict[str, Any]:
    """The worker's, of the model `synthetic`."""
    for each in render.objects(installation(TRIAL)):
        if each["metadata"]["name"] == "springtide-worker-synthetic" and each["kind"] == "Deployment":
            [found] = each["spec"]["template"]["spec"]["containers"]
            return found
    raise AssertionError("no such Deployment")


@pytest.fixture
def broker() -> Iterator[ValkeyServer]:
    if shutil.which("unshare") is None or subprocess.run([*APART, "true"], capture_output=True).returncode:
        pytest.skip("no PID namespace may be made here")
    with valkey_server() as server:
        yield server


@pytest.fixture
def world(tmp_path: Path, broker: ValkeyServer) -> Iterator[World]:
    one = World(tmp_path, broker.url)
    yield one
    one.close()


def start(world: World, port: int) -> tuple[psutil.Process, psutil.Process]:
    """The worker's container: who started it, and its process 1."""
    given = container()
    said = {one["name"]: one["value"] for one in given["env"] if one["name"].startswith("SPRINGTIDE_TELEMETRY__")}
    world.environment |= {**said, "SPRINGTIDE_TELEMETRY__METRICS_PORT": str(port)}
    outside = world.start(*given["args"], before=APART)
    world.wait_for(lambda: bool(outside.children()), "the container's process 1")
    return outside, outside.children()[0]


def answers(port: int, probe: dict[str, Any]) -> int:
    """The status that a probe gets; 0: nobody listens. A kubelet asks again where an answer takes too long, and so is
    an answer waited for here, however busy this machine is."""
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}{probe['httpGet']['path']}", timeout=60).status_code
    return 0


def hook(process: psutil.Process) -> subprocess.Popen[bytes]:
    """The rendered preStop command, run inside the container."""
    command = container()["lifecycle"]["preStop"]["exec"]["command"]
    return subprocess.Popen(["nsenter", "--target", str(process.pid), "--pid", "--mount", "--", *command])


def test_a_worker_that_is_told_to_leave_finishes_its_job_and_ends_with_the_hook_still_there(
    world: World, pause: Path
) -> None:
    world.start("gateway", "--with-controller")
    world.wait_ready()
    port = free_port()
    outside, first = start(world, port)
    given = container()
    world.wait_for(lambda: answers(port, given["startupProbe"]) == 200, "the model to be loaded")
    assert answers(port, given["livenessProbe"]) == answers(port, given["readinessProbe"]) == 200
    [running] = world.submit(1)
    world.wait_until_running(running)
    leaving = hook(first)
    world.wait_for(lambda: answers(port, given["readinessProbe"]) == 503, "the worker to drain")
    assert answers(port, given["livenessProbe"]) == 200  # or it would be restarted in the middle of its drain
    assert leaving.poll() is None  # the kubelet's own signal comes after the hook: it must not come yet
    pause.unlink()
    world.wait_for(lambda: not is_alive(first), "the container to end")
    assert outside._popen.wait(60) == 0
    assert leaving.wait(60) != 0  # taken along by the end of process 1
    world.wait_until_done(1)
    assert world.attempts() == {running: 1}
    assert "Traceback" not in world.whole_log()
