"""English number words and their values. Pure.

Source: American reading, as most transcripts are written: 105 is one hundred five, 1945 nineteen forty-five as a year.
Read are also "a hundred and five" and words without hyphens.
"""

from __future__ import annotations

ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
DIGITS = {word: str(value) for value, word in enumerate(ONES[:10])} | {"oh": "0"}
_ONES = {word: value for value, word in enumerate(ONES)}
_TENS = {word: 20 + 10 * place for place, word in enumerate(TENS)}
_ODD_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip


def value_of(words: list[str]) -> int | None:
    """The value of a well-formed number (no "and", no hyphens): ["two", "hundred", "five"] is 205; else None."""
    total, left = 0, words
    bound = 10**15
    while left:
        scale_at = next((at for at, word in enumerate(left) if word in SCALES), None)
        section = _below_thousand(left if scale_at is None else left[:scale_at])
        scale = 1 if scale_at is None else SCALES[left[scale_at]]
        if section is None or scale >= bound or (section == 0 and len(words) > 1):
            return None
        total, bound = total + section * scale, scale
        left = [] if scale_at is None else left[scale_at + 1 :]
    return total if words else None


def _below_thousand(words: list[str]) -> int | None:
    if len(words) >= 2 and words[1] == "hundred":
        hundreds = _ONES.get(words[0])
        rest = _below_hundred(words[2:]) if words[2:] else 0
        # "eleven hundred" is a number, "twenty hundred" is none
        return None if not hundreds or rest is None else hundreds * 100 + rest
    return _below_hundred(words)


def _below_hundred(words: list[str]) -> int | None:
    match words:
        case [one] if one in _ONES:
            return _ONES[one]
        case [ten] if ten in _TENS:
            return _TENS[ten]
        case [ten, one] if ten in _TENS and 0 < _ONES.get(one, 0) < 10:
            return _TENS[ten] + _ONES[one]
        case _:
            return None


def words_of(value: int) -> str:
    """A whole number below 10^15: 1234 is one thousand two hundred thirty-four."""
    for name, scale in reversed(SCALES.items()):
        if value >= scale:
            head, rest = divmod(value, scale)
            return f"{words_of(head)} {name}" + (f" {words_of(rest)}" if rest else "")
    if value >= 100:
        head, rest = divmod(value, 100)
        return f"{ONES[head]} hundred" + (f" {words_of(rest)}" if rest else "")
    if value < 20:
        return ONES[value]
    return TENS[value // 10 - 2] + (f"-{ONES[value % 10]}" if value % 10 else "")


def year_words(year: int) -> str:
    """1945 is nineteen forty-five, 2008 two thousand eight, 1900 nineteen hundred, 1905 nineteen oh five."""
    if year % 1000 < 10 or not 1000 < year < 10_000:
        return words_of(year)
    head, rest = divmod(year, 100)
    if rest == 0:
        return f"{words_of(head)} hundred"
    return f"{words_of(head)} {words_of(rest) if rest > 9 else f'oh {ONES[rest]}'}"


def ordinal_words(value: int) -> str:
    """21 is twenty-first."""
    words = words_of(value)
    cut = max(words.rfind(" "), words.rfind("-")) + 1
    head, last = words[:cut], words[cut:]
    if last in _ODD_ORDINALS:
        return head + _ODD_ORDINALS[last]
    return head + (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")


def ordinal_figures(value: int) -> str:
    """21 is 21st."""
    suffix = "th" if value % 100 in {11, 12, 13} else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
    return f"{value:,}{suffix}" if value >= 10_000 else f"{value}{suffix}"


CARDINAL_OF = {ordinal_words(value): words_of(value) for value in (*range(1, 20), *range(20, 100, 10), 100, 1000)} | {
    "hundredth": "hundred", "thousandth": "thousand", "millionth": "million",
}  # fmt: skip
