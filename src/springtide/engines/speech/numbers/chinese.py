"""Numbers in Mandarin text, as figures and as words. Rules in order; each leaves alone what it is not sure of.

As figures: whole numbers from ten on, decimals, and any number before a unit, in a date, a time, a price or a share.
万 and 亿 stay (120万); small counts stay words (两个人), and so do 第一 to 第九 and all idioms.
As words: the same back, with 两 before measure words, years and telephone numbers figure by figure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from re import Match

from springtide.engines.speech.numbers.chinese_numerals import digits_of, numeral_of, one_by_one, value_of

_Rules = tuple[tuple[re.Pattern[str], Callable[[Match[str]], str]], ...]

_N = "[零〇一二两三四五六七八九十百千万亿]+"
_D = "[零〇一二三四五六七八九]"
_NUMBER = rf"{_N}(?:点{_D}+(?:[百千]?[万亿]|万亿)?)?"
_MEASURES = (  # words that follow a count
    "个人名位年天岁次章页条辆台件张只家多倍周届期本篇首场段层楼间套份项种组队班级艘架匹头棵朵片杯瓶盒箱包袋户口路站"
)
_UNITS = (
    "摄氏度|华氏度|平方公里|平方千米|平方米|平方厘米|立方米|立方厘米|千克|公斤|毫克|克|公里|千米|厘米|毫米|微米|纳米|"
    "英里|英尺|英寸|海里|米|毫升|升|公顷|亩|吨|千瓦时|千瓦|兆瓦|瓦|伏|安培|赫兹|兆赫|小时|分钟|秒钟|秒|"
    "美元|欧元|英镑|日元|港元|港币|人民币|元|块钱|字节|像素"
)
_DAYTIME = "上午|下午|早上|晚上|中午|凌晨|傍晚|清晨|夜里|今晚|明早|昨晚|深夜"
_IDIOMS = re.compile(
    "一五一十|十全十美|十分之|十拿九稳|十有八九|十之八九|八九不离十|七七八八|三七二十一|九九八十一|五十步笑百步|三十六计|"
    "三十而立|四十不惑|五十知天命|十万火急|十万八千里|十八般武艺|十字路口|十恶不赦|一目十行|以一当十|一传十|十传百|"
    "双十一|双十二|十一假期|十一黄金周|十一期间|[二十一三四五六七八九]+大(?=报告|代表|会议|精神|召开)|一点一[滴点]|"
    "一百八十度大转弯|三百六十行|百分百"
)


def in_figures(text: str) -> str:
    """Spoken forms become figures: 百分之三十五 is 35%."""
    parts, at = list[str](), 0
    for idiom in _IDIOMS.finditer(text):
        if idiom.group() == "十分之":  # a tenth is no idiom: only what follows tells, so the rules decide
            continue
        parts += [_apply(_TO_FIGURES, text[at : idiom.start()]), idiom.group()]
        at = idiom.end()
    return "".join([*parts, _apply(_TO_FIGURES, text[at:])])


def in_words(text: str) -> str:
    """Figures become what is said: 35% is 百分之三十五."""
    return _apply(_TO_WORDS, text)


def _apply(rules: _Rules, text: str) -> str:
    for pattern, change in rules:
        text = pattern.sub(change, text)
    return text


# --- words to figures ---


def _figures(numeral: str) -> str | None:
    """三点五亿 is 3.5亿, 三亿五千万 is 3亿5000万, 一万零五 is 10005; None for what is no number."""
    whole, point, rest = numeral.partition("点")
    value = value_of(whole)
    if value is None:
        return None
    if point:
        decimals = re.match(rf"{_D}+", rest)
        return None if decimals is None else f"{value}.{digits_of(decimals.group())}{rest[decimals.end() :]}"
    if value < 10**4 or value % 10**4:
        return str(value)
    hundred_millions, rest_value = divmod(value, 10**8)
    told = ""
    if hundred_millions:
        trillions = hundred_millions % 10**4 == 0
        told = f"{hundred_millions // 10**4}万亿" if trillions else f"{hundred_millions}亿"
    return told + (f"{rest_value // 10**4}万" if rest_value else "")


def _replace(match: Match[str], **between: str | None) -> str:
    """Every named group that holds a number, as figures; the match as it is where one of them is none."""
    text, at = "", match.start()
    for name, told in between.items():
        start, end = match.span(name)
        if start < 0:
            continue
        if told is None:
            return match.group()
        text += match.string[at:start] + told
        at = end
    return text + match.string[at : match.end()]


def _all(match: Match[str]) -> str:
    groups = {name: found for name, found in match.groupdict().items() if found is not None}
    return _replace(match, **{name: _figures(found) for name, found in groups.items()})


def _short_year(match: Match[str]) -> str:
    first, second = digits_of(match["n"])
    # 八九年 is eight or nine years as often as 1989; 三五年 is some years.
    return match.group() if second == str(int(first) + 1) or first in "123" else first + second + "年"


def _in(match: Match[str], **highest: int) -> str:
    """As `_all`, where every number is within its bound."""
    for name, most in highest.items():
        if match[name] is not None and not 0 <= (value_of(match[name].removeprefix("零") or "零") or 0) <= most:
            return match.group()
    padded = {
        name: f"0{_figures(found[1:])}" if found[0] in "零〇" and len(found) == 2 else _figures(found)
        for name, found in match.groupdict().items()
        if found is not None
    }
    return _replace(match, **padded)


def _share(match: Match[str]) -> str:
    told = "100" if match["n"] == "百" else _figures(match["n"])
    return match.group() if told is None else told + {"百": "%", "千": "‰"}[match["of"]]


def _fraction(match: Match[str]) -> str:
    below, above = _figures(match["a"]), _figures(match["b"])
    return match.group() if below is None or above is None else f"{above}/{below}"


def _string(match: Match[str]) -> str:
    return digits_of(match.group())


def _ordinal(match: Match[str]) -> str:
    value = value_of(match["n"])
    return match.group() if value is None or value < 10 else f"第{_figures(match['n'])}"


def _number(match: Match[str]) -> str:
    numeral, sign = match["n"], match["sign"]
    told, value = _figures(numeral), value_of(numeral)
    if told is None or (value is not None and value < 10 and not sign):
        return match.group()
    following = match.string[match.end() : match.end() + 1]
    if numeral == "十" and following not in _MEASURES + "元块":
        return match.group()  # 十分高兴, 十足
    return f"-{told}" if sign else told


_TO_FIGURES: _Rules = (
    (re.compile(rf"(?P<n>{_D}{{4}})(?=年)"), _string),
    (re.compile(rf"(?<![零〇一二两三四五六七八九十百千万亿几])(?P<n>{_D}{{2}})年(?![级前后内间来])"), _short_year),
    (re.compile(rf"(?P<m>{_N})月(?P<d>{_N})(?=[日号])"), lambda m: _in(m, m=12, d=31)),
    (re.compile(rf"(?P<m>{_N})(?=月(?!亮|饼))"), lambda m: _in(m, m=12)),
    (
        re.compile(r"(?<![零一二两三四五六七八九十百千万亿])(?P<d>[一二三四五六七八九十]+)(?=号)"),
        lambda m: _in(m, d=999),
    ),
    (
        re.compile(rf"(?P<h>{_N})点(?P<m>[零〇]{_D}|{_D}?十{_D}?)分(?:(?P<s>{_N})秒)?"),
        lambda m: _in(m, h=24, m=59, s=59),
    ),
    (re.compile(rf"(?P<h>{_N})(?=点(?:半|整|钟|一刻|三刻))"), lambda m: _in(m, h=24)),
    (
        re.compile(rf"(?<={_DAYTIME})(?P<h>{_N})点(?:(?P<m>[零〇]{_D}|{_D}?十{_D}?)(?!{_D}))?(?!{_D})"),
        lambda m: _in(m, h=24, m=59),
    ),
    (re.compile(rf"(?P<m>{_N})分(?P<s>{_N})(?=秒)"), _all),
    (re.compile(rf"(?P<of>[百千])分之(?P<n>{_NUMBER})"), _share),
    (re.compile(rf"(?P<a>{_N})分之(?P<b>{_N})"), _fraction),
    (re.compile(rf"(?P<a>{_N})块(?P<b>{_D})(?=毛|角|$|[，。！？、,.!?])"), _all),
    (re.compile(rf"(?<![几数])(?P<n>{_NUMBER})(?=(?:{_UNITS}))"), _all),
    (re.compile(rf"(?<![几数])(?!一度)(?P<n>{_NUMBER})(?=度(?![假过]))"), _all),
    (
        re.compile(
            r"(?<![点十百千万亿第])(?:[零〇一二三四五六七八九幺]{4,}|(?=..?[零〇幺]|[零〇幺])[零〇一二三四五六七八九幺]{3})"
            r"(?![零〇一二两三四五六七八九点十百千万亿])"
        ),
        _string,
    ),
    (re.compile(rf"第(?P<n>{_N})"), _ordinal),
    (
        re.compile(
            rf"(?<![几数好初第零〇一二两三四五六七八九十百千万亿幺])(?P<sign>负)?(?P<n>{_NUMBER})"
            r"(?![几零〇一二两三四五六七八九十百千万亿幺])"
        ),
        _number,
    ),
)

# --- figures to words ---

_LATIN_UNITS = {
    "℃": "摄氏度", "°C": "摄氏度", "°": "度", "km/h": "公里每小时", "km": "公里", "kg": "公斤", "cm": "厘米",
    "mm": "毫米", "㎡": "平方米", "m²": "平方米", "m": "米", "g": "克", "ml": "毫升", "mL": "毫升", "L": "升",
    "kW": "千瓦", "Hz": "赫兹",
}  # fmt: skip
_CURRENCIES = {"¥": "元", "￥": "元", "$": "美元", "€": "欧元", "£": "英镑"}
_AMOUNT = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_NO_LETTER = r"(?<![A-Za-z\d.])"  # H264, GPT4 and 3D are names


def _said(amount: str) -> str:
    """12.5 is 十二点五, 1,234 is 一千二百三十四, 05 is 零五; figure by figure where no numeral would be said."""
    whole, point, rest = amount.replace(",", "").partition(".")
    if len(whole) > 16 or (len(whole) > 1 and whole.startswith("0")):
        return one_by_one(whole) + (f"点{one_by_one(rest)}" if point else "")
    return numeral_of(int(whole)) + (f"点{one_by_one(rest)}" if point else "")


def _counted(match: Match[str]) -> str:
    """A number; 2 before a measure word, 万 or 亿 is 两."""
    following = match.string[match.end() : match.end() + 1]
    if match["n"] == "2" and following and following in _MEASURES.replace("路", "") + "万亿":
        return ("负" if match["sign"] else "") + "两"
    return ("负" if match["sign"] else "") + _said(match["n"])


def _year_said(match: Match[str]) -> str:
    year = match["n"]
    is_year = len(year) == 4 or year[0] == "0" or (int(year) > 50 and year[1] != "0")
    return one_by_one(year) if is_year else match.group()


def _clock_said(match: Match[str]) -> str:
    hour, minute, second = match["h"], match["m"], match["s"]
    told = f"{_said(str(int(hour)))}点" + ("整" if minute == "00" and not second else f"{_said(minute)}分")
    return told + (f"{_said(second)}秒" if second else "")


def _measured(match: Match[str]) -> str:
    cold = match["sign"] and match["unit"] in {"℃", "°C", "°"}
    sign = "零下" if cold else "负" if match["sign"] else ""
    return f"{sign}{_said(match['n'])}{_LATIN_UNITS[match['unit']]}"


_TO_WORDS: _Rules = (
    (re.compile(r"(?<!\d)(\d{4})[-/](\d{1,2})[-/](\d{1,2})(?!\d)"),
     lambda m: f"{one_by_one(m[1])}年{_said(str(int(m[2])))}月{_said(str(int(m[3])))}日"),
    (re.compile(r"(?<!\d)(?P<n>\d{4}|\d{2})(?=年(?!前|后|内|间|来|以))"), _year_said),
    (re.compile(r"(?<![\d:])(?P<h>[01]?\d|2[0-4]):(?P<m>[0-5]\d)(?::(?P<s>[0-5]\d))?(?![\d:])"), _clock_said),
    (re.compile(r"(?<!\d)(?:\+?86[- ]?)?(1[3-9]\d)[- ]?(\d{4})[- ]?(\d{4})(?!\d)"),
     lambda m: one_by_one(m[1] + m[2] + m[3])),
    (re.compile(r"(?<!\d)([48]00)-?(\d{3})-?(\d{4})(?!\d)|(?<!\d)(0\d{2,3})-?(\d{7,8})(?!\d)"),
     lambda m: one_by_one("".join(part for part in m.groups() if part))),
    (re.compile(r"(?<=拨打|电话|号码|密码|编号|热线|房间)(是|为|：|:)?\s?(\d{3,})(?!\d)"),
     lambda m: (m[1] or "") + one_by_one(m[2])),
    (re.compile(rf"{_NO_LETTER}(?P<n>{_AMOUNT})%"), lambda m: f"百分之{_said(m['n'])}"),
    (re.compile(rf"{_NO_LETTER}(?P<n>{_AMOUNT})‰"), lambda m: f"千分之{_said(m['n'])}"),
    (re.compile(rf"([¥￥$€£])\s?(?P<n>{_AMOUNT})(?P<large>[百千]?[万亿]?)"),
     lambda m: _said(m["n"]) + m["large"] + _CURRENCIES[m[1]]),
    (re.compile(r"(?<![\d/])(\d{1,4})/(\d{1,4})(?![\d/])"), lambda m: f"{_said(m[2])}分之{_said(m[1])}"),
    (re.compile(rf"(?P<sign>(?<![\w\d])-)?{_NO_LETTER}(?P<n>{_AMOUNT})\s?(?P<unit>{'|'.join(_LATIN_UNITS)})(?![A-Za-z])"),
     _measured),
    (re.compile(r"第(\d+)"), lambda m: f"第{_said(m[1])}"),
    (re.compile(rf"(?P<sign>(?<![\w\d])-|(?<=[\u4e00-\u9fff])-)?{_NO_LETTER}(?P<n>{_AMOUNT})(?![A-Za-z\d])"), _counted),
)  # fmt: skip
