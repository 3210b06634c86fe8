"""What models make says so: signed in the file, in its metadata, and on the picture; read back as anybody would."""

from __future__ import annotations

import hashlib
import json
import logging
import stat
import threading
from pathlib import Path
from typing import Any

import c2pa
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image

from springtide.domain.errors import ConfigError
from springtide.engines import provenance_manifest, signing
from springtide.engines.label import draw_label
from springtide.engines.made import Made
from springtide.engines.provenance import Kind, Mark, carry, mark, origin_of
from springtide.engines.signing import Identity, SigningPlace
from springtide.media.film import Codec, FilmWriter, opened_film
from springtide.testing.media import picture, tone, wav

DATA = Path(__file__).parent.parent / "data"
MADE = Made(engine="faces", model="net-1", version="7", license="MIT", generative=True, seconds=1.0)
CONSENT = "That is me, and I agree <字>."
PICTURES = ("png", "jpg", "webp", "lossless.webp")
FILMS = ("mp4", "mov", "webm", "mkv")


@pytest.fixture(autouse=True)
def _a_new_signer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "_identity", None)
    monkeypatch.setattr(signing, "_place", None)


def made_file(folder: Path, ending: str, *, channels: int = 3) -> Path:
    path = folder / f"result.{ending}"
    pixels = np.asarray(picture((70, 50), "RGBA" if channels == 4 else "RGB"))
    if path.suffix not in (".mp4", ".mov", ".webm", ".mkv"):
        Image.fromarray(pixels).save(path, lossless=ending.startswith("lossless"))
        return path
    codec = {".webm": Codec.VP9, ".mov": Codec.PRORES}.get(path.suffix, Codec.H264)
    sound = wav(folder / "tone.wav", tone, seconds=0.5)
    with FilmWriter(
        path, width=70, height=50, fps=10, codec=codec, alpha=channels == 4, sound=sound, threads=1
    ) as film:
        for _ in range(5):
            film.write(pixels)
    return path


def manifest_of(path: Path) -> dict[str, Any]:
    with c2pa.Reader(str(path)) as reader:
        told = json.loads(reader.json())
    assert told["validation_state"] == "Valid"
    assert {one["code"] for one in told["validation_status"]} == {"signingCredential.untrusted"}
    return told["manifests"][told["active_manifest"]]


def assertion(manifest: dict[str, Any], label: str) -> dict[str, Any]:
    return next(one["data"] for one in manifest["assertions"] if one["label"] == label)


@pytest.mark.parametrize("ending", [*PICTURES, "mp4", "mov"])
def test_a_signed_manifest_says_what_made_the_file_and_how(tmp_path: Path, ending: str) -> None:
    path = made_file(tmp_path, ending)
    assert mark(path, made=MADE, kind=Kind.COMPOSITE, title="Porträt 像", consent=CONSENT) is Mark.C2PA
    manifest = manifest_of(path)
    assert manifest["title"] == "Porträt 像"
    (created,) = assertion(manifest, "c2pa.actions.v2")["actions"]
    assert created["action"] == "c2pa.created"
    assert created["digitalSourceType"].endswith("/digitalsourcetype/compositeWithTrainedAlgorithmicMedia")
    assert created["softwareAgent"] == {"name": "faces (net-1)", "version": "7"}
    assert assertion(manifest, "springtide.made") == {
        "engine": "faces",
        "model": "net-1",
        "version": "7",
        "license": "MIT",
        "generative": True,
        "consent_sha256": hashlib.sha256(CONSENT.encode()).hexdigest(),
    }
    assert CONSENT.encode() not in path.read_bytes(), "the consent itself is the submitter's"
    assert list(tmp_path.glob("*.signed")) == []


@pytest.mark.parametrize("ending", PICTURES)
def test_a_picture_says_it_in_its_xmp_too_and_keeps_every_pixel(tmp_path: Path, ending: str) -> None:
    path = made_file(tmp_path, ending, channels=3 if ending == "jpg" else 4)
    with Image.open(path) as image:
        before = image.convert("RGBA").tobytes()
    mark(path, made=MADE, kind=Kind.GENERATED, title="a < b")
    with Image.open(path) as image:
        assert image.convert("RGBA").tobytes() == before
        xmp = image.info.get("xmp") or image.info["XML:com.adobe.xmp"].encode()
    assert b'DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"' in xmp
    assert b"a &lt; b" in xmp


