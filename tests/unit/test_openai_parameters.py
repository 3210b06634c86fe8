"""OpenAI's parameters and names, as inputs and models of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from springtide.domain.errors import InvalidInput, NotFound
from springtide.domain.ids import ModelName
from springtide.domain.model import Model
from springtide.engines.binding import describe
from springtide.engines.catalog import AnyEngine
from springtide.engines.human.engine import DigitalHuman
from springtide.engines.matting.isnet import IsnetMatting
from springtide.engines.media.concat import Concat
from springtide.engines.media.thumbnail import Thumbnail
from springtide.engines.media.transcode import Transcode
from springtide.engines.restoration.engine import FaceRestoration
from springtide.engines.speech.whisper import WhisperSpeech
from springtide.engines.synthetic.engine import Synthetic
from springtide.engines.upscaling.engine import Upscale
from springtide.engines.video.parallax import ParallaxPreview
from springtide.gateway.openai.choosing import Choice
from springtide.gateway.openai.parameters import translate
from springtide.gateway.openai.references import Named, place
from springtide.gateway.openai.uses import Route, uses
from springtide.gateway.served import ServedModel

ENGINES: dict[str, type[AnyEngine]] = {
    "digital-human": DigitalHuman,
    "matting": IsnetMatting,
    "restore": FaceRestoration,
    "speech": WhisperSpeech,
    "synthetic": Synthetic,
    "concat": Concat,
    "thumbnail": Thumbnail,
    "transcode": Transcode,
    "upscale": Upscale,
    "video": ParallaxPreview,
}
MODELS = {name: describe(ModelName(name), engine, engine_reference=name) for name, engine in ENGINES.items()}


def served(tmp_path: Path, *names: str) -> dict[ModelName, ServedModel]:
    return {
        ModelName(name): ServedModel(
            model=MODELS[name], engine=ENGINES[name]({}, tmp_path), timeout_s=60, max_attempts=1
        )
        for name in names
    }


@pytest.mark.parametrize(
    ("name", "routes"),
    [
        ("digital-human", [Route.VIDEOS]),
        ("matting", [Route.EDITS]),
        ("restore", [Route.EDITS]),
        ("speech", [Route.TRANSCRIPTIONS]),
        ("synthetic", []),
        ("concat", []),
        ("thumbnail", []),
        ("transcode", []),
        ("upscale", [Route.EDITS]),
        ("video", [Route.VIDEOS]),
    ],
)
def test_what_a_model_takes_and_gives_says_which_routes_it_serves(name: str, routes: list[Route]) -> None:
    assert [use.route for use in uses(MODELS[name])] == routes


@pytest.mark.parametrize(
    ("asked", "route", "wish", "found"),
    [
        ("whisper-1", Route.TRANSCRIPTIONS, {}, "speech"),
        ("gpt-4o-mini-transcribe", Route.TRANSCRIPTIONS, {}, "speech"),
        ("speech", Route.TRANSCRIPTIONS, {}, "speech"),
        ("sora-2", Route.VIDEOS, {}, "video"),
        (None, Route.VIDEOS, {}, "video"),
        ("sora-2", Route.VIDEOS, {"voice": True}, "digital-human"),
        ("digital-human", Route.VIDEOS, {}, "digital-human"),
        ("gpt-image-1", Route.EDITS, {"transparent": True}, "matting"),
        (None, Route.EDITS, {"transparent": True}, "matting"),
        ("cut-out", Route.EDITS, {}, "matting"),
    ],
)
def test_names_of_openais_stand_for_what_is_served(
    tmp_path: Path, asked: str | None, route: Route, wish: dict[str, bool], found: str
) -> None:
    choice = Choice(served(tmp_path, *ENGINES), {"cut-out": "matting"})
    assert choice.named(asked, route, **wish).model.name == found


@pytest.mark.parametrize(
    ("asked", "route", "words"),
    [
        ("gpt-image-1", Route.EDITS, "matting (Matting: background=transparent"),
        ("whisper-2000", Route.EDITS, "There is no model 'whisper-2000'"),
        ("speech", Route.EDITS, "The model 'speech' is not for /v1/images/edits"),
        ("dall-e-3", Route.GENERATIONS, "No model served here can do what /v1/images/generations does"),
        (None, Route.EDITS, "Say which model is meant"),
    ],
)
def test_a_name_that_nothing_explains_is_not_found_and_what_is_served_is_named(
    tmp_path: Path, asked: str | None, route: Route, words: str
) -> None:
    with pytest.raises(NotFound, match=r".") as caught:
        Choice(served(tmp_path, *ENGINES), {}).named(asked, route)
    assert words in caught.value.message
    assert caught.value.code == "unknown_model"


@pytest.mark.parametrize(
    ("model", "route", "values", "inputs", "ignored"),
    [
        ("speech", Route.TRANSCRIPTIONS, {"language": "English", "include": []}, {"language": "en"}, []),
        ("speech", Route.TRANSCRIPTIONS, {"language": "zh-CN"}, {"language": "zh"}, []),
        ("speech", Route.TRANSCRIPTIONS, {"language": "auto"}, {}, []),
        ("speech", Route.TRANSCRIPTIONS, {"keywords": ["Springtide", " "]}, {"hotwords": ["Springtide"]}, []),
        ("speech", Route.TRANSCRIPTIONS, {"prompt": "a" * 999 + "bc"}, {"prompt": "a" * 998 + "bc"}, []),
        ("speech", Route.TRANSCRIPTIONS, {"timestamp_granularities": ["word"]}, {"word_times": True}, []),
        ("speech", Route.TRANSCRIPTIONS, {"quality": "fast", "itn": "true"}, {"quality": "fast", "itn": "true"}, []),
        ("matting", Route.EDITS, {"background": "transparent", "prompt": "x"}, {}, ["prompt"]),
        ("matting", Route.EDITS, {"background": "opaque"}, {"background": "#ffffff"}, []),
        ("matting", Route.EDITS, {"background": "#00ff00"}, {"background": "#00ff00"}, []),
        ("matting", Route.EDITS, {"quality": "low", "output_format": "png"}, {"quality": "fast", "format": "png"}, []),
        ("restore", Route.EDITS, {"background": "best", "size": "1024x1024"}, {"background": "best"}, ["size"]),
        ("restore", Route.EDITS, {"background": "opaque", "quality": "high"}, {}, ["quality"]),
        ("upscale", Route.EDITS, {"quality": "auto", "scale": "4", "user": "me"}, {"scale": "4"}, ["user"]),
        ("video", Route.VIDEOS, {"prompt": "snow", "seconds": 4, "size": "720x1280"},
         {"prompt": "snow", "seconds": 4, "width": 720, "height": 1280}, []),
        ("video", Route.VIDEOS, {"num_frames": "48", "fps": "24"}, {"seconds": 2.0, "fps": "24"}, []),
        ("video", Route.VIDEOS, {"extra_params": {"camera": "orbit"}, "lora": {}}, {"camera": "orbit"}, ["lora"]),
        ("digital-human", Route.VIDEOS, {"size": "720x1280", "prompt": "x", "seconds": "4"},
         {"size": 1280}, ["prompt", "seconds"]),
    ],
)  # fmt: skip
def test_parameters_go_where_the_model_has_a_field_of_their_meaning(
    model: str, route: Route, values: dict[str, Any], inputs: dict[str, Any], ignored: list[str]
) -> None:
    translated = translate(MODELS[model], route, values)
    assert (translated.inputs, translated.ignored) == (inputs, ignored)


@pytest.mark.parametrize(
    ("model", "route", "values", "param"),
    [
        ("restore", Route.EDITS, {"background": "transparent"}, "background"),
        ("video", Route.VIDEOS, {"size": "large"}, "size"),
        ("video", Route.VIDEOS, {"num_frames": "many"}, "num_frames"),
        ("video", Route.VIDEOS, {"promt": "snow"}, "promt"),
    ],
)
def test_what_cannot_be_obeyed_is_refused_by_the_callers_own_word(
    model: str, route: Route, values: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        translate(MODELS[model], route, values)
    assert caught.value.details["errors"][0]["loc"] == param


@pytest.mark.parametrize(
    ("model", "param", "media_type", "field"),
    [
        ("speech", "file", "audio/wav", "audio"),
        ("speech", "file", "video/mp4", "audio"),
        ("matting", "image", "image/png", "image"),
        ("matting", "background_image", "image/png", "background_image"),
        ("video", "input_reference", "image/jpeg", "image"),
        ("digital-human", "input_reference", "video/mp4", "video"),
        ("digital-human", "input_reference", "image/png", "image"),
        ("digital-human", "audio_reference", "audio/wav", "audio"),
        ("digital-human", "audio_reference", "video/mp4", "audio"),
        ("upscale", "image", "video/mp4", "image"),  # refused at the door: this route is for pictures
    ],
)
def test_a_file_goes_where_its_name_and_its_kind_say(model: str, param: str, media_type: str, field: str) -> None:
    inputs, origin = place(_model(model), [Named(param, "blob_1", media_type)])
    assert inputs == {field: "blob_1"}
    assert origin == {field: param}


def test_two_pictures_for_a_model_that_takes_one_are_refused() -> None:
    with pytest.raises(InvalidInput, match="takes one file"):
        place(_model("matting"), [Named("image", "blob_1", "image/png"), Named("image", "blob_2", "image/png")])


def _model(name: str) -> Model:
    return MODELS[name]
