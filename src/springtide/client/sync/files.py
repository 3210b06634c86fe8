# Made from aio/files.py by `python docs/generate.py`; a change there, not here.
"""Files to and from the server: uploads that are small in one request, large ones straight to where they are kept;
downloads that go on where they broke off.

Promises: what is saved under the target's name is whole and has the SHA-256 on record; until then it lies beside it as
`.NAME.….part`, from where the next call goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
from pathlib import Path
from typing import IO

import httpx

from springtide.client import requests
from springtide.client.errors import ApiError, BrokenTransfer, Refused, Unavailable, Unreachable
from springtide.client.media import PIECE, FileInput, Source, source
from springtide.client.progress import bytes_bar
from springtide.client.requests import JSON, Request
from springtide.client.retrying import backoff_s
from springtide.client.sync.http import Http, OnBytes, decoded
from springtide.client.types import Blob, File, Job, Upload

_SHA256 = re.compile(r'"([0-9a-f]{64})"')
_NAME = re.compile(r"filename\*=UTF-8''([^;]+)|filename=\"([^\"]+)\"")


class Files:
    """What `upload`, `download` and `read` of the client do."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def upload(
        self,
        file: FileInput | Source,
        *,
        name: str | None = None,
        progress: bool = False,
        on_bytes: OnBytes | None = None,
    ) -> Blob:
        """Store a file. Raises ApiError, BrokenTransfer, Unreachable."""
        sent = file if isinstance(file, Source) else source(file, name=name)
        with bytes_bar(f"upload {sent.name}", sent.size, shown=progress, also=on_bytes) as told:
            if sent.size >= requests.ONE_FORM_BYTES:
                return self._upload_directly(sent, told)
            request = Request(
                method="POST",
                path="/v1/blobs",
                params=[("name", sent.name)],
                headers={"content-type": sent.media_type},
                body=sent,
            )
            return decoded(self._http.send(request, on_bytes=told), Blob)

    def _upload_directly(self, sent: Source, on_bytes: OnBytes | None) -> Blob:
        """In three steps, so that the bytes may go past the gateway. docs/storage.md."""
        sha256 = _sha256_of(sent)
        announced = {"bytes": sent.size, "name": sent.name, "media_type": sent.media_type, "sha256": sha256}
        begin = Request(method="POST", path="/v1/blobs/uploads", headers=JSON, content=requests.encoded(announced))
        upload = self._http.json(begin, Upload)
        put = Request(method=upload.method, path=upload.url, headers=upload.headers, body=sent)
        self._http.send(put, on_bytes=on_bytes)
        read_s = self._http.patience.read_s + sent.size / 50e6  # the server reads it once more: disks do more than that
        complete = Request(method="POST", path=f"/v1/blobs/{upload.id}/complete", read_s=read_s)
        return self._http.json(complete, Blob)

    def download(
        self,
        what: File | Blob | Job | str,
        target: str | os.PathLike[str] | None = None,
        *,
        progress: bool = False,
        on_bytes: OnBytes | None = None,
    ) -> Path:
        """Save a file; of a job its first. target: a file's name, a folder, or None: here, as the server names it.
        Gives the path. Raises ApiError, BrokenTransfer, Unreachable."""
        file = what.file() if isinstance(what, Job) else what
        download = _Download(self._http, file, target, on_bytes)
        size = 0 if isinstance(file, str) else file.bytes
        with bytes_bar(f"download {download.shown}", size, shown=progress, also=on_bytes) as told:
            download.on_bytes = told
            try:
                return download.run()
            except BrokenTransfer:
                return download.run()  # what was kept of it before may have been of another file

    def read(self, what: File | Blob | Job | str) -> bytes:
        """A file's bytes, in memory."""
        file = what.file() if isinstance(what, Job) else what
        response = self._http.send(Request(method="GET", path=requests.file_path(file), headers=_AS_IT_IS))
        wanted = _promised(file, response)
        if wanted is not None and hashlib.sha256(response.content).hexdigest() != wanted:
            raise BrokenTransfer(f"{response.request.url} gave other bytes than are on record")
        return response.content

    def media_type(self, what: File | Blob | str) -> str:
        """What a file is, without its bytes."""
        response = self._http.send(Request(method="HEAD", path=requests.file_path(what)))
        return str(response.headers.get("content-type", "application/octet-stream"))


