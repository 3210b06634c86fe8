"""Numbers as figures and as words: sixty cases, each read in both directions, and what must be left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.engines.speech.numbers import chinese_numerals, english_numerals, in_figures, in_words

# kind | as it is said | as it is written
MANDARIN = """
number|全校有一千二百三十四名学生|全校有1234名学生
number|人口是三亿五千万|人口是3亿5000万
number|圆周率约等于三点一四一五九|圆周率约等于3.14159
number|他跑了一万零五米|他跑了10005米
number|大概有两千人|大概有2000人
number|答案是负十二|答案是-12
number|零点五也可以|0.5也可以
date|今天是二零二六年三月十五日|今天是2026年3月15日
date|一九四九年十月一号|1949年10月1号
date|五月四日下午|5月4日下午
date|九八年的夏天|98年的夏天
time|会议在上午九点三十分开始|会议在上午9点30分开始
time|晚上八点半见|晚上8点半见
time|现在是十二点零五分|现在是12点05分
time|用时一小时二十三分四十五秒|用时1小时23分45秒
unit|他体重六十五公斤|他体重65公斤
unit|长度是十二点五厘米|长度是12.5厘米
unit|北京的气温是二十三度|北京的气温是23度
unit|时速一百二十公里|时速120公里
unit|面积八十九平方米|面积89平方米
money|这件衣服二百九十九元|这件衣服299元
money|总价一百二十万元|总价120万元
money|花了十二块五毛|花了12块5毛
money|融资三点五亿美元|融资3.5亿美元
percent|增长了百分之三十五|增长了35%
percent|下降百分之十二点三|下降12.3%
fraction|三分之二的学生|2/3的学生
ordinal|第二十一届奥运会|第21届奥运会
phone|请拨打一三八一二三四五六七八|请拨打13812345678
phone|客服电话是四零零八二零八八二零|客服电话是4008208820
"""
ENGLISH = """
number|There were twenty-three people.|There were 23 people.
number|One thousand two hundred thirty-four students enrolled.|1,234 students enrolled.
number|Pi is about three point one four one six.|Pi is about 3.1416.
number|It sold two million copies.|It sold 2 million copies.
number|The answer is minus twelve.|The answer is -12.
number|She read one hundred five pages.|She read 105 pages.
number|It is zero point five at best.|It is 0.5 at best.
date|It was March fifteenth, twenty twenty-six.|It was March 15, 2026.
date|The war ended in nineteen forty-five.|The war ended in 1945.
date|In two thousand eight they met.|In 2008 they met.
date|on July fourth|on July 4
date|the twenty-first of June|the 21st of June
time|We meet at nine thirty a.m. tomorrow.|We meet at 9:30 a.m. tomorrow.
time|It is three o'clock.|It is 3 o'clock.
time|The train leaves at seven oh five p.m. today.|The train leaves at 7:05 p.m. today.
unit|It weighs sixty-five kilograms.|It weighs 65 kg.
unit|a board of twelve point five centimeters|a board of 12.5 cm
unit|They drove one hundred twenty miles per hour.|They drove 120 mph.
unit|It is twenty-three degrees Celsius.|It is 23 °C.
unit|It has five gigabytes of memory.|It has 5 GB of memory.
money|It costs five dollars.|It costs $5.
money|It costs twelve dollars and fifty cents.|It costs $12.50.
money|They raised three point five million dollars.|They raised $3.5 million.
money|a budget of two hundred euros|a budget of €200
percent|It grew by thirty-five percent.|It grew by 35%.
percent|a drop of zero point five percent|a drop of 0.5%
ordinal|the twenty-first century|the 21st century
ordinal|her one hundredth birthday|her 100th birthday
phone|Call five five five one two three four.|Call 555-1234.
phone|Call eight hundred five five five zero one nine nine.|Call 800-555-0199.
"""
CASES = [
    pytest.param(language, *line.split("|")[1:], id=f"{language} {line.partition('|')[0]} {number}")
    for language, table in (("zh", MANDARIN), ("en", ENGLISH))
    for number, line in enumerate(table.strip().splitlines(), 1)
]


@pytest.mark.parametrize(("language", "said", "written"), CASES)
def test_what_is_said_and_what_is_written_become_each_other(language: str, said: str, written: str) -> None:
    assert in_figures(said, language) == written
    assert in_words(written, language) == said
    assert in_figures(written, language) == written, "what is in figures stays"
    assert in_words(said, language) == said, "what is in words stays"


def test_there_are_thirty_cases_of_each_language() -> None:
    assert len(CASES) == 60


@pytest.mark.parametrize(
    "text",
    [
        "一些人",
        "万一下雨",
        "我们一起去",
        "十分高兴",
        "一心一意",
        "星期五",
        "千万不要",
        "老百姓",
        "统一战线",
        "四川人",
        "九牛一毛",
        "三番五次",
        "五颜六色",
        "说一下",
        "有一点点",
        "一五一十",
        "二话不说",
        "两个人",
        "七上八下",
        "第一次",
        "八九十人",
        "二三十人",
        "十几个",
        "几十个",
        "八九年",
        "三五年",
        "有三点建议",
        "一度认为",
        "不三不四",
        "双十一",
        "一二三",
        "百度",
        "三个半小时",
        "初十",
        "不管三七二十一",
        "十字路口",
    ],
)
def test_idioms_and_small_counts_in_mandarin_stay(text: str) -> None:
    assert in_figures(text, "zh") == text


@pytest.mark.parametrize(
    "text",
    [
        "No one knows.",
        "one of them left",
        "two or three people",
        "a hundred times",
        "half past three",
        "the sixties",
        "wait a second",
        "the second world war",
        "it may first be seen",
        "fifteen twenty minutes",
        "six foot two",
    ],
)
def test_manners_of_speaking_in_english_stay(text: str) -> None:
    assert in_figures(text, "en") == text


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("text", ["H264", "GPT4", "3D", "MP3"])
def test_figures_that_are_part_of_a_name_stay(text: str, language: str) -> None:
    assert in_words(text, language) == text


@pytest.mark.parametrize(
    ("language", "said", "written"),
    [
        ("zh", "一百二", "120"),
        ("zh", "两万五", "25000"),
        ("zh", "三块五", "3块5"),
        ("zh", "百分之百", "100%"),
        ("zh", "打幺幺零", "打110"),
        ("zh", "下午三点", "下午3点"),
        ("en", "one hundred and twenty-three", "123"),
        ("en", "a board of two hundred and fifty thousand dollars", "a board of $250,000"),
        ("en", "a thirty-second clip", "a 30-second clip"),
        ("en", "at nine thirty", "at 9:30"),
        ("en", "since nineteen ninety nine", "since 1999"),
    ],
)
def test_other_ways_to_say_it_are_read_too(language: str, said: str, written: str) -> None:
    assert in_figures(said, language) == written


@pytest.mark.parametrize(
    ("language", "written", "said"),
    [
        ("zh", "2026-03-15", "二零二六年三月十五日"),
        ("zh", "15:00", "十五点整"),
        ("zh", "-5℃", "零下五摄氏度"),
        ("zh", "$3.5亿", "三点五亿美元"),
        ("zh", "2个人", "两个人"),
        ("zh", "20年", "二十年"),
        ("en", "10:00 a.m.", "Ten a.m."),
        ("en", "$1.01", "One dollar and one cent"),
        ("en", "1-800-555-0199", "One eight hundred five five five zero one nine nine"),
        ("en", "about 10-20 km", "about ten to twenty kilometers"),
    ],
)
def test_other_ways_to_write_it_are_read_too(language: str, written: str, said: str) -> None:
    assert in_words(written, language) == said


def test_text_in_a_language_without_rules_comes_back_unchanged() -> None:
    assert in_figures("vingt-trois", "fr") == "vingt-trois"
    assert in_words("23 personnes", "fr") == "23 personnes"


@given(st.integers(0, 10**15 - 1))
def test_every_whole_number_has_a_name_that_is_read_as_it_was_meant(value: int) -> None:
    assert chinese_numerals.value_of(chinese_numerals.numeral_of(value)) == value
    assert english_numerals.value_of(english_numerals.words_of(value).replace("-", " ").split()) == value


@given(st.text(alphabet="零〇一二两三四五六七八九十百千万亿点分之年月日号半第负块毛元度 a1-", max_size=24))
def test_any_heap_of_numerals_is_taken_without_harm(text: str) -> None:
    in_words(in_figures(text, "zh"), "zh")


@given(
    st.lists(
        st.sampled_from(
            [
                "one",
                "two",
                "twenty",
                "hundred",
                "thousand",
                "million",
                "point",
                "and",
                "a",
                "oh",
                "first",
                "March",
                "dollars",
                "cents",
                "o'clock",
                "at",
                "in",
                "percent",
                "5",
                "3.2",
                "$7",
                "9:30",
            ]
        ),
        max_size=12,
    )
)
def test_any_heap_of_number_words_is_taken_without_harm(words: list[str]) -> None:
    in_words(in_figures(" ".join(words), "en"), "en")
