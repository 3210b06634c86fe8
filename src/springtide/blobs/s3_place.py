"""Where an S3 store is and by which keys it is entered: `s3://bucket/prefix?endpoint=https://…&region=…`.

Promises: a URL that can be shown. Refuses, as ConfigError, keys inside the URL and anything it does not know: a typing
mistake must not send media to another place.

Credentials are those given, else whatever the AWS tools would find (variables, files in ~/.aws, the role of a pod, a
container or a machine), renewed before they run out.
"""

from __future__ import annotations

import asyncio
import os
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from springtide.domain.errors import ConfigError

if TYPE_CHECKING:
    from obstore.store import S3Credential

DEFAULT_REGION = "us-east-1"  # what stores other than Amazon's expect in a signature
LOOK_AGAIN = timedelta(minutes=5)  # botocore renews credentials 15 minutes before their end

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()/-]*")  # what AWS calls safe: no key needs escaping


class S3Place(msgspec.Struct, frozen=True, kw_only=True):
    """One bucket, and the folder in it that is ours."""

    bucket: str
    prefix: str  # empty, or ends with /
    endpoint: str | None  # None: Amazon's
    region: str

    @property
    def is_virtual_hosted(self) -> bool:
        """Amazon wants the bucket as a host name, unless it holds a dot; everybody else understands it as a path."""
        return self.endpoint is None and "." not in self.bucket

    @property
    def server(self) -> str:
        """The URL of the server itself."""
        return self.endpoint or f"https://s3.{self.region}.amazonaws.com"

    @property
    def base(self) -> str:
        """What every object's URL begins with."""
        if self.is_virtual_hosted:
            return f"https://{self.bucket}.s3.{self.region}.amazonaws.com"
        return f"{self.server}/{self.bucket}"

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}" + (f" at {self.endpoint}" if self.endpoint else "")


class S3Keys(msgspec.Struct, frozen=True, kw_only=True):
    """Credentials as they are given."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"S3Keys({self.access_key_id!r}, …)"


def parse_place(url: str) -> S3Place:
    """Read `[blobs] url`. Raises ConfigError."""
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise ConfigError(
            "blobs.url must not hold keys: URLs are shown. Set access_key_id and secret_access_key in [blobs], or the "
            "variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if parts.scheme != "s3" or not _BUCKET.fullmatch(parts.netloc) or parts.fragment:
        raise ConfigError("blobs.url: an S3 store is s3://bucket/prefix?endpoint=https://host:port&region=name")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = options.keys() - {"endpoint", "region"}
    if unknown:
        raise ConfigError(f"blobs.url: unknown {', '.join(sorted(unknown))}; after ? it takes endpoint and region")
    prefix = parts.path.strip("/")
    if not _PREFIX.fullmatch(prefix) or ".." in prefix.split("/") or "//" in prefix:
        raise ConfigError(f"blobs.url: the prefix {prefix!r} may hold letters, digits and -_.!*'() between slashes")
    endpoint = options.get("endpoint") or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return S3Place(
        bucket=parts.netloc,
        prefix=f"{prefix}/" if prefix else "",
        endpoint=parse_endpoint(endpoint, key="blobs.url: endpoint") if endpoint else None,
        region=options.get("region") or _usual_region(),
    )


def parse_endpoint(url: str, *, key: str) -> str:
    """A server's own URL, without path and keys. Raises ConfigError that begins with `key`."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc or parts.query:
        raise ConfigError(f"{key} must be http://host:port or https://host:port")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


class Credentials:
    """The keys to sign with: for obstore as a provider, for signed URLs as `botocore` wants them."""

    def __init__(self, keys: S3Keys | None) -> None:
        self._keys = keys
        self._found: Any = None

    async def __call__(self) -> S3Credential:
        """What obstore asks before it signs. Raises ConfigError where there are none."""
        now = await self.frozen()
        until = None if self._keys else datetime.now(UTC) + LOOK_AGAIN
        return {
            "access_key_id": now.access_key,
            "secret_access_key": now.secret_key,
            "token": now.token,
            "expires_at": until,
        }

    async def frozen(self) -> Any:
        """Access key, secret and token of one moment. Raises ConfigError where there are none."""
        if self._keys is None:
            return await asyncio.to_thread(self._find)
        from botocore.credentials import ReadOnlyCredentials

        return ReadOnlyCredentials(self._keys.access_key_id, self._keys.secret_access_key, self._keys.session_token)

    def _find(self) -> Any:
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session

        try:
            if self._found is None:
                self._found = Session().get_credentials()
            if self._found is not None:
                return self._found.get_frozen_credentials()
        except BotoCoreError as error:
            raise ConfigError(f"blobs: the credentials cannot be had: {error}") from error
        raise ConfigError(
            "blobs: there are no credentials for S3. Set access_key_id and secret_access_key in [blobs], or give them "
            "as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, in ~/.aws/credentials or by a role"
        )


def _usual_region() -> str:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or DEFAULT_REGION
