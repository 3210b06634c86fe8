"""One `springtide up` for all acceptance tests, spoken to only through HTTP and the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

READY_S = 180.0  # on a busy machine
DATA = Path(__file__).parents[1] / "data"


class Server:
    """A running installation and how to reach it."""

    def __init__(self, folder: Path, variables: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.log = folder / "log.txt"
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("SPRINGTIDE_")}
        self.env |= {"SPRINGTIDE_SERVER__DATA_DIR": str(folder / "data"), "SPRINGTIDE_SERVER__PORT": "0"}
        self.env |= variables or {}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "springtide", "up"],
                env=self.env,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.url = self._wait()
        self.http = httpx.Client(base_url=self.url, timeout=300, trust_env=False)

    def _wait(self) -> str:
        note = self.folder / "data" / "server.json"
        deadline_s = time.monotonic() + READY_S
        while time.monotonic() < deadline_s and self.process.poll() is None:
            try:
                url = str(json.loads(note.read_text())["url"])
                if httpx.get(f"{url}/healthz", timeout=2, trust_env=False).is_success:
                    return url
            except (OSError, ValueError, httpx.HTTPError):
                time.sleep(0.05)
        pytest.fail(f"no server after {READY_S:.0f} s:\n{self.log.read_text()}")

    def cli(
        self, *words: str, cwd: Path | None = None, variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `springtide WORDS` as a user would."""
        return subprocess.run(
            [sys.executable, "-m", "springtide", *words],
            env={**self.env, **(variables or {})},
            cwd=cwd or self.folder,
            capture_output=True,
            text=True,
            timeout=300,
            stdin=subprocess.DEVNULL,
        )

    def submit(self, model: str, files: dict[str, Path], wait_s: int = 60, **fields: str) -> httpx.Response:
        """POST a form. wait_s: of the server's own wait for the job's end; where that is too short for a cold start on
        a busy machine, what the job has become is fetched once it has ended."""
        parts: list[tuple[str, Any]] = [(name, (None, value)) for name, value in {"model": model, **fields}.items()]
        parts += [(name, (path.name, path.read_bytes())) for name, path in files.items()]
        answer = self.http.post("/v1/jobs", files=parts, headers={"Prefer": f"wait={wait_s}"})
        return self.ended(answer) if wait_s else answer

    def run(self, model: str, *, headers: Mapping[str, str] | None = None, **inputs: Any) -> dict[str, Any]:
        """A job without files once it has ended."""
        body = {"model": model, "inputs": inputs}
        answer = self.http.post("/v1/jobs", json=body, headers={"Prefer": "wait=60", **(headers or {})})
        return dict(self.ended(answer).raise_for_status().json())

    def ended(self, answer: httpx.Response) -> httpx.Response:
        """The answer about a job; where it did not wait for the end, one that has."""
        if answer.status_code != 202:
            return answer
        job = answer.json()["id"]
        self.finished(job)
        return self.http.get(f"/v1/jobs/{job}")

    def finished(self, job: str) -> dict[str, Any]:
        """The job once it has ended, by its own event stream."""
        with self.http.stream("GET", f"/v1/jobs/{job}/events", timeout=300) as response:
            for _ in response.iter_lines():
                pass
        return dict(self.http.get(f"/v1/jobs/{job}").json())

    def workers(self, model: str) -> set[str]:
        """Ids of the workers of a model, never used again. Those of other models may come and go meanwhile."""
        found = self.http.get("/v1/workers").json()["data"]
        return {one["id"] for one in found if model in {each["model"] for each in one["models"]}}

    def close(self) -> None:
        self.http.close()
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
            raise


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # one address of this machine may be told by webhooks, all others are refused as usual
    one = Server(tmp_path_factory.mktemp("springtide"), {"SPRINGTIDE_EGRESS__ALLOW": '["127.0.0.2"]'})
    yield one
    one.close()


# --- the web page -----------------------------------------------------------------------------------------------------

PATIENCE_MS = 90_000  # a cold start of an engine on a busy machine


@pytest.fixture(scope="module")  # while it lives an event loop runs here, which no test with a loop of its own can bear
def browser() -> Iterator[Browser]:
    """One Chromium for all tests of the page, with a microphone that hums."""
    from playwright.sync_api import expect, sync_playwright  # here, so that tests without a browser do not load it

    from springtide.gateway import web

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium here: install Debian's `chromium` or set CHROMIUM")
    if not (web.FOLDER / "index.html").is_file():
        pytest.skip("the web page was not built: `npm run build`")
    microphone = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", *microphone])
        yield made
        made.close()


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """A page of `server` in a profile of its own. It fails the test that leaves an error in the console, and one that
    asks any other server for anything."""
    with opened(browser, server.url) as made:
        yield made


@contextmanager
def opened(browser: Browser, url: str, **profile: Any) -> Iterator[Page]:
    settings = {"locale": "en-US", "viewport": {"width": 1280, "height": 860}, "base_url": url, **profile}
    context = browser.new_context(**settings)
    made = context.new_page()
    made.set_default_timeout(PATIENCE_MS)
    said: list[str] = []
    made.on("pageerror", lambda error: said.append(str(error)))
    made.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    made.on("request", lambda request: said.append(request.url) if not _is_ours(request.url, url) else None)
    yield made
    context.close()
    assert [one for one in said if "status of 4" not in one and "ERR_" not in one] == []


def _is_ours(url: str, ours: str) -> bool:
    return url.startswith((ours, ours.replace("http", "ws", 1), "blob:", "data:"))


def until(page: Page, expression: str) -> None:
    """The page's policy forbids `wait_for_function`, which compiles text."""
    for _ in range(PATIENCE_MS // 100):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    pytest.fail(f"never so: {expression}")
