"""The synthetic engine ends as asked, reports its steps and hears a cancel."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from springtide.domain.errors import ConfigError
from springtide.engines.protocol import Cancelled
from springtide.engines.synthetic.engine import Input, Synthetic

NOWHERE = Path("unused")


class Line:
    """A progress line that notes what it hears and cancels after so many calls."""

    folder = NOWHERE

    def __init__(self, cancel_after: int | None = None, checkpoint: Path | None = None) -> None:
        self.heard: list[float] = []
        self.kept: list[bytes] = []
        self.checkpoint = checkpoint
        self._cancel_after = cancel_after

    def __call__(self, fraction: float, stage: str | None = None, *, checkpoint: bytes | None = None) -> None:
        self.heard.append(fraction)
        if checkpoint is not None:
            self.kept.append(checkpoint)
        if self._cancel_after is not None and len(self.heard) > self._cancel_after:
            raise Cancelled


def engine(**settings: Any) -> Synthetic:
    return Synthetic(settings, NOWHERE)


def test_every_step_is_reported_and_progress_never_goes_back() -> None:
    line = Line()
    output = engine().run(Input(seconds=0.2, steps=4, burn_cpu=True, memory_mb=1), line)
    assert (output.seconds, output.steps) == (0.2, 4)
    assert line.heard == sorted(line.heard)
    assert {0.25, 0.5, 0.75, 1.0} <= set(line.heard)


def test_steps_after_a_checkpoint_are_done_and_those_before_it_are_not(tmp_path: Path) -> None:
    first = Line()
    assert engine().run(Input(steps=10, checkpoint_every=4), first).resumed_at == 0
    assert first.kept == [b"4", b"8"]
    (tmp_path / "checkpoint").write_bytes(first.kept[-1])
    second = Line(checkpoint=tmp_path / "checkpoint")
    assert engine().run(Input(steps=10, checkpoint_every=4), second).resumed_at == 8
    assert second.heard == [0.9, 1.0]
    assert second.kept == []


def test_a_checkpoint_that_cannot_be_read_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_bytes(b"of another engine")
    inputs = Input(steps=2, checkpoint_every=2)
    assert engine().run(inputs, Line(checkpoint=tmp_path / "checkpoint")).resumed_at == 0
    assert engine().run(inputs, Line(checkpoint=tmp_path / "gone")).resumed_at == 0


def test_a_long_sleep_hears_a_cancel() -> None:
    line = Line(cancel_after=1)
    with pytest.raises(Cancelled):
        engine().run(Input(seconds=3600), line)
    assert len(line.heard) == 2


def test_the_cold_start_of_the_input_is_spent_once() -> None:
    warm = engine()
    with pytest.raises(Cancelled):
        warm.run(Input(cold_start_s=3600), Line(cancel_after=0))
    warm.run(Input(cold_start_s=3600), Line())


def test_a_failure_in_a_batch_is_only_its_own() -> None:
    jobs = [Input(), Input(outcome="fail"), Input(seconds=0.01, steps=3)]
    lines = [Line() for _ in jobs]
    first, second, third = engine().run_batch(jobs, lines)
    assert isinstance(second, RuntimeError)
    assert not isinstance(first, Exception)
    assert not isinstance(third, Exception)
    assert lines[2].heard[-1] == 1.0


def test_a_job_that_does_nothing_says_nothing() -> None:
    line = Line()
    engine().run(Input(), line)
    assert line.heard == []


def test_out_of_memory_is_capped() -> None:
    with pytest.raises(MemoryError):
        engine(oom_cap_mb=32).run(Input(outcome="oom"), Line())


def test_the_estimate_is_what_was_asked() -> None:
    assert engine().estimate(Input(seconds=12)) == 12


@pytest.mark.parametrize("settings", [{"cold_start_s": -1}, {"cold_start": 1}])
def test_wrong_settings_are_named(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="cold_start"):
        engine(**settings)


def test_a_crash_is_a_real_one() -> None:
    code = (
        "from pathlib import Path; from springtide.engines.synthetic.engine import *\n"
        "Synthetic({}, Path()).run(Input(outcome='crash'), None)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, env={**os.environ, "PYTHONFAULTHANDLER": ""})
    assert done.returncode == -signal.SIGSEGV
