"""The web page in a real browser, on a real server with real engines: what creators come for, to the file they keep.

Needs Chromium (Debian's `chromium`, or $CHROMIUM) and the built page; says so and skips where one is missing.
"""

from __future__ import annotations

import base64
import re
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, WebSocketRoute, expect

from springtide.engines.samples import FOLDER as SAMPLES

from .conftest import DATA, Server, opened, until
from .web_steps import choose, give, more, saved, start

pytestmark = pytest.mark.xdist_group("acceptance")  # one server, and its engines start once
SMALL = 96  # px: a face of a few seconds' work less


@pytest.fixture
def small_face(tmp_path: Path) -> Path:
    path = tmp_path / "face.jpg"
    picture(DATA / "portrait.jpg").crop((150, 0, 320, 170)).resize((SMALL, SMALL)).save(path)
    return path


def picture(path: Path) -> Image.Image:
    with Image.open(path) as found:
        found.load()
        return found


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
    cutout = picture(saved(page, "^Cut-out", tmp_path))
    assert (cutout.format, cutout.mode, cutout.size) == ("PNG", "RGBA", (512, 512))
    alpha = np.asarray(cutout.getchannel("A"))
    assert alpha[5, 5] < 20 and alpha[150, 220] > 235, "the wall is gone, the face is there"
    page.reload()  # the picture that went in comes from the server now
    expect(slider).to_be_visible()
    expect(page.get_by_text("The file of the earlier job")).to_be_visible()


def test_a_word_of_a_transcript_is_a_place_in_the_sound(page: Page, tmp_path: Path) -> None:
    choose(page, "Speech recognition")
    page.get_by_role("button", name="Try it with an example").click()
    page.get_by_role("button", name="Remove speech.ogg").click()
    expect(page.get_by_label(re.compile("^Prompt"))).to_have_value("")
    give(page, "Sound", DATA / "en.wav")
    start(page)
    transcript = page.get_by_label("Transcript")
    expect(transcript).to_contain_text("best of times")
    transcript.get_by_role("button", name=re.compile("worst")).first.click()
    until(page, "[...document.querySelectorAll('audio')].some(sound => sound.currentTime > 0.5)")
    assert "-->" in saved(page, "^SRT", tmp_path).read_text()
    assert saved(page, "^VTT", tmp_path).read_text().startswith("WEBVTT")
    assert "best of times" in saved(page, "^Text", tmp_path).read_text()


def test_the_example_makes_a_digital_human_that_speaks_as_long_as_its_voice(page: Page, tmp_path: Path) -> None:
    choose(page, "Digital human")
    expect(page.get_by_role("button", name="Still needed: Picture or Video, Sound, Consent")).to_be_disabled()
    page.get_by_role("button", name="Try it with an example").click()
    expect(page.get_by_label(re.compile("^Consent"))).to_have_value(re.compile("public portrait by NASA"))
    more(page, Size="256")
    start(page)
    film = page.get_by_label("The resulting video")
    expect(film).to_be_visible()
    until(page, "document.querySelector('video[aria-label]').readyState >= 1")
    with av.open(saved(page, "^Video", tmp_path)) as made, av.open(SAMPLES / "speech.ogg") as voice:
        assert made.duration and voice.duration
        assert abs(made.duration - voice.duration) < 0.2 * av.time_base
        assert (made.streams.video[0].width, len(made.streams.audio)) == (256, 1)


def test_a_face_is_restored(page: Page, small_face: Path, tmp_path: Path) -> None:
    choose(page, "Face restoration")
    give(page, "Picture", small_face)
    start(page)
    expect(page.get_by_role("slider", name="Slide between before and after")).to_be_visible()
    restored = picture(saved(page, "^Picture", tmp_path))
    assert restored.size == (2 * SMALL, 2 * SMALL)
    shown = [np.asarray(each.convert("L").resize((SMALL, SMALL)), float) for each in (picture(small_face), restored)]
    assert 0.5 < np.abs(shown[0] - shown[1]).mean() < 40, "another picture of the same face"


