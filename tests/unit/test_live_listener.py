"""What a client is told when it reads, and what is kept for it when it does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.protocol import State
from websockets.uri import parse_uri

from springtide.domain.ids import JobId
from springtide.gateway.live_listener import MESSAGE_BYTES, Listener, Place, Told, frame_of, told_json

A, B = JobId("job_a"), JobId("job_b")


class FakeWire:
    def __init__(self) -> None:
        self.is_writable = True
        self.on_writable: Any = None
        self.frames: list[bytes] = []

    def write(self, frame: bytes) -> None:
        self.frames.append(frame)

    def close(self, code: int, reason: str) -> None: ...

    def heard(self) -> list[list[dict[str, Any]]]:
        """The messages, as a client's library reads them."""
        protocol = ClientProtocol(parse_uri("ws://x/"), state=State.OPEN, max_size=None)
        protocol.receive_data(b"".join(self.frames))
        return [json.loads(frame.data) for frame in protocol.events_received() if isinstance(frame, Frame)]


def told(job: JobId, kind: str, number: int = 0, *, seq: str | None = None) -> Told:
    return Told(job, kind, json.dumps({"kind": kind, "job": job, "n": number}).encode(), seq=seq)


def listener() -> tuple[Listener, FakeWire, list[Listener]]:
    wire, dirty = FakeWire(), []
    return Listener(wire, dirty.append), wire, dirty


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
def test_a_frame_of_any_size_is_read_as_it_was_meant(size: int) -> None:
    one, wire, _ = listener()
    one.say(told_json("problem", None, detail="x" * size))
    one.flush({})
    assert wire.heard() == [[{"kind": "problem", "job": None, "detail": "x" * size}]]


def test_news_of_one_tick_are_one_message_and_clients_share_it() -> None:
    news = [told(A, "progress", n) for n in range(3)]
    shared: dict[Any, bytes] = {}
    wires = []
    for _ in range(2):
        one, wire, dirty = listener()
        for each in news:
            one.say(each)
        assert dirty
        one.flush(shared)
        one.flush(shared)
        wires.append(wire)
    assert [item["n"] for item in wires[0].heard()[0]] == [0, 1, 2] and len(wires[0].frames) == 1
    assert wires[0].frames[0] is wires[1].frames[0]


def test_a_message_does_not_grow_past_what_clients_take() -> None:
    one, wire, _ = listener()
    for number in range(30):
        one.say(told_json("snapshot", JobId(f"job_{number}"), stage="x" * 50_000))
    one.flush({})
    assert len(wire.frames) > 1 and max(map(len, wire.frames)) <= MESSAGE_BYTES + 20
    assert [item["job"] for message in wire.heard() for item in message] == [f"job_{n}" for n in range(30)]


def test_who_does_not_read_is_kept_the_newest_state_and_progress_and_every_end() -> None:
    one, wire, dirty = listener()
    one.say(told(A, "started"))
    one.flush({})
    wire.is_writable = False
    for number in range(1000):
        one.say(told(A, "progress", number))
        one.say(told(B, "progress", number))
        one.flush({})
    one.say(told(B, "retrying"))
    one.say(told(B, "started", 2))
    one.say(told(B, "progress", 7))
    one.say(told(B, "progress", 8))
    one.flush({})
    assert len(wire.frames) == 1
    one.say(told(A, "completed"))
    one.flush({})
    dirty.clear()
    wire.is_writable = True
    wire.on_writable()
    assert dirty == [one]
    one.say(told(B, "progress", 9))
    one.flush({})
    [_, late] = wire.heard()
    assert [(item["job"], item["kind"], item["n"]) for item in late] == [
        (A, "completed", 0),
        (B, "started", 2),
        (B, "progress", 9),
    ]
    one.say(told(B, "progress", 10))
    one.flush({})
    assert wire.heard()[-1] == [{"kind": "progress", "job": B, "n": 10}]


def test_what_was_told_already_is_not_told_again() -> None:
    one, wire, _ = listener()
    place = Place()
    place.held, place.seen = None, "5-1"
    for seq in ("5-0", "5-1", "5-2", "6-0"):
        one.take(told(A, "progress", seq=seq), place)
    one.flush({})
    assert len(wire.heard()[0]) == 2


def test_news_wait_while_the_story_so_far_is_fetched() -> None:
    one, wire, dirty = listener()
    place = Place()
    one.take(told(A, "progress", seq="5-0"), place)
    assert dirty == [] and place.held is not None and len(place.held) == 1
    one.flush({})
    assert wire.frames == [] and frame_of([]) == b"\x81\x02[]"
