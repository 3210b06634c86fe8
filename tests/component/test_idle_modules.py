"""What a server that does nothing holds is mostly modules: these cost megabytes, and are loaded by who needs them."""

import subprocess
import sys
from pathlib import Path

NEVER = {"PIL", "alembic", "asyncpg", "attr", "av", "botocore", "grpc", "httpcore", "httpx", "jinja2", "lightkube"}
NEVER |= {"numpy", "obstore", "onnxruntime", "opentelemetry", "prometheus_client", "pydantic.v1", "pydantic_settings"}
NEVER |= {"redis", "rich", "websockets"}

GATEWAY = """
import asyncio, sys
from springtide.cli import build, gateway_main
async def main():
    stop = asyncio.Event()
    gateway_main._say = lambda _: stop.set()
    await gateway_main.run_gateway(build.load(), stop, with_controller=True)
asyncio.run(main())
"""
UP = """
import sys
from springtide.cli import build, controller_main, scaled, up
from springtide.config import load_config
import springtide.broker.remote, springtide.controller.scaler, springtide.fleet.local
scaled.policies(load_config())
"""
WORKER = "import sys, springtide.cli.worker_main, springtide.worker.service"


def test_what_gateway_up_and_worker_load_before_anybody_asks_for_anything(tmp_path: Path) -> None:
    file = tmp_path / "springtide.toml"
    file.write_text(f'[server]\nport = 0\ndata_dir = "{tmp_path / "data"}"\n[models.synthetic]\nengine = "synthetic"\n')
    not_here = {GATEWAY: {"typer"}, UP: {"typer", "litestar", "sqlalchemy", "uvicorn", "psutil"}, WORKER: {"pydantic"}}
    for program, more in not_here.items():
        done = subprocess.run(
            [sys.executable, "-c", f"{program}\nprint(*sys.modules)"],
            env={"SPRINGTIDE_CONFIG": str(file), "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        loaded = set(done.stdout.split())
        assert "springtide.telemetry.settings" in loaded
        assert not (NEVER | more) & loaded
