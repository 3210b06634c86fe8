"""Instants as clients read them."""

from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st

from springtide.gateway.headers import iso8601


@given(st.floats(0, 4e9) | st.integers(0, 4_000_000).map(lambda n: 1.79e9 + n / 4e6))
@example(1_800_000_000.9999997)
@example(1_800_000_000.0005)
def test_an_instant_is_written_as_the_standard_library_writes_it(at_s: float) -> None:
    written = datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")
    assert iso8601(at_s) == written.removesuffix("+00:00") + "Z"
