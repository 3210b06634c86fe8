"""The watermark engine on real pictures: where the mark stands, how large it is, and that nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from engine_world import DATA, Line, probed
from PIL import Image, ImageChops
from pydantic import ValidationError

from springtide.domain.errors import ConfigError
from springtide.engines.media.watermark import Input, Watermark


def marked(tmp_path: Path, picture: Path = DATA / "portrait.jpg", **inputs: Any) -> Image.Image:
    engine = Watermark({}, tmp_path)
    engine.load()
    line = Line(tmp_path / "out")
    given = Input(image=probed(picture, "image/*"), **inputs)
    output = engine.run(given, line)
    with Image.open(picture) as before, Image.open(output.result.path) as made:
        made.load()
        assert made.size == (output.width, output.height) == before.size
        return made


def changed(made: Image.Image, picture: Path = DATA / "portrait.jpg") -> tuple[int, int, int, int]:
    """The box in which the two differ."""
    with Image.open(picture) as before:
        box = ImageChops.difference(made.convert("RGB"), before.convert("RGB")).getbbox()
    assert box is not None
    return box


@pytest.mark.parametrize("position", ["top-left", "top-right", "bottom-left", "bottom-right", "center"])
def test_the_text_stands_where_it_is_asked_for_and_as_wide(tmp_path: Path, position: str) -> None:
    left, top, right, bottom = changed(marked(tmp_path, text="© Springtide", position=position, size=0.5))
    assert right - left == pytest.approx(256, abs=12)
    assert ((left + right) / 2 < 200) == ("left" in position) and ((left + right) / 2 > 312) == ("right" in position)
    assert ((top + bottom) / 2 < 200) == ("top" in position) and ((top + bottom) / 2 > 312) == ("bottom" in position)
    assert left >= 0 and top >= 0 and right <= 512 and bottom <= 512


def test_a_logo_keeps_its_shape_and_a_transparent_picture_stays_transparent(tmp_path: Path) -> None:
    clear, logo = tmp_path / "clear.png", tmp_path / "logo.png"
    Image.new("RGBA", (400, 200), (0, 0, 0, 0)).save(clear)
    Image.new("RGBA", (50, 100), (255, 0, 0, 255)).save(logo)
    made = marked(tmp_path, clear, logo=probed(logo, "image/*"), size=0.5, opacity=0.5, position="center")
    box = made.getchannel("A").getbbox()
    assert box == (175, 50, 225, 150)
    assert made.getpixel((200, 100)) == (255, 0, 0, 128)


def test_a_jpeg_is_on_white(tmp_path: Path) -> None:
    clear = tmp_path / "clear.png"
    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(clear)
    made = marked(tmp_path, clear, text="x", format="jpeg", position="bottom-right")
    assert made.format == "JPEG" and min(made.getpixel((5, 5))) > 250  # type: ignore[type-var]


@pytest.mark.parametrize("inputs", [{}, {"text": "", "logo": None}, {"text": "x", "size": 0}])
def test_a_mark_of_nothing_is_refused(inputs: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Input(image=probed(DATA / "portrait.jpg", "image/*"), **inputs)


def test_a_very_long_text_on_a_tiny_picture_still_makes_a_picture(tmp_path: Path) -> None:
    tiny = tmp_path / "tiny.png"
    Image.new("RGB", (3, 2), "red").save(tiny)
    marked(tmp_path, tiny, text="a" * 200)


def test_a_font_that_is_not_there_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="font"):
        Watermark({"font": str(tmp_path / "none.ttf")}, tmp_path)
