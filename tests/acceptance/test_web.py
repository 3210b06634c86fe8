"""The web page in a real browser, on a real server with real engines: one test for each thing people come for.

Needs Chromium (Debian's `chromium`, or $CHROMIUM) and the built page; says so and skips where one is missing.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
import tomllib
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from springtide.gateway import web

from .conftest import DATA, Server

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
FAKE_MICROPHONE = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
PATIENCE_MS = 90_000  # a cold start of an engine on a busy machine

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install Debian's `chromium` or set CHROMIUM"),
    pytest.mark.skipif(not (web.FOLDER / "index.html").is_file(), reason="the web page was not built: `npm run build`"),
    pytest.mark.xdist_group("web"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *FAKE_MICROPHONE])
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


@pytest.fixture
def receiver() -> Iterator[list[str]]:
    """Somebody's server for webhooks: its address, then the event of each message it got."""
    got: list[str] = []

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            got.extend(re.findall(r'"type":"([a-z.]+)"', body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    listening = HTTPServer(("127.0.0.2", 0), Answering)
    got.append(f"http://127.0.0.2:{listening.server_port}/ends")
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield got
    listening.shutdown()
    thread.join()
    listening.server_close()


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
    expect(page.get_by_role("button", name="Still needed: Picture or Video")).to_be_disabled()
    give(page, "Picture", DATA / "portrait.jpg")
    expect(page.get_by_test_id("estimate")).to_contain_text(re.compile(r"Ready in about .*[\d.]+ GPU-seconds"))
    start(page)
    slider = page.get_by_role("slider", name="Slide between before and after")
    expect(slider).to_be_visible()
    slider.press("End")
    expect(slider).to_have_attribute("aria-valuenow", "100")
    assert saved(page, "^Cut-out", tmp_path).startswith(b"\x89PNG")
    page.reload()  # the picture that went in comes from the server now
    expect(slider).to_be_visible()


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
    assert str(tmp_path.parent.parent) not in alert.inner_text(), "where files lie on the server is nobody's business"


def test_many_files_are_one_batch_with_one_archive(page: Page, tmp_path: Path) -> None:
    folder = tmp_path / "portraits"
    (folder / "more").mkdir(parents=True)
    for name in ("one.jpg", "more/two.jpg"):
        (folder / name).write_bytes((DATA / "portrait.jpg").read_bytes())
    (folder / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (folder / "notes.txt").write_text("not a picture")
    page.goto("/batch")
    page.get_by_role("combobox", name="Model").click()
    page.get_by_role("option", name="Matting").click()
    page.locator("input[webkitdirectory]").set_input_files(folder)
    expect(page.get_by_role("alert")).to_contain_text("portraits/notes.txt")
    expect(page.get_by_test_id("estimate")).to_contain_text("All ready in about")
    page.get_by_role("button", name="Start 3").click()
    expect(page.get_by_text("2 of 3 done")).to_be_visible()
    expect(page.get_by_role("button", name="Retry 1 failed")).to_be_enabled()
    with page.expect_download() as download:
        page.get_by_role("button", name=re.compile("as zip")).click()
    download.value.save_as(tmp_path / "all.zip")
    names = zipfile.ZipFile(tmp_path / "all.zip").namelist()
    assert "portraits/one-cutout.png" in names and "portraits/more/two-cutout.png" in names


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


def one_that_waits(server: Server) -> str:
    """A job of the paused model; an order is carried out within a second or so."""
    for _ in range(30):
        asked = server.http.post(
            "/v1/jobs", json={"model": "synthetic", "inputs": {"seconds": 0}}, headers={"Prefer": "wait=2"}
        ).json()
        if asked["status"] == "queued":
            return str(asked["id"])
    pytest.fail("the model was never paused")


def test_why_a_job_waits_is_told_in_words(page: Page, server: Server) -> None:
    server.http.post("/v1/models/synthetic/pause", json={"note": "a new card is built in"})
    try:
        job = one_that_waits(server)
        page.goto(f"/?model=synthetic&job={job}")
        page.get_by_role("button", name="Why?").click()
        expect(page.get_by_role("main").get_by_role("listitem").first).to_contain_text("paused")
    finally:
        server.http.post("/v1/models/synthetic/resume")
    expect(page.get_by_text("s of computing")).to_be_visible()


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


def test_an_operator_pauses_scales_and_sends_a_worker_away(page: Page, server: Server) -> None:
    body = {"model": "synthetic", "inputs": {"seconds": 0}}
    server.http.post("/v1/jobs", json=body, headers={"Prefer": "wait=60"})
    page.goto("/fleet?model=synthetic")
    main = page.get_by_role("main")
    main.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_role("textbox", name="Why").fill("a new card is built in")
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    expect(page.get_by_role("alert")).to_contain_text("a new card is built in")
    waits = server.http.post("/v1/jobs", json=body).json()["id"]
    main.get_by_role("button", name="Resume").click()
    assert server.finished(waits)["status"] == "completed"
    main.get_by_role("button", name="Scale by hand").click()
    page.get_by_role("textbox", name="Replicas").fill("1")
    page.get_by_role("dialog").get_by_role("button", name="Set").click()
    expect(page.get_by_text("1 replica, set by hand")).to_be_visible()
    main.get_by_role("button", name="Back to automatic").click()
    expect(page.get_by_text("1 replica, set by hand")).to_have_count(0)
    label = main.get_by_role("button", name=re.compile("^Drain ")).first.get_attribute("aria-label")
    main.get_by_label(f"{label}").click()
    page.get_by_role("dialog").get_by_role("button", name="Drain").click()
    expect(page.locator(f'button[aria-label="{label}"]:not([disabled])')).to_have_count(0)


def test_policies_are_tried_on_invented_traffic_and_the_settings_that_won_are_there_to_copy(page: Page) -> None:
    page.goto("/what-if")
    page.get_by_text("Invented", exact=True).click()
    page.get_by_role("textbox", name="Days").fill("0.1")
    page.get_by_role("textbox", name="Mean load").fill("2")
    page.get_by_role("textbox", name="This share").fill("90")
    page.get_by_role("button", name="Run the simulation").click()
    expect(page.get_by_role("heading", name="The settings that won")).to_be_visible()
    assert {row.split("\t")[0] for row in page.locator("tbody tr").all_inner_texts()} == {"tide", "hpa", "kpa", "ray"}
    lines = page.locator("pre").filter(has_text="[models.MODEL]").inner_text()
    assert tomllib.loads(lines)["models"]["MODEL"]["max_replicas"] >= 1
    for chart in ("Cost", "Wait of 95 % of jobs, at most", "Replicas", "Queue"):
        expect(page.get_by_text(chart, exact=True).first).to_be_visible()


def test_what_arrived_here_is_replayed_too(page: Page, server: Server) -> None:
    for _ in range(3):
        body = {"model": "synthetic", "inputs": {"seconds": 0.01}}
        server.http.post("/v1/jobs", json=body, headers={"Prefer": "wait=60"})
    page.goto("/what-if")
    page.get_by_role("combobox", name="Model").click()
    page.get_by_role("option", name="Synthetic").click()
    page.get_by_role("switch", name="Look for the cheapest settings").press("Space")
    page.get_by_role("button", name="Run the simulation").click()
    expect(page.get_by_role("heading", name="synthetic-24h")).to_be_visible()


def test_a_key_is_shown_once_and_revoked_after_one_question(page: Page, server: Server) -> None:
    page.goto("/tenants?tab=keys")
    page.get_by_role("button", name="Make a key").click()
    page.get_by_role("textbox", name="Tenant").last.fill("studio-a")
    page.get_by_role("dialog").get_by_role("button", name="Make a key").click()
    key = page.get_by_test_id("secret").inner_text()
    with_it = {"Authorization": f"Bearer {key}"}
    assert server.http.get("/v1/jobs", headers=with_it).status_code == 200
    page.get_by_role("button", name="I have kept it").click()
    expect(page.get_by_text(key)).to_have_count(0)
    page.get_by_role("button", name=f"Revoke {key[:11]}").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("row").filter(has_text=key[:11])).to_contain_text("revoked")
    assert server.http.get("/v1/jobs", headers=with_it).status_code == 401


def test_what_was_used_is_told_by_day_and_model(page: Page, server: Server) -> None:
    server.http.post("/v1/jobs", json={"model": "synthetic", "inputs": {"seconds": 0}}, headers={"Prefer": "wait=60"})
    page.goto("/tenants?tenant=*")
    expect(page.get_by_role("row").filter(has_text="default").first).to_be_visible()
    page.get_by_text("Jobs", exact=True).first.click()
    expect(page.get_by_text("Jobs by day")).to_be_visible()


def test_a_webhook_is_told_and_told_again(page: Page, server: Server, receiver: list[str]) -> None:
    page.goto("/webhooks")
    page.get_by_role("button", name="Add a webhook").first.click()
    page.get_by_role("textbox", name="Address").fill(receiver[0])
    page.get_by_role("dialog").get_by_role("button", name="Add a webhook").click()
    expect(page.get_by_test_id("secret")).to_contain_text("whsec_")
    page.get_by_role("button", name="I have kept it").click()
    page.get_by_role("button", name="Send a test").click()
    expect(page.get_by_text("It answered")).to_be_visible()
    server.http.post("/v1/jobs", json={"model": "synthetic", "inputs": {"seconds": 0}}, headers={"Prefer": "wait=60"})
    page.get_by_role("button", name="Deliveries").click()
    row = page.get_by_role("row").filter(has_text="job.completed")
    expect(row).to_contain_text("delivered")
    row.get_by_role("button", name="Send again").click()
    expect(row).to_contain_text("2 sendings")
    assert receiver.count("job.completed") == 2
    page.get_by_role("switch").press("Space")
    expect(page.get_by_role("alert")).to_contain_text("Switched off")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("Nobody is told yet")).to_be_visible()


def test_a_recording_of_the_microphone_is_written_down(page: Page) -> None:
    choose(page, "Speech recognition")
    page.get_by_role("button", name="Record").click()
    page.wait_for_timeout(1200)
    page.get_by_role("button", name="Stop recording").click()
    expect(page.get_by_text("recording.webm")).to_be_visible()
    expect(page.get_by_test_id("estimate")).to_contain_text("GPU-seconds")
    start(page)
    expect(page.get_by_text(re.compile("s of computing"))).to_be_visible()


def test_the_page_speaks_chinese_and_remembers_it(page: Page) -> None:
    page.goto("/")
    page.get_by_role("button", name="Language").click()
    page.get_by_role("menuitem", name="中文").click()
    expect(page.get_by_role("button", name=re.compile("数字人"))).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name=re.compile("数字人"))).to_be_visible()
    assert page.evaluate("document.documentElement.lang") == "zh"


def test_the_studio_is_there_after_three_hundred_kilobytes_of_script(page: Page) -> None:
    page.goto("/")
    page.get_by_role("button", name=re.compile("^Matting")).wait_for()
    scripts = "performance.getEntriesByType('resource').filter(one => one.name.endsWith('.js'))"
    packed = page.evaluate(f"{scripts}.reduce((sum, one) => sum + one.encodedBodySize, 0)")
    assert 100_000 < packed < 300_000


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
@pytest.mark.parametrize(
    "path",
    ["/", "/?model=matting", "/batch", "/history", "/fleet", "/models", "/what-if", "/tenants?tab=keys", "/webhooks"],
)
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
