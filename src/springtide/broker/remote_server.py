"""Serves a broker to other processes of this machine over a unix socket.

Promises: only the owner of the process may connect (mode 0600); what a client waits for ends with the client, so a dead
worker takes no wake-up with it; a broker's error reaches the caller with its class. Refuses to take over a socket that
another process serves. Made for `MemoryBroker`, whose calls are answered without a task of their own.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import types
from collections.abc import Callable, Coroutine, Generator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from springtide.broker.memory import MemoryBroker
from springtide.broker.protocol import Broker
from springtide.broker.remote_wire import NOTHING, VERBS, Call, ErrorValue, Verb, encode, verbs_of
from springtide.domain.errors import CallerError, ConfigError, SpringtideError
from springtide.runtime.frames import Frames

log = logging.getLogger(__name__)


class BrokerServer:
    """Serves `broker` at `path`. It does not start or stop the broker."""

    def __init__(self, broker: Broker, path: Path, *, beside: Mapping[type, object] | None = None) -> None:
        """beside: protocol -> what else is served on the same line; their verbs must not share names."""
        self._path = path
        self._clients: set[_Client] = set()
        self._server: asyncio.Server | None = None
        self._served: dict[str, Served] = {
            name: Served(verb, getattr(broker, name), at_once=isinstance(broker, MemoryBroker))
            for name, verb in VERBS.items()
        }
        for protocol, service in (beside or {}).items():
            for name, verb in verbs_of(protocol).items():
                assert name not in self._served, f"two verbs are called {name}"
                self._served[name] = Served(verb, getattr(service, name), at_once=False)

    async def start(self) -> None:
        """Listen. Raises ConfigError where the path is too long or served already."""
        loop = asyncio.get_running_loop()
        listener = _listen(self._path)
        self._server = await loop.create_unix_server(self._accept, sock=listener)

    async def stop(self) -> None:
        """Hang up on everybody and remove the socket."""
        if self._server is None:
            return
        self._server.close()
        await asyncio.gather(*(client.close() for client in list(self._clients)))
        await self._server.wait_closed()
        self._server = None
        self._path.unlink(missing_ok=True)

    def _accept(self) -> asyncio.Protocol:
        client = _Client(self._served, gone=self._clients.discard)
        self._clients.add(client)
        return client.frames


class Served:
    """One verb and what answers it. `at_once`: most of its calls are answered without ever suspending."""

    __slots__ = ("_call", "_verb", "at_once")

    def __init__(self, verb: Verb, call: Callable[..., Coroutine[Any, Any, Any]], *, at_once: bool) -> None:
        self._verb = verb
        self._call = call
        self.at_once = at_once

    def bind(self, raw: msgspec.Raw) -> Coroutine[Any, Any, Any]:
        """The call that these arguments make. Raises CallerError."""
        verb = self._verb
        try:
            arguments = verb.arguments.decode(raw)
        except msgspec.DecodeError as error:
            raise CallerError(f"The arguments of {verb.name!r} are not what this broker takes: {error}") from error
        positional = len(arguments) - len(verb.keywords)
        keywords = dict(zip(verb.keywords, arguments[positional:], strict=True))
        return self._call(*arguments[:positional], **keywords)


class _Client:
    """One connection: its calls, and the waits among them."""

    def __init__(self, served: Mapping[str, Served], *, gone: Callable[[_Client], None]) -> None:
        self.frames = Frames(Call, self._receive, self._lost)
        self._served = served
        self._gone = gone
        self._waits: dict[int, asyncio.Task[Any]] = {}

    async def close(self) -> None:
        self.frames.close()
        waits = list(self._waits.values())
        for task in waits:
            task.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

    def _lost(self) -> None:
        for task in self._waits.values():
            task.cancel()
        self._gone(self)

    def _receive(self, call: Call) -> None:
        number, name, raw = call
        if name == "":
            if (task := self._waits.get(number)) is not None:
                task.cancel()
            return
        served = self._served.get(name)
        if served is None:
            text = f"This broker has no verb {name!r}: client and server are of different versions."
            self._refuse(number, CallerError(text))
            return
        try:
            coroutine = served.bind(raw)
        except CallerError as error:
            self._refuse(number, error)
            return
        if not served.at_once:
            self._wait(number, coroutine)
            return
        # The embedded broker answers most calls without ever suspending: one step is all of it. A wait goes on in a
        # task, but is registered before the next call is looked at.
        try:
            awaited = coroutine.send(None)
        except StopIteration as done:
            self._answer(number, done.value)
        except Exception as error:
            self._refuse(number, error)
        else:
            self._wait(number, _go_on(coroutine, awaited))

    def _wait(self, number: int, coroutine: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._waits[number] = task
        task.add_done_callback(partial(self._ended, number))

    def _ended(self, number: int, task: asyncio.Task[Any]) -> None:
        del self._waits[number]
        if task.cancelled():
            return  # given up, or the client is gone: nobody listens
        if (error := task.exception()) is not None:
            self._refuse(number, error)
        else:
            self._answer(number, task.result())

    def _answer(self, number: int, result: Any) -> None:
        self.frames.send(encode((number, None, result)))

    def _refuse(self, number: int, error: BaseException) -> None:
        if not isinstance(error, SpringtideError):
            log.error("the broker failed in a way it does not promise", exc_info=error)
            error = SpringtideError(f"The broker failed: {type(error).__name__}: {error}")
        self.frames.send(encode((number, ErrorValue.of(error), NOTHING)))


async def _go_on(coroutine: Coroutine[Any, Any, Any], awaited: Any) -> Any:
    """The rest of a coroutine whose first step has been made outside a task and awaits `awaited`."""
    return await _rest(coroutine, awaited)


@types.coroutine
def _rest(coroutine: Coroutine[Any, Any, Any], awaited: Any) -> Generator[Any, Any, Any]:
    while True:
        try:
            try:
                value = yield awaited
            except BaseException as error:  # in no other variable: error -> traceback -> this frame -> error would be
                awaited = coroutine.throw(error)  # a cycle for the collector to free, some 20 objects of each wait
            else:
                awaited = coroutine.send(value)
        except StopIteration as done:
            return done.value


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_dead(path)
        before = os.umask(0o177)  # the socket is made with mode 0600: no moment in which others may connect
        try:
            listener.bind(os.fspath(path))
        finally:
            os.umask(before)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ConfigError(f"broker socket {path}: {error} (a short path in a folder of your own is needed)") from error
    except ConfigError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _remove_dead(path: Path) -> None:
    """Remove the socket of a process that has gone."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        else:
            raise ConfigError(f"broker socket {path}: another process serves it already")
