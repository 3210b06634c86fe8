"""A model that costs what the request says and ends as the request says, on any machine, with no weights.

It makes real failures, not pretended ones: a crash is a segmentation fault, a hang never calls back, out of memory is
memory that was really written to. Only one thing is held back: memory is taken up to a cap, so that a developer's
machine survives where no limit stops the process first.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, Field

from springtide.engines.protocol import Engine, Progress
from springtide.engines.settings import EngineSettings, read_settings

SLICE_S = 0.05  # twice as often as the 0.1 s within which a cancel must be seen
OOM_CHUNK_MB = 16
OOM_PAUSE_S = 0.01  # 1.6 GB a second: fast, but a supervisor that samples ten times a second sees it coming
MIB = 1 << 20


class Outcome(StrEnum):
    """How a job ends."""

    OK = "ok"
    FAIL = "fail"
    CRASH = "crash"
    HANG = "hang"
    OOM = "oom"


class Input(BaseModel):
    """What to spend, and how to end."""

    seconds: float = Field(default=0.0, ge=0, le=3600, description="How long the job takes.")
    steps: int = Field(default=1, ge=1, le=10_000, description="Parts it is done in; progress after each.")
    burn_cpu: bool = Field(default=False, description="Compute all the time instead of sleeping.")
    memory_mb: int = Field(default=0, ge=0, le=65_536, description="Memory held while it runs, MiB.")
    cold_start_s: float = Field(default=0.0, ge=0, le=3600, description="Extra wait before this process' first job.")
    checkpoint_every: int = Field(
        default=0, ge=0, description="Steps between two checkpoints, for another attempt to go on from; 0: none."
    )
    outcome: Outcome = Field(default=Outcome.OK, description="How the job ends once its time is spent.")


class Output(BaseModel):
    """What was spent."""

    seconds: float = Field(description="How long the job was to take.")
    steps: int = Field(description="Parts it was done in.")
    resumed_at: int = Field(default=0, description="Steps that an earlier attempt had done.")


class Settings(EngineSettings):
    """The model's table in springtide.toml."""

    cold_start_s: float = Field(default=0.0, ge=0, le=3600, description="How long loading the model takes.")
    memory_mb: int = Field(default=0, ge=0, le=65_536, description="Memory held while it is loaded, MiB.")
    oom_cap_mb: int = Field(default=2048, ge=16, description="Memory after which outcome=oom gives up by itself, MiB.")


class Synthetic(Engine[Input, Output]):
    """Spends time, processor and memory as asked; succeeds, fails, crashes, hangs or runs out of memory as asked."""

    title = "Synthetic"
    description = (
        "Spends time, processor and memory as asked, and ends as asked. For tests, load tests and trying a fleet."
    )
    license = "Apache-2.0"
    commercial_use = True
    stages = ("work",)
    max_batch: ClassVar[int] = 64

    def __init__(self, settings: Mapping[str, Any], weights_folder: Path) -> None:
        super().__init__(settings, weights_folder)
        self.options = read_settings(Settings, settings, engine="synthetic")
        self._warm = False

    def load(self) -> None:
        time.sleep(self.options.cold_start_s)
        self._weights = _touched(self.options.memory_mb)

    def run(self, inputs: Input, progress: Progress) -> Output:
        result = self.run_batch([inputs], [progress])[0]
        if isinstance(result, Exception):
            raise result
        return result

    def run_batch(self, inputs: Sequence[Input], progress: Sequence[Progress]) -> list[Output | Exception]:
        """All jobs share the time, as on an accelerator: a batch takes as long as its longest job."""
        if not self._warm:
            self._warm = True
            _spend(max(job.cold_start_s for job in inputs), lambda: _hear(progress), burn=False)
        held = [_touched(job.memory_mb) for job in inputs if job.memory_mb]
        begun = [_steps_done(job, line) for job, line in zip(inputs, progress, strict=True)]
        _work(inputs, progress, begun)
        results = [self._end(job, line, at) for job, line, at in zip(inputs, progress, begun, strict=True)]
        held.clear()
        return results

    def estimate(self, inputs: Input) -> float:
        return inputs.seconds

    def features(self, inputs: Input) -> dict[str, float]:
        return {"steps": float(inputs.steps)}

    def _end(self, job: Input, progress: Progress, begun: int) -> Output | Exception:
        match job.outcome:
            case Outcome.OK:
                return Output.model_construct(seconds=job.seconds, steps=job.steps, resumed_at=begun)
            case Outcome.FAIL:
                return RuntimeError("failed, as the request asked")
            case Outcome.CRASH:
                return _crash()
            case Outcome.HANG:
                return _hang()
            case Outcome.OOM:
                return _exhaust(self.options.oom_cap_mb, progress)


def _hear(progress: Sequence[Progress]) -> None:
    for line in progress:
        line(0.0)


def _steps_done(job: Input, progress: Progress) -> int:
    """By an earlier attempt, as its last checkpoint says."""
    if not job.checkpoint_every or progress.checkpoint is None:
        return 0
    try:
        return min(int(progress.checkpoint.read_text()), job.steps)
    except (OSError, ValueError):  # of another version, or not there any more
        return 0


def _work(jobs: Sequence[Input], progress: Sequence[Progress], begun: Sequence[int]) -> None:
    """Pass the time of the longest job; every job hears of its own steps as they end."""
    ends = sorted(
        (job.seconds * (step - at) / job.steps, index, step)
        for index, (job, at) in enumerate(zip(jobs, begun, strict=True))
        if job.seconds or job.steps > 1  # nothing to report of a job that does nothing
        for step in range(at + 1, job.steps + 1)
    )
    done = [at / job.steps for job, at in zip(jobs, begun, strict=True)]
    began = time.monotonic()

    def still_wanted() -> None:
        for fraction, line in zip(done, progress, strict=True):
            line(fraction, "work")

    for at_s, index, step in ends:
        _spend(at_s - (time.monotonic() - began), still_wanted, burn=jobs[index].burn_cpu)
        job = jobs[index]
        done[index] = step / job.steps
        is_checkpoint = job.checkpoint_every and step % job.checkpoint_every == 0
        progress[index](done[index], "work", checkpoint=str(step).encode() if is_checkpoint else None)


def _spend(seconds: float, still_wanted: Callable[[], None], *, burn: bool) -> None:
    """Pass `seconds`, asking every `SLICE_S` whether to go on."""
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        if burn:
            slice_ends = time.monotonic() + min(left, SLICE_S)
            while time.monotonic() < slice_ends:
                sum(range(1000))
        else:
            time.sleep(min(left, SLICE_S))
        still_wanted()


def _touched(mebibytes: int) -> bytearray:
    """Memory that is really there: every page is written."""
    return bytearray(b"\x01") * (mebibytes * MIB)


def _crash() -> Exception:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a wanted crash leaves no core file
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(1.0)
    os.abort()  # the signal was ignored


def _hang() -> Exception:
    while True:
        time.sleep(3600)


def _exhaust(cap_mb: int, progress: Progress) -> Exception:
    import psutil  # only here: 20 ms that no other job needs

    most_mb = min(cap_mb, psutil.virtual_memory().available // MIB // 2)
    taken: list[bytearray] = []
    while len(taken) * OOM_CHUNK_MB < most_mb:
        try:
            taken.append(_touched(OOM_CHUNK_MB))
        except MemoryError as error:
            taken.clear()
            return error
        time.sleep(OOM_PAUSE_S)
        progress(0.99, "work")
    taken.clear()
    return MemoryError(f"took {most_mb} MiB, as the request asked, and no limit stopped it")
