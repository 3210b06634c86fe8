"""An engine whose model runs somewhere else: submit, look until it is done, fetch. What differs between services are
three methods and some settings:

    class Upscaler(RemoteEngine[Input, Output]):
        title, license, Settings = "Upscaler of ours", "proprietary", ServiceSettings

        def submit(self, inputs: Input, call: Call) -> str:
            with inputs.image.path.open("rb") as file:
                return call.service.json("POST", "/jobs", files={"image": file})["id"]

        def look(self, name: str, inputs: Input, call: Call) -> Look:
            told = call.service.json("GET", f"/jobs/{name}")
            return Look(told["done"], told["progress"])

        def fetch(self, name: str, inputs: Input, call: Call) -> Output:
            ...

Promises that a cancel takes effect while it waits, that a service that is busy is asked again with growing waits, that
one that is away for a short time while a job runs there costs nothing, and that another attempt goes on with the job
the last one began there instead of beginning a second.
"""

from __future__ import annotations

import hashlib
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel

from springtide.domain.errors import AttemptFailed
from springtide.engines.protocol import Engine, Progress, RetryableError
from springtide.engines.remote.service import Busy, Service, ServiceSettings
from springtide.engines.settings import read_settings

InputT = TypeVar("InputT", bound=BaseModel)
OutputT = TypeVar("OutputT", bound=BaseModel)
T = TypeVar("T")

TICK_S = 0.2  # how long a cancel may go unheard
FIRST_BUSY_S = 2.0  # wait before a busy service is asked again,
BUSY_FACTOR = 1.6  # and how much longer each further one is,
MOST_BUSY_S = 30.0  # up to this
PASSING = frozenset({"remote_unavailable", "remote_busy", "remote_malformed"})  # what may be over in a minute


@dataclass(frozen=True, slots=True)
class Look:
    """What the service says of a job."""

    done: bool
    fraction: float = 0.0  # 0 to 1
    result: str = ""  # what `fetch` may want to know


class Call:
    """One job's line: to the service on one side, to the platform on the other."""

    def __init__(self, settings: ServiceSettings, progress: Progress) -> None:
        self.service = Service(settings, patience=self.during, traceparent=progress.traceparent)
        self.folder = progress.folder
        self.looked = Look(done=False)
        self.kept: dict[str, Any] = {}  # whatever the engine wants to find again
        self._began_s = time.monotonic()
        self._progress = progress
        self._fraction = 0.0
        self._stage = "send"

    @property
    def code(self) -> str:
        """A name for this attempt of this job, the same however often it is asked for, in the form of a UUID."""
        digest = hashlib.sha256(str(self.folder).encode()).hexdigest()
        return "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))

    @property
    def seconds(self) -> float:
        """Since this attempt began."""
        return time.monotonic() - self._began_s

    def say(self, fraction: float, stage: str, *, checkpoint: bytes | None = None) -> None:
        """Tell the platform; never less than before. Raises Cancelled."""
        self._fraction, self._stage = max(self._fraction, min(0.98, fraction)), stage
        self._progress(self._fraction, stage, checkpoint=checkpoint)

    def pause(self, seconds: float) -> None:
        """Wait, hearing a cancel. Raises Cancelled."""
        ends = time.monotonic() + seconds
        while True:
            self._progress(self._fraction, self._stage)
            left = ends - time.monotonic()
            if left <= 0:
                return
            threading.Event().wait(min(TICK_S, left))

    def during(self, work: Callable[[], T]) -> T:
        """Do what blocks, hearing a cancel, which leaves it where it is. Raises Cancelled."""
        done: Queue[Callable[[], T]] = Queue()

        def doing() -> None:
            try:
                result = work()
            except BaseException as error:
                failed = error
                done.put(lambda: _raised(failed))
            else:
                done.put(lambda: result)

        threading.Thread(target=doing, name="remote", daemon=True).start()  # a process that ends need not wait for it
        while True:
            try:
                told = done.get(timeout=TICK_S)
            except Empty:
                self._progress(self._fraction, self._stage)
            else:
                return told()


