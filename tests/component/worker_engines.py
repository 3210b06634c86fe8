"""Engines that misbehave on request, for the worker's tests. Run in the child process only."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, Field

from springtide.engines.protocol import (
    Engine,
    InputFile,
    InvalidInput,
    Media,
    OutputFile,
    Progress,
    RetryableError,
    Weights,
)
from springtide.engines.signing import identity
from springtide.engines.weights import require


class Input(BaseModel):
    do: str = "ok"
    path: str = ""  # of a gate, a note or a number
    number: int = Field(0, ge=0)
    file: Annotated[InputFile | None, Media("*/*")] = None


class Output(BaseModel):
    text: str = ""
    number: int = 0
    file: OutputFile | None = None
    files: list[OutputFile] = []


class Scripted(Engine[Input, Output]):
    """Does what `do` says, one job at a time."""

    def load(self) -> None:
        self.runs = 0

    def run(self, inputs: Input, progress: Progress) -> Output:
        self.runs += 1
        return getattr(self, inputs.do)(inputs, progress) or Output(text=inputs.do, number=self.runs)

    def ok(self, inputs: Input, progress: Progress) -> None: ...

    def trace(self, inputs: Input, progress: Progress) -> Output:
        return Output(text=progress.traceparent or "")

    def pid(self, inputs: Input, progress: Progress) -> Output:
        return Output(number=os.getpid())

    def steps(self, inputs: Input, progress: Progress) -> None:
        for step in range(inputs.number):
            progress(step / inputs.number, "work")
        progress(1.0, "done")

    def raises(self, inputs: Input, progress: Progress) -> None:
        raise ValueError("no good")

    def fails_with_data(self, inputs: Input, progress: Progress) -> None:
        data = set[int]()
        self.data = weakref.ref(data)
        raise ValueError(f"no good: {len(data)}")

    def data_left(self, inputs: Input, progress: Progress) -> Output:
        return Output(number=int(self.data() is not None))

    def odd_details(self, inputs: Input, progress: Progress) -> None:
        raise InvalidInput("odd", thing=object(), huge=1 << 80)

    def bad_input(self, inputs: Input, progress: Progress) -> None:
        raise InvalidInput("no face in the picture", errors=[{"loc": "file", "message": "no face"}])

    def retryable(self, inputs: Input, progress: Progress) -> None:
        raise RetryableError("device busy")

    def once(self, inputs: Input, progress: Progress) -> None:
        """Crashes the first time."""
        note = Path(inputs.path)
        if not note.exists():
            note.touch()
            os.kill(os.getpid(), signal.SIGSEGV)

    def segfault(self, inputs: Input, progress: Progress) -> None:
        print("last words", file=sys.stderr)
        signal.raise_signal(signal.SIGSEGV)  # of this thread: `kill` may pick another one, and return before

    def exits(self, inputs: Input, progress: Progress) -> None:
        os._exit(inputs.number)

    def sys_exits(self, inputs: Input, progress: Progress) -> None:
        sys.exit(inputs.number)

    def memory_error(self, inputs: Input, progress: Progress) -> None:
        raise MemoryError

    def eats(self, inputs: Input, progress: Progress) -> None:
        held = [bytearray(b"\x01") * (16 << 20) for _ in range(inputs.number // 16)]
        time.sleep(60)
        del held

    def sleeps(self, inputs: Input, progress: Progress) -> None:
        progress(0.0)
        time.sleep(inputs.number)

    def holds_the_lock(self, inputs: Input, progress: Progress) -> None:
        progress(0.0)
        time.sleep(0.01)  # a word that comes just after another report leaves a little later, from another thread
        Path(inputs.path).touch()
        re.match(r"(a+)+$", "a" * 64 + "b")  # hours of native code that never lets another thread run

    def waits(self, inputs: Input, progress: Progress) -> None:
        """Until cancelled, heeding it."""
        while True:
            progress(0.5, "waiting")
            time.sleep(0.005)

    def gate(self, inputs: Input, progress: Progress) -> None:
        """Until the file at `path` is there, without looking at progress."""
        progress(0.1, "at the gate")
        while not Path(inputs.path).exists():
            time.sleep(0.005)

    def copies(self, inputs: Input, progress: Progress) -> Output:
        assert inputs.file is not None
        data = inputs.file.path.read_bytes()
        first, second = progress.folder / "copy.bin", progress.folder / "more" / "twice.bin"
        first.write_bytes(data)
        second.parent.mkdir()
        second.write_bytes(data * 2)
        made = OutputFile(path=second, media_type="application/x-twice", name="two.bin")
        return Output(
            text=f"{inputs.file.media_type} {inputs.file.name} {inputs.file.bytes}",
            file=OutputFile(path=first, media_type="application/x-copy"),
            files=[made, made],
        )

    def litters(self, inputs: Input, progress: Progress) -> None:
        (progress.folder / "litter").write_text("x")
        if inputs.number:
            os._exit(inputs.number)

    def steals(self, inputs: Input, progress: Progress) -> Output:
        assert inputs.file is not None
        return Output(file=OutputFile(path=inputs.file.path, media_type="text/plain"))

    def forgets(self, inputs: Input, progress: Progress) -> Output:
        return Output(file=OutputFile(path=progress.folder / "nothing.png", media_type="image/png"))

    def talks(self, inputs: Input, progress: Progress) -> Output:
        return Output(text="x" * inputs.number)

    def wrong(self, inputs: Input, progress: Progress) -> Any:
        return {"not": "an Output"}

    def starts_a_program(self, inputs: Input, progress: Progress) -> None:
        program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path(inputs.path).write_text(str(program.pid))
        time.sleep(600)


class Laned(Scripted):
    """Two jobs side by side."""

    lanes = 2


class Greedy(Laned):
    """Neither lane has memory while the other one is in use."""

    def load(self) -> None:
        super().load()
        self.inside = 0

    def ok(self, inputs: Input, progress: Progress) -> None:
        self.inside += 1
        try:
            until = time.monotonic() + inputs.number / 1000
            while time.monotonic() < until:
                if self.inside > 1:
                    time.sleep(0.05)  # the other one sees it too
                    raise MemoryError
                time.sleep(0.002)
        finally:
            self.inside -= 1


class Batched(Engine[Input, Output]):
    """Runs up to eight jobs at once; `number` tells how many were together."""

    max_batch = 8

    def load(self) -> None: ...

    def run(self, inputs: Input, progress: Progress) -> Output:
        result = self.run_batch([inputs], [progress])[0]
        if isinstance(result, Exception):
            raise result
        return result

    def run_batch(self, inputs: Sequence[Input], progress: Sequence[Progress]) -> list[Output | Exception]:
        for job, line in zip(inputs, progress, strict=True):
            line(0.5, "together")
            if job.do == "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            while job.do == "gate" and not Path(job.path).exists():
                time.sleep(0.005)
        return [ValueError("not this one") if job.do == "raises" else Output(number=len(inputs)) for job in inputs]


class LanedAndBatched(Batched):
    """Cannot be both."""

    lanes = 2


class Shaped(Batched):
    """Only jobs of the same `number` share a run; tells who shared each."""

    def shape_class(self, inputs: Input) -> object:
        if inputs.do == "bad_shape":
            raise InvalidInput("it has no shape")
        if inputs.do == "crash_in_shape":
            os.kill(os.getpid(), signal.SIGSEGV)
        return inputs.number

    def run_batch(self, inputs: Sequence[Input], progress: Sequence[Progress]) -> list[Output | Exception]:
        super().run_batch(inputs, progress)
        numbers = [job.number for job in inputs]
        return [Output(number=len(inputs), text=str(set(numbers))) for _ in inputs]


class Breakable(Engine[Input, Output]):
    """Batches of up to eight: `raises` breaks the batch it is in, and all together hold at most `capacity`."""

    max_batch = 8

    def load(self) -> None:
        self.sizes: list[int] = []

    def run(self, inputs: Input, progress: Progress) -> Output:
        result = self.run_batch([inputs], [progress])[0]
        assert isinstance(result, Output)
        return result

    def run_batch(self, inputs: Sequence[Input], progress: Sequence[Progress]) -> list[Output | Exception]:
        self.sizes.append(len(inputs))
        if any(job.do == "sizes" for job in inputs):
            return [Output(text=str(self.sizes)) for _ in inputs]
        progress[0](0.5, "together")
        while any(job.do == "gate" and not Path(job.path).exists() for job in inputs):
            time.sleep(0.005)
        if any(job.do == "raises" for job in inputs):
            raise ValueError("one of you is no good")
        if sum(job.number for job in inputs) > self.settings.get("capacity", 1 << 30):
            if self.settings.get("dies"):
                held = bytearray(b"\x01") * (300 << 20)
                time.sleep(60)
                del held
            raise MemoryError
        return [Output(number=len(inputs)) for _ in inputs]


class Counting(Engine[Input, Output]):
    """Counts to `number`, leaves a checkpoint after each step, and waits at `path` before the next where it is given.
    Its text: the steps of this attempt."""

    def load(self) -> None: ...

    def run(self, inputs: Input, progress: Progress) -> Output:
        done = 0 if progress.checkpoint is None else int(progress.checkpoint.read_text())
        steps: list[int] = []
        gate = Path(inputs.path) if inputs.path else None
        for step in range(done + 1, inputs.number + 1):
            while gate is not None and not gate.with_name(f"{gate.name}{step}").exists():
                progress(done / inputs.number, "waits")
                time.sleep(0.005)
            steps.append(step)
            if inputs.do == "files":
                state = progress.folder / "state"
                state.write_text(str(step))
                progress(step / inputs.number, "counts", checkpoint=state)
                assert not state.exists()
            elif inputs.do == "steals":
                progress(0.5, checkpoint=Path(inputs.path))
            else:
                progress(step / inputs.number, "counts", checkpoint=str(step).encode())
            done = step
        return Output(text=" ".join(map(str, steps)))


class Weighty(Scripted):
    """Holds as much memory as its settings say while it is loaded; each load adds its name to a file."""

    def load(self) -> None:
        super().load()
        self.weights = bytearray(b"\x01") * (self.settings.get("memory_mb", 0) << 20)
        with Path(self.settings["loads"]).open("a") as file:
            file.write(f"{self.settings['name']}\n")
        if self.settings.get("breaks"):
            raise RuntimeError("the weights are broken")


class Loading(Engine[Input, Output]):
    """Loads as its settings say; counts its loads in a file."""

    def __init__(self, settings: Mapping[str, Any], weights_folder: Path) -> None:
        super().__init__(settings, weights_folder)

    def load(self) -> None:
        count = Path(self.settings["count"])
        loads = int(count.read_text()) + 1 if count.exists() else 1
        count.write_text(str(loads))
        if loads <= self.settings.get("failures", 0):
            raise RuntimeError("the weights are broken")
        while "gate" in self.settings and not Path(self.settings["gate"]).exists():
            time.sleep(0.005)
        time.sleep(self.settings.get("seconds", 0))

    def run(self, inputs: Input, progress: Progress) -> Output:
        if inputs.do == "once" and not Path(inputs.path).exists():
            Path(inputs.path).touch()
            os._exit(4)
        return Output()


class Unfit(Scripted):
    """Loads, but cannot run even its own example."""

    example: ClassVar[Mapping[str, Any]] = {"do": "raises"}


class Raising(Loading):
    """Never loads."""

    def load(self) -> None:
        raise RuntimeError("no such device")


class Exiting(Loading):
    """Takes its process along."""

    def load(self) -> None:
        os._exit(3)


class Weightless(Loading):
    """Lacks a file."""

    weights = (Weights(path="m/weights.bin", bytes=1, sha256="0" * 64, recipe="none", license="none"),)

    def load(self) -> None:
        require(type(self), self.weights_folder)


class NonCommercial(Engine[Input, Output]):
    """Says who signs its marks; its weights may not be used commercially, unless the settings name others."""

    license = "CC-BY-NC-4.0"
    commercial_use = False

    def __init__(self, settings: Mapping[str, Any], weights_folder: Path) -> None:
        super().__init__(settings, weights_folder)
        if "weights" in settings:
            self.license, self.commercial_use = "MIT", True

    def load(self) -> None: ...

    def run(self, inputs: Input, progress: Progress) -> Output:
        return Output(text=identity().certificates.decode())
