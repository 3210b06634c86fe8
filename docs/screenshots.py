"""Takes a picture of every page in both languages and both colours, on a screen and on a phone: `make screenshots`.

Needs Chromium. A server of its own is started with some jobs in it. All pictures, whole pages, go to .screenshots/ to
be looked at, the few that the documentation shows to docs/images/web/ as well. It says which pages are wider than the
window. `python docs/screenshots.py fleet history`: only those pages, and nothing goes to the documentation.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
ALL = ROOT / ".screenshots"
PICTURES = ROOT / "docs" / "images" / "web"
SHOWN = ("studio-en-light", "digital-human-en-light", "speech-zh-dark", "fleet-en-light", "fleet-zh-dark")
SHOWN += ("what-if-en-light", "what-if-zh-dark", "tenants-en-light", "webhooks-en-dark", "phone-zh-light")
LONGEST = 2400  # px of a page that goes on and on
COLOURS = 192  # of a palette: text stays sharp at a third of the bytes
PORTRAIT, SPEECH = ROOT / "tests" / "data" / "portrait.jpg", ROOT / "tests" / "data" / "en.wav"
CONFIG = """
[models.digital-human]
engine = "digital-human"
[models.matting]
engine = "matting"
[models.restore]
engine = "restore"
[models.speech]
engine = "speech"
[models.video]
engine = "video"
[models.watermark]
engine = "watermark"
[models.what-if]
engine = "what-if"
[egress]
allow = ["127.0.0.1"]
[models.synthetic]
engine = "synthetic"
max_replicas = 4
[models.synthetic.scaling]
wait_s = 5
[models.trial]
engine = "synthetic"
slots = 64
batch = 64
[models.trial.versions.2]
engine = "synthetic"
slots = 64
batch = 64
"""
LOAD_S = 90  # of synthetic jobs, so that the fleet has a story


def main() -> None:
    """All pictures: 1280 wide pages, and on a phone."""
    ALL.mkdir(exist_ok=True)
    for old in () if sys.argv[1:] else ALL.glob("*.png"):
        old.unlink()
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, _server(Path(folder)) as url, sync_playwright() as playwright:
        pages = _seed(url)
        pages = {name: path for name, path in pages.items() if not sys.argv[1:] or name in sys.argv[1:]}
        chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for language, locale in (("en", "en-US"), ("zh", "zh-CN")):
            for scheme in ("light", "dark"):
                context = browser.new_context(
                    locale=locale, color_scheme=scheme, viewport={"width": 1280, "height": 860}, base_url=url
                )
                page = context.new_page()
                for name, path in pages.items():
                    _take(page, path, name, language, scheme)
                page.set_viewport_size({"width": 390, "height": 844})
                for name, path in pages.items():
                    _take(page, path, "phone" if name == "studio" else f"phone-{name}", language, scheme)
                context.close()
        browser.close()


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    (folder / "springtide.toml").write_text(CONFIG)
    env = {**os.environ, "SPRINGTIDE_SERVER__DATA_DIR": str(folder / "data"), "SPRINGTIDE_SERVER__PORT": "0"}
    process = subprocess.Popen([sys.executable, "-m", "springtide", "up"], cwd=folder, env=env)
    try:
        note = folder / "data" / "server.json"
        while not note.is_file():
            time.sleep(0.2)
        yield json.loads(note.read_text())["url"]
    finally:
        process.terminate()
        process.wait(60)


def _seed(url: str) -> dict[str, str]:
    """Jobs of each kind. Returns the pages to take, by name."""
    http = httpx.Client(base_url=url, timeout=180, trust_env=False)

    def job(model: str, data: dict[str, str], **files: Path) -> str:
        parts = {name: (path.name, path.read_bytes()) for name, path in files.items()}
        form = [(name, (None, value)) for name, value in {"model": model, **data}.items()]
        answer = http.post("/v1/jobs", files=[*form, *parts.items()])
        made = str(answer.raise_for_status().json()["id"])
        with http.stream("GET", f"/v1/jobs/{made}/events") as events:  # until its end
            events.read()
        return made

    http.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/renders", "description": "Render farm"})
    http.post("/v1/keys", json={"tenant": "studio-a", "name": "Render farm"})

    ends_s = time.monotonic() + LOAD_S
    while time.monotonic() < ends_s:
        for _ in range(6 if LOAD_S / 4 < ends_s - time.monotonic() < LOAD_S * 3 / 4 else 1):
            http.post("/v1/jobs", json={"model": "synthetic", "inputs": {"seconds": 2, "steps": 4}})
        time.sleep(2)
    matting = job("matting", {}, image=PORTRAIT)
    speech = job("speech", {"word_times": "true"}, audio=SPEECH)
    consent = "I am the person shown, and I agree."
    human = job("digital-human", {"consent": consent}, image=PORTRAIT, audio=SPEECH)
    http.post("/v1/models/trial/rollout", json={"version": "2", "weight": 10})
    failed = job("synthetic", {"seconds": "0", "outcome": "fail"})
    http.post("/v1/models/watermark/pause", json={"note": "a new card is built in"})
    waiting = http.post(
        "/v1/jobs",
        files=[("model", (None, "watermark")), ("text", (None, "hello")), ("image", ("p.jpg", PORTRAIT.read_bytes()))],
    ).json()["id"]
    restored = job("restore", {}, image=PORTRAIT)
    simulated = job("what-if", {"invent": "tide", "load": "4"})
    return {
        "studio": "/",
        "form": "/?model=digital-human",
        "matting": f"/?model=matting&job={matting}",
        "speech": f"/?model=speech&job={speech}",
        "digital-human": f"/?model=digital-human&job={human}",
        "restore": f"/?model=restore&job={restored}",
        "failed": f"/?model=synthetic&job={failed}",
        "waiting": f"/?model=watermark&job={waiting}",
        "batch": "/batch",
        "history": "/history",
        "fleet": "/fleet?model=synthetic",
        "what-if-empty": "/what-if",
        "what-if": f"/what-if?job={simulated}",
        "models": "/models",
        "tenants": "/tenants",
        "keys": "/tenants?tab=keys",
        "webhooks": "/webhooks",
    }


def _take(page: Page, path: str, name: str, language: str, scheme: str) -> None:
    full = f"{name}-{language}-{scheme}"
    page.goto(path)
    page.get_by_role("heading").first.wait_for()
    why = page.get_by_role("button", name=re.compile(r"Why\?|为什么"))
    page.wait_for_timeout(1500)
    if why.count():
        why.first.click()
        page.wait_for_timeout(500)
    wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    if wider > 0:
        sys.stderr.write(f"{full}: {wider} px wider than the window\n")
    whole = Image.open(BytesIO(page.screenshot(full_page=True))).convert("RGB")
    whole.crop((0, 0, whole.width, min(whole.height, LONGEST))).save(ALL / f"{full}.png")
    if full in SHOWN and not sys.argv[1:]:
        picture = Image.open(BytesIO(page.screenshot())).convert("RGB")
        picture.quantize(COLOURS, dither=Image.Dither.NONE).save(PICTURES / f"{full}.png", optimize=True)


if __name__ == "__main__":
    main()