def _raised(error: BaseException) -> Any:
    raise error


class RemoteEngine(Engine[InputT, OutputT]):
    """Subclass with your input, output and settings; see this module's own words."""

    Settings: ClassVar[type[ServiceSettings]] = ServiceSettings
    stages = ("send", "wait", "fetch")
    preload = ("httpx",)

    def __init__(self, settings: Mapping[str, Any], weights_folder: Path) -> None:
        super().__init__(settings, weights_folder)
        self.options = read_settings(self.Settings, settings, engine=type(self).__name__)
        self._loaded = False

    @abstractmethod
    def submit(self, inputs: InputT, call: Call) -> str:
        """Begin the job there; its name there. Called again where the service was busy or away, so that nothing must be
        begun twice: where the service takes a name, give it `call.code`."""

    @abstractmethod
    def look(self, name: str, inputs: InputT, call: Call) -> Look:
        """How far it is. Raises AttemptFailed where it failed there."""

    @abstractmethod
    def fetch(self, name: str, inputs: InputT, call: Call) -> OutputT:
        """Its result, with files under `call.folder`."""

    def is_there(self, name: str, inputs: InputT, call: Call) -> bool:
        """Whether a job that an earlier attempt began is still known there. By default a look says so."""
        try:
            self.look(name, inputs, call)
        except AttemptFailed as error:
            if error.code in PASSING:
                raise
            return False
        return True

    def end(self, name: str, inputs: InputT, call: Call) -> None:
        """Clean up, however the job ended. Must not raise."""

    def load(self) -> None:
        Service(self.options).close()  # a key that is missing is told before a job runs
        self._loaded = True

    def run(self, inputs: InputT, progress: Progress) -> OutputT:
        if not self._loaded:
            raise RuntimeError("load() comes before run()")
        call, name = Call(self.options, progress), ""
        try:
            call.say(0.0, "send")
            name = self._begun_before(inputs, call, progress.checkpoint) or self._submitted(inputs, call)
            call.say(0.0, "wait", checkpoint=name.encode())
            call.looked = self._awaited(name, inputs, call)
            call.say(0.95, "fetch")
            return self.fetch(name, inputs, call)
        finally:
            self.end(name, inputs, call)
            call.service.close()

    def _begun_before(self, inputs: InputT, call: Call, checkpoint: Path | None) -> str:
        name = checkpoint.read_text(encoding="utf-8", errors="replace") if checkpoint is not None else ""
        return name if name and self.is_there(name, inputs, call) else ""

    def _submitted(self, inputs: InputT, call: Call) -> str:
        """Busy is asked again for `busy_timeout_s`; one that is away, for `outage_s`."""
        wait_s = min(FIRST_BUSY_S, self.options.poll_s)
        busy_since: float | None = None
        away_since: float | None = None
        while True:
            try:
                return self.submit(inputs, call)
            except Busy as busy:
                pause_s = wait_s if busy.retry_after_s is None else max(busy.retry_after_s, self.options.poll_s)
                wait_s, away_since = min(MOST_BUSY_S, wait_s * BUSY_FACTOR), None
                busy_since = busy_since or time.monotonic()
                if time.monotonic() - busy_since + pause_s > self.options.busy_timeout_s:
                    raise
            except RetryableError as error:
                pause_s, away_since = self.options.poll_s, away_since or time.monotonic()
                if error.code not in PASSING or time.monotonic() - away_since >= self.options.outage_s:
                    raise
            call.pause(pause_s)

    def _awaited(self, name: str, inputs: InputT, call: Call) -> Look:
        away_since: float | None = None
        while True:
            try:
                looked = self.look(name, inputs, call)
            except RetryableError as error:
                away_since = away_since or time.monotonic()
                if error.code not in PASSING or time.monotonic() - away_since >= self.options.outage_s:
                    raise
            else:
                away_since = None
                call.say(0.95 * looked.fraction, "wait")
                if looked.done:
                    return looked
            call.pause(self.options.poll_s)
