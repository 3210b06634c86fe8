"""The wire between `RemoteBroker` and `BrokerServer`: frames, the table of verbs, errors as values.

Frames (`runtime.frames`) hold msgpack:

    call    [id, verb, [arguments in the protocol's order]]
    give up [id, "", []]                  the caller no longer waits; no reply follows
    reply   [id, nil, result]  or  [id, error, nil]

Arguments and results are typed by the annotations of `broker.protocol.Broker`, so a verb added there travels at once
and nothing but plain values is ever built from bytes. What stands beside the broker in the serving process may travel
on the same line, by its own protocol.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast, get_type_hints

import msgspec

from springtide.broker.protocol import Broker
from springtide.domain import errors
from springtide.domain.errors import AttemptFailed, Refused, SpringtideError

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