def test_words_become_a_video(page: Page, tmp_path: Path) -> None:
    choose(page, "Video preview")
    page.get_by_role("button", name="Try it with an example").click()
    expect(page.get_by_label(re.compile("^Prompt"))).to_have_value(re.compile("lake at dusk"))
    more(page, Seconds="1", Width="256")
    start(page)
    expect(page.get_by_label("The resulting video")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("^Understood"))).to_contain_text("dusk → light: ")
    with av.open(saved(page, "^Video", tmp_path)) as made:
        frames = [frame.to_ndarray(format="gray") for frame in made.decode(video=0)]
        assert made.duration and abs(made.duration / av.time_base - 1) < 0.1
    assert frames[0].shape[1] == 256
    assert np.abs(frames[0].astype(float) - frames[-1]).mean() > 0.5, "the camera moves"


def test_a_recording_of_the_microphone_is_written_down(page: Page) -> None:
    choose(page, "Speech recognition")
    page.get_by_role("button", name="Record").click()
    stop = page.get_by_role("button", name="Stop recording")
    expect(stop).to_be_visible()  # from now on it records
    page.wait_for_timeout(1200)
    stop.click()
    expect(page.get_by_text("recording.webm")).to_be_visible()
    expect(page.get_by_test_id("estimate")).to_contain_text("GPU-seconds")
    start(page)
    expect(page.get_by_text(re.compile("s of computing"))).to_be_visible()


def test_a_job_that_is_cancelled_says_so(page: Page) -> None:
    choose(page, "Synthetic")
    more(page, Seconds="60", Steps="600")
    start(page)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("cancelled", exact=True).first).to_be_visible()


def test_a_file_that_is_not_what_it_says_is_refused_in_a_sentence(page: Page, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    choose(page, "Matting")
    give(page, "Picture", tmp_path / "broken.jpg")
    start(page)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The file is damaged, cut short, or in an unknown format. Try another one.")
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
    page.get_by_role("option", name="Watermark").click()
    page.get_by_role("textbox", name="Text").fill("Springtide")
    page.locator("input[webkitdirectory]").set_input_files(folder)
    expect(page.get_by_role("alert")).to_contain_text("portraits/notes.txt")
    expect(page.get_by_test_id("estimate")).to_contain_text("All ready in about")
    page.get_by_role("button", name="Start 3").click()
    expect(page.get_by_text("2 of 3 done")).to_be_visible()
    again = page.get_by_role("button", name="Retry 1 failed")
    expect(again).to_be_enabled()
    with page.expect_response(lambda answer: answer.request.method == "POST") as asked:
        again.click()
    assert asked.value.status == 422, "it is sent again, and is no better"
    expect(again).to_be_enabled()
    with page.expect_download() as download:
        page.get_by_role("button", name=re.compile("as zip")).click()
    download.value.save_as(tmp_path / "all.zip")
    names = zipfile.ZipFile(tmp_path / "all.zip").namelist()
    assert "portraits/one-result.png" in names and "portraits/more/two-result.png" in names


def test_the_history_is_filtered_and_a_job_of_it_runs_again_and_is_copied(page: Page, server: Server) -> None:
    job = server.run("synthetic", seconds=0, steps=3)["id"]
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto("/history?model=synthetic&status=completed")
    actions = page.get_by_role("button", name=f"Actions for {job}")
    for label, words in (("curl", "curl http"), ("Python", "httpx.post(")):
        actions.click()
        page.get_by_role("menuitem", name=f"Copy as {label}").click()
        until(page, f"navigator.clipboard.readText().then(text => text.includes({words!r}) && text.includes('steps'))")
    actions.click()
    page.get_by_role("menuitem", name="Run again with changes").click()
    page.get_by_role("button", name=re.compile("more option")).click()
    expect(page.get_by_role("textbox", name="Steps")).to_have_value("3")
    start(page)
    expect(page.get_by_text(re.compile("s of computing"))).to_be_visible()


def test_a_job_is_deleted_after_one_question(page: Page, server: Server) -> None:
    job = server.run("synthetic", seconds=0)["id"]
    page.goto("/history?model=synthetic")
    page.get_by_role("button", name=f"Actions for {job}").click()
    page.get_by_role("menuitem", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text(job)).to_have_count(0)
    assert server.http.get(f"/v1/jobs/{job}").status_code in (404, 410)


def test_a_job_made_elsewhere_is_in_the_history_without_a_reload(page: Page, server: Server) -> None:
    said: list[str] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: said.append(str(frame))))
    page.goto("/history")
    while not any('"all":true' in each for each in said):  # it has asked to be told of all
        page.wait_for_timeout(50)
    made = server.http.post("/v1/jobs", json={"model": "synthetic", "inputs": {"seconds": 0}}).json()
    expect(page.get_by_text(made["id"])).to_be_visible()


