"""The web page in a real browser, on a real server with real engines: one test for each thing people come for.

Needs Chromium (Debian's `chromium`, or $CHROMIUM) and the built page; says so and skips where one is missing.
"""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from springtide.gateway import web

from .conftest import DATA, Server

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
PATIENCE_MS = 90_000  # a cold start of an engine on a busy machine

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install Debian's `chromium` or set CHROMIUM"),
    pytest.mark.skipif(not (web.FOLDER / "index.html").is_file(), reason="the web page was not built: `npm run build`"),
    pytest.mark.xdist_group("web"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    context = browser.new_context(locale="en-US", viewport={"width": 1280, "height": 860}, base_url=server.url)
    made = context.new_page()
    made.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    said: list[str] = []
    made.on("pageerror", lambda error: said.append(str(error)))
    made.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    made.on("request", lambda request: said.append(request.url) if not _is_ours(request.url, server.url) else None)
    yield made
    context.close()
    assert [one for one in said if "status of 4" not in one and "ERR_CONNECTION" not in one] == []


def _is_ours(url: str, ours: str) -> bool:
    return url.startswith((ours, ours.replace("http", "ws", 1), "blob:", "data:"))


def choose(page: Page, model: str) -> None:
    page.goto("/")
    page.get_by_role("button", name=re.compile(f"^{model}")).click()


def give(page: Page, label: str, path: Path) -> None:
    page.get_by_label(label, exact=True).first.set_input_files(path)


def start(page: Page) -> None:
    page.get_by_role("button", name="Start").click()


def saved(page: Page, button: str, folder: Path) -> bytes:
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile(button)).click()
    path = folder / "saved"
    download.value.save_as(path)
    return path.read_bytes()


def until(page: Page, expression: str) -> None:
    """The page's policy forbids `wait_for_function`, which compiles text."""
    for _ in range(PATIENCE_MS // 100):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    pytest.fail(f"never so: {expression}")


def test_a_picture_becomes_a_cut_out_compared_with_what_it_was(page: Page, tmp_path: Path) -> None:
    choose(page, "Matting")
    give(page, "Picture", DATA / "portrait.jpg")
    start(page)
    slider = page.get_by_role("slider", name="Slide between before and after")
    expect(slider).to_be_visible()
    slider.press("End")
    expect(slider).to_have_attribute("aria-valuenow", "100")
    assert saved(page, "^Cut-out", tmp_path).startswith(b"\x89PNG")


def test_a_word_of_a_transcript_is_a_place_in_the_sound(page: Page, tmp_path: Path) -> None:
    choose(page, "Speech recognition")
    give(page, "Sound", DATA / "en.wav")
    start(page)
    transcript = page.get_by_label("Transcript")
    expect(transcript).to_contain_text("best of times")
    word = transcript.get_by_role("button", name=re.compile("worst")).first
    word.click()
    until(page, "[...document.querySelectorAll('audio')].some(sound => sound.currentTime > 0.5)")
    assert b"-->" in saved(page, "^SRT", tmp_path)


def test_a_digital_human_asks_for_consent_and_then_speaks(page: Page) -> None:
    choose(page, "Digital human")
    give(page, "Picture", DATA / "portrait.jpg")
    give(page, "Sound", DATA / "en.wav")
    expect(page.get_by_role("button", name="Still needed")).to_be_disabled()
    page.get_by_label(re.compile("^Consent")).fill("I am the person shown, and I agree.")
    start(page)
    film = page.get_by_label("The resulting video")
    expect(film).to_be_visible()
    until(page, "document.querySelector('video[aria-label]').readyState >= 1")
    assert page.evaluate("document.querySelector('video[aria-label]').duration") > 4


def test_a_face_is_restored(page: Page) -> None:
    choose(page, "Face restoration")
    give(page, "Picture", DATA / "portrait.jpg")
    start(page)
    expect(page.get_by_role("slider", name="Slide between before and after")).to_be_visible()


def test_words_become_a_video(page: Page) -> None:
    choose(page, "Video preview")
    page.get_by_label(re.compile("^Prompt")).fill("a lake at dusk, slow push in")
    page.get_by_role("button", name=re.compile("more option")).click()
    page.get_by_role("textbox", name="Seconds").fill("1")
    start(page)
    expect(page.get_by_label("The resulting video")).to_be_visible()


def test_a_reload_in_the_middle_of_a_job_loses_nothing(page: Page) -> None:
    choose(page, "Synthetic")
    page.get_by_role("button", name=re.compile("more option")).click()
    page.get_by_role("textbox", name="Seconds", exact=True).fill("4")
    page.get_by_role("textbox", name="Steps").fill("40")
    start(page)
    expect(page.get_by_text("running", exact=True)).to_be_visible()
    page.reload()
    expect(page.get_by_role("progressbar", name="Progress")).to_be_visible()
    expect(page.get_by_text(re.compile("s of computing"))).to_be_visible()


def test_a_job_that_is_cancelled_says_so(page: Page) -> None:
    choose(page, "Synthetic")
    page.get_by_role("button", name=re.compile("more option")).click()
    page.get_by_role("textbox", name="Seconds", exact=True).fill("60")
    page.get_by_role("textbox", name="Steps").fill("600")
    start(page)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("cancelled", exact=True)).to_be_visible()


