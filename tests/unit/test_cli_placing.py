"""Files find their fields by what they are, not by the order in which they were typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from springtide.cli.placing import first_taking, place
from springtide.domain.errors import InvalidInput


def field(name: str, *media_types: str, many: bool = False) -> dict[str, Any]:
    return {"name": name, "media_types": list(media_types), "many": many}


MATTING = {"name": "matting", "input_files": [field("image", "image/*"), field("video", "video/*")]}
TALK = {"name": "talk", "input_files": [field("face", "image/*", "video/*"), field("speech", "audio/*", "video/*")]}
ALBUM = {"name": "album", "input_files": [field("sound", "audio/*"), field("pictures", "image/*", many=True)]}


@pytest.mark.parametrize(
    ("model", "files", "fields"),
    [
        (MATTING, ["cat.jpg"], ["image"]),
        (MATTING, ["cat.mp4"], ["video"]),
        (MATTING, ["cat"], ["image"]),
        (MATTING, ["cat.mov", "wall.png"], ["video", "image"]),
        (TALK, ["a.wav", "me.png"], ["speech", "face"]),
        (TALK, ["me.mp4", "talk.mp4"], ["face", "speech"]),
        (ALBUM, ["a.png", "b.png", "c.mp3", "d.png"], ["pictures", "pictures", "sound", "pictures"]),
        (MATTING, ["notes.txt"], ["image"]),
    ],
)
def test_a_file_goes_where_its_kind_is_taken(model: dict[str, Any], files: list[str], fields: list[str]) -> None:
    assert [name for name, _ in place(model, [Path(file) for file in files])] == fields


def test_more_files_than_fields_are_named() -> None:
    with pytest.raises(InvalidInput, match=r"matting takes image, video; too many: c\.png"):
        place(MATTING, [Path("a.png"), Path("c.png")])
    with pytest.raises(InvalidInput, match="takes no files"):
        place({"name": "synthetic", "input_files": []}, [Path("a.png")])


def test_what_a_step_gives_feeds_the_field_that_takes_it() -> None:
    assert first_taking(MATTING["input_files"], ["video/mp4"])["name"] == "video"  # type: ignore[index,arg-type]
    assert first_taking(MATTING["input_files"], [])["name"] == "image"  # type: ignore[index,arg-type]
    assert first_taking([], ["image/png"]) is None