def test_a_job_that_came_and_went_while_no_socket_was_there_is_in_the_history_all_the_same(
    page: Page, server: Server
) -> None:
    held: list[WebSocketRoute] = []

    def hold_the_first(socket: WebSocketRoute) -> None:
        if held:
            socket.connect_to_server()
        held.append(socket)

    page.route_web_socket("**/v1/live", hold_the_first)
    page.goto("/history")
    page.get_by_role("heading", name="History").wait_for()
    page.wait_for_load_state("networkidle")
    made = server.run("synthetic", seconds=0)["id"]
    expect(page.get_by_text(made)).to_have_count(0)
    held[0].close()
    expect(page.get_by_text(made)).to_be_visible()


def test_who_has_a_key_sees_and_keeps_results_of_their_tenant(browser: Browser, server: Server, tmp_path: Path) -> None:
    key = server.http.post("/v1/keys", json={"tenant": "studio-b", "scopes": ["read", "submit"]}).json()["key"]
    with opened(browser, server.url) as page:
        page.goto("/")
        page.get_by_role("button", name="API key").click()
        page.get_by_role("textbox", name="Key").fill(key)
        page.get_by_role("button", name="Use it").click()
        choose(page, "Watermark")
        page.get_by_role("button", name="Try it with an example").click()
        start(page)
        until(page, "[...document.querySelectorAll('img[alt=After]')].some(image => image.naturalWidth === 512)")
        assert picture(saved(page, "^Result", tmp_path)).size == (512, 512)


PASTE = """encoded => {
  const bytes = Uint8Array.from(atob(encoded), letter => letter.charCodeAt(0));
  const pasted = new DataTransfer();
  pasted.items.add(new File([bytes], "from-the-clipboard.jpg", { type: "image/jpeg" }));
  window.dispatchEvent(new ClipboardEvent("paste", { clipboardData: pasted }));
}"""


DROP = """encoded => {
  const bytes = Uint8Array.from(atob(encoded), letter => letter.charCodeAt(0));
  const dropped = new DataTransfer();
  dropped.items.add(new File([bytes], "first.jpg", { type: "image/jpeg" }));
  dropped.items.add(new File([bytes], "second.jpg", { type: "image/jpeg" }));
  dropped.items.add(new File(["https://media.example/third.jpg\\n"], "list.txt", { type: "text/plain" }));
  dropped.items.add(new File(["# Notes"], "notes.md", { type: "text/markdown" }));
  const place = document.querySelector(".mantine-Dropzone-root");
  for (const kind of ["dragenter", "dragover", "drop"])
    place.dispatchEvent(new DragEvent(kind, { dataTransfer: dropped, bubbles: true, cancelable: true }));
}"""


def test_what_is_dropped_on_a_batch_is_a_row_each_and_a_list_is_its_addresses(page: Page) -> None:
    page.goto("/batch")
    expect(page.get_by_text("Drop files or a folder here")).to_be_visible()
    page.evaluate(DROP, base64.b64encode((DATA / "portrait.jpg").read_bytes()).decode())
    expect(page.get_by_role("button", name="Start 3")).to_be_enabled()
    for name in ("first.jpg", "second.jpg", "https://media.example/third.jpg"):
        expect(page.get_by_text(name).first).to_be_visible()
    expect(page.get_by_text("1 file is of another kind and was left out: notes.md")).to_be_visible()


def test_a_pasted_picture_is_taken_as_a_dropped_one_is(page: Page) -> None:
    choose(page, "Matting")
    expect(page.get_by_text("from-the-clipboard.jpg")).to_have_count(0)
    page.evaluate(PASTE, base64.b64encode((DATA / "portrait.jpg").read_bytes()).decode())
    expect(page.get_by_text("from-the-clipboard.jpg").first).to_be_visible()
