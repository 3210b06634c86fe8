"""The HTTP API as the command line uses it: a thin, synchronous wrapper."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from springtide.domain.errors import NotFound, SpringtideError, Unavailable

TIMEOUT = httpx.Timeout(30.0, read=60.0, write=None)  # an upload takes as long as it takes
KEY_VARIABLE = "SPRINGTIDE_API_KEY"  # never an argument: those can be read by every process of the machine
RECONNECT_S = 1.0
GIVE_UP_S = 60.0  # a gateway that restarts is back within seconds


class Api:
    """One server."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        key = os.environ.get(KEY_VARIABLE)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=self.url, timeout=TIMEOUT, trust_env=False, headers=headers)

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.close()

    def is_alive(self) -> bool:
        try:
            return self._http.get("/healthz", timeout=2.0).is_success
        except httpx.HTTPError:
            return False

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        return self._json("GET", path, params=params)

    def post(self, path: str, **kwargs: Any) -> dict[str, Any]:
        return self._json("POST", path, **kwargs)

    def submit(
        self,
        model: str,
        inputs: Mapping[str, str],
        files: Sequence[tuple[str, Path]],
        *,
        then: Sequence[dict[str, Any]] = (),
    ) -> dict[str, Any]:
        """Submit a job; `files` are (field, path), `then` the later steps of a pipeline."""
        opened = [(field, path.open("rb")) for field, path in files]
        try:
            parts: list[tuple[str, Any]] = [("model", (None, model))]
            parts += [(name, (None, value)) for name, value in inputs.items()]
            parts += [("then", (None, json.dumps(then)))] if then else []
            parts += [(field, (Path(file.name).name, file)) for field, file in opened]
            return self.post("/v1/jobs", files=parts)
        finally:
            for _, file in opened:
                file.close()

    def upload(self, path: Path) -> dict[str, Any]:
        """Store a file; its `id` may stand in a job's inputs."""
        with path.open("rb") as file:
            return self.post("/v1/blobs", files={"file": (path.name, file)})

    def retry(self, job: str) -> tuple[dict[str, Any], bool]:
        """The new job that does `job` again, and whether there was one already."""
        response = self._answered("POST", f"/v1/jobs/{job}/retry")
        return response.json(), "idempotency-replayed" in response.headers

    def follow(self, job: str, on_event: Callable[[str, dict[str, Any]], None]) -> None:
        """Call `on_event(kind, data)` for each live event until the job has ended; survives a gateway's restart."""
        last_id: str | None = None
        failing_since_s: float | None = None
        while True:
            headers = {"Last-Event-ID": last_id} if last_id else {}
            try:
                with self._http.stream("GET", f"/v1/jobs/{job}/events", headers=headers) as response:
                    if response.status_code == 204:
                        return
                    if not response.is_success:
                        response.read()
                        _raise(response)
                    failing_since_s = None
                    for event_id, kind, data in _events(response.iter_lines()):
                        last_id = event_id or last_id
                        on_event(kind, data)
                        if kind in {"completed", "failed", "cancelled", "expired"}:
                            return
            except (httpx.HTTPError, Unavailable) as error:
                now_s = time.monotonic()
                failing_since_s = failing_since_s if failing_since_s is not None else now_s
                if now_s - failing_since_s > GIVE_UP_S:
                    raise Unavailable(
                        f"lost {self.url} while following {job}: {error}; the job goes on there"
                    ) from error
            time.sleep(RECONNECT_S)

    def download(self, path: str, target: Path) -> str:
        """Stream a file to `target`; gives its media type. A failed download leaves nothing behind."""
        partial = target.with_name(target.name + ".part")
        with self._http.stream("GET", path) as response:
            if not response.is_success:
                response.read()
                _raise(response)
            try:
                with partial.open("wb") as file:
                    for chunk in response.iter_bytes(1 << 20):
                        file.write(chunk)
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
            return response.headers.get("content-type", "application/octet-stream")

    def _json(self, method: str, path: str, **kwargs: Any) -> dict[str, Any]:
        body: dict[str, Any] = self._answered(method, path, **kwargs).json()
        return body

    def _answered(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **kwargs)
        except httpx.HTTPError as error:
            raise Unavailable(f"cannot reach {self.url}: {error}. Is `springtide up` running?") from error
        if not response.is_success:
            _raise(response)
        return response


def _raise(response: httpx.Response) -> None:
    try:
        problem: dict[str, Any] = response.json()
    except ValueError:
        raise SpringtideError(f"{response.request.url} answered {response.status_code}") from None
    detail = str(problem.get("detail") or problem.get("title") or response.status_code)
    errors: list[dict[str, Any]] = problem.get("errors") or []
    told = (f"{item.get('loc')}: {item.get('message')}" for item in errors)
    lines = [detail, *(f"  {one}" for one in told if one not in detail)]  # most details name every field already
    kind = NotFound if response.status_code == 404 else SpringtideError
    if response.status_code == 503:
        kind = Unavailable
    raise kind("\n".join(lines), code=str(problem.get("code", "error")))


def _events(lines: Iterator[str]) -> Iterator[tuple[str | None, str, dict[str, Any]]]:
    """Server-sent events as (id, kind, data)."""
    event_id, kind, data = None, "message", ""
    for line in lines:
        if not line:
            if data:
                yield event_id, kind, json.loads(data)
            event_id, kind, data = None, "message", ""
        elif line.startswith("id:"):
            event_id = line[3:].strip()
        elif line.startswith("event:"):
            kind = line[6:].strip()
        elif line.startswith("data:"):
            data += line[5:].strip()
