"""Chinese numerals and their values. Pure.

Source: the reading taught in schools: 10005 is 一万零五, one 零 for any run of empty places, 两 before 千, 万 and 亿.
"""

from __future__ import annotations

import re

FIGURES = "零一二三四五六七八九"
_VALUES = {character: value for value, character in enumerate(FIGURES)} | {"〇": 0, "两": 2, "幺": 1}
_D = "[一二两三四五六七八九]"
# Below ten thousand: thousands, hundreds, tens, ones; 零 where places are left out.
_SECTION = re.compile(rf"(?:({_D})千)?(?:零?({_D})百)?(?:(零?{_D}?)十)?(?:(零?)({_D}))?")
_PLACES = ("", "十", "百", "千")
_LARGE = (("亿", 10**8), ("万", 10**4))


def value_of(numeral: str) -> int | None:
    """The value of a well-formed numeral (一万零五, 两百五, 十二); None for anything else (二三, 千万, 三四十)."""
    numeral = numeral.replace("〇", "零")
    if numeral == "零":
        return 0
    return _large(numeral) if numeral and numeral[0] in f"{FIGURES[1:]}两十" else None


def _large(numeral: str) -> int | None:
    for character, unit in _LARGE:
        head, found, tail = numeral.rpartition(character)
        if not found:
            continue
        count = _large(head) if head else None
        if count is None:
            return None
        if not tail:
            return count * unit
        if tail in _VALUES and tail != "零":
            return count * unit + _VALUES[tail] * unit // 10  # 一万二 is 12000
        rest = _large(tail.removeprefix("零"))
        return None if rest is None or rest >= unit else count * unit + rest
    return _section(numeral)


def _section(numeral: str) -> int | None:
    found = _SECTION.fullmatch(numeral)
    if not numeral or found is None:
        return None
    thousands, hundreds, tens, gap, ones = found.groups()
    value = 1000 * _VALUES.get(thousands, 0) + 100 * _VALUES.get(hundreds, 0)
    if tens is not None:
        value += 10 * _VALUES[tens.removeprefix("零") or "一"]
    if ones:
        after = 100 if hundreds else 1000 if thousands else 1
        colloquial = tens is None and not gap and after > 1  # 两百五 is 250
        value += _VALUES[ones] * (after // 10 if colloquial else 1)
    return value


def digits_of(characters: str) -> str:
    """Characters said one by one, as figures: 二零二六 is 2026."""
    return "".join(str(_VALUES[one]) for one in characters)


def one_by_one(figures: str) -> str:
    """Figures read one by one: 2026 is 二零二六."""
    return "".join(FIGURES[int(one)] for one in figures)


def numeral_of(value: int) -> str:
    """The numeral of a whole number below 10^16: 10005 is 一万零五."""
    if value == 0:
        return FIGURES[0]
    if value >= 10**8:
        head, rest = divmod(value, 10**8)
        return _counted(head, "亿") + _after(rest, 10**7)
    if value >= 10**4:
        head, rest = divmod(value, 10**4)
        return _counted(head, "万") + _after(rest, 10**3)
    text = _below_ten_thousand(value)
    return text.removeprefix("一") if text.startswith("一十") else text


def _counted(count: int, unit: str) -> str:
    return ("两" if count == 2 else numeral_of(count)) + unit


def _after(rest: int, full: int) -> str:
    """What follows 万 or 亿; with 零 where its first place is empty."""
    if rest == 0:
        return ""
    text = _below_ten_thousand(rest) if rest < 10**4 else numeral_of(rest)
    text = text if not text.startswith("十") else f"一{text}"
    return text if rest >= full else f"零{text}"


def _below_ten_thousand(value: int) -> str:
    text, gap = "", False
    for place in (3, 2, 1, 0):
        digit = value // 10**place % 10
        if digit == 0:
            gap = bool(text)
            continue
        figure = "两" if digit == 2 and place == 3 else FIGURES[digit]
        text += (FIGURES[0] if gap else "") + figure + _PLACES[place]
        gap = False
    return text
