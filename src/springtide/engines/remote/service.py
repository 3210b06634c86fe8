"""One HTTP service as engines talk to it: its address and key from the settings, its failures in the platform's words.

Promises that no redirect is followed (a key would go where nobody meant it to), that the key is in no message and no
log, that no proxy of the environment is used unasked, and that no error of the HTTP library leaves this module.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
from pydantic import Field, field_validator

from springtide.domain.errors import AttemptFailed, ConfigError
from springtide.engines.protocol import RetryableError
from springtide.engines.settings import EngineSettings

if TYPE_CHECKING:
    import httpx

Patience = Callable[[Callable[[], Any]], Any]

SHOWN = 300  # characters of a service's own words in a message


class ServiceSettings(EngineSettings):
    """Settings of every engine that drives a service. Which addresses may be reached is the operator's choice."""

    url: str = Field(description="Where the service is, such as http://10.0.0.7:8383; paths are put behind it.")
    api_key_env: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Name of the environment variable that holds the key; it is sent as Authorization: Bearer.",
    )
    ca_file: Path | None = Field(default=None, description="Certificates to trust, PEM, in place of the system's.")
    proxy: str | None = Field(default=None, description="Proxy to go through; those of the environment are not used.")
    connect_timeout_s: float = Field(default=10.0, gt=0, le=600, description="Longest wait for a connection, seconds.")
    read_timeout_s: float = Field(default=60.0, gt=0, le=86_400, description="Longest silence of an answer, seconds.")
    poll_s: float = Field(default=2.0, gt=0, le=600, description="Seconds between two looks at a job that runs there.")
    busy_timeout_s: float = Field(
        default=900.0,
        ge=0,
        le=86_400,
        description="How long to wait for a busy service before the attempt is given up.",
    )
    outage_s: float = Field(
        default=60.0, ge=0, le=86_400, description="How long a service may be away while a job runs there, seconds."
    )

    @field_validator("url")
    @classmethod
    def _http(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be an http:// or https:// URL with a host")
        if parts.username is not None or parts.password is not None:
            raise ValueError("must not hold a user or a password: name the key's variable in api_key_env")
        return value.rstrip("/")


class Busy(RetryableError):
    """The service takes no more work now."""

    code = "remote_busy"

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


def unavailable(message: str) -> RetryableError:
    """The service cannot be reached, or has a fault of its own: another attempt may help."""
    return RetryableError(message, code="remote_unavailable")


def malformed(message: str) -> RetryableError:
    """It answered what cannot be understood: cut off, not JSON, not what its interface says."""
    return RetryableError(message, code="remote_malformed")


def refused(message: str) -> AttemptFailed:
    """It does not take this job, and will not take it a second time."""
    return AttemptFailed(message, retryable=False, code="remote_refused")


class Service:
    """A connection to one service, for one job. `close`, from any thread, ends what is under way."""

    def __init__(
        self,
        settings: ServiceSettings,
        *,
        patience: Patience = lambda work: work(),
        traceparent: str | None = None,
    ) -> None:
        """patience: does what blocks; may raise by itself what ends the job, after closing this. traceparent: sent with
        every request."""
        import httpx

        self._patience = patience
        self._streams: list[Any] = []
        self._key = _key(settings.api_key_env)
        self._url = settings.url
        timeout = httpx.Timeout(settings.read_timeout_s, connect=settings.connect_timeout_s)
        try:
            self._client = httpx.Client(
                headers={
                    **({"Authorization": f"Bearer {self._key}"} if self._key else {}),
                    **({"traceparent": traceparent} if traceparent else {}),
                },
                timeout=timeout,
                verify=_trusted(settings.ca_file),
                proxy=settings.proxy,
                follow_redirects=False,
                trust_env=False,
            )
        except (OSError, ValueError) as error:
            raise ConfigError(f"the service {self._url} cannot be set up: {error}") from error

    def close(self) -> None:
        """End every request under way. Closing alone would not wake a thread that waits for an answer."""
        for stream in self._streams:
            taken = stream.get_extra_info("socket")
            with contextlib.suppress(OSError):
                taken.shutdown(socket.SHUT_RDWR)
        self._client.close()

    def request(self, method: str, path: str, **content: Any) -> httpx.Response:
        """One request; its answer, read whole, has a 2xx status.

        content: as httpx takes it. Raises Busy, RetryableError (`remote_unavailable`) or AttemptFailed
        (`remote_refused`).
        """
        import httpx

        content["extensions"] = {"trace": self._note}
        try:
            answer = self._patience(lambda: self._client.request(method, self._url + path, **content))
        except httpx.TimeoutException as error:
            raise unavailable(f"{self._url}{path} did not answer in time ({type(error).__name__})") from error
        except httpx.HTTPError as error:
            raise unavailable(f"{self._url}{path} cannot be reached: {self._told(str(error))}") from error
        self._check(answer, path)
        return answer

    def json(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        """One request whose answer is a JSON object. Raises RetryableError (`remote_malformed`) for any other."""
        answer = self.request(method, path, **content)
        try:
            found = msgspec.json.decode(answer.content)
        except msgspec.DecodeError as error:
            raise malformed(f"{self._url}{path} answered no JSON: {self._told(answer.text)!r}") from error
        if not isinstance(found, dict):
            raise malformed(f"{self._url}{path} answered no JSON object: {self._told(answer.text)!r}")
        return found

    def download(self, url: str, target: Path) -> bool:
        """Fetch a file, whole or not at all; False where it is not there (404). Raises as `request` does."""
        import httpx

        partial = target.with_name(target.name + ".partial")

        def fetch() -> bool:
            with self._client.stream("GET", url, headers={"Authorization": ""}, extensions=traced) as answer:
                if answer.status_code == HTTPStatus.NOT_FOUND:
                    return False
                if not answer.is_success:
                    answer.read()
                    self._check(answer, urlsplit(url).path)
                with partial.open("wb") as file:
                    for chunk in answer.iter_bytes(1 << 20):
                        file.write(chunk)
            return True

        traced = {"trace": self._note}
        try:
            found = self._patience(fetch)
        except httpx.HTTPError as error:
            raise unavailable(f"{url} cannot be fetched: {self._told(str(error))}") from error
        if found:
            partial.replace(target)
        return found

    def _note(self, event: str, info: dict[str, Any]) -> None:
        if event in {"connection.connect_tcp.complete", "connection.start_tls.complete"}:
            self._streams.append(info["return_value"])

    def _check(self, answer: httpx.Response, path: str) -> None:
        if answer.is_success:
            return
        status, where = answer.status_code, f"{self._url}{path}"
        if answer.has_redirect_location:
            raise refused(
                f"{where} redirects ({status}) to {self._told(answer.headers.get('location', ''))!r}, which is not "
                "followed: set the engine's url to where the service is"
            )
        told = self._told(answer.text)
        if status in {429, 503}:
            raise Busy(f"{where} is busy ({status}): {told}", retry_after_s=_retry_after_s(answer))
        if status >= 500 or status == 408:
            raise unavailable(f"{where} failed ({status}): {told}")
        if status in {401, 403}:
            raise refused(f"{where} does not accept the key ({status}): see api_key_env. It says: {told}")
        raise refused(f"{where} refused ({status}): {told}")

    def _told(self, text: str) -> str:
        """The service's own words, short, and without the key should it say it."""
        if self._key:
            text = text.replace(self._key, "***")
        return " ".join(text.split())[:SHOWN]


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"the environment variable {variable} (api_key_env) is not set here, or empty")
    if not key.isascii() or not key.isprintable():
        raise ConfigError(f"the environment variable {variable} (api_key_env) holds what no key is made of")
    return key


def _trusted(ca_file: Path | None) -> Any:
    import ssl

    return True if ca_file is None else ssl.create_default_context(cafile=str(ca_file))


def _retry_after_s(answer: httpx.Response) -> float | None:
    """Retry-After in seconds: RFC 9110 has a number of them or a date."""
    value = answer.headers.get("retry-after", "").strip()
    if value.isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
        now = parsedate_to_datetime(answer.headers["date"]) if "date" in answer.headers else datetime.now(UTC)
        return max(0.0, (at - now).total_seconds())
    except (ValueError, TypeError):
        return None
