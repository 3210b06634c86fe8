# Made from aio/live.py by `python docs/generate.py`; a change there, not here.
"""Many jobs over one WebSocket (docs/reference/live.md), resumed job by job where it breaks.

The library for it is loaded when it is used: everything else needs httpx alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import msgspec

from springtide.client.errors import ClientError, Refused, Unavailable, Unreachable, api_error
from springtide.client.retrying import backoff_s
from springtide.client.sync.http import Http
from springtide.client.types import ENDED, Event

AT_ONCE = 1000  # jobs that one connection may follow


def watch(http: Http, jobs: Iterable[str]) -> Iterator[Event]:
    """Events of these jobs until all have ended. Raises ApiError, and Unreachable where the server stays away."""
    last: dict[str, str | None] = dict.fromkeys(jobs)  # of those that have not ended: the last event seen
    failures, waited_s = 0, 0.0
    while last:
        failure: Exception | None = None
        try:
            for event in _connected(http, last):
                failures, waited_s = 0, 0.0
                yield event
        except (Unreachable, Unavailable, Refused) as error:
            failure = error
        if not last:
            return
        failures += 1
        wait_s = backoff_s(http.patience, failures, rand=random.random())  # noqa: S311 - spreads clients, no secret
        waited_s += wait_s
        if waited_s > http.patience.reconnect_s:
            raise failure or http.unreachable(ConnectionError("its live events end at once, every time"))
        http.sleep(wait_s)


def _connected(http: Http, last: dict[str, str | None]) -> Iterator[Event]:
    """Events of one connection; takes out of `last` what has ended."""
    from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
    from websockets.sync.client import connect

    url = "ws" + http.settings.url.removeprefix("http") + "/v1/live"
    followed: set[str] = set()
    patience = http.patience
    try:
        with connect(
            url,
            additional_headers=http.authorization,
            open_timeout=patience.connect_s,
            max_size=None,
            proxy=None if http.settings.is_local else True,
        ) as socket:
            socket.send(_more(last, followed))
            for message in socket:
                for told in msgspec.json.decode(message, type=list[dict[str, Any]]):
                    event = _event(told)
                    if event.job in last:
                        _note(event, last, followed)
                        yield event
                if not last:
                    return
                if len(followed) < min(AT_ONCE, len(last)):
                    socket.send(_more(last, followed))
    except InvalidStatus as error:
        found = error.response
        raise api_error(found.status_code, found.headers, bytes(found.body or b""), what="GET /v1/live") from error
    except (ConnectionClosed, InvalidHandshake, OSError) as error:
        raise http.unreachable(error) from error


def _more(last: dict[str, str | None], followed: set[str]) -> str:
    """A request for as many of the others as there is room for."""
    others = list(islice((job for job in last if job not in followed), AT_ONCE - len(followed)))
    followed.update(others)
    wanted = [{"job": job, "after": last[job]} if last[job] else job for job in others]
    return msgspec.json.encode({"type": "subscribe", "jobs": wanted}).decode()


def _event(told: dict[str, Any]) -> Event:
    if told.get("kind") == "problem":
        return Event(job=told.get("job") or "", kind="problem", code=told.get("code"), message=told.get("detail"))
    try:
        return msgspec.convert(told, Event)
    except msgspec.ValidationError as error:
        raise ClientError(f"/v1/live said something that this client does not understand: {error}") from error


def _note(event: Event, last: dict[str, str | None], followed: set[str]) -> None:
    if event.is_end or event.status in ENDED or event.kind == "problem":
        del last[event.job]
        followed.discard(event.job)
    elif event.id is not None:
        last[event.job] = event.id
