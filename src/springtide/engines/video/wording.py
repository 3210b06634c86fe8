"""What of a prompt the preview engine can follow: camera moves, weather, light and places, in Chinese and English.

A prompt is written for a model that understands everything; this engine knows the words of the table below and nothing
else. It promises to say which words it took for what, so that nobody wonders why a smile or a dance was not filmed:
whatever is not under `understood` had no effect. Of two moves that exclude each other the first one said is made, the
other is reported. A word that is denied ("no rain", 没有雨) is not followed. Refuses nothing: any text is a prompt.
"""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum

import msgspec

MOST_WORDS = 4000  # characters that are looked at; the schema allows fewer


class Move(StrEnum):
    """What the camera does."""

    ZOOM_IN = "zoom_in"
    ZOOM_OUT = "zoom_out"
    PAN_LEFT = "pan_left"
    PAN_RIGHT = "pan_right"
    ORBIT = "orbit"
    RISE = "rise"
    FALL = "fall"
    HANDHELD = "handheld"
    STILL = "still"


class Effect(StrEnum):
    """What falls or hangs in the air."""

    SNOW = "snow"
    RAIN = "rain"
    DUST = "dust"
    FOG = "fog"


class Grade(StrEnum):
    """What the light is like."""

    NIGHT = "night"
    WARM = "warm"
    COLD = "cold"
    MONO = "mono"


class Place(StrEnum):
    """What a scene without a picture is built from."""

    SEA = "sea"
    MOUNTAINS = "mountains"
    FOREST = "forest"
    CITY = "city"
    DESERT = "desert"
    MEADOW = "meadow"
    CLOUDS = "clouds"
    SPACE = "space"


Meaning = Move | Effect | Grade | Place

# Moves of one axis exclude each other; those of different axes are made together ("push in while panning left").
AXES: tuple[frozenset[Move], ...] = (
    frozenset({Move.ZOOM_IN, Move.ZOOM_OUT}),
    frozenset({Move.PAN_LEFT, Move.PAN_RIGHT, Move.ORBIT}),
    frozenset({Move.RISE, Move.FALL}),
    frozenset({Move.HANDHELD}),
)

_MOVING = r"(?:pan|move|slide|truck|track|dolly|glide|drift|sweep|swing)(?:s|ned|d|ing|ning|ping)?"
_TO = r"(?: slowly| gently| smoothly)?(?: (?:to|towards?))?(?: the)?"
_UP = r"(?:crane|pedestal|tilt|boom|move|pan|drift|jib)(?:s|ned|d|ing|ning)?"

