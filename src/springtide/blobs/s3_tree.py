"""Plain files in a bucket, by their paths: model files, read once by who starts a worker. No blobs; never written."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from springtide.blobs.s3_place import Credentials, S3Keys, parse_place
from springtide.domain.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from obstore.store import S3Config

PIECE_BYTES = 4 << 20


class S3Tree:
    """What lies below `s3://bucket/prefix`."""

    def __init__(self, url: str, *, keys: S3Keys | None = None) -> None:
        """keys: default is what the AWS tools would find. Raises ConfigError for a URL that is none."""
        self._place = place = parse_place(url)
        entry = asyncio.run(Credentials(keys)())  # once: it is over long before they run out
        config: S3Config = {
            "endpoint": place.base if place.is_virtual_hosted else place.server,
            "region": place.region,
            "virtual_hosted_style_request": place.is_virtual_hosted,
            "access_key_id": entry["access_key_id"],
            "secret_access_key": entry["secret_access_key"],
        }
        if token := entry.get("token"):
            config["session_token"] = token
        self._store = S3Store(
            place.bucket,
            config=config,
            client_options={
                "allow_http": place.server.startswith("http://"),
                "connect_timeout": timedelta(seconds=5),
                "read_timeout": timedelta(seconds=30),  # of silence
                "timeout": timedelta(hours=1),  # of one file
            },
            retry_config={"max_retries": 4, "retry_timeout": timedelta(seconds=20)},
        )

    def __str__(self) -> str:
        return str(self._place)

    def read(self, path: str) -> Iterator[bytes]:
        """A file's bytes. Raises NotFound, Unavailable."""
        try:
            found = obstore.get(self._store, f"{self._place.prefix}{path}")
            for piece in found.stream(min_chunk_size=PIECE_BYTES):
                yield bytes(piece)
        except FileNotFoundError as error:
            raise NotFound(f"there is no {path} in it") from error
        except BaseError as error:
            raise Unavailable(str(error).partition("\n")[0]) from error
