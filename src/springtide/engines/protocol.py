"""What an engine author writes against. Small enough to show whole in the README.

    from typing import Annotated
    from pydantic import BaseModel, Field
    from springtide.engines.protocol import Engine, InputFile, Media, OutputFile, Progress

    class Input(BaseModel):
        image: Annotated[InputFile, Media("image/*", max_pixels=50_000_000)]
        strength: float = Field(0.8, ge=0, le=1, description="0 leaves the picture alone.")

    class Output(BaseModel):
        picture: OutputFile

    class Upscale(Engine[Input, Output]):
        title, license = "Upscale", "Apache-2.0"

        def load(self) -> None:
            self.session = ...                       # weights, once per process

        def run(self, inputs: Input, progress: Progress) -> Output:
            progress(0.5, "upscale")                 # also where a cancel takes effect
            path = progress.folder / "picture.png"
            ...
            return Output(picture=OutputFile(path=path, media_type="image/png"))

An engine runs in a child process: it may crash, hang or eat all memory and the platform reports it as what it is.
Its module is also imported by the gateway, for the schemas: import heavy libraries inside `load` and `run`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from springtide.domain.errors import AttemptFailed, BadMedia, InvalidInput

__all__ = [
    "BadMedia",
    "Cancelled",
    "Engine",
    "InputFile",
    "InvalidInput",
    "Media",
    "OutputFile",
    "Progress",
    "RetryableError",
    "Weights",
]

InputT = TypeVar("InputT", bound=BaseModel)
OutputT = TypeVar("OutputT", bound=BaseModel)


class Cancelled(BaseException):
    """Raised out of `progress(...)` when the job was cancelled. Let it pass."""


class RetryableError(AttemptFailed):
    """Raise it where another attempt may well succeed (a busy device, a dropped connection)."""

    code = "engine_failed"

    def __init__(self, message: str, *, code: str | None = None, **details: Any) -> None:
        super().__init__(message, retryable=True, code=code, **details)


@dataclass(frozen=True, slots=True)
class Media:
    """What a file field accepts. The gateway checks all of it before the job is accepted.

    On an output file only the types count, and only to refuse a pipeline at once whose next step cannot take them.
    """

    types: str  # one media type or several separated by commas; image/*, audio/* and video/* are wildcards
    max_bytes: int = 2 << 30
    max_pixels: int = 50_000_000  # width × height of a picture or a video frame
    max_duration_s: float = 4 * 3600.0  # audio and video
    animated: bool = False  # whether a picture may have several frames
    needs_audio: bool = False  # whether a video must carry an audio track

    @property
    def type_list(self) -> tuple[str, ...]:
        return tuple(part.strip() for part in self.types.split(","))


class InputFile(BaseModel):
    """A file handed to an engine: local, to be read only. In JSON it is the id of an uploaded blob."""

    model_config = ConfigDict(frozen=True)

    path: Path
    media_type: str  # sniffed from the bytes, not what the client said
    bytes: int
    name: str | None = None
    width: int | None = None  # as probed before the job was accepted; None where it does not apply
    height: int | None = None
    duration_s: float | None = None

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {
            "type": "string",
            "format": "blob",
            "description": "A file: a multipart part, the id of a blob, or a URL.",
        }


class OutputFile(BaseModel):
    """A file an engine made, anywhere under `progress.folder`. In JSON it is the id of a blob."""

    model_config = ConfigDict(frozen=True)

    path: Path
    media_type: str
    name: str | None = None  # file name offered to who downloads it; the path's own where None

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "format": "blob", "description": "The id of a blob to download."}


class Progress(Protocol):
    """The engine's line to the outside while it runs."""

    @property
    def folder(self) -> Path:
        """An empty folder for this attempt's files; removed afterwards."""
        ...

    @property
    def checkpoint(self) -> Path | None:
        """The last checkpoint of an earlier attempt of this job, to go on from; read it before anything else. Where it
        cannot be used (another version of you made it), begin at the beginning."""
        ...

    @property
    def traceparent(self) -> str | None:
        """W3C trace context of this run, for the services it calls; None where the job came without one."""
        ...

    def __call__(self, fraction: float, stage: str | None = None, *, checkpoint: bytes | Path | None = None) -> None:
        """Say how far the job is (0 to 1) and what it is doing. Cheap: call it as often as you like.
        Raises Cancelled where the job was cancelled.

        checkpoint: all that another attempt needs to go on from here, as bytes or as a file under `folder`, which is
        taken away. The newest is kept, about one a second: lost with the process is what was done since."""
        ...


