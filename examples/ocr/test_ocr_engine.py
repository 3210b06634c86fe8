"""The engine keeps the contract of every engine, and reads."""

from pathlib import Path

from springtide.testing.engine_runs import Rehearsal
from springtide.testing.engine_suite import EngineSuite


class TestOcr(EngineSuite):
    engine = "ocr_engine:Ocr"
    inputs = {"image": Path(__file__).parent / "letter.png"}

    def test_it_reads_the_letter(self, rehearsal: Rehearsal) -> None:
        outputs = rehearsal.first.ending.outputs
        assert outputs["lines"] == ["Accepted means", "it will end.", "Order 4711", "22 November 2026"]
