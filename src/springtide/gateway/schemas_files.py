"""Files as clients see them: of a result, uploaded, and about to be (see `schemas`)."""

from __future__ import annotations

import msgspec


class FileView(msgspec.Struct, kw_only=True):
    """A file of a result. `url` asks for a key where the server does; `signed_url` needs none, until `expires_at`: it
    is made anew at each read."""

    id: str
    url: str
    signed_url: str
    expires_at: str
    expires_at_s: float
    media_type: str
    bytes: int
    sha256: str
    name: str | None = None


class BlobView(msgspec.Struct, kw_only=True):
    """An uploaded file, to be named in a job's inputs by its id. `signed_url` needs no key, until `expires_at`."""

    id: str
    media_type: str
    bytes: int
    sha256: str
    url: str
    signed_url: str
    expires_at: str
    expires_at_s: float
    name: str | None = None
    created_at: str
    created_at_s: float


class UploadView(msgspec.Struct, kw_only=True):
    """Where to put a file: send `bytes` bytes to `url` by `method` with `headers`, then POST to `complete_url`."""

    id: str
    url: str
    method: str
    headers: dict[str, str]
    bytes: int
    expires_at: str
    expires_at_s: float
    complete_url: str
