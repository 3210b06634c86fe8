"""No loop learns the time, waits or draws by itself: that is `runtime`'s, so that a simulation can take its place.

Each exception is listed with what it uses and why it may. The simulation runs gateway, worker and controller loops;
what it replaces (processes, sockets) may use real time.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "springtide"
# may: its home, tests' parts, what runs outside
ELSEWHERE = ("runtime", "testing", "cli", "client", "loadtest", "sim/__main__.py")
MODULES = sorted(path for path in SOURCE.rglob("*.py") if not path.relative_to(SOURCE).as_posix().startswith(ELSEWHERE))

CLOCKS = {"time", "random", "secrets", "uuid", "uuid_utils", "sched"}
WAITS = {"asyncio.sleep", "asyncio.timeout", "asyncio.timeout_at", "asyncio.wait_for"}
LOOP_TIMES = {"call_later", "call_at"}
NOW = {"datetime.now", "datetime.utcnow", "date.today"}

_CHILD = "runs in the engine's own process, which the simulation replaces"
_SOCKET = "waits for a socket, which the simulation replaces"
_PROCESS = "waits for a process, which the simulation replaces"
_SIM = "is the simulation"
ALLOWED: dict[str, tuple[set[str], str]] = {
    "blobs/s3_place.py": ({"datetime.now"}, "compares with the age that a bucket gives its objects"),
    "broker/memory_waits.py": (
        {"call_later"},
        "`wait_s` of a verb is real time; the simulation's loop makes it virtual",
    ),
    "broker/redis.py": ({"asyncio.timeout", "loop.time"}, _SOCKET),
    "broker/redis_doorbell.py": ({"asyncio.sleep", "asyncio.timeout"}, _SOCKET),
    "broker/redis_line.py": ({"asyncio.sleep", "call_later"}, _SOCKET),
    "broker/redis_scripts.py": ({"asyncio.timeout", "loop.time"}, _SOCKET),
    "broker/remote.py": ({"asyncio.sleep", "asyncio.timeout"}, _SOCKET),
    "egress/client.py": ({"asyncio.timeout"}, _SOCKET),
    "egress/wire.py": ({"asyncio.timeout"}, _SOCKET),
    "engines/human/engine.py": ({"time"}, _CHILD),
    "engines/matting/isnet.py": ({"time"}, _CHILD),
    "engines/media/films.py": ({"time"}, _CHILD),
    "engines/packages.py": ({"time"}, "`models pull`, a command"),
    "engines/protocol.py": ({"time"}, _CHILD),
    "engines/restoration/engine.py": ({"time"}, _CHILD),
    "engines/remote/engine.py": ({"time"}, _CHILD),
    "engines/remote/heygem.py": ({"time"}, _CHILD),
    "engines/remote/service.py": ({"datetime.now"}, "reads the date of a Retry-After that is one"),
    "engines/speech/whisper.py": ({"time"}, _CHILD),
    "engines/synthetic/engine.py": ({"time"}, _CHILD),
    "engines/synthetic/group.py": ({"time"}, _CHILD),
    "engines/video/parallax.py": ({"time"}, _CHILD),
    "engines/upscaling/engine.py": ({"time"}, _CHILD),
    "engines/trial_main.py": ({"time"}, "`models check`, a command: it measures"),
    "fleet/local.py": ({"asyncio.wait"}, _PROCESS),
    "gateway/front.py": ({"call_later"}, _SOCKET),
    "gateway/fronting.py": ({"asyncio.timeout", "call_later"}, _PROCESS),
    "gateway/heard_ends.py": ({"call_later"}, "as broker/memory_waits.py, which it stands for"),
    "gateway/measuring.py": ({"asyncio.timeout"}, "bounds the answer to a scrape"),
    "gateway/routes_health.py": ({"asyncio.timeout"}, "bounds the answer to an HTTP request"),
    "gateway/server.py": ({"call_later", "loop.time"}, _SOCKET),
    "gateway/ws_protocol.py": ({"call_later"}, _SOCKET),
    "ledger/writing.py": ({"asyncio.timeout", "call_later"}, _PROCESS),
    "media/inspector.py": ({"asyncio.timeout", "loop.time", "call_later", "call_at"}, _PROCESS),
    "sim/life.py": ({"asyncio.sleep", "loop.time"}, _SIM),
    "sim/clients.py": ({"asyncio.sleep"}, _SIM),
    "sim/engine.py": ({"asyncio.sleep"}, _SIM),
    "sim/faults.py": ({"asyncio.sleep", "call_later"}, _SIM),
    "sim/fleet.py": ({"asyncio.wait"}, _SIM),
    "sim/links.py": ({"asyncio.sleep"}, _SIM),
    "sim/what_if.py": ({"time"}, _CHILD),
    "sim/pool/chance.py": ({"random"}, _SIM),
    "sim/nodes.py": ({"random", "asyncio.sleep", "loop.time"}, _SIM),
    "sim/parts.py": ({"asyncio.sleep"}, _SIM),
    "sim/trace.py": ({"loop.time"}, _SIM),
    "sim/weather.py": ({"random"}, _SIM),
    "sim/world.py": ({"random", "asyncio.sleep", "loop.time"}, _SIM),
    "telemetry/metrics_listener.py": ({"asyncio.timeout"}, _SOCKET),
    "telemetry/metrics_relay.py": ({"asyncio.timeout"}, _SOCKET),
    "webhooks.py": ({"time"}, "runs in a receiver, which compares a message's time with its own"),
    "worker/child.py": ({"asyncio.wait"}, _PROCESS),
    "worker/child_lanes.py": ({"time"}, _CHILD),
    "worker/child_main.py": ({"time"}, _CHILD),
    "worker/child_runs.py": ({"time"}, _CHILD),
    "worker/outbox.py": ({"time"}, _CHILD),
    "worker/rank.py": ({"time"}, _CHILD),
}


def uses(source: str) -> Iterator[str]:
    """Every way in which a module learns the time, waits for it or draws."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (each.name for each in names if each.name in CLOCKS)
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in CLOCKS:
                yield module
            case ast.Call(func=ast.Attribute(attr=name) as function, keywords=keywords):
                called = ast.unparse(function)
                has_timeout = any(each.arg == "timeout" for each in keywords)
                if called in WAITS | NOW or (called == "asyncio.wait" and has_timeout):
                    yield called
                elif name in LOOP_TIMES:
                    yield name
                elif name == "time" and "loop" in called:
                    yield "loop.time"
            case _:
                pass


def _name(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_time_and_chance_come_through_runtime(path: Path) -> None:
    allowed, _ = ALLOWED.get(_name(path), (set(), ""))
    assert set(uses(path.read_text())) <= allowed, "take a Clock; draw from runtime.chance"


def test_no_exception_is_listed_in_vain() -> None:
    found = {_name(path): set(uses(path.read_text())) for path in MODULES}
    assert {name: what for name, (what, _) in ALLOWED.items() if found.get(name) != what} == {}


def test_a_module_that_helps_itself_is_seen() -> None:
    source = "import time, random\nasync def f(loop):\n await asyncio.sleep(1)\n return loop.time(), uuid.uuid4()"
    assert set(uses(source)) == {"time", "random", "asyncio.sleep", "loop.time"}
