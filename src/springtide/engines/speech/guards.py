"""Text that a speech model invents, told from text that somebody said. Pure.

Whisper was taught on subtitles: for music, noise and silence it writes what subtitles of such stretches hold. What is
left out is a sentence nobody is sure of; what is cut are words that go round in circles.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

UNLIKELY_SPEECH = 0.8  # above this `no_speech_prob`, text with a low probability is the model's invention
DOUBTFUL_SPEECH = 0.3  # and above this a stock phrase of subtitles is
LOW_LOGPROB = -1.0
DOUBTFUL_LOGPROB = -0.6
REPETITIVE = 2.4  # zlib ratio above which text is nothing but repetition, the library's own threshold
MOST_REPEATS = 4  # of a phrase in a row in such text: people do say "no, no, no"

_SOUND = re.compile(r"[\s.…。]*(?:[\[(（【♪*].*[\])）】♪*]|[♪♫\s]+)[\s.…。]*", re.DOTALL)
_STOCK = re.compile(
    r"thanks? (?:you )?(?:so much )?for watching|please subscribe|like and subscribe|"
    r"see you (?:in the )?next (?:time|video)|subtitles? by|captions? by|transcribed by|amara\.org|"
    r"字幕|谢谢观看|謝謝觀看|感谢观看|感謝觀看|请不吝点赞|請不吝點贊|订阅|訂閱|打赏支持|明镜与点点|下期再见|下期再見",
    re.IGNORECASE,
)
_REPEAT = re.compile(rf"(?P<phrase>\S.{{0,80}}?)(?:[\s,，.。!！?？、]*(?P=phrase)){{{MOST_REPEATS},}}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the model says of its own text."""

    no_speech: float  # probability that nobody spoke
    log_probability: float  # mean of a token's
    compression: float  # zlib ratio of the text


def is_invented(text: str, evidence: Evidence, *, prompt: str | None = None) -> bool:
    """Whether nobody said this: noise described, a stock phrase or the prompt itself where hardly anybody spoke."""
    bare = text.strip()
    if not bare or _SOUND.fullmatch(bare):
        return True
    if evidence.no_speech > UNLIKELY_SPEECH and evidence.log_probability < LOW_LOGPROB:
        return True
    doubtful = evidence.no_speech > DOUBTFUL_SPEECH or evidence.log_probability < DOUBTFUL_LOGPROB
    return doubtful and (_STOCK.search(bare) is not None or (prompt is not None and _letters(bare) == _letters(prompt)))


def without_circles(text: str, evidence: Evidence) -> str:
    """The text with phrases that repeat without end said once."""
    return _REPEAT.sub(lambda found: found["phrase"], text) if evidence.compression > REPETITIVE else text


def _letters(text: str) -> str:
    return re.sub(r"[\W_]", "", text).lower()
