"""Digital humans by a Duix.Avatar (HeyGem) container: a film of a face and a voice go in, the face saying it comes out.

The service takes one job at a time and knows files by name, in a folder it shares with this machine or by URL. What it
makes is a file, too. Its table of jobs forgets finished ones now and then: a job it no longer knows has failed only
when no file of its name comes.

Source: github.com/duixcom/Duix-Avatar at 1328feb, its client and issues 328 and 560.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from springtide.domain.errors import AttemptFailed, BadMedia
from springtide.engines.human.schema import Input, Output
from springtide.engines.protocol import OutputFile, RetryableError
from springtide.engines.provenance import Kind, mark
from springtide.engines.remote.engine import Call, Look, RemoteEngine
from springtide.engines.remote.films import label_film, whole_film, write_poster, write_still, write_voice
from springtide.engines.remote.lending import Lending
from springtide.engines.remote.service import Busy, ServiceSettings, malformed, refused, unavailable

OK, BUSY, BAD_PARAMETER, LOCK, UNKNOWN, BROKEN = 10000, 10001, 10002, 10003, 10004, 9999
RUNNING, DONE, FAILED = 1, 2, 3
NOT_ITS_OWN = ("seed", "strength", "blink", "idle_motion", "drive", "extend", "size", "fps", "crf")  # it has no such
RESULT_FOLDERS = ("temp", "", "result")  # where the service puts its file, in the order of likelihood


class HeygemSettings(ServiceSettings):
    """Settings of the heygem engine: one container."""

    shared_dir: Path | None = Field(
        default=None, description="The folder that the container knows as /code/data, as this machine sees it."
    )
    lend_url: str | None = Field(
        default=None, description="Without a shared folder: how the container reaches this machine, http://host:port."
    )
    lend_bind: str = Field(
        default="127.0.0.1",
        description="Address to lend files on, such as 0.0.0.0 for a service elsewhere; the port is that of lend_url.",
    )
    files_url: str | None = Field(
        default=None, description="Without a shared folder: URL at which the container's /code/data can be read."
    )
    super_resolution: Literal[0, 1] = Field(default=0, description="The service's own `chaofen`.")
    watermark: Literal[0, 1] = Field(default=0, description="The service's own `watermark_switch`.")
    settle_s: float = Field(
        default=1.0, ge=0, le=600, description="How long the size of its file must stay the same, seconds."
    )
    vanished_s: float = Field(
        default=30.0, ge=0, le=3600, description="How long to look for the file of a job it no longer knows, seconds."
    )
    keep_files: bool = Field(default=False, description="Leave what was sent and made in the shared folder.")

    @model_validator(mode="after")
    def _reachable(self) -> HeygemSettings:
        if self.shared_dir is None and (self.lend_url is None or self.files_url is None):
            raise ValueError("set shared_dir, or lend_url and files_url: files must get there and back")
        return self


class Heygem(RemoteEngine[Input, Output]):
    """A face that says what it is given to say, made by a Duix.Avatar (HeyGem) service."""

    title = "Digital human (HeyGem)"
    description = "A face that says what it is given to say, made by a Duix.Avatar (HeyGem) service elsewhere."
    version = "1"
    license = "DUIX community licence"  # commercial use above its limits of users needs another one
    generative = True
    Settings = HeygemSettings
    options: HeygemSettings

    def submit(self, inputs: Input, call: Call) -> str:
        if self._known(call.code, call):  # the answer to an earlier try was lost on the way
            return call.code
        audio, video = self._given(inputs, call)
        order = {
            "audio_url": audio,
            "video_url": video,
            "code": call.code,
            "chaofen": self.options.super_resolution,
            "watermark_switch": self.options.watermark,
            "pn": 1,
        }
        _check(call.service.json("POST", "/easy/submit", json=order))
        return call.code

    def look(self, name: str, inputs: Input, call: Call) -> Look:
        told = call.service.json("GET", "/easy/query", params={"code": name})
        if told.get("code") == UNKNOWN:
            return Look(done=True, fraction=1.0)  # `fetch` looks for the file before it is called a failure
        _check(told)
        data = told.get("data")
        if not isinstance(data, dict) or data.get("status") not in {RUNNING, DONE, FAILED}:
            raise malformed(f"the service told no state of the job: {str(told)[:200]}")
        if data["status"] == FAILED:
            message = f"the service could not do it: {data.get('msg') or told.get('msg') or 'it does not say why'}"
            raise AttemptFailed(message, retryable=False, code="remote_failed")
        progress = data.get("progress")
        fraction = min(1.0, max(0.0, progress / 100)) if isinstance(progress, int | float) else 0.0
        return Look(data["status"] == DONE, fraction, str(data.get("result") or ""))

    def is_there(self, name: str, inputs: Input, call: Call) -> bool:
        return self._known(name, call) or self._shared_file(_file_name(name, "")) is not None

    def fetch(self, name: str, inputs: Input, call: Call) -> Output:
        began, path = time.monotonic(), call.folder / "video.mp4"
        file_name, reason = _file_name(name, call.looked.result), ""
        while True:
            if self._fetched(file_name, path, call):
                try:
                    return self._output(path, inputs, call)
                except BadMedia as error:  # only half of it is there
                    reason = f"; what there was could not be read: {error.message}"
            if time.monotonic() - began >= self.options.vanished_s:
                raise RetryableError(
                    f"the service says that job {name} is done, or no longer knows it, but no whole {file_name} came "
                    f"within {self.options.vanished_s:g} s{reason}",
                    code="remote_lost",
                )
            call.pause(min(self.options.poll_s, 1.0))

    def end(self, name: str, inputs: Input, call: Call) -> None:
        lending: Lending | None = call.kept.pop("lending", None)
        if lending is not None:
            lending.close()
        if self.options.shared_dir is None or self.options.keep_files:
            return
        temporary = [self.options.shared_dir / "temp" / _sent(call, kind) for kind in ("wav", "mp4")]
        made = [self.options.shared_dir / place / _file_name(name, call.looked.result) for place in RESULT_FOLDERS]
        for path in [*temporary, *(made if name and call.looked.done else [])]:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def estimate(self, inputs: Input) -> float:
        return 10.0 + 2.0 * (inputs.audio.duration_s or 30.0)  # twice the length on one consumer GPU, by its makers

    def _known(self, name: str, call: Call) -> bool:
        return call.service.json("GET", "/easy/query", params={"code": name}).get("code") == OK

    def _given(self, inputs: Input, call: Call) -> tuple[str, str]:
        """The voice and the face as the service is told of them; once for all tries."""
        if "given" not in call.kept:
            voice, face = call.folder / _sent(call, "wav"), call.folder / _sent(call, "mp4")
            write_voice(inputs.audio.path, voice)
            if inputs.image is not None:
                write_still(inputs.image.path, face)
            else:
                assert inputs.video is not None
                face = inputs.video.path
            call.kept["given"] = self._handed_over(voice, face, call)
        return call.kept["given"]

    def _handed_over(self, voice: Path, face: Path, call: Call) -> tuple[str, str]:
        names = _sent(call, "wav"), _sent(call, "mp4")
        if self.options.shared_dir is None:
            port = urlsplit(self.options.lend_url or "").port or 80
            lending = Lending(dict(zip(names, (voice, face), strict=True)), bind=self.options.lend_bind, port=port)
            call.kept["lending"] = lending
            lending.start()
            given, shown = (f"{self.options.lend_url}{lending.path(name)}" for name in names)
            return given, shown
        folder = self.options.shared_dir / "temp"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for path, name in zip((voice, face), names, strict=True):
                shutil.copyfile(path, folder / name)
        except OSError as error:
            raise unavailable(f"the shared folder {folder} cannot be written to: {error.strerror}") from error
        return names

    def _fetched(self, file_name: str, target: Path, call: Call) -> bool:
        """Whether the file was there and is now at `target`."""
        if self.options.shared_dir is None:
            return any(
                call.service.download(
                    "/".join(part for part in (self.options.files_url, place, file_name) if part), target
                )
                for place in RESULT_FOLDERS
            )
        found = self._shared_file(file_name)
        if found is None:
            return False
        try:
            size = found.stat().st_size
            call.pause(self.options.settle_s)
            if not size or found.stat().st_size != size:
                return False  # still being written
            shutil.copyfile(found, target)
        except OSError as error:
            raise unavailable(f"{file_name} cannot be read from the shared folder: {error.strerror}") from error
        return True

    def _shared_file(self, file_name: str) -> Path | None:
        if self.options.shared_dir is None:
            return None
        places = (self.options.shared_dir / place / file_name for place in RESULT_FOLDERS)
        return next((path for path in places if path.is_file()), None)

    def _output(self, path: Path, inputs: Input, call: Call) -> Output:
        if inputs.label:
            label_film(path)
        film, poster = whole_film(path), call.folder / "poster.jpg"
        write_poster(path, poster)
        output = Output(
            video=OutputFile(path=path, media_type="video/mp4"),
            poster=OutputFile(path=poster, media_type="image/jpeg"),
            width=film.width,
            height=film.height,
            fps=round(film.fps, 3),
            frames=film.frames,
            audio_s=round(inputs.audio.duration_s or film.frames / film.fps, 3),
            speech_found=None,
            faces_found=None,
            frames_without_face=None,
            notes=_notes(inputs),
            engine="heygem",
            model="duix.avatar",
            version=self.version,
            license=self.license,
            generative=self.generative,
            seconds=round(call.seconds, 3),
        )
        mark(poster, made=output, kind=Kind.COMPOSITE, title="Talking portrait", consent=inputs.consent)
        mark(path, made=output, kind=Kind.COMPOSITE, title="Talking portrait", consent=inputs.consent)
        return output


def _notes(inputs: Input) -> list[str]:
    fields = type(inputs).model_fields
    asked = [name for name in NOT_ITS_OWN if getattr(inputs, name) != fields[name].default]
    return [f"This service decides {', '.join(asked)} by itself: what was asked for had no effect."] if asked else []


def _check(told: Mapping[str, Any]) -> None:
    """Raise what an answer's code means, unless it means that all is well."""
    code, says = told.get("code"), f"the service says {told.get('code')}: {str(told.get('msg') or '')[:200]}"
    if code == OK:
        return
    if code in {BUSY, LOCK}:
        raise Busy(says)
    if code == BAD_PARAMETER:
        raise refused(says)
    if code == BROKEN:
        raise unavailable(says)
    raise malformed(f"an answer without a code that is known: {str(dict(told))[:200]}")


def _sent(call: Call, kind: str) -> str:
    return f"{call.code}.{kind}"


def _file_name(name: str, result: str) -> str:
    """The file that holds a job's result; of a path only the last part, so that nothing else is ever read."""
    told = PurePosixPath(result.replace("\\", "/")).name
    return told if told.endswith(".mp4") else f"{name}-r.mp4"
