"""What every process of the platform does with a setting of its own that is wrong."""

from __future__ import annotations

import asyncio

import pytest

from springtide.cli.process import CONFIG_EXIT, run_role


def test_a_level_of_logs_that_does_not_exist_is_one_sentence_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SPRINGTIDE_LOG", "loud")

    async def main(stop: asyncio.Event) -> None:
        pytest.fail("it ran with a wrong setting")

    assert run_role("gateway", main, supervised=False) == CONFIG_EXIT
    assert [record.getMessage() for record in caplog.records] == [
        "SPRINGTIDE_LOG is 'LOUD'; it takes DEBUG, INFO, WARNING or ERROR"
    ]
