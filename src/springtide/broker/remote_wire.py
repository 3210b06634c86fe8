"""The wire between `RemoteBroker` and `BrokerServer`: frames, the table of verbs, errors as values.

A frame is four bytes of length (big-endian) and that much msgpack:

    call    [id, verb, [arguments in the protocol's order]]
    give up [id, "", []]                  the caller no longer waits; no reply follows
    reply   [id, nil, result]  or  [id, error, nil]

Arguments and results are typed by the annotations of `broker.protocol.Broker`, so a verb added there travels at once
and nothing but plain values is ever built from bytes. What stands beside the broker in the serving process may travel
on the same line, by its own protocol. Frames sent in one turn of the event loop leave in one write.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast, get_type_hints

import msgspec

from springtide.broker.protocol import Broker
from springtide.domain import errors
from springtide.domain.errors import AttemptFailed, Refused, SpringtideError

log = logging.getLogger(__name__)

HEADER_BYTES = 4
MAX_FRAME_BYTES = 1 << 30  # no frame comes near it: whoever announces more does not speak this protocol

HeadT = TypeVar("HeadT")
encode = msgspec.msgpack.Encoder().encode


class Verb:
    """One verb of the broker as it travels."""

    __slots__ = ("arguments", "keywords", "name", "reply", "waits")

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        hints = get_type_hints(function)
        parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
        types = tuple(hints[parameter.name] for parameter in parameters)
        self.name = name
        self.keywords = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
        self.waits = "wait_s" in self.keywords
        self.arguments = msgspec.msgpack.Decoder(cast("type[tuple[Any, ...]]", tuple.__class_getitem__(types)))
        self.reply = msgspec.msgpack.Decoder(hints["return"])


def verbs_of(protocol: type) -> dict[str, Verb]:
    """Every coroutine of a protocol but its life cycle."""
    return {
        name: Verb(name, function)
        for name, function in vars(protocol).items()
        if inspect.iscoroutinefunction(function) and not name.startswith("_") and name not in {"start", "stop"}
    }


VERBS = verbs_of(Broker)


KINDS: dict[str, type[Any]] = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, SpringtideError)
}


class ErrorValue(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error on its way to the caller: class by name, and what its constructor takes."""

    kind: str
    message: str
    code: str
    details: msgspec.Raw
    retry_after_s: float = 0.0
    retryable: bool = False

    @classmethod
    def of(cls, error: SpringtideError) -> ErrorValue:
        return cls(
            kind=type(error).__name__,
            message=error.message,
            code=error.code,
            details=msgspec.Raw(msgspec.msgpack.encode(error.details, enc_hook=repr)),
            retry_after_s=error.retry_after_s if isinstance(error, Refused) else 0.0,
            retryable=error.retryable if isinstance(error, AttemptFailed) else False,
        )

    def error(self) -> SpringtideError:
        """The error again. A class unknown here becomes the base of the tree."""
        kind = KINDS.get(self.kind, SpringtideError)
        options: dict[str, Any] = {"code": self.code, **msgspec.msgpack.decode(self.details, type=dict[str, Any])}
        if kind is Refused:
            options["retry_after_s"] = self.retry_after_s
        if kind is AttemptFailed:
            options["retryable"] = self.retryable
        return kind(self.message, **options)


Call = tuple[int, str, msgspec.Raw]
Reply = tuple[int, ErrorValue | None, msgspec.Raw]
NOTHING = msgspec.Raw(b"\xc0")  # nil


class Frames(asyncio.Protocol, Generic[HeadT]):
    """One end of a connection: whole frames in, frames out in few writes."""

    def __init__(self, head: type[HeadT], receive: Callable[[HeadT], None], lost: Callable[[], None]) -> None:
        """head: type of a frame's content. receive: called for each frame. lost: called once when the line is gone."""
        self._decode = msgspec.msgpack.Decoder(head).decode
        self._receive = receive
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._unread = bytearray()
        self._unsent: list[bytes] = []
        self._is_reading = False

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, content: bytes) -> None:
        """Send one frame with this msgpack. Nothing happens where the line is gone: `lost` tells of it."""
        if not self._unsent and not self._is_reading:
            self._loop.call_soon(self._flush)
        self._unsent.append(len(content).to_bytes(HEADER_BYTES, "big"))
        self._unsent.append(content)

    def close(self) -> None:
        """Hang up. What the other side does not take at once is dropped: it may never take it."""
        self._flush()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._unsent.clear()
        self._lost()

    def data_received(self, data: bytes) -> None:
        if self._unread:
            self._unread += data
            if len(self._unread) < HEADER_BYTES + int.from_bytes(self._unread[:HEADER_BYTES], "big"):
                return  # a long frame arrives in many pieces: look again only when it may be whole
            data = bytes(self._unread)
            self._unread.clear()
        self._is_reading = True
        try:
            read = self._read_frames(data)
        except (msgspec.DecodeError, ValueError) as error:
            # Not this protocol: there is no telling where the next frame begins.
            log.warning("hung up on a connection that does not speak the broker's protocol: %s", error)
            if self._transport is not None:
                self._transport.abort()
            return
        finally:
            self._is_reading = False
        self._unread += data[read:]
        self._flush()

    def _read_frames(self, data: bytes) -> int:
        """Handle every whole frame; gives how many bytes they took."""
        at = 0
        while len(data) - at >= HEADER_BYTES:
            size = int.from_bytes(data[at : at + HEADER_BYTES], "big")
            if size > MAX_FRAME_BYTES:
                raise ValueError(f"a frame of {size} bytes")
            end = at + HEADER_BYTES + size
            if end > len(data):
                break
            self._receive(self._decode(data[at + HEADER_BYTES : end]))
            at = end
        return at

    def _flush(self) -> None:
        if self._unsent and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()
