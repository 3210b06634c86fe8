"""Binding: what clients send becomes what engines see, and back, with every problem told at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Self

import pytest
from pydantic import BaseModel, Field, model_validator

from springtide.domain.errors import ConfigError, InvalidInput
from springtide.domain.ids import BlobId, ModelName
from springtide.engines.binding import bind, collect, describe, file_fields, place
from springtide.engines.catalog import engine_names, load_engine
from springtide.engines.protocol import Engine, InputFile, Media, OutputFile, Progress

A, B = BlobId("blob_" + "a" * 32), BlobId("blob_" + "b" * 32)


class Input(BaseModel):
    image: Annotated[InputFile, Media("image/*", max_pixels=1000)]
    extra: list[Annotated[InputFile, Media("image/png, audio/*", max_bytes=5)]] = []
    voice: Annotated[InputFile | None, Media("audio/*", needs_audio=True)] = None
    strength: float = Field(0.8, ge=0, le=1)
    words: list[str] = []
    crop: bool = False


class Output(BaseModel):
    picture: OutputFile
    frames: list[OutputFile] = []
    poster: OutputFile | None = None
    width: int


class Upscale(Engine[Input, Output]):
    """Makes it larger."""

    title, license, stages = "Upscale", "MIT", ("up",)

    def load(self) -> None: ...

    def run(self, inputs: Input, progress: Progress) -> Output:
        raise NotImplementedError


def a_file(name: str = "a.png") -> InputFile:
    return InputFile(path=Path(name), media_type="image/png", bytes=3)


FILES = {A: a_file("a.png"), B: a_file("b.png")}


def problems_of(inputs: dict[str, Any], model: type[BaseModel] = Input) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        bind(model, inputs, FILES)
    json.dumps(caught.value.details)  # must be fit for a problem document
    return {item["loc"]: item["message"] for item in caught.value.details["errors"]}


def test_file_fields_hold_files_in_the_model_and_blob_ids_in_json() -> None:
    model, kept = bind(Input, {"image": A, "extra": [B, A]}, FILES)
    assert isinstance(model, Input)
    assert model.image == FILES[A]
    assert [file.path.name for file in model.extra] == ["b.png", "a.png"]
    assert kept == {"image": A, "extra": [B, A], "voice": None, "strength": 0.8, "words": [], "crop": False}


def test_the_json_form_binds_again_to_the_same_model() -> None:
    model, kept = bind(Input, {"image": A, "strength": "0.5", "words": '["x", "y"]'}, FILES)
    assert bind(Input, json.loads(json.dumps(kept)), FILES) == (model, kept)


def test_text_from_a_form_is_coerced() -> None:
    model, kept = bind(Input, {"image": A, "extra": B, "strength": "0.25", "crop": "true", "words": "one"}, FILES)
    assert isinstance(model, Input)
    assert (model.strength, model.crop, model.words) == (0.25, True, ["one"])
    assert kept["extra"] == [B]


def test_a_list_may_come_as_json_text_as_one_value_or_empty() -> None:
    for given, want in [('["a", "b"]', ["a", "b"]), ("[not json", ["[not json"]), ("", []), (["q"], ["q"])]:
        assert bind(Input, {"image": A, "words": given}, FILES)[1]["words"] == want


def test_every_problem_is_told_at_once() -> None:
    found = problems_of({"strength": 7, "voice": "blob_none", "colour": "red", "extra": [A, 5]})
    assert found.keys() == {"image", "strength", "voice", "colour", "extra"}
    assert found["image"] == "a file is required"
    assert "less than or equal to 1" in found["strength"]
    assert "no such file" in found["voice"]
    assert "image, extra, voice, strength, words, crop" in found["colour"]


def test_a_wrong_value_is_shown_back() -> None:
    with pytest.raises(InvalidInput) as caught:
        bind(Input, {"image": A, "strength": "strong"}, FILES)
    assert caught.value.details["errors"][0]["value"] == "strong"
    assert "strength" in caught.value.message


@pytest.mark.parametrize("given", [[A, B], [], 5, {"id": A}, ""])
def test_one_file_is_one_blob_id(given: Any) -> None:
    assert problems_of({"image": given}).keys() == {"image"}


class Either(BaseModel):
    image: InputFile | None = None
    video: InputFile | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.image is None and self.video is None:
            raise ValueError("give image or video")
        return self


def test_what_follows_from_a_wrong_file_is_not_told_beside_it() -> None:
    assert problems_of({}, Either) == {"": "give image or video"}
    assert set(problems_of({"image": "blob_nowhere"}, Either)) == {"image"}


def test_a_file_in_a_field_that_takes_none_is_an_error() -> None:
    assert problems_of({"image": A, "strength": B}) == {"strength": "takes no file"}


def test_a_model_that_forbids_nothing_still_refuses_unknown_fields() -> None:
    class Loose(BaseModel):
        model_config = {"extra": "allow"}
        n: int = 1

    assert problems_of({"m": 2}, Loose).keys() == {"m"}


def test_file_fields_carry_the_limits_of_media() -> None:
    image, extra, voice = file_fields(Input)
    assert (image.name, image.media_types, image.required, image.many) == ("image", ("image/*",), True, False)
    assert (image.max_pixels, image.max_duration_s) == (1000, None)
    assert (extra.media_types, extra.many, extra.required, extra.max_bytes) == (
        ("image/png", "audio/*"),
        True,
        False,
        5,
    )
    assert (voice.required, voice.needs_audio, voice.max_pixels) == (False, True, None)
    assert voice.max_duration_s == 4 * 3600


def test_a_description_says_what_clients_need() -> None:
    model = describe(ModelName("up"), Upscale, engine_reference="x:Upscale")
    assert (model.title, model.description, model.license) == ("Upscale", "Makes it larger.", "MIT")
    assert model.output_files == ("picture", "frames", "poster")
    assert model.input_schema["additionalProperties"] is False
    assert model.input_schema["required"] == ["image"]
    assert "path" not in json.dumps(model.input_schema["properties"])
    assert "path" not in json.dumps(model.output_schema["properties"])


def test_a_file_hidden_deeper_is_refused_when_the_engine_is_described() -> None:
    class Inner(BaseModel):
        file: InputFile

    class Deep(BaseModel):
        inner: dict[str, Inner]

    with pytest.raises(ConfigError, match=r"Deep\.inner"):
        file_fields(Deep)


def test_outputs_are_collected_and_placed() -> None:
    picture, one, two = (OutputFile(path=Path(name), media_type="image/png") for name in ("p", "1", "2"))
    found, files = collect(Output(picture=picture, frames=[one, two], width=7))
    assert found == {"picture": {"$file": 0}, "frames": [{"$file": 1}, {"$file": 2}], "poster": None, "width": 7}
    assert files == [picture, one, two]
    placed = place(json.loads(json.dumps(found)), [BlobId(name) for name in "xyz"])
    assert placed == {"picture": "x", "frames": ["y", "z"], "poster": None, "width": 7}


def test_the_built_in_engines_are_found_by_name_and_by_path() -> None:
    assert {"matting", "speech", "synthetic"} <= set(engine_names())
    assert load_engine("synthetic") is load_engine("springtide.engines.synthetic.engine:Synthetic")


@pytest.mark.parametrize(
    "reference",
    ["nothing", "", ":", "json:loads", "json:", "no_such_module:X", "springtide.engines.protocol:Engine", "a b:c"],
)
def test_what_is_no_engine_is_a_configuration_error(reference: str) -> None:
    with pytest.raises(ConfigError, match="engine"):
        load_engine(reference)


def test_an_engine_beside_the_configuration_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_engine.py").write_text(
        "from springtide.engines.synthetic.engine import Synthetic\nclass Mine(Synthetic): ...\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    assert load_engine("my_own_engine:Mine").__name__ == "Mine"


def test_importing_engines_for_their_schemas_loads_nothing_heavy() -> None:
    code = (
        "import sys; from springtide.engines import binding, catalog\n"
        "for name in ('matting', 'speech', 'synthetic'): catalog.load_engine(name)\n"
        "heavy = {'numpy', 'onnxruntime', 'PIL', 'av', 'faster_whisper', 'ctranslate2', 'tokenizers'}\n"
        "sys.exit(' '.join(sorted(heavy & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "", done.stderr


def test_an_operator_may_raise_the_limit_of_length_and_pictures_have_none() -> None:
    model = describe(ModelName("up"), Upscale, engine_reference="x:Upscale", max_duration_s=36_000.0)
    assert [(one.name, one.max_duration_s) for one in model.input_files] == [
        ("image", None),
        ("extra", 36_000.0),
        ("voice", 36_000.0),
    ]
    assert [one.max_duration_s for one in file_fields(Input)] == [None, 14_400.0, 14_400.0]
