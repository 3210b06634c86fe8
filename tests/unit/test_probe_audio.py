"""Sound and video at the gate, and as engines get them."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from springtide.domain.errors import BadMedia
from springtide.domain.model import FileField
from springtide.media.audio import stream_pcm
from springtide.media.probe import probe
from springtide.testing import media
from springtide.testing import media_makers as makers

DATA = Path(__file__).parent.parent / "data"


def field(
    *media_types: str, needs_audio: bool = True, max_duration_s: float | None = None, max_pixels: int | None = None
) -> FileField:
    return FileField(
        name="audio",
        media_types=media_types or ("audio/*", "video/*"),
        required=True,
        many=False,
        max_bytes=1 << 30,
        max_pixels=max_pixels,
        max_duration_s=max_duration_s,
        needs_audio=needs_audio,
    )


def pcm(path: Path, rate: int = 16000) -> NDArray[np.float32]:
    return np.concatenate(list(stream_pcm(path, rate)))


def pitch(samples: NDArray[np.float32], rate: int = 16000) -> float:
    """The strongest frequency."""
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * rate / len(samples))


@pytest.mark.parametrize("name", makers.BAD_SOUNDS)
def test_a_bad_sound_is_refused_with_its_code(name: str, tmp_path: Path) -> None:
    make, code = makers.BAD_SOUNDS[name]
    with pytest.raises(BadMedia) as caught:
        probe(make(tmp_path), field())
    assert caught.value.code == code, caught.value.message


@pytest.mark.parametrize("name", makers.ODD_SOUNDS)
def test_an_odd_sound_is_fine(name: str, tmp_path: Path) -> None:
    path = makers.ODD_SOUNDS[name](tmp_path)
    seen = probe(path, field())
    assert seen.has_audio
    assert seen.duration_s is not None
    assert len(pcm(path)) / 16000 == pytest.approx(seen.duration_s, abs=0.1)


@pytest.mark.parametrize(
    ("name", "codec", "media_type"),
    [
        ("x.mp3", "mp3", "audio/mpeg"),
        ("x.m4a", "aac", "audio/mp4"),
        ("x.mp4", "aac", "audio/mp4"),
        ("x.aac", "aac", "audio/aac"),
        ("x.ogg", "libopus", "audio/ogg"),
        ("x.flac", "flac", "audio/flac"),
        ("x.webm", "libopus", "audio/webm"),
        ("x.mka", "flac", "audio/x-matroska"),
        ("x.wav", "pcm_s24le", "audio/wav"),
        ("x.aiff", "pcm_s16be", "audio/aiff"),
        ("x.mov", "aac", "audio/mp4"),
        ("x.avi", "mp3", "audio/x-msvideo"),
        ("x.ts", "aac", "audio/mp2t"),
        ("x.wma", "mp3", "audio/x-ms-wma"),
    ],
)
def test_any_common_container_of_sound(name: str, codec: str, media_type: str, tmp_path: Path) -> None:
    path = media.encoded(tmp_path / name, codec)
    nameless = path.rename(tmp_path / "upload")
    seen = probe(nameless, field("audio/*"))
    assert (seen.media_type, seen.has_audio, seen.width) == (media_type, True, None)
    assert seen.duration_s == pytest.approx(3.0, abs=0.15)
    samples = pcm(nameless)
    assert len(samples) == pytest.approx(48000, abs=2400)
    assert pitch(samples) == pytest.approx(440, abs=2)


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("x.mp4", "video/mp4"),
        ("x.mov", "video/quicktime"),
        ("x.mkv", "video/x-matroska"),
        ("x.webm", "video/webm"),
        ("x.avi", "video/x-msvideo"),
    ],
)
def test_any_common_container_of_video(name: str, media_type: str, tmp_path: Path) -> None:
    path = media.video(tmp_path / name, with_sound=True)
    seen = probe(path, field("video/*", needs_audio=False))
    assert (seen.media_type, seen.width, seen.height, seen.has_audio) == (media_type, 64, 48, True)
    assert seen.duration_s == pytest.approx(1.0, abs=0.2)
    with pytest.raises(BadMedia) as caught:
        probe(path, field("audio/*"))
    assert caught.value.code == "wrong_media_type"


def test_a_video_without_sound_is_fine_where_none_is_needed(tmp_path: Path) -> None:
    seen = probe(makers.video_without_sound(tmp_path), field("video/*", needs_audio=False))
    assert (seen.has_audio, seen.frames) == (False, 10)


def test_a_refusal_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(BadMedia, match="no audio track"):
        probe(makers.video_without_sound(tmp_path), field())
    with pytest.raises(BadMedia, match=r"index.*cut off"):
        probe(makers.truncated_mp4(tmp_path), field())
    with pytest.raises(BadMedia, match=r"3\.0 s long; at most 2\.5 s") as caught:
        probe(makers.silence_wav(tmp_path), field(max_duration_s=2.5))
    assert caught.value.code == "too_long"


def test_five_hours_of_sound_are_refused_with_the_limit_and_the_setting_that_raises_it(tmp_path: Path) -> None:
    path = media.wav(tmp_path / "long.wav", lambda _: 0.0, seconds=0.1, rate=8000)
    size = 5 * 3600 * 8000 * 2
    header = bytearray(path.read_bytes()[:44])
    header[4:8], header[40:44] = (36 + size).to_bytes(4, "little"), size.to_bytes(4, "little")
    path.write_bytes(header)
    with path.open("r+b") as file:
        file.truncate(44 + size)  # a hole: takes no room
    with pytest.raises(BadMedia, match=r"5\.0 hours long; at most 4\.0 hours .*max_duration_s") as caught:
        probe(path, field(max_duration_s=4 * 3600.0))
    assert caught.value.details["max_duration_s"] == 14_400.0
    assert probe(path, field(max_duration_s=6 * 3600.0)).duration_s == pytest.approx(18_000, abs=1)


def test_a_length_that_the_file_does_not_say_is_counted(tmp_path: Path) -> None:
    path = media.encoded(tmp_path / "x.aac", "aac")
    with pytest.raises(BadMedia) as caught:
        probe(path, field(max_duration_s=2.5))
    assert caught.value.code == "too_long"
    assert probe(path, field(max_duration_s=3.5)).duration_s == pytest.approx(3.0, abs=0.1)


def test_too_large_a_video_frame_is_refused(tmp_path: Path) -> None:
    path = makers.video_with_sound(tmp_path)
    with pytest.raises(BadMedia, match="64 × 48") as caught:
        probe(path, field(max_pixels=64 * 48 - 1))
    assert caught.value.code == "too_many_pixels"
    assert probe(path, field(max_pixels=64 * 48)).width == 64


def test_a_playlist_cannot_make_the_server_open_other_files(tmp_path: Path) -> None:
    secret = makers.silence_wav(tmp_path)
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{secret}\n#EXT-X-ENDLIST\n"
    for name, text in (("list.m3u8", hls), ("list.ffconcat", f"ffconcat version 1.0\nfile {secret.name}\n")):
        (tmp_path / name).write_text(text)
        with pytest.raises(BadMedia) as caught:
            probe(tmp_path / name, field())
        assert caught.value.code == "wrong_media_type"
        with pytest.raises(BadMedia):
            list(stream_pcm(tmp_path / name))


def test_speech_of_the_test_data_is_as_long_as_it_says() -> None:
    for name, rate, seconds in (("en.wav", 16000, 9.7), ("zh.wav", 24000, 8.45)):
        seen = probe(DATA / name, field("audio/wav"))
        assert seen.duration_s == pytest.approx(seconds, abs=0.01)
        assert len(pcm(DATA / name, rate)) == pytest.approx(seconds * rate, abs=1)


# --- as engines get it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [makers.mono_8k_wav, makers.stereo_48k_wav])
def test_pitch_level_and_length_survive_another_rate_and_the_mixing_of_channels(
    make: makers.Maker, tmp_path: Path
) -> None:
    samples = pcm(make(tmp_path))
    assert samples.dtype == np.float32
    assert len(samples) == pytest.approx(48000, abs=2)
    assert pitch(samples) == pytest.approx(440, abs=1)
    assert np.abs(samples[1000:-1000]).max() == pytest.approx(0.5, abs=0.01)


def test_full_scale_on_both_channels_does_not_clip(tmp_path: Path) -> None:
    path = media.wav(tmp_path / "loud.wav", lambda t: 2 * media.tone(t), rate=48000, channels=2)
    assert np.abs(pcm(path)).max() <= 1.01


def test_sound_comes_in_chunks_of_the_asked_length(tmp_path: Path) -> None:
    path = makers.stereo_48k_wav(tmp_path)
    chunks = list(stream_pcm(path, 16000, chunk_s=0.7))
    assert [len(chunk) for chunk in chunks[:-1]] == [11200] * 4
    assert sum(map(len, chunks)) == pytest.approx(48000, abs=32)
    assert np.array_equal(np.concatenate(chunks), pcm(path))


def test_silence_is_sound(tmp_path: Path) -> None:
    samples = pcm(makers.silence_wav(tmp_path))
    assert len(samples) == 48000
    assert not samples.any()


def test_a_file_cut_half_way_gives_its_first_half(tmp_path: Path) -> None:
    assert len(pcm(makers.truncated_wav(tmp_path))) == pytest.approx(24000, abs=16)
    path = media.encoded(tmp_path / "x.mp3", "mp3")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert probe(path, field()).media_type == "audio/mpeg"
    assert len(pcm(path)) == pytest.approx(24000, abs=3000)


def test_damage_in_the_middle_is_skipped(tmp_path: Path) -> None:
    path = media.encoded(tmp_path / "x.mp3", "mp3")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 500] = bytes(500)
    path.write_bytes(bytes(data))
    assert len(pcm(path)) == pytest.approx(48000, abs=6000)


def test_the_sound_of_a_video_is_read_without_its_pictures(tmp_path: Path) -> None:
    samples = pcm(makers.video_with_sound(tmp_path))
    assert len(samples) == pytest.approx(16000, abs=1600)
    assert pitch(samples) == pytest.approx(440, abs=5)


def test_sound_that_begins_later_than_the_video_is_preceded_by_silence(tmp_path: Path) -> None:
    samples = pcm(media.video(tmp_path / "late.mkv", with_sound=True, sound_starts_s=0.5))
    assert len(samples) == pytest.approx(24000, abs=1600)
    assert np.abs(samples[:7000]).max() < 0.01
    assert np.abs(samples[9000:]).max() > 0.4


def test_what_has_no_sound_is_said_to_have_none(tmp_path: Path) -> None:
    with pytest.raises(BadMedia) as caught:
        list(stream_pcm(makers.video_without_sound(tmp_path)))
    assert caught.value.code == "no_audio_track"
    with pytest.raises(BadMedia) as caught:
        list(stream_pcm(makers.garbage(tmp_path)))
    assert caught.value.code == "broken_media"


def test_memory_stays_flat_for_a_long_recording(tmp_path: Path) -> None:
    """Ten minutes are 38 MB as samples; a chunk of ten seconds is 640 kB."""
    path = tmp_path / "long.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(600 * 8000 * 2))
    tracemalloc.start()
    try:
        total = sum(len(chunk) for chunk in stream_pcm(path, chunk_s=10.0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == pytest.approx(600 * 16000, abs=2000)
    assert peak < 4 << 20


def test_the_gate_needs_no_numpy() -> None:
    """It is an extra of the engines: a gateway may run without it."""
    script = (
        "import sys; sys.modules['numpy'] = None\n"
        "import springtide.media.audio, springtide.media.probe_tracks, springtide.media.probe_pictures"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr == ""
