"""Numbers in a transcript as figures or as words, both ways, for Mandarin and English.

    in_figures("北京的气温是二十三度", "zh")   ->  北京的气温是23度
    in_words("It costs $12.50.", "en")       ->  It costs twelve dollars and fifty cents.

What a model writes of its own accord is a mixture that changes from sentence to sentence; who needs one form asks for
it. Rules, not a model: what they are not sure of stays as it was, idioms (一五一十, 十分高兴) above all. Text in any
other language comes back unchanged.
"""

from __future__ import annotations

from springtide.engines.speech.numbers import chinese, english

LANGUAGES = ("en", "zh")


def in_figures(text: str, language: str) -> str:
    """Numbers, dates, times, measures, money, percentages, ordinals and telephone numbers as figures."""
    match language:
        case "zh":
            return chinese.in_figures(text)
        case "en":
            return english.in_figures(text)
        case _:
            return text


def in_words(text: str, language: str) -> str:
    """The same as they are spoken."""
    match language:
        case "zh":
            return chinese.in_words(text)
        case "en":
            return english.in_words(text)
        case _:
            return text
