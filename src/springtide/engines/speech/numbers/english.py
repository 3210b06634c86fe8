"""Numbers in English text, as figures and as words. Rules in order; each leaves alone what it is not sure of.

As figures, by the habit of newspapers: numbers from ten on, and any number in a date, a time, a price, a share or a
measure; below ten they stay words, and so do "one" the pronoun, fractions and "a hundred times" said loosely.
As words: the same back; a four-figure number is read as a year only where the words before it say so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from re import Match

from springtide.engines.speech.numbers.english_numerals import (
    CARDINAL_OF,
    DIGITS,
    ONES,
    SCALES,
    TENS,
    ordinal_figures,
    ordinal_words,
    value_of,
    words_of,
    year_words,
)

_Rules = tuple[tuple[re.Pattern[str], Callable[[Match[str]], str]], ...]


def _rule(pattern: str, change: Callable[[Match[str]], str]) -> tuple[re.Pattern[str], Callable[[Match[str]], str]]:
    return re.compile(pattern, re.IGNORECASE), change


def _any(words: Iterable[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


_DIGIT = f"(?:{_any(DIGITS)})"
_NAME = f"(?:{_any([*ONES, *TENS])})"
_BIG = f"(?:hundred|{_any(SCALES)})"
# A run of number words; "and" only behind hundred or thousand, "a" only before one of them.
_RUN = rf"(?:{_NAME}|a(?=[ -]{_BIG}))(?:[ -](?:{_NAME}|{_BIG})|(?<=hundred|housand) and {_NAME})*"
_POINT = rf"(?: point(?: {_DIGIT})+(?: (?:{_any(SCALES)}))?)?"
_NUMBER = rf"(?:{_RUN}{_POINT})"
_ORDINAL = rf"(?:(?:{_RUN}[ -])?(?:{_any(CARDINAL_OF)}))"
_TWO_FIGURES = rf"(?:(?:{_any(TENS)})(?:[ -](?:{_any(ONES[1:10])}))?|{_any(ONES[10:])})"
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_MONTH = f"(?:{_any({*_MONTHS} - {'May', 'March'})}|(?-i:May|March))"  # in small letters they are other words
_UNITS = {
    "kilometers per hour": "km/h", "kilometres per hour": "km/h", "miles per hour": "mph",
    "degrees celsius": "°C", "degrees fahrenheit": "°F", "degrees centigrade": "°C",
    "square kilometers": "km²", "square meters": "m²", "square metres": "m²", "square feet": "sq ft",
    "kilometers": "km", "kilometres": "km", "centimeters": "cm", "centimetres": "cm", "millimeters": "mm",
    "millimetres": "mm", "meters": "m", "metres": "m", "kilograms": "kg", "milligrams": "mg", "grams": "g",
    "milliliters": "ml", "millilitres": "ml", "liters": "L", "litres": "L", "gigabytes": "GB", "megabytes": "MB",
    "kilobytes": "kB", "terabytes": "TB", "megahertz": "MHz", "gigahertz": "GHz", "kilohertz": "kHz", "hertz": "Hz",
    "milliseconds": "ms", "kilowatts": "kW", "megawatts": "MW", "watts": "W", "volts": "V",
}  # fmt: skip
_CURRENCIES = {"dollar": "$", "euro": "€", "yen": "¥"}


def in_figures(text: str) -> str:
    """Spoken forms become figures: thirty-five percent is 35%."""
    return _apply(_TO_FIGURES, text)


def in_words(text: str) -> str:
    """Figures become what is said: 35% is thirty-five percent. Sentences go on beginning with a capital letter."""
    begins = {found.start(1) for found in re.finditer(r"(?:^|[.!?]\s+)([$€¥£-]?\d)", text)}
    marked = "".join(f"\x02{one}" if at in begins else one for at, one in enumerate(text))
    return re.sub("\x02(.)", lambda found: found[1].upper(), _apply(_TO_WORDS, marked), flags=re.DOTALL)


def _apply(rules: _Rules, text: str) -> str:
    for pattern, change in rules:
        text = pattern.sub(change, text)
    return text


# --- words to figures ---


def _value(text: str) -> int | None:
    words = re.sub(r"[\s-]+", " ", text.lower()).replace(" and ", " ").split()
    return value_of(["one", *words[1:]] if words[:1] == ["a"] else words)


def _split(number: str) -> tuple[str, str, str]:
    """ "three point five million" is three, 5 and million."""
    whole, point, rest = number.lower().partition(" point ")
    decimals = [DIGITS[word] for word in rest.split() if word in DIGITS]
    scale = next((word for word in rest.split() if word in SCALES), "") if point else ""
    return whole, "".join(decimals), scale


def _figures(number: str) -> str | None:
    """1,234; 3.5 million; 20 million; None where the words are no number."""
    whole, decimals, scale = _split(number)
    value = _value(whole)
    if value is None:
        return None
    if decimals:
        return f"{value:,}.{decimals}" + (f" {scale}" if scale else "")
    for name, unit in reversed(SCALES.items()):
        if unit > 1000 and value >= unit:
            return f"{value // unit} {name}" if value % unit == 0 and value < 1000 * unit else f"{value:,}"
    return f"{value:,}"


def _before(match: Match[str], after: str, *, name: str = "n") -> str:
    told = _figures(match[name])
    return match.group() if told is None else f"{told}{after}"


def _price(match: Match[str]) -> str:
    sign = _CURRENCIES[match["of"].lower().removesuffix("s")]
    told = _figures(match["n"])
    cents = _value(match["cents"]) if match["cents"] else None
    if told is None or (match["cents"] and (cents is None or cents > 99 or " " in told or "." in told)):
        return match.group()
    return f"{sign}{told}" + (f".{cents:02}" if cents is not None else "")


def _digits(text: str) -> str:
    return "".join(DIGITS[word] for word in re.split(r"[\s,-]+", text.lower().strip(" ,")))


def _telephone(match: Match[str]) -> str:
    digits = (f"{DIGITS[match['area'].lower()]}00" if match["area"] else "") + _digits(match["n"])
    match len(digits):
        case 7:
            return f"{digits[:3]}-{digits[3:]}"
        case 10:
            return f"{digits[:3]}-{digits[3:6]}-{digits[6:]}"
        case 11 if digits[0] == "1":
            return f"1-{digits[1:4]}-{digits[4:7]}-{digits[7:]}"
        case _:
            return match.group() if match["area"] else digits


def _year(match: Match[str]) -> str:
    head, rest = _value(match["head"]), match["rest"].lower().replace("-", " ")
    if head is None:
        return match.group()
    low = 0 if rest == "hundred" else int(DIGITS[rest[3:]]) if rest.startswith("oh ") else _value(rest)
    return match.group() if low is None else f"{head}{low:02}"


def _two_thousand(match: Match[str]) -> str:
    value = _value(match["n"])
    return match.group() if value is None else f"{match['cue']}{value}"


def _clock(match: Match[str]) -> str:
    minute = match["m"].lower()
    low = int(DIGITS[minute[3:]]) if minute.startswith("oh ") else _value(minute)
    return match.group() if low is None or low > 59 else f"{_value(match['h'])}:{low:02}"


def _rank(text: str) -> int | None:
    words = re.sub(r"[\s-]+", " ", text.lower()).replace(" and ", " ").split()
    last = CARDINAL_OF.get(words[-1])
    return None if last is None else value_of([*words[:-1], *last.split()] if words[:-1] else last.split())


def _day(match: Match[str]) -> str:
    day = _rank(match["d"])
    if day is None or day > 31:
        return match.group()
    return f"{match['month']} {day}" if match["month"] else f"{ordinal_figures(day)}{match['of']}"


def _ordinal(match: Match[str]) -> str:
    rank = _rank(match["n"])
    is_time = re.search(r"\ba$", match.string[: match.start()].rstrip(), re.IGNORECASE) and match["n"].endswith(
        "-second"
    )
    return match.group() if rank is None or rank < 10 or is_time else ordinal_figures(rank)


def _number(match: Match[str]) -> str:
    told, value = _figures(match["n"]), _value(match["n"])
    if told is None or (value is not None and value < 10 and not match["sign"]):
        return match.group()
    if match["n"].lower().startswith("a "):
        return match.group()  # a hundred, a million: as often a manner of speaking
    return f"-{told}" if match["sign"] else told


_HOUR = f"(?P<h>{_any(ONES[1:13])})"
_MINUTE = rf"(?P<m>oh {_DIGIT}|{_TWO_FIGURES})"
_HALF_DAY = r"(?=\s?(?:a\.?m\b|p\.?m\b))"
_COUNTED = "(?:people|men|women|years|months|weeks|days|hours|minutes|seconds|times|miles|percent|dollars|euros|feet)"
_CENTURY = f"(?P<head>{_any(ONES[15:])}|twenty)"
_TO_FIGURES: _Rules = (
    _rule(rf"(?<!point )\b(?:(?P<area>{_any(ONES[1:10])}) hundred,? )?(?P<n>{_DIGIT}(?:[ ,-]+{_DIGIT}){{3,}})\b"
          rf"(?! point)(?![ -]{_BIG})",
          _telephone),
    _rule(rf"\b{_CENTURY}[ -](?P<rest>oh {_DIGIT}|hundred(?!\w| {_NAME})|{_TWO_FIGURES})\b"
          rf"(?![ -](?:{_BIG}|{_NAME}|{_COUNTED}))", _year),
    _rule(rf"\b(?P<cue>(?:in|since|by|until|from|year|of|,) )(?P<n>two thousand(?: (?:and )?{_NAME})?)\b"
          rf"(?![ -]{_NAME})",
          _two_thousand),
    _rule(rf"\b(?P<month>{_MONTH}) (?:the )?(?P<d>{_ORDINAL})\b(?P<of>)", _day),
    _rule(rf"\b(?P<month>)(?P<d>{_ORDINAL})(?P<of> (?:day )?of {_MONTH}\b)", _day),
    _rule(rf"\b{_HOUR} {_MINUTE}{_HALF_DAY}", _clock),
    _rule(rf"(?<=\bat ){_HOUR} {_MINUTE}\b(?![ -](?:{_NAME}|{_BIG}))", _clock),
    _rule(rf"\b(?P<n>{_any(ONES[1:13])})(?P<after>(?= o'clock)|{_HALF_DAY})", lambda m: _before(m, "")),
    _rule(rf"\b(?P<n>{_NUMBER}) (?P<of>dollars?|euros?|yen)\b(?: and (?P<cents>{_RUN}) cents?\b)?", _price),
    _rule(rf"\b(?P<n>{_NUMBER}) ?(?:percent|per cent)\b", lambda m: _before(m, "%")),
    _rule(rf"\b(?P<n>{_NUMBER}) (?P<unit>{_any(_UNITS)})\b", lambda m: _before(m, f" {_UNITS[m['unit'].lower()]}")),
    _rule(rf"\b(?P<n>{_ORDINAL})\b", _ordinal),
    _rule(rf"\b(?:(?P<sign>minus|negative) )?(?P<n>{_NUMBER})\b(?![ -](?:{_BIG}|{_NAME}))", _number),
)  # fmt: skip

# --- figures to words ---

_AMOUNT = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_FREE = r"(?<![A-Za-z\d.,])"  # H264, GPT4 and 3D are names
_SPOKEN_UNITS = {unit: name for name, unit in reversed(_UNITS.items())} | {
    "°C": "degrees Celsius", "°F": "degrees Fahrenheit", "°": "degrees",
}  # fmt: skip
_SPOKEN_CURRENCIES = {"$": ("dollar", "dollars"), "€": ("euro", "euros"), "£": ("pound", "pounds"), "¥": ("yen", "yen")}
_YEAR_CUE = rf"(?:in|since|by|until|from|of|year|before|after|during|{_MONTH}|\d,)"


def _said(amount: str) -> str:
    whole, point, rest = amount.replace(",", "").partition(".")
    told = words_of(int(whole)) if len(whole) <= 15 and not (len(whole) > 1 and whole[0] == "0") else _spelt(whole)
    return told + (f" point {_spelt(rest)}" if point else "")


def _spelt(digits: str) -> str:
    return " ".join(ONES[int(one)] for one in digits if one.isdigit())


def _telephone_said(match: Match[str]) -> str:
    area = match["area"] or ""
    first = f"{ONES[int(area[0])]} hundred" if area.endswith("00") else _spelt(area)
    country = "one " if match["country"] else ""
    return f"{country}{first} {_spelt(match['n'])}" if area else f"{country}{_spelt(match['n'])}"


def _price_said(match: Match[str]) -> str:
    one, many = _SPOKEN_CURRENCIES[match["sign"]]
    amount, scale = match["n"].replace(",", ""), match["scale"] or ""
    whole, _, cents = amount.partition(".")
    if scale or (cents and len(cents) != 2) or match["sign"] == "¥":
        return f"{_said(amount)}{scale} {many}"
    told = f"{_said(whole)} {one if whole == '1' else many}"
    return told + (f" and {_said(str(int(cents)))} cent{'' if cents == '01' else 's'}" if cents.strip("0") else "")


def _clock_said(match: Match[str]) -> str:
    hour, minute, half = words_of(int(match["h"])), match["m"], match["half"] or ""
    if minute == "00":
        return f"{hour}{half}" if half else f"{hour} o'clock"
    return f"{hour} {words_of(int(minute)) if minute[0] != '0' else f'oh {ONES[int(minute)]}'}{half}"


def _date_said(match: Match[str]) -> str:
    year = f", {year_words(int(match['year']))}" if match["year"] else ""
    return f"{match['month']} {ordinal_words(int(match['d']))}{year}"


def _measure_said(match: Match[str]) -> str:
    told, unit = _said(match["n"]), _SPOKEN_UNITS[match["unit"]]
    if match["n"] == "1":
        unit = re.sub(r"s\b", "", unit, count=1) if not unit.endswith("hertz") else unit
    return f"{'minus ' if match['sign'] else ''}{told} {unit}"


_SIGN = r"(?P<sign>(?<![\w\d])-)?"
_TO_WORDS: _Rules = (
    _rule(r"(?<![\d-])(?:\+?(?P<country>1)[- ])?(?:\(?(?P<area>\d{3})\)?[- ])?(?P<n>\d{3}-\d{4})(?![\d-])",
          _telephone_said),
    _rule(r"(?<![\w.,/-])(\d+)[-–](?=\d+(?![\w/-]))", lambda m: f"{m[1]} to "),
    _rule(rf"\b(?P<month>{_MONTH}) (?P<d>[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?\b(?!:)"
          rf"(?:,? (?P<year>[12]\d{{3}})\b)?", _date_said),
    _rule(r"(?<![\d:])(?P<h>[01]?\d|2[0-3]):(?P<m>[0-5]\d)(?![\d:])(?P<half>\s?[ap]\.?m\b)?", _clock_said),
    _rule(r"\b(\d{1,2})(?= o'clock)", lambda m: words_of(int(m[1]))),
    _rule(rf"(?P<sign>[$€£¥])(?P<n>{_AMOUNT})(?P<scale> (?:{_any(SCALES)}))?", _price_said),
    _rule(rf"{_SIGN}{_FREE}(?P<n>{_AMOUNT}) ?%", lambda m: f"{'minus ' if m['sign'] else ''}{_said(m['n'])} percent"),
    (re.compile(rf"{_SIGN}{_FREE}(?P<n>{_AMOUNT}) ?(?P<unit>{_any(_SPOKEN_UNITS)})(?![A-Za-z²/])"), _measure_said),
    _rule(rf"{_FREE}(\d[\d,]*)(?:st|nd|rd|th)\b", lambda m: ordinal_words(int(m[1].replace(",", "")))),
    _rule(rf"(?<![\w-])(?P<cue>{_YEAR_CUE} )(?P<n>1[1-9]\d\d|20\d\d)(?![\d,.]\d|\d|-)",
          lambda m: f"{m['cue']}{year_words(int(m['n']))}"),
    _rule(r"(?<=\bcall |\bdial )(\d{3,})\b(?!-)", lambda m: _spelt(m[1])),
    _rule(rf"{_SIGN}{_FREE}(?<!/)(?P<n>{_AMOUNT})(?![A-Za-z\d/]|[,.]\d)",
          lambda m: f"{'minus ' if m['sign'] else ''}{_said(m['n'])}"),
)  # fmt: skip
