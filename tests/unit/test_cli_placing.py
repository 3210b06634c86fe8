"""Files find their fields by what they are, not by the order in which they were typed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from springtide.cli.placing import first_taking, place
from springtide.domain.errors import InvalidInput
from springtide.domain.model import FileField


def field(name: str, *media_types: str, many: bool = False) -> FileField:
    return FileField(name=name, media_types=media_types, required=False, many=many, max_bytes=1)


def model(name: str, *fields: FileField) -> Any:
    return SimpleNamespace(name=name, input_files=fields)


MATTING = model("matting", field("image", "image/*"), field("video", "video/*"))
TALK = model("talk", field("face", "image/*", "video/*"), field("speech", "audio/*", "video/*"))
ALBUM = model("album", field("sound", "audio/*"), field("pictures", "image/*", many=True))


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
def test_a_file_goes_where_its_kind_is_taken(model: Any, files: list[str], fields: list[str]) -> None:
    assert [name for name, _ in place(model, [Path(file) for file in files])] == fields


def test_more_files_than_fields_are_named() -> None:
    with pytest.raises(InvalidInput, match=r"matting takes image, video; too many: c\.png"):
        place(MATTING, [Path("a.png"), Path("c.png")])
    with pytest.raises(InvalidInput, match="takes no files"):
        place(model("synthetic"), [Path("a.png")])


def test_what_a_step_gives_feeds_the_field_that_takes_it() -> None:
    assert first_taking(MATTING.input_files, ["video/mp4"]) == MATTING.input_files[1]
    assert first_taking(MATTING.input_files, []) == MATTING.input_files[0]
    assert first_taking([], ["image/png"]) is None