@pytest.mark.parametrize("ending", ["webm", "mkv"])
def test_a_container_that_c2pa_does_not_reach_says_it_in_its_tags(tmp_path: Path, ending: str) -> None:
    path = made_file(tmp_path, ending, channels=4 if ending == "webm" else 3)
    assert mark(path, made=MADE, kind=Kind.GENERATED, title="t", consent=CONSENT) is Mark.METADATA
    origin = origin_of(path)
    assert origin is not None and origin.kind is Kind.GENERATED
    assert (origin.facts["engine"], len(origin.facts["consent_sha256"])) == ("faces", 64)
    with opened_film(path) as film:
        assert (film.has_alpha, film.has_audio) == (ending == "webm", True)
        assert sum(1 for _ in film.frames()) == 5


@pytest.mark.parametrize("ending", [*PICTURES, *FILMS])
def test_without_the_library_the_metadata_still_says_it(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "c2pa", None)
    path = made_file(tmp_path, ending)
    assert mark(path, made=MADE, kind=Kind.ALGORITHMIC, title="t") is Mark.METADATA
    origin = origin_of(path)
    assert origin is not None and origin.kind is Kind.ALGORITHMIC


def test_a_file_that_was_changed_after_the_mark_does_not_pass(tmp_path: Path) -> None:
    path = made_file(tmp_path, "png")
    mark(path, made=MADE, kind=Kind.GENERATED, title="t")
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    with c2pa.Reader(str(path)) as reader:
        assert reader.get_validation_state() == "Invalid"


@pytest.mark.parametrize(("source", "target"), [("mp4", "mp4"), ("mp4", "webm"), ("webm", "mp4"), ("png", "jpg")])
def test_the_mark_is_handed_on_to_what_is_made_from_a_marked_file(tmp_path: Path, source: str, target: str) -> None:
    step = Made(engine="transcode", model="none", version="1", license="Apache-2.0", generative=False, seconds=1)
    (tmp_path / "in").mkdir()
    given = made_file(tmp_path / "in", source)
    mark(given, made=MADE, kind=Kind.COMPOSITE, title="t", consent=CONSENT)
    given = given.rename(tmp_path / "a_blob_has_no_ending")
    path = made_file(tmp_path, target)
    assert carry(given, path, made=step, title="t", action="c2pa.transcoded") is not None
    origin = origin_of(path)
    assert origin is not None and origin.kind is Kind.COMPOSITE
    assert (origin.facts["engine"], origin.facts["changed_by"]["engine"]) == ("faces", "transcode")
    assert "consent_sha256" in origin.facts
    if (source, target) == ("mp4", "mp4"):
        manifest = manifest_of(path)
        assert [one["action"] for one in assertion(manifest, "c2pa.actions.v2")["actions"]] == [
            "c2pa.opened",
            "c2pa.transcoded",
        ]
        assert manifest["ingredients"][0]["relationship"] == "parentOf"


def test_what_nobody_marked_stays_unmarked(tmp_path: Path) -> None:
    path = made_file(tmp_path, "png")
    before = path.read_bytes()
    assert origin_of(DATA / "portrait.jpg") is None
    assert carry(DATA / "portrait.jpg", path, made=MADE, title="t") is None
    assert path.read_bytes() == before


def test_a_file_that_cannot_be_marked_is_an_error(tmp_path: Path) -> None:
    path = wav(tmp_path / "tone.wav", tone)
    with pytest.raises(ValueError, match="audio/wav"):
        mark(path, made=MADE, kind=Kind.GENERATED, title="t")


# --- who signs --------------------------------------------------------------------------------------------------------


def test_the_key_is_made_once_for_all_workers_and_is_the_owners_alone(tmp_path: Path) -> None:
    place = SigningPlace(folder=str(tmp_path / "provenance"))
    found: list[Identity] = []
    barrier = threading.Barrier(6)

    def begin() -> None:
        barrier.wait()
        found.append(signing._kept(Path(place.folder)))

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.private_key for one in found}) == 1
    file = tmp_path / "provenance" / "signer.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    public = (tmp_path / "provenance" / "certificates.pem").read_bytes()
    assert b"PRIVATE" not in public and len(x509.load_pem_x509_certificates(public)) == 2
    assert sorted(file.name for file in (tmp_path / "provenance").iterdir()) == ["certificates.pem", "signer.pem"]


