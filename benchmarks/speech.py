"""Ten minutes of speech a language, a recording joined with pauses: real-time factor, memory, transcript length. And
two minutes of each, beside faster-whisper used bare: the same model, precision, beams, threads and voice detector."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
import wave
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.memory import Peak
from benchmarks.plan import REPOSITORY, Plan
from benchmarks.product import REAL, Installation, Running
from benchmarks.report import OURS, Goal, Report
from springtide.config import load_config
from springtide.engines.settings import usable_processors
from springtide.media.audio import stream_pcm

DATA = REPOSITORY / "tests" / "data"
VOICES = ("en", "zh")
LENGTH_S = 600.0
PAIRED_S = 120.0  # the library's own retries make ten minutes of the English one six processor-minutes
QUICK_LENGTH_S = 30.0
RATE = 16_000
PAUSES_S = (0.4, 2.0)
POLL_S = 0.1
LIMIT_S = 1800.0
MOST_OVER_BARE = 1.05
NOTES = (
    "rtf: seconds inside the engine for a second of sound, the smaller the better; wall_rtf: from POST to completed; "
    "cpu_rtf: processor seconds of the engine's process, the steadier figure on a busy machine.",
    "bare: WhisperModel(...).transcribe(path, beam_size=5, vad_filter=True) in a process of its own, without loading.",
    "Peak memory: the engine's own process, sampled five times a second; it holds the model.",
    "characters_ratio: letters and ideographs of the transcript over those of what was said; 1 where nothing is lost.",
    "SPRINGTIDE_BENCH_SPEECH names one more recording to compare on, such as natural speech.",
)
BARE = """
import json, resource, sys, time
from faster_whisper import WhisperModel
from faster_whisper.audio import decode_audio

def cpu_s():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

folder, path, threads = sys.argv[1:]
model = WhisperModel(folder, device="cpu", compute_type="int8", cpu_threads=int(threads), local_files_only=True)
began, used = time.perf_counter(), cpu_s()
segments, info = model.transcribe(path, beam_size=5, vad_filter=True)
text = "".join(one.text for one in segments)
print(json.dumps({"s": time.perf_counter() - began, "cpu_s": cpu_s() - used, "length_s": info.duration, "text": text}))
"""


def measure(plan: Plan) -> Report:
    paired = [_paired(plan, voice) for voice in (VOICES[:1] if plan.quick else VOICES)] + _named(plan)
    goals = [
        Goal(
            metric="cpu_rtf",
            bound=MOST_OVER_BARE,
            at_least=False,
            what="the engine around the model costs at most 5 % more than the library used bare",
            system=f"{OURS} ({name})",
            over=f"bare ({name})",
        )
        for name, _, _, _ in paired
    ]
    report = Report("speech", title="Speech recognition of a long file", goals=goals)
    report.notes = list(NOTES)  # pairs are in the goals: ratios across recordings would mean nothing
    home = Installation(plan.folder, REAL.format(name="speech", replicas=1))
    home.pull("speech")
    with home.up() as server:
        server.wait_until_warm("speech")
        for voice in VOICES if not plan.quick else ():
            path = plan.folder / f"{voice}.wav"
            length_s, said = joined(path, voice, LENGTH_S)
            system = f"{OURS} ({voice}, long)"
            report.describe(system, f"`springtide up`, {length_s:.0f} s of 16 kHz mono WAV, the default model")
            _add(report, system, _transcribe(server, path, length_s, said))
        for name, path, length_s, said in paired:
            report.describe(f"{OURS} ({name})", f"`springtide up`, {length_s:.0f} s, the default model")
            report.describe(f"bare ({name})", f"faster-whisper, {length_s:.0f} s, the same model and settings")
            for _ in range(plan.rounds):
                _add(report, f"{OURS} ({name})", _transcribe(server, path, length_s, said))
                _add(report, f"bare ({name})", _bare(path, length_s, said))
    return report


def _add(report: Report, system: str, values: dict[str, float]) -> None:
    report.add(system, values)
    print(system, values, file=sys.stderr, flush=True)


def _paired(plan: Plan, voice: str) -> tuple[str, Path, float, str]:
    path = plan.folder / f"{voice}-paired.wav"
    length_s, said = joined(path, voice, QUICK_LENGTH_S if plan.quick else PAIRED_S)
    return voice, path, length_s, said


def _named(plan: Plan) -> list[tuple[str, Path, float, str]]:
    """The recording that the environment names; what is said in it is not known."""
    if not (given := os.environ.get("SPRINGTIDE_BENCH_SPEECH")):
        return []
    path = Path(given)
    return [(path.stem, path, sum(len(chunk) for chunk in stream_pcm(path, rate=RATE)) / RATE, "")]


def _bare(path: Path, length_s: float, said: str) -> dict[str, float]:
    folder = load_config().weights_folder / "whisper-base"
    command = [sys.executable, "-c", BARE, str(folder), str(path), str(usable_processors())]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT_S).stdout)
    return {
        "audio_s": length_s,
        "rtf": found["s"] / length_s,
        "cpu_rtf": found["cpu_s"] / length_s,
        "engine_s": found["s"],
        **_counted(found["text"], said),
    }


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
    before_s = _cpu_s(engine)
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
        "cpu_rtf": (_cpu_s(engine) - before_s) / length_s,
        "engine_s": outputs["seconds"],
        "engine_peak_pss_mb": peak.pss_mb,
        "engine_peak_rss_mb": peak.rss_mb,
        "segments": len(outputs.get("segments") or []),
        **_counted(outputs["text"], said),
    }


def _cpu_s(pids: list[int]) -> float:
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


def _counted(text: str, said: str) -> dict[str, float]:
    letters = {"characters": float(_letters(text))}
    return {**letters, "characters_ratio": _letters(text) / _letters(said)} if said else letters


def _letters(text: str) -> int:
    return sum(character.isalnum() for character in text)