@dataclass(frozen=True, slots=True)
class Weights:
    """One model file an engine needs, and the registry packages it is made from (see `engines.weights`)."""

    path: str  # below the weights folder, such as isnet/isnet_fp16_1024.onnx
    sha256: str
    bytes: int
    recipe: str  # name of the recipe in engines.weights that makes it
    license: str


class Engine(ABC, Generic[InputT, OutputT]):
    """Subclass with your input and output models: `class Matting(Engine[Input, Output])`."""

    Input: ClassVar[type[BaseModel]]
    Output: ClassVar[type[BaseModel]]

    title: ClassVar[str] = ""
    description: ClassVar[str] = ""
    version: ClassVar[str] = "1"
    license: str = "unknown"  # of an instance where settings name other weights
    commercial_use: bool | None = None  # whether the weights' licence allows it; None: not known. Of an instance too
    generative: bool = False
    stages: ClassVar[tuple[str, ...]] = ()
    preload: ClassVar[tuple[str, ...]] = ()  # modules imported once, before children are forked
    weights: tuple[Weights, ...] = ()  # of an instance where settings make some unneeded
    example: ClassVar[
        Mapping[str, Any]
    ] = {}  # inputs of a usual job, for `springtide models check`; see engines.examples
    max_batch: ClassVar[int] = 1  # above 1: `run_batch` is there
    lanes: int = 1  # above 1: so many threads may be in `run` at once, and jobs run side by side. Of an instance too

    def __init__(self, settings: Mapping[str, Any], weights_folder: Path) -> None:
        """`settings` is the model's own table in springtide.toml. Check it here: ConfigError names key and range.
        Must not load anything."""
        self.settings = dict(settings)
        self.weights_folder = weights_folder

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in getattr(cls, "__orig_bases__", ()):
            args = get_args(base)
            if len(args) == 2 and all(isinstance(arg, type) for arg in args):
                cls.Input, cls.Output = args

    @abstractmethod
    def load(self) -> None:
        """Load weights and warm up; called once in the child process. The model is ready when it returns."""

    @abstractmethod
    def run(self, inputs: InputT, progress: Progress) -> OutputT:
        """Do one job. Raise InvalidInput or BadMedia for what only the engine can see is wrong with the input,
        RetryableError where another attempt may help; anything else fails the job with its text."""

    def run_batch(self, inputs: Sequence[InputT], progress: Sequence[Progress]) -> list[OutputT | Exception]:
        """Do several jobs at once. An exception given back as one job's result fails that job; one that is raised is
        nobody's yet, so the jobs run again in halves until it is. Memory that ran out makes later batches smaller."""
        raise TypeError(f"{type(self).__name__} sets max_batch but has no run_batch")

    def made(self, began_s: float, *, engine: str = "", model: str = "none") -> dict[str, Any]:
        """The fields of `engines.made.Made` for a result whose run began at `began_s`, by `time.monotonic()`.

        engine: its short name; the class's where absent. model: the weights it used."""
        return {
            "engine": engine or type(self).__name__.lower(),
            "model": model,
            "version": self.version,
            "license": self.license,
            "generative": self.generative,
            "seconds": round(time.monotonic() - began_s, 3),
        }

    def shape_class(self, inputs: InputT) -> object:
        """Only jobs whose shape classes are equal share a `run_batch`: the size of a tensor, say. All do by default.
        Cheap: called for each job before its batch is formed."""
        return None

    def estimate(self, inputs: InputT) -> float:
        """Seconds one run is thought to take, from the inputs alone (and what probing says of its files). Used to order
        the queue and to say when a job will be ready. Runs in the gateway: no weights, no I/O."""
        return 1.0

    def features(self, inputs: InputT) -> dict[str, float]:
        """What the time of a run depends on besides, such as pixels, seconds of sound, frames × steps: not negative,
        always by the same names, eight at most. How each counts is learnt from the runs on this machine; without any,
        only how far `estimate` is off. Runs where `estimate` does."""
        return {}