def test_the_same_installation_signs_after_a_restart_and_its_root_can_be_trusted(tmp_path: Path) -> None:
    signing.use(SigningPlace(folder=str(tmp_path / "provenance")))
    path = made_file(tmp_path, "jpg")
    mark(path, made=MADE, kind=Kind.GENERATED, title="t")
    first = signing.identity()
    signing.use(SigningPlace(folder=str(tmp_path / "provenance")))
    assert signing.identity() == first
    anchors = (tmp_path / "provenance" / "certificates.pem").read_text()
    settings = c2pa.Settings.from_dict({"verify": {"verify_trust": True}, "trust": {"user_anchors": anchors}})
    with c2pa.Context(settings) as context, c2pa.Reader(str(path), context=context) as reader:
        assert reader.get_validation_state() == "Trusted"


def test_a_certificate_of_ones_own_signs_instead(tmp_path: Path) -> None:
    own = signing._made()
    (tmp_path / "chain.pem").write_bytes(own.certificates)
    (tmp_path / "key.pem").write_bytes(own.private_key)
    signing.use(
        SigningPlace(
            folder=str(tmp_path / "unused"),
            certificate=str(tmp_path / "chain.pem"),
            private_key=str(tmp_path / "key.pem"),
        )
    )
    assert signing.identity().certificates == own.certificates
    assert not (tmp_path / "unused").exists()


def test_a_certificate_or_key_that_cannot_be_used_is_told_without_a_word_of_the_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    own, other = signing._made(), signing._made()
    odd = ec.generate_private_key(ec.SECP256K1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    texts = {
        "chain": own.certificates,
        "key": own.private_key,
        "other": other.private_key,
        "odd": odd,
        "cut": own.private_key[:90],
    }
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text)
    for chain, key, told in (
        ("chain", "other", "is not the key of the first certificate"),
        ("chain", "odd", "is not the key of the first certificate"),
        ("chain", "cut", "no unencrypted private key"),
        ("key", "key", "no certificate in PEM form"),
        ("chain", "absent", "cannot be read"),
    ):
        place = SigningPlace(folder="", certificate=str(tmp_path / chain), private_key=str(tmp_path / key))
        with pytest.raises(ConfigError, match=told) as caught:
            signing.use(place)
        body = own.private_key.decode().splitlines()[1]
        assert body not in str(caught.value) and body not in caplog.text
    assert own.private_key.decode().splitlines()[1] not in repr(own)


def test_a_folder_that_cannot_be_written_is_a_wrong_configuration(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    signing.use(SigningPlace(folder=str(tmp_path / "file" / "below")))
    with pytest.raises(ConfigError, match="cannot be kept"):
        signing.identity()


def test_a_signature_that_fails_leaves_the_file_with_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, other = signing._made(), signing._made()
    wrong = Identity(own.certificates, b"-----BEGIN PRIVATE KEY-----\nno\n", "es256")
    path = made_file(tmp_path, "png")
    monkeypatch.setattr(signing, "_identity", wrong)
    assert mark(path, made=MADE, kind=Kind.GENERATED, title="t") is Mark.METADATA
    assert provenance_manifest.read_manifest(path) is None and other
    origin = origin_of(path)
    assert origin is not None and origin.kind is Kind.GENERATED


# --- what is seen -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(512, 512), (320, 1280), (1920, 1080), (64, 48), (8, 8)])
def test_the_label_is_as_high_as_it_must_be_and_within_the_picture(size: tuple[int, int]) -> None:
    width, height = size
    plain = np.full((height, width, 3), 128, np.uint8)
    labelled = draw_label(plain)
    assert plain.min() == plain.max() == 128 and labelled.shape == plain.shape
    rows, columns = np.nonzero((labelled != 128).any(axis=2))
    assert columns.max() < width and rows.max() < height / 2
    if min(size) >= 320:
        assert rows.max() - rows.min() >= 0.05 * min(size)
        assert labelled.max() > 250 and labelled.min() < 60, "light letters with a dark rim"


def test_the_label_can_be_seen_on_what_is_transparent() -> None:
    labelled = draw_label(np.zeros((200, 400, 4), np.uint8))
    assert labelled[..., 3].max() == 255 and labelled[150, 200, 3] == 0
