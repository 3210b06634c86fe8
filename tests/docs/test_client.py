"""The page of commands and the synchronous client are made from code; a user's program type-checks."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio
from pathlib import Path

from springtide.client import AsyncSpringtide, From, InvalidInput, JobFailed, JobRequest, Refused, Springtide, Step

with Springtide("http://127.0.0.1:8321", api_key="st_x") as client:
    try:
        job = client.run("matting", {"image": Path("a.jpg")}, timeout_s=60, progress=True, priority="batch")
    except InvalidInput as error:
        print([problem.loc for problem in error.errors])
        raise
    except (JobFailed, Refused) as error:
        print(error.code)
        raise
    reveal_type(job)
    reveal_type(job.file("cutout"))
    reveal_type(client.download(job, "cut.png"))
    steps = [Step("watermark", {"image": From("cutout")})]
    reveal_type(client.submit("matting", {"image": b""}, then=steps))
    reveal_type([event.progress for event in client.stream(job)])
    reveal_type([one.id for one in client.jobs.list(status="failed")])
    batch = client.batches.submit(JobRequest(model="m", inputs={"n": n}) for n in range(3))
    reveal_type(list(client.batches.items(batch, status="failed")))
    client.submit("matting", priority="urgent")  # error: no such priority
    client.run("matting", patience=3)  # error: no such option


async def main() -> None:
    async with AsyncSpringtide() as client:
        reveal_type(await client.run("speech", {"audio": Path("a.wav")}))
        async for event in client.stream("job_1"):
            reveal_type(event)
        reveal_type([model.name for model in await client.models.list()])


asyncio.run(main())
"""
REVEALED = [
    "Job", "File", "Path", "Job", "list[float | None]", "list[str]", "list[BatchItem]", "Job", "Event", "list[str]",
]  # fmt: skip


def _script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_synchronous_client_is_made_from_the_asynchronous_one() -> None:
    module = _script("sync_client")
    made = module.made()
    assert {path.name: path.read_text() for path in module.MADE.glob("*.py")} == made, "run: python docs/generate.py"
    assert [name for name, text in made.items() for word in ("await ", "async ", "asyncio") if word in text] == []


def test_the_page_of_commands_is_made_from_them() -> None:
    page = _script("cli_page")
    assert page.PAGE.read_text() == page.render(), "run: python docs/generate.py"
    assert "## springtide run" in page.render() and "`--cancel-on-interrupt`" in page.render()


def test_a_users_program_is_typed(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict", "include": ["program.py"]}')
    words = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(words, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=300)

    found = json.loads(done.stdout)["generalDiagnostics"]
    revealed = [one["message"].split('"')[-2] for one in found if one["severity"] == "information"]
    assert revealed == REVEALED
    lines = PROGRAM.splitlines()
    wrong = [lines[one["range"]["start"]["line"]] for one in found if one["severity"] == "error"]
    assert [line for line in wrong if "# error" not in line] == [], found
    assert len({line for line in wrong if "# error" in line}) == 2