_AS_IT_IS = {"accept-encoding": "identity"}


class _Download:
    """One file on its way to disk."""

    def __init__(
        self, http: Http, file: File | Blob | str, target: str | os.PathLike[str] | None, on_bytes: OnBytes | None
    ) -> None:
        self._http = http
        self._file = file
        self._path = requests.file_path(file)
        self._target = None if target is None else Path(target)
        self._sha256 = None if isinstance(file, str) else file.sha256
        self.on_bytes = on_bytes
        self.shown = (None if isinstance(file, str) else file.name) or (self._target.name if self._target else "file")

    def run(self) -> Path:
        """Until all of it is there, however often it breaks off."""
        part: Path | None = None if self._sha256 is None else self._part()
        failures, waited_s = 0, 0.0
        while True:
            before = _size(part)
            try:
                part = self._once(part)
                break
            except (Unreachable, Unavailable, Refused) as error:
                part = None if self._sha256 is None else self._part()
                failures = 1 if _size(part) > before else failures + 1
                waited_s = 0.0 if failures == 1 else waited_s
                wait_s = backoff_s(self._http.patience, failures, rand=random.random())  # noqa: S311 - spreads clients
                waited_s += wait_s
                if waited_s > self._http.patience.reconnect_s:
                    raise error
                self._http.sleep(wait_s)
        self._check(part)
        target = self._place()
        part.replace(target)
        return target

    def _once(self, part: Path | None) -> Path:
        """One try, from where the last one ended."""
        have = _size(part)
        headers = dict(_AS_IT_IS)
        if have and self._sha256:
            headers |= {"range": f"bytes={have}-", "if-range": f'"{self._sha256}"'}
        try:
            with self._http.open(Request(method="GET", path=self._path, headers=headers)) as response:
                self._sha256 = self._sha256 or _promised(self._file, response)
                self.shown = _named(response) or self.shown
                part = self._part()
                goes_on = response.status_code == 206 and response.headers.get("content-range", "").startswith(
                    f"bytes {have}-"
                )
                if goes_on:
                    self._tell(have)
                with part.open("ab" if goes_on else "wb") as file:
                    self._copied(response, file)
                return part
        except ApiError as error:
            if error.status == 416 and part is not None and have:  # all of it was there
                return part
            raise

    def _copied(self, response: httpx.Response, file: IO[bytes]) -> None:
        for piece in response.iter_bytes():  # as it comes: what came before a break is kept
            file.write(piece)
            self._tell(len(piece))

    def _tell(self, count: int) -> None:
        if self.on_bytes is not None:
            self.on_bytes(count)

    def _check(self, part: Path) -> None:
        """Raises BrokenTransfer, and takes away what is wrong."""
        if self._sha256 is None:
            return
        with part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != self._sha256:
            part.unlink()
            raise BrokenTransfer(f"{self._path} gave other bytes than are on record: {found}, not {self._sha256}")

    def _place(self) -> Path:
        target = self._target
        if target is not None and not target.is_dir():
            return target
        return (target or Path()) / (Path(self.shown).name or "file")

    def _part(self) -> Path:
        place = self._place()
        return place.with_name(f".{place.name}.{(self._sha256 or str(os.getpid()))[:16]}.part")


def _promised(file: File | Blob | str, response: httpx.Response) -> str | None:
    """The SHA-256 on record; of a file known by name only, what the server says of it."""
    if not isinstance(file, str):
        return file.sha256
    tag = _SHA256.fullmatch(response.headers.get("etag", ""))
    return tag[1] if tag else None


def _named(response: httpx.Response) -> str | None:
    """The file name the server gives it: its last component only."""
    from urllib.parse import unquote

    found = _NAME.search(response.headers.get("content-disposition", ""))
    if found is None:
        return None
    name = Path((unquote(found[1]) if found[1] else found[2]).replace("\\", "/")).name.lstrip(".")
    return name or None


def _size(part: Path | None) -> int:
    with contextlib.suppress(OSError):
        return part.stat().st_size if part is not None else 0
    return 0


def _sha256_of(sent: Source) -> str:
    digest = hashlib.sha256()
    with sent.opened() as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()
