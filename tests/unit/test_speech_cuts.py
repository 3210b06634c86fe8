"""Where recordings are cut: in order, never twice, never too long, and no word lost."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.engines.speech.cuts import (
    ENTER,
    LEAVE,
    MAX_GAP_S,
    MAX_PIECE_S,
    MIN_SPEECH_S,
    PAD_S,
    RATE,
    WINDOW,
    Cutter,
    Span,
)

PER_SECOND = RATE / WINDOW  # windows
YES, NO = 0.95, 0.01


def windows(*parts: tuple[float, float]) -> list[float]:
    """Probabilities: each part is (seconds, probability)."""
    return [probability for seconds, probability in parts for _ in range(round(seconds * PER_SECOND))]


def cut(probabilities: Sequence[float]) -> list[Span]:
    cutter = Cutter()
    return cutter.push(probabilities) + cutter.finish()


def in_seconds(spans: Sequence[Span]) -> list[tuple[float, float]]:
    return [(round(span.start / RATE, 1), round(span.end / RATE, 1)) for span in spans]


def stretches(probabilities: Sequence[float]) -> list[tuple[int, int]]:
    """Runs of windows that are speech for sure, as samples from and to."""
    found, start = list[tuple[int, int]](), None
    for at, probability in enumerate([*probabilities, 0.0]):
        if probability >= ENTER:
            start = at if start is None else start
        elif start is not None:
            found.append((start * WINDOW, at * WINDOW))
            start = None
    return found


# Stretches of one probability, so that speech and silence of every length occur, also speech longer than a piece.
recordings = st.lists(
    st.tuples(st.integers(1, 1200), st.sampled_from([0.0, 0.3, LEAVE, 0.45, ENTER, 0.7, 1.0])), max_size=24
).map(lambda parts: [probability for count, probability in parts for _ in range(count)])


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([(60.0, NO)], [], id="silence"),
        pytest.param([(1.0, NO), (0.15, YES), (1.0, NO)], [], id="a click"),
        pytest.param([(3.0, NO), (2.0, YES), (3.0, NO)], [(2.8, 5.2)], id="one sentence"),
        pytest.param([(2.0, YES)], [(0.0, 2.2)], id="speech from the first to the last window"),
        pytest.param([(1.0, NO), (2.0, YES), (0.7, NO), (2.0, YES)], [(0.8, 5.9)], id="a pause stays inside"),
        pytest.param(
            [(1.0, NO), (2.0, YES), (4.0, NO), (2.0, YES)], [(0.8, 3.2), (6.8, 9.2)], id="a silence parts two pieces"
        ),
        pytest.param([(1.0, NO), (2.0, YES), (0.3, 0.4), (2.0, YES), (1.0, NO)], [(0.8, 5.5)], id="a weak syllable"),
        pytest.param([(20.0, YES), (1.0, NO), (20.0, YES)], [(0.0, 20.2), (20.8, 41.2)], id="too long for one piece"),
    ],
)
def test_recordings_are_cut_where_nobody_speaks(
    parts: list[tuple[float, float]], expected: list[tuple[float, float]]
) -> None:
    close = [(pytest.approx(start, abs=0.11), pytest.approx(end, abs=0.11)) for start, end in expected]
    assert in_seconds(cut(windows(*parts))) == close


def test_speech_without_a_pause_is_cut_where_it_is_weakest() -> None:
    spans = cut(windows((22.0, YES), (0.1, 0.6), (18.0, YES)))
    assert len(spans) == 2
    assert spans[0].end == spans[1].start
    assert spans[0].end / RATE == pytest.approx(22.0, abs=0.1)


def test_what_is_left_of_long_speech_is_kept_however_short() -> None:
    almost = round((MAX_PIECE_S - 2 * PAD_S) * PER_SECOND)
    probabilities = [YES] * (almost - 1) + [0.6] + [YES] * 3  # cut at the weakest window: 4 windows are left, 0.13 s
    spans = cut(probabilities)
    assert len(spans) == 2
    assert spans[-1].end >= len(probabilities) * WINDOW


@given(recordings)
def test_pieces_are_in_order_and_no_sample_is_in_two(probabilities: list[float]) -> None:
    spans = cut(probabilities)
    assert all(0 <= span.start < span.end for span in spans)
    assert all(before.end <= after.start for before, after in itertools.pairwise(spans))


@given(recordings)
def test_no_piece_is_longer_than_the_model_hears_at_once(probabilities: list[float]) -> None:
    assert all((span.end - span.start) / RATE <= MAX_PIECE_S for span in cut(probabilities))


@given(recordings)
def test_every_stretch_of_speech_is_in_a_piece(probabilities: list[float]) -> None:
    spans = cut(probabilities)
    for start, end in stretches(probabilities):
        if (end - start) / RATE >= MIN_SPEECH_S:
            heard = sum(max(0, min(span.end, end) - max(span.start, start)) for span in spans)
            assert heard == end - start


@given(recordings)
def test_no_piece_holds_a_silence_longer_than_allowed(probabilities: list[float]) -> None:
    for span in cut(probabilities):
        quiet = 0
        for probability in probabilities[span.start // WINDOW : span.end // WINDOW]:
            quiet = quiet + 1 if probability < LEAVE else 0
            # The gap is measured between paddings, and clicks on either side of it do not count as speech.
            assert quiet / PER_SECOND <= MAX_GAP_S + 2 * PAD_S + 0.1


@given(recordings, st.lists(st.integers(1, 900), min_size=1))
def test_the_cuts_do_not_depend_on_how_the_recording_came_in(probabilities: list[float], sizes: list[int]) -> None:
    cutter, spans, at = Cutter(), list[Span](), 0
    for turn in range(len(probabilities) + 1):
        size = sizes[turn % len(sizes)]
        spans += cutter.push(probabilities[at : at + size])
        at += size
    assert spans + cutter.finish() == cut(probabilities)


@given(recordings)
def test_no_sample_is_dropped_that_a_later_piece_needs(probabilities: list[float]) -> None:
    cutter, kept = Cutter(), 0
    for at, probability in enumerate(probabilities, start=1):
        for span in cutter.push([probability]):
            assert span.start >= kept
            assert span.end <= at * WINDOW, "a piece is certain only once all of it has come in"
        assert cutter.keep_from >= kept, "what may be dropped never comes back"
        kept = cutter.keep_from
        held_s = (at * WINDOW - kept) / RATE
        assert held_s <= 2 * MAX_PIECE_S + MAX_GAP_S + PAD_S, "memory does not grow with the recording"
    assert all(span.start >= kept for span in cutter.finish())
