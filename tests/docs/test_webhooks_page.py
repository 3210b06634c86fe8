"""The receiver that docs/webhooks.md shows works as it stands."""

from __future__ import annotations

import re
import threading
import time
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from springtide.webhooks import signed_headers

PAGE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_receiver_of_the_page_takes_what_is_signed_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    space: dict[str, Any] = {"__name__": "receiver"}
    exec(compile(code, "docs/webhooks.md", "exec"), space)
    body = b'{"type": "job.completed", "data": {"id": "job_1", "result_url": "https://x.example/r"}}'
    tried = b'{"type": "webhook.test", "data": {"webhook": "wh_1"}}'
    headers = dict(signed_headers([SECRET], "msg_1", body, now_s=time.time()))
    test_headers = dict(signed_headers([SECRET], "msg_2", tried, now_s=time.time()))
    with ThreadingHTTPServer(("127.0.0.1", 0), space["Receiver"]) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        url = f"http://127.0.0.1:{server.server_port}/"
        statuses = [httpx.post(url, content=sent, headers=headers).status_code for sent in (body, body, body + b" ")]
        statuses.append(httpx.post(url, content=tried, headers=test_headers).status_code)
        server.shutdown()
        serving.join()
    assert statuses == [204, 204, 401, 204]
    assert capsys.readouterr().out == "job.completed https://x.example/r\nwebhook.test (a test)\n"