_TABLE: tuple[tuple[Meaning, str], ...] = (
    (
        Move.ZOOM_OUT,
        r"\bzoom(?:s|ing|ed)?[ -]?(?:back|out)|\bpull(?:s|ing)?[ -]?(?:back|out|away)|\bdolly(?:ing)?[ -]?out"
        r"|拉[远遠]|后拉|後拉|后退|後退|拉镜|拉出|缩小",
    ),
    (
        Move.ZOOM_IN,
        r"\bzoom(?:s|ing|ed)?\b(?![ -]?(?:back|out))(?:[ -]?in\b)?|\bpush(?:es|ing)?[ -]?in"
        r"|\bdolly(?:ing)?[ -]?in|\bclose[ -]?up"
        r"|\bmov(?:e|es|ing) (?:in|closer)|推[近进進]|推镜|拉近|特写|特寫|放大",
    ),
    (
        Move.PAN_RIGHT,
        rf"\bfrom left to right|\b{_MOVING}{_TO} right|\bright(?:ward)?[ -]pan|从左[到至向往]右|從左[到至向往]右"
        r"|右移|右摇|右搖|向右|往右|右摄",
    ),
    (
        Move.PAN_LEFT,
        rf"\bfrom right to left|\b{_MOVING}{_TO} left|\bleft(?:ward)?[ -]pan|从右[到至向往]左|從右[到至向往]左"
        r"|左移|左摇|左搖|向左|往左|左摄",
    ),
    (
        Move.ORBIT,
        r"\borbit(?:s|ing|al)?\b|\b(?:rotat|circl|revolv)(?:es?|ing) around|\barc shot|\b360\b"
        r"|环绕|環繞|围绕|圍繞|绕拍|旋转|旋轉",
    ),
    (
        Move.RISE,
        rf"\b{_UP} up(?:wards?)?\b|\bascend(?:s|ing)?\b|(?<!sun )(?<!moon )(?<!smoke )(?<!steam )\bris(?:e|es|ing)\b"
        r"|上升|上移|升镜|抬升|向上",
    ),
    (
        Move.FALL,
        rf"\b{_UP} down(?:wards?)?\b|\bdescend(?:s|ing)?\b|\bcamera (?:falls|lowers|sinks)"
        r"|(?:^|[,;。，] ?)fall(?=$|[,;。，])|下降|下移|降镜|俯冲|向下",
    ),
    (Move.HANDHELD, r"\bhand[ -]?held\b|\bshak(?:y|es|ing)\b|手持|晃动|晃動|抖动"),
    (
        Move.STILL,
        r"\b(?:static|fixed|locked[ -]?off|still) (?:camera|shot)|\btripod\b|固定(?:镜头|机位)|静止镜头|镜头不动",
    ),
    (Effect.SNOW, r"\bsnow(?:s|y|ing|fall|flakes?|storm)?\b|\bblizzard\b|雪"),
    (Effect.RAIN, r"\brain(?:s|y|ing|drops?|fall|storm)?\b|\bdownpour\b|\bdrizzl(?:e|ing)\b|雨"),
    (
        Effect.DUST,
        r"\bdust(?:y)?\b|\bparticles?\b|\bsparkl(?:e|es|ing)\b|\bfirefl(?:y|ies)\b|\bmotes?\b|\bembers?\b"
        r"|尘埃|塵埃|灰尘|粒子|光点|光點|萤火|螢火|星光点点",
    ),
    (Effect.FOG, r"\bfog(?:gy)?\b|\bmist(?:y)?\b|\bhaz[ey]\b|雾|霧|烟霭"),
    (
        Grade.NIGHT,
        r"\bnights?\b|\bmidnight\b|\bdark(?:ness)?\b|\bmoon(?:light|lit)?\b|\bstarry\b|夜|月光|星空|黑暗|漆黑",
    ),
    (
        Grade.WARM,
        r"\bsun(?:set|rise|down)\b|\bgolden\b|\bwarm(?:th)?\b|\bdawn\b|\bdusk\b|\bautumn\b|\bcandle(?:light|lit)?\b"
        r"|夕阳|夕陽|黄昏|黃昏|日落|日出|黎明|暖|金色|秋",
    ),
    (Grade.COLD, r"\bcold\b|\bwint(?:er|ry)\b|\bic[ey]\b|\bfrost(?:y)?\b|\bfreezing\b|冬|冷|冰|寒"),
    (Grade.MONO, r"\bblack[ -]and[ -]white\b|\bmonochrom(?:e|atic)\b|\bnoir\b|黑白|单色"),
    (Place.SEA, r"\bseas?\b|\boceans?\b|\bbeach(?:es)?\b|\blakes?\b|\bwaves?\b|\bshores?\b|(?<!上)海|湖|浪"),
    (Place.MOUNTAINS, r"\bmountains?\b|\bpeaks?\b|\balps?\b|\bhills?\b|\bvalleys?\b|山|峰|峡谷"),
    (Place.FOREST, r"\bforests?\b|\bwoods\b|\bjungle\b|\btrees?\b|\bpines?\b|森林|树|樹|林间|竹林"),
    (
        Place.CITY,
        r"\bcit(?:y|ies)\b|\bskylines?\b|\bstreets?\b|\bskyscrapers?\b|\bdowntown\b|\bneon\b|城|都市|街|高楼|霓虹",
    ),
    (Place.DESERT, r"\bdeserts?\b|\bdunes?\b|\bsahara\b|沙漠|沙丘|戈壁"),
    (Place.MEADOW, r"\bmeadows?\b|\bgrass(?:land|lands|y)?\b|\bfields?\b|\bprairies?\b|草原|草地|田野|麦田|原野"),
    (Place.CLOUDS, r"\bclouds?\b|\bsky\b|\bskies\b|天空|云|雲"),
    (
        Place.SPACE,
        r"\bspace\b|\bgalax(?:y|ies)\b|\bnebulae?\b|\bstars?\b|\bstarry\b|\bcosm(?:os|ic)\b|宇宙|银河|銀河|星空|星云|太空",
    ),
)
_WORDS: tuple[tuple[Meaning, re.Pattern[str]], ...] = tuple((meaning, re.compile(text)) for meaning, text in _TABLE)
_DENIED = re.compile(
    r"(?:\b(?:no|not|without|never|avoid|don't|do not|isn't)(?: (?:any|a|the|much|more))?[ -]|"
    r"(?:没有|沒有|不要|没|不|无|無|别|避免)(?:下|有|任何|再)?)$"
)
_DENIAL_REACH = 24  # characters before a word within which a denial of it ends
_KINDS = {Move: "camera", Effect: "effect", Grade: "light", Place: "place"}


class Reading(msgspec.Struct, frozen=True):
    """What was understood of a prompt, each in the order it was said."""

    moves: tuple[Move, ...]  # at most one of an axis; empty: nothing was said of the camera
    effects: tuple[Effect, ...]
    grades: tuple[Grade, ...]
    places: tuple[Place, ...]
    understood: tuple[tuple[str, str], ...]  # the words, and what they were taken for, such as "camera: zoom_in"
    set_aside: tuple[tuple[str, str], ...]  # camera words that contradict earlier ones


def understand(prompt: str) -> Reading:
    """Read a prompt. Letter case, width of letters and the rest of the text do not matter."""
    text = unicodedata.normalize("NFKC", prompt[:MOST_WORDS]).lower()
    found = sorted(_found(text), key=lambda item: item[0])
    kept: list[Meaning] = []
    understood: list[tuple[str, str]] = []
    set_aside: list[tuple[str, str]] = []
    for _, words, meaning in found:
        told = (words, f"{_KINDS[type(meaning)]}: {meaning}")
        if isinstance(meaning, Move) and not _agrees(meaning, [move for move in kept if isinstance(move, Move)]):
            set_aside.append(told)
        else:
            kept.append(meaning)
            understood.append(told)
    return Reading(
        moves=tuple(item for item in kept if isinstance(item, Move)),
        effects=tuple(item for item in kept if isinstance(item, Effect)),
        grades=tuple(item for item in kept if isinstance(item, Grade)),
        places=tuple(item for item in kept if isinstance(item, Place)),
        understood=tuple(understood),
        set_aside=tuple(set_aside),
    )


def _found(text: str) -> list[tuple[int, str, Meaning]]:
    """Where each meaning is first said and not denied, and in which words."""
    found: list[tuple[int, str, Meaning]] = []
    for meaning, pattern in _WORDS:
        for match in pattern.finditer(text):
            if not _DENIED.search(text, max(0, match.start() - _DENIAL_REACH), match.start()):
                found.append((match.start(), match.group(), meaning))
                break
    return found


def _agrees(move: Move, earlier: list[Move]) -> bool:
    if move is Move.STILL or Move.STILL in earlier:
        return not earlier
    return not any(move in axis and axis & set(earlier) for axis in AXES)