def test_a_file_that_is_not_what_it_says_is_refused_in_a_sentence(page: Page, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    choose(page, "Matting")
    give(page, "Picture", tmp_path / "broken.jpg")
    start(page)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("That did not work")
    assert "image" in alert.inner_text()


def test_many_files_are_one_batch_with_one_archive(page: Page, tmp_path: Path) -> None:
    for name in ("one.jpg", "two.jpg"):
        (tmp_path / name).write_bytes((DATA / "portrait.jpg").read_bytes())
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    page.goto("/batch")
    page.get_by_role("combobox", name="Model").click()
    page.get_by_role("option", name="Matting").click()
    page.get_by_label("Drop files or a folder here, or click to choose").first.set_input_files(
        [tmp_path / "one.jpg", tmp_path / "two.jpg", tmp_path / "bad.jpg"]
    )
    page.get_by_role("button", name="Start 3").click()
    expect(page.get_by_text("2 of 3 done")).to_be_visible()
    expect(page.get_by_role("button", name="Retry 1 failed")).to_be_enabled()
    with page.expect_download() as download:
        page.get_by_role("button", name=re.compile("as zip")).click()
    download.value.save_as(tmp_path / "all.zip")
    names = zipfile.ZipFile(tmp_path / "all.zip").namelist()
    assert "one-cutout.png" in names and "two-cutout.png" in names


def test_the_history_is_filtered_and_a_job_of_it_runs_again(page: Page, server: Server) -> None:
    server.http.post(
        "/v1/jobs", json={"model": "synthetic", "inputs": {"seconds": 0, "steps": 3}}, headers={"Prefer": "wait=60"}
    )
    page.goto("/history?model=synthetic&status=completed")
    row = page.get_by_role("row").nth(1)
    expect(row).to_contain_text("completed")
    row.get_by_role("button", name=re.compile("Actions for")).click()
    page.get_by_role("menuitem", name="Run again with changes").click()
    page.get_by_role("button", name=re.compile("more option")).click()
    expect(page.get_by_role("textbox", name="Steps")).to_have_value("3")
    start(page)
    expect(page.get_by_text(re.compile("s of computing"))).to_be_visible()


def test_a_job_is_deleted_after_one_question(page: Page, server: Server) -> None:
    body = {"model": "synthetic", "inputs": {"seconds": 0}}
    job = server.http.post("/v1/jobs", json=body, headers={"Prefer": "wait=60"}).json()["id"]
    page.goto("/history?model=synthetic")
    page.get_by_role("button", name=f"Actions for {job}").click()
    page.get_by_role("menuitem", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text(job)).to_have_count(0)
    assert server.http.get(f"/v1/jobs/{job}").status_code in (404, 410)


def test_why_a_job_waits_is_told_in_words(page: Page, server: Server) -> None:
    body = {"model": "synthetic", "inputs": {"seconds": 60, "steps": 600}}
    jobs = [server.http.post("/v1/jobs", json=body).json()["id"] for _ in range(9)]  # more than its worker holds
    try:
        page.goto(f"/?model=synthetic&job={jobs[-1]}")
        page.get_by_role("button", name="Why?").click()
        expect(page.get_by_role("main").get_by_role("listitem").first).to_contain_text(re.compile("[a-z]"))
    finally:
        for job in jobs:
            server.http.post(f"/v1/jobs/{job}/cancel")


def test_a_job_made_elsewhere_is_in_the_history_without_a_reload(page: Page, server: Server) -> None:
    page.goto("/history")
    page.get_by_role("heading", name="History").wait_for()
    page.wait_for_timeout(1500)  # the socket is open; `all` finds new jobs once a second
    made = server.http.post("/v1/jobs", json={"model": "synthetic", "inputs": {"seconds": 0}}).json()
    expect(page.get_by_text(made["id"])).to_be_visible()


def test_an_operator_reads_why_the_fleet_grew(page: Page, server: Server) -> None:
    server.http.post("/v1/jobs", json={"model": "synthetic", "inputs": {"seconds": 0}}, headers={"Prefer": "wait=60"})
    page.goto("/fleet?model=synthetic")
    expect(page.get_by_role("button", name=re.compile("^Synthetic"))).to_have_attribute("aria-pressed", "true")
    decision = page.get_by_role("button", name=re.compile("^QUEUE")).last
    decision.click()
    expect(page.get_by_text("wished for 1").first).to_be_visible()


def test_the_page_speaks_chinese_and_remembers_it(page: Page) -> None:
    page.goto("/")
    page.get_by_role("button", name="Language").click()
    page.get_by_role("menuitem", name="中文").click()
    expect(page.get_by_role("button", name=re.compile("数字人"))).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name=re.compile("数字人"))).to_be_visible()
    assert page.evaluate("document.documentElement.lang") == "zh"


def test_a_model_is_reached_and_left_by_the_keyboard_alone(page: Page) -> None:
    page.goto("/")
    card = page.get_by_role("button", name=re.compile("^Matting"))
    card.wait_for()
    for _ in range(40):
        page.keyboard.press("Tab")
        if card.evaluate("card => card === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Matting")).to_be_visible()


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed: `npm ci` in web/")
@pytest.mark.parametrize("path", ["/", "/?model=matting", "/batch", "/history", "/fleet", "/models"])
def test_no_page_has_a_serious_fault_of_accessibility(page: Page, path: str) -> None:
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page.goto(path)
    page.get_by_role("heading").first.wait_for()
    page.wait_for_load_state("networkidle")
    page.evaluate(AXE.read_text())
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", scheme)
        page.wait_for_timeout(300)  # colours fade
        found = page.evaluate("axe.run().then(found => found.violations)")
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        assert [
            (each["id"], node["target"], node["failureSummary"]) for each in serious for node in each["nodes"]
        ] == []
