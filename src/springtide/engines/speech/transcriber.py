"""From pieces of speech to segments of text: several pieces at once, their languages decided in order.

Unless it is given, the language is found in every piece, and changes only where the model is sure: one odd sound does
not change it, another speaker does. A piece waits for the language of the one before it, never for its text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from springtide.engines.speech.cuts import RATE, Span
from springtide.engines.speech.flight import in_order
from springtide.engines.speech.guards import Evidence, is_invented, without_circles
from springtide.engines.speech.schema import Segment, Word

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from springtide.engines.speech.model import Whisper

SURE = 0.8  # another language from here on: seconds of clear speech reach 0.9, misheard ones stay below 0.65
UNHEARD_S = 2.0  # at the end of a piece: longer than any error of the model's times
MANDARIN_PROMPT = "以下是普通话的句子。"  # without it Whisper writes traditional characters, and no punctuation


@dataclass(frozen=True, slots=True)
class Heard:
    """The language of the speech so far, and how sure that is."""

    language: str
    probability: float


@dataclass(frozen=True, slots=True)
class Wishes:
    """What one job asks of the model."""

    language: str | None  # given, so not to be found
    hotwords: str | None
    prompt: str | None
    word_times: bool
    beam_size: int


@dataclass(frozen=True, slots=True)
class Written:
    """A piece that is done."""

    span: Span
    heard: Heard
    segments: tuple[Segment, ...]


class Transcriber:
    """Writes one recording's pieces down."""

    def __init__(self, model: Whisper, wishes: Wishes, *, at_once: int) -> None:
        self._model = model
        self._wishes = wishes
        self._at_once = at_once

    def written(
        self,
        pieces: Iterable[tuple[Span, NDArray[np.float32]]],
        *,
        heard: Heard | None,
        tick: Callable[[], None],
    ) -> Iterator[Written]:
        """The pieces in order. heard: the language before the first. tick: see `flight.in_order`."""
        first: Future[Heard | None] = Future()
        first.set_result(heard)
        with closing(in_order(self._piece, _linked(pieces, first), at_once=self._at_once, tick=tick)) as done:
            yield from done

    def _piece(self, work: _Work) -> Written:
        try:
            heard = self._language(work.samples, work.before)
        except BaseException as error:
            work.heard.set_exception(error)  # who waits for it must not wait for ever
            raise
        work.heard.set_result(heard)
        return Written(work.span, heard, tuple(self._segments(work.samples, work.span, heard.language)))

    def _language(self, samples: NDArray[np.float32], before: Future[Heard | None]) -> Heard:
        if self._wishes.language is not None:
            return Heard(self._wishes.language, 1.0)
        found = Heard(*self._model.language_of(samples))
        known = before.result()
        return found if known is None or found.probability >= min(SURE, known.probability) else known

    def _segments(self, samples: NDArray[np.float32], span: Span, language: str) -> Iterator[Segment]:
        while True:
            end = span.start
            for one in self._decoded(samples[span.start - span.end :], language):
                end = span.start + round(one.end * RATE)
                evidence = Evidence(one.no_speech_prob, one.avg_logprob, one.compression_ratio)
                if is_invented(one.text, evidence, prompt=self._prompt(language)):
                    continue
                start_s, end_s = _within(span, one.start, one.end)
                words = [_word(word, span) for word in one.words or []] if self._wishes.word_times else None
                text = without_circles(one.text.strip(), evidence)
                yield Segment(id=0, start_s=start_s, end_s=end_s, text=text, language=language, words=words)
            # A piece ends with speech: where the model stopped much earlier, the rest has not been written down.
            if end == span.start or span.end - end < UNHEARD_S * RATE:
                return
            span = Span(end, span.end)

    def _decoded(self, samples: NDArray[np.float32], language: str) -> Iterable[Any]:
        found, _ = self._model.transcribe(
            samples,
            language=language,
            beam_size=self._wishes.beam_size,
            vad_filter=False,  # done, over the whole recording
            condition_on_previous_text=False,  # a mistake must not spread
            initial_prompt=self._prompt(language),
            hotwords=self._wishes.hotwords,
            word_timestamps=self._wishes.word_times,
        )
        return found

    def _prompt(self, language: str) -> str | None:
        return self._wishes.prompt or (MANDARIN_PROMPT if language == "zh" else None)


@dataclass(frozen=True, slots=True)
class _Work:
    span: Span
    samples: NDArray[np.float32]
    before: Future[Heard | None]
    heard: Future[Heard | None]


def _linked(pieces: Iterable[tuple[Span, NDArray[np.float32]]], before: Future[Heard | None]) -> Iterator[_Work]:
    """Every piece with the language of the one before it, as soon as that is known."""
    for span, samples in pieces:
        heard: Future[Heard | None] = Future()
        yield _Work(span, samples, before, heard)
        before = heard


def _word(word: Any, span: Span) -> Word:
    start_s, end_s = _within(span, word.start, word.end)
    return Word(start_s=start_s, end_s=end_s, word=word.word.strip(), probability=round(float(word.probability), 3))


def _within(span: Span, start_s: float, end_s: float) -> tuple[float, float]:
    """Times in the piece as times in the recording: the model fills its half minute, and may point past the piece."""
    last_s = (span.end - span.start) / RATE
    offset_s = span.start / RATE
    start_s = min(max(0.0, start_s), last_s)
    return round(offset_s + start_s, 3), round(offset_s + min(max(start_s, end_s), last_s), 3)
