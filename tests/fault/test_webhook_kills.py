"""kill -9 while jobs end and are told of: every end is told, under one id, by whoever comes next."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import psutil
import pytest

from springtide.webhooks import verify_webhook

from .conftest import World, kill

JOBS = 20


class Receiver(ThreadingHTTPServer):
    """Takes messages, one in three of them only at the second time."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.secret = ""
        self.sent: list[str] = []  # message ids, as they came
        self.told: dict[str, set[str]] = {}  # message ids by job, of what was taken

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        event = verify_webhook(self.server.secret, dict(self.headers), body)
        message = self.headers["webhook-id"]
        is_first = message not in self.server.sent
        self.server.sent.append(message)
        time.sleep(0.05)  # long enough to be killed in
        if is_first and len(self.server.sent) % 3 == 0:
            self.send_response(500)
        else:
            self.server.told.setdefault(event["data"]["id"], set()).add(message)
            self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        serving = threading.Thread(target=made.serve_forever, args=(0.05,))
        serving.start()
        yield made
        made.shutdown()
        serving.join()


def test_every_end_is_told_whoever_is_killed(world: World, receiver: Receiver) -> None:
    world.environment |= {"SPRINGTIDE_EGRESS__ALLOW": '["127.0.0.1"]', "SPRINGTIDE_WEBHOOKS__TIMEOUT_S": "5"}
    world.up()
    made = httpx.post(f"{world.url}/v1/webhooks", json={"url": receiver.url}, timeout=60).json()
    receiver.secret = made["secret"]
    accepted = world.submit(JOBS)
    world.wait_for(lambda: len(receiver.told) >= 3, "the first messages")
    kill(world.one("gateway"))
    world.wait_for(lambda: len(receiver.told) >= 9, "messages after the first death")
    for process in world.everything():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    world.up()
    world.wait_until_done(JOBS)
    world.wait_for(lambda: len(receiver.told) >= JOBS, "every end to be told")
    assert set(receiver.told) == set(accepted)
    assert all(len(messages) == 1 for messages in receiver.told.values())
