"""Pictures, sound and video of any size, length and codec, made where they are needed: a gradient with a red corner,
and a tone."""

from __future__ import annotations

import array
import math
import wave
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
from av import AudioResampler
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image, ImageDraw


def picture(size: tuple[int, int] = (64, 48), mode: str = "RGB") -> Image.Image:
    """A picture with a red top left corner on a gradient: which way up it is can be told."""
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    ImageDraw.Draw(image).rectangle((0, 0, size[0] // 4, size[1] // 4), fill=(255, 0, 0))
    return image.convert(mode)


def grey_alpha(size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A grey picture that fades from one side to the other."""
    image = picture(size, "LA")
    image.putalpha(Image.linear_gradient("L").rotate(90).resize(size))
    return image


def tone(t: float) -> float:
    """440 Hz at half of full scale."""
    return 0.5 * math.sin(2 * math.pi * 440 * t)


def wav(
    path: Path, wave_form: Callable[[float], float], *, seconds: float = 3.0, rate: int = 16000, channels: int = 1
) -> Path:
    """16-bit PCM of `wave_form(t)`, the same on every channel."""
    samples = array.array("h", (round(32767 * wave_form(n / rate)) for n in range(round(seconds * rate))))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(array.array("h", (s for s in samples for _ in range(channels))).tobytes())
    return path


def encoded(
    path: Path,
    codec: str,
    *,
    seconds: float = 3.0,
    rate: int = 48000,
    layout: str = "stereo",
) -> Path:
    """The tone in the container that the name's ending says: .mp3, .m4a, .ogg, .flac, .webm, .aac, …"""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, AudioStream)
        stream.layout = layout  # type: ignore[assignment]  # the library takes a name
        _write_sound(container, stream, seconds)
    return path


def video(
    path: Path,
    *,
    with_sound: bool,
    seconds: float = 1.0,
    size: tuple[int, int] = (64, 48),
    sound_starts_s: float = 0.0,
) -> Path:
    """A moving gradient at 10 frames a second, with or without the tone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4" if path.suffix != ".webm" else "libvpx", rate=10)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        sound = None
        if with_sound:
            sound = container.add_stream("aac" if path.suffix != ".webm" else "libopus", rate=48000)
            assert isinstance(sound, AudioStream)
            sound.layout = "stereo"  # type: ignore[assignment]  # the library takes a name
        for number in range(round(seconds * 10)):
            frame = VideoFrame.from_image(picture(size).rotate(number * 9))
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            _write_sound(container, sound, seconds, starts_s=sound_starts_s)
    return path


def _write_sound(container: OutputContainer, stream: AudioStream, seconds: float, *, starts_s: float = 0.0) -> None:
    rate, channels = stream.rate, len(stream.layout.channels)
    step = 960
    resampler = AudioResampler(stream.format, stream.layout, rate, stream.codec_context.frame_size or None)
    for start in range(0, round(seconds * rate), step):
        samples = array.array("h", (round(32767 * tone(n / rate)) for n in range(start, start + step)))
        frame = AudioFrame(format="s16", layout=stream.layout.name, samples=step)
        frame.planes[0].update(array.array("h", (s for s in samples for _ in range(channels))).tobytes())
        frame.sample_rate, frame.pts, frame.time_base = rate, start + round(starts_s * rate), Fraction(1, rate)
        for piece in resampler.resample(frame):
            container.mux(stream.encode(piece))
    for piece in resampler.resample(None):
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))
