"""What is read out of prompts, in English and Chinese, and what is not."""

from __future__ import annotations

import pytest

from springtide.engines.video.wording import Effect, Grade, Move, Place, understand

MOVES = [
    ("Camera slowly pushes in on her face", {Move.ZOOM_IN}),
    ("ZOOM IN", {Move.ZOOM_IN}),
    ("ｚｏｏｍ　ｉｎ", {Move.ZOOM_IN}),
    ("镜头缓缓推近", {Move.ZOOM_IN}),
    ("鏡頭推進", {Move.ZOOM_IN}),
    ("Zooming out slowly", {Move.ZOOM_OUT}),
    ("pull back to reveal the hall", {Move.ZOOM_OUT}),
    ("镜头拉远", {Move.ZOOM_OUT}),
    ("pan left", {Move.PAN_LEFT}),
    ("the camera moves slowly to the left", {Move.PAN_LEFT}),
    ("pan from left to right", {Move.PAN_RIGHT}),
    ("镜头左移", {Move.PAN_LEFT}),
    ("从左到右平移", {Move.PAN_RIGHT}),
    ("镜头右移", {Move.PAN_RIGHT}),
    ("orbit around the statue", {Move.ORBIT}),
    ("360 view", {Move.ORBIT}),
    ("镜头环绕", {Move.ORBIT}),
    ("crane up", {Move.RISE}),
    ("rise", {Move.RISE}),
    ("镜头上升", {Move.RISE}),
    ("rain, fall", {Move.FALL}),
    ("tilt down", {Move.FALL}),
    ("镜头下降", {Move.FALL}),
    ("handheld", {Move.HANDHELD}),
    ("hand-held, shaky", {Move.HANDHELD}),
    ("手持拍摄", {Move.HANDHELD}),
    ("static camera", {Move.STILL}),
    ("固定镜头", {Move.STILL}),
    ("push in while panning left, handheld", {Move.ZOOM_IN, Move.PAN_LEFT, Move.HANDHELD}),
    ("推近，左移，上升", {Move.ZOOM_IN, Move.PAN_LEFT, Move.RISE}),
    ("a woman smiles and turns her head", set()),
    ("the sun rises", set()),
    ("autumn leaves fall from the tree", set()),
    ("", set()),
]


@pytest.mark.parametrize(("prompt", "moves"), MOVES)
def test_camera_words_are_read_in_both_languages(prompt: str, moves: set[Move]) -> None:
    assert set(understand(prompt).moves) == moves


@pytest.mark.parametrize(
    ("prompt", "effects", "grades"),
    [
        ("heavy snowfall at night", {Effect.SNOW}, {Grade.NIGHT}),
        ("大雪纷飞的夜晚", {Effect.SNOW}, {Grade.NIGHT}),
        ("rainy day", {Effect.RAIN}, set[Grade]()),
        ("下雨", {Effect.RAIN}, set[Grade]()),
        ("fireflies in the mist", {Effect.DUST, Effect.FOG}, set[Grade]()),
        ("雾中的光点", {Effect.DUST, Effect.FOG}, set[Grade]()),
        ("golden sunset", set[Effect](), {Grade.WARM}),
        ("寒冷的冬天", set[Effect](), {Grade.COLD}),
        ("black and white", set[Effect](), {Grade.MONO}),
        ("the train in the brain of a trainee on hard terrain", set[Effect](), set[Grade]()),
        ("a knight and a nightingale, sprinkled with industry", set[Effect](), set[Grade]()),
    ],
)
def test_weather_and_light_are_read_and_parts_of_words_are_not(
    prompt: str, effects: set[Effect], grades: set[Grade]
) -> None:
    reading = understand(prompt)
    assert (set(reading.effects), set(reading.grades)) == (effects, grades)


@pytest.mark.parametrize(
    "prompt", ["no rain", "without any snow", "sunny, not dark", "没有雨", "不要下雪", "无雾", "don't zoom in"]
)
def test_what_is_denied_is_not_followed(prompt: str) -> None:
    assert understand(prompt).understood == ()


def test_what_is_denied_once_and_said_once_is_followed() -> None:
    assert understand("no rain at first, then rain").effects == (Effect.RAIN,)


def test_of_two_moves_that_exclude_each_other_the_first_is_made_and_the_other_reported() -> None:
    reading = understand("zoom out, then zoom in; pan left and orbit; snow")
    assert reading.moves == (Move.ZOOM_OUT, Move.PAN_LEFT)
    assert reading.set_aside == (("zoom in", "camera: zoom_in"), ("orbit", "camera: orbit"))
    assert ("snow", "effect: snow") in reading.understood
    assert understand("static shot, zoom in").moves == (Move.STILL,)
    assert understand("推近，固定镜头").moves == (Move.ZOOM_IN,)


def test_places_are_read_and_cities_by_the_sea_in_name_only_are_cities() -> None:
    assert understand("a beach below the mountains").places == (Place.SEA, Place.MOUNTAINS)
    assert understand("上海的街道").places == (Place.CITY,)
    assert understand("星空下的沙漠").places == (Place.SPACE, Place.DESERT)


def test_the_words_are_told_in_the_order_they_were_said() -> None:
    reading = understand("雪夜，镜头推近")
    assert reading.understood == (("雪", "effect: snow"), ("夜", "light: night"), ("推近", "camera: zoom_in"))


@pytest.mark.parametrize(
    "prompt", ["🎬🌧️🏔️", "\"quoted\" 'and' `ticked`", "\x00\ufffe\u202e", "(" * 500, "推" * 10_000, "no " * 3000]
)
def test_any_text_is_a_prompt(prompt: str) -> None:
    assert understand(prompt).set_aside == ()
