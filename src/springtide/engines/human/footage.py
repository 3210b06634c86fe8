"""A film made as long as a voice: cut where it is longer; repeated, also backwards, or held where it is shorter."""

from __future__ import annotations

from collections.abc import Iterator

from springtide.engines.human.schema import Extend
from springtide.engines.human.warp import Pixels
from springtide.media.film import Film

BACKWARDS_BYTES = 96 << 20  # frames are decoded forwards: played backwards, so much of the film is held at once


def shown(film: Film, *, count: int, fps: float, size: tuple[int, int], extend: Extend) -> Iterator[Pixels]:
    """Exactly `count` frames, each an array of its own. Raises BadMedia where there is none."""
    length, last = 0, None
    for frame in film.frames(fps=fps, size=size):
        yield frame
        length, last = length + 1, frame
        if length == count:
            return
    assert last is not None  # `frames` refuses a film without any
    given = length
    if length == 1 or extend is Extend.HOLD:
        for _ in range(count - given):
            yield last.copy()
        return
    backwards = extend is Extend.PINGPONG
    while given < count:
        for frame in _backwards(film, length, fps, size) if backwards else film.frames(fps=fps, size=size):
            yield frame
            given += 1
            if given == count:
                return
        backwards = not backwards and extend is Extend.PINGPONG


def _backwards(film: Film, length: int, fps: float, size: tuple[int, int]) -> Iterator[Pixels]:
    """From the last frame but one to the first but one; the film forwards follows on both ends without a stop."""
    at_once = max(8, BACKWARDS_BYTES // (size[0] * size[1] * 3))
    end = length - 1
    while end > 1:
        start = max(1, end - at_once)
        yield from reversed(list(film.frames(fps=fps, size=size, start_s=start / fps, stop_s=end / fps)))
        end = start
