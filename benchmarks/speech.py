"""Ten minutes of speech a language, a recording joined with pauses: real-time factor, memory, transcript length."""

from __future__ import annotations

import random
import sys
import time
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.memory import Peak
from benchmarks.plan import REPOSITORY, Plan
from benchmarks.product import REAL, Installation, Running
from benchmarks.report import OURS, Report
from springtide.media.audio import stream_pcm

DATA = REPOSITORY / "tests" / "data"
VOICES = ("en", "zh")
LENGTH_S = 600.0
QUICK_LENGTH_S = 30.0
RATE = 16_000
PAUSES_S = (0.4, 2.0)
POLL_S = 0.1
LIMIT_S = 1800.0
NOTES = (
    "rtf: seconds inside the engine for a second of sound, the smaller the better; wall_rtf: from POST to completed.",
    "Peak memory: the engine's own process, sampled five times a second; it holds the model.",
    "characters_ratio: letters and ideographs of the transcript over those of what was said; 1 where nothing is lost.",
    "One language a file: the engine finds the language once and keeps it for the rest of the recording.",
)


def measure(plan: Plan) -> Report:
    report = Report("speech", title="Speech recognition of a long file")
    report.notes = list(NOTES)
    home = Installation(plan.folder, REAL.format(name="speech", replicas=1))
    home.pull("speech")
    with home.up() as server:
        server.wait_until_warm("speech")
        for voice in VOICES[:1] if plan.quick else VOICES:
            path = plan.folder / f"{voice}.wav"
            length_s, said = joined(path, voice, QUICK_LENGTH_S if plan.quick else LENGTH_S)
            system = f"{OURS} ({voice})"
            report.describe(system, f"`springtide up`, {length_s:.0f} s of 16 kHz mono WAV, the default model")
            values = _transcribe(server, path, length_s, said)
            report.add(system, values)
            print(system, values, file=sys.stderr, flush=True)
    return report


def joined(path: Path, voice: str, length_s: float) -> tuple[float, str]:
    """Write one recording again and again with pauses while it fits into `length_s`; the length, and what is said."""
    rand = random.Random(20)
    spoken = _samples(DATA / f"{voice}.wav")
    parts: list[NDArray[np.int16]] = []
    left = int(length_s * RATE)
    while not parts or left >= len(spoken):
        pause = np.zeros(int(rand.uniform(*PAUSES_S) * RATE), np.int16)
        left -= len(spoken) + len(pause)
        parts += [spoken, pause]
    times = len(parts) // 2
    sound = np.concatenate(parts)
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(sound.tobytes())
    return len(sound) / RATE, (DATA / f"{voice}.txt").read_text(encoding="utf-8") * times


def _samples(path: Path) -> NDArray[np.int16]:
    """A recording as 16-bit samples at `RATE`."""
    sound = np.concatenate(list(stream_pcm(path, rate=RATE)))
    return (sound.clip(-1.0, 1.0) * 32767.0).astype(np.int16)


def _transcribe(server: Running, path: Path, length_s: float, said: str) -> dict[str, float]:
    [field] = [one["name"] for one in server.http.get("/v1/models/speech").json()["input_files"] if one["required"]]
    engine = [pid for pid, role in server.processes().items() if role == "engine"]
    with Peak(engine) as peak, path.open("rb") as file:
        began = time.perf_counter()
        answer = server.http.post("/v1/jobs", data={"model": "speech"}, files={field: (path.name, file, "audio/wav")})
        if answer.status_code != 202:
            raise RuntimeError(f"not accepted: {answer.status_code} {answer.text[:500]}")
        job = server.wait_until_ended(answer.json()["id"], poll_s=POLL_S, deadline_s=LIMIT_S)
        wall_s = time.perf_counter() - began
    outputs = job["outputs"]
    return {
        "audio_s": length_s,
        "rtf": outputs["seconds"] / length_s,
        "wall_rtf": wall_s / length_s,
        "engine_s": outputs["seconds"],
        "engine_peak_pss_mb": peak.pss_mb,
        "engine_peak_rss_mb": peak.rss_mb,
        "segments": len(outputs.get("segments") or []),
        "characters": _letters(outputs["text"]),
        "characters_ratio": _letters(outputs["text"]) / _letters(said),
    }


def _letters(text: str) -> int:
    return sum(character.isalnum() for character in text)
