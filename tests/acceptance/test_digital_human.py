"""A portrait speaks through the whole platform; what cannot speak is refused, and the same worker goes on."""

from __future__ import annotations

import hashlib
import stat
import wave
from pathlib import Path

import av
import pytest
from PIL import Image

from springtide.engines.provenance import Kind, origin_of
from springtide.testing import media
from springtide.testing import media_makers as makers

from .conftest import DATA, Server

pytestmark = pytest.mark.xdist_group("acceptance")

PORTRAIT = DATA / "portrait.jpg"
CONSENT = "The portrait is in the public domain; 本人同意。"


@pytest.fixture(scope="module")
def word(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("word") / "word.wav"
    with wave.open(str(DATA / "en.wav"), "rb") as given, wave.open(str(path), "wb") as cut:
        cut.setparams(given.getparams())
        cut.writeframes(given.readframes(given.getframerate()))
    return path


def test_one_line_of_the_command_makes_a_portrait_speak(server: Server, word: Path, tmp_path: Path) -> None:
    words = ["run", "digital-human", str(word), str(PORTRAIT), "-i", f"consent={CONSENT}", "-i", "size=256"]
    done = server.cli(*words, "-o", "talk.mp4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with av.open(str(tmp_path / "talk.mp4")) as film:
        assert {stream.codec_context.name for stream in film.streams} == {"h264", "aac"}
        assert film.streams.video[0].frames == 25
    origin = origin_of(tmp_path / "talk.mp4")
    assert origin is not None and origin.kind is Kind.COMPOSITE
    assert origin.facts["consent_sha256"] == hashlib.sha256(CONSENT.encode()).hexdigest()
    key = Path(server.env["SPRINGTIDE_SERVER__DATA_DIR"]) / "provenance" / "signer.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600, "the installation's own key, for its owner only"


def test_the_consent_is_kept_with_the_job_and_none_is_refused(server: Server, word: Path) -> None:
    files = {"image": PORTRAIT, "audio": word}
    done = server.submit("digital-human", files, consent=CONSENT, size="256").json()
    assert done["status"] == "completed"
    assert done["inputs"]["consent"] == CONSENT
    for missing in ({}, {"consent": "   "}):
        refused = server.submit("digital-human", files, **missing)
        assert refused.status_code == 422
        assert "consent" in refused.json()["detail"]


def test_what_cannot_speak_is_refused_and_the_worker_lives(server: Server, word: Path, tmp_path: Path) -> None:
    blank, turned = tmp_path / "blank.png", tmp_path / "turned.png"
    media.picture((300, 300)).save(blank)
    with Image.open(PORTRAIT) as portrait:
        portrait.rotate(180).save(turned)
    assert server.submit("digital-human", {"image": PORTRAIT, "audio": word}, consent=CONSENT).status_code == 200
    before = server.workers("digital-human")
    for picture in (blank, turned):
        job = server.submit("digital-human", {"image": picture, "audio": word}, consent=CONSENT).json()
        assert (job["status"], job["attempt"], job["error"]["code"]) == ("failed", 1, "no_face")
        assert "upright" in job["error"]["message"]
        assert server.http.get(job["result_url"]).status_code == 409
    both = server.submit("digital-human", {"image": PORTRAIT, "video": word, "audio": word}, consent=CONSENT)
    assert both.status_code == 422
    silent = server.submit("digital-human", {"image": PORTRAIT, "audio": makers.video_without_sound(tmp_path)})
    assert silent.status_code == 422
    assert server.submit("digital-human", {"image": PORTRAIT, "audio": word}, consent=CONSENT).status_code == 200
    assert before <= server.workers("digital-human")
