"""Face restoration: the real network sharpens a damaged face and moves nothing; any network draws where it should and
nowhere else; pictures of every kind come out as what they were."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import small_networks
from engine_world import DATA, Line, probed, weights_folder
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from springtide.domain.errors import BadMedia, ConfigError, InvalidInput
from springtide.engines.protocol import Cancelled
from springtide.engines.provenance import Kind, origin_of
from springtide.engines.restoration.blending import face_mask, grain_of, grained
from springtide.engines.restoration.engine import FaceRestoration
from springtide.engines.restoration.restorers import needed_side
from springtide.engines.restoration.schema import Action, Input, Output
from springtide.testing import media
from springtide.testing import media_makers as makers
from springtide.testing.engine_suite import EngineContract

pytestmark = pytest.mark.xdist_group("engines")

PORTRAIT = DATA / "portrait.jpg"
HEAD = (130, 5, 320, 195)
Make = Callable[..., FaceRestoration]


class TestTheContract(EngineContract):
    engine = "springtide.engines.restoration.engine:FaceRestoration"
    inputs: ClassVar = {"image": PORTRAIT, "scale": 1}
    refused_settings = ({"face_side": 20}, {"template": "gpen"})
    refused_inputs = ({"scale": 3}, {"strength": 2}, {"large_faces": "grow"})


@pytest.fixture(scope="module")
def network() -> FaceRestoration:
    """The engine with Real-ESRGAN on a quarter of the usual pixels: the same way, a quarter of the time."""
    engine = FaceRestoration({"face_side": 64}, weights_folder(FaceRestoration))
    engine.load()
    return engine


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """The engine with a network of a few bytes: for what is not the network's doing."""

    def made(kind: Callable[..., Path] = small_networks.same, *values: Any, **settings: Any) -> FaceRestoration:
        path = kind(tmp_path_factory.mktemp("network") / "small.onnx", *values)
        engine = FaceRestoration({"file": str(path), **settings}, weights_folder(FaceRestoration))
        engine.load()
        return engine

    return made


@pytest.fixture(scope="module")
def same(make: Make) -> FaceRestoration:
    return make()


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """The portrait's head at a third of its size, compressed hard: its square has 58 pixels."""
    path = tmp_path / "damaged.jpg"
    with Image.open(PORTRAIT) as portrait:
        portrait.crop(HEAD).resize((64, 64), Image.Resampling.LANCZOS).save(path, quality=60)
    return path


def run(engine: FaceRestoration, path: Path, folder: Path, **options: Any) -> tuple[Output, Image.Image]:
    line = Line(folder / "job")
    output = engine.run(Input(image=probed(path, "image/*"), **options), line)
    picture = Image.open(output.picture.path)
    picture.load()
    assert picture.size == (output.width, output.height)
    assert line.fractions == sorted(line.fractions)
    assert set(line.stages) <= set(FaceRestoration.stages)
    return output, picture


def pixels(picture: Image.Image) -> NDArray[np.int16]:
    return np.asarray(picture).astype(np.int16)


def test_a_damaged_face_becomes_sharp_and_stays_where_it_is(
    network: FaceRestoration, damaged: Path, tmp_path: Path
) -> None:
    output, picture = run(network, damaged, tmp_path)
    [face] = output.details
    assert (output.faces, output.restored, face.action) == (1, 1, Action.RESTORED)
    assert 50 < face.side < 70
    assert face.sharpness_before is not None
    assert face.sharpness_after is not None
    assert face.sharpness_after > 2 * face.sharpness_before
    assert face.landmark_shift is not None
    assert face.landmark_shift < 0.1
    assert picture.size == (128, 128)
    with Image.open(damaged) as original:
        resampled = pixels(original.resize((128, 128), Image.Resampling.LANCZOS))
    assert np.abs(pixels(picture) - resampled).mean() < 12, "the same person in the same light"
    assert abs(pixels(picture).mean() - resampled.mean()) < 3
    assert output.message == "1 face was found: 1 restored."
    assert (output.engine, output.model, output.license) == ("restore", "real-esrgan-x4plus", "BSD-3-Clause")
    assert output.generative is True
    origin = origin_of(output.picture.path)
    assert origin is not None
    assert origin.kind is Kind.COMPOSITE
    assert origin.facts["model"] == "real-esrgan-x4plus"


def test_a_network_that_changes_nothing_leaves_the_picture_as_it_was(same: FaceRestoration, tmp_path: Path) -> None:
    """What is cut out, turned, scaled, matched in colour and pasted comes back to the same picture, a little softer."""
    output, picture = run(same, PORTRAIT, tmp_path, scale=1, strength=1.0)
    with Image.open(PORTRAIT) as original:
        difference = np.abs(pixels(picture) - pixels(original))
    assert output.restored == 1
    assert difference[60:160, 180:270].max() <= 45
    assert difference[60:160, 180:270].mean() < 3
    assert difference[300:].max() == 0, "nothing but the face is touched"
    assert output.model == "small"


def test_strength_is_how_much_is_taken(make: Make, damaged: Path, tmp_path: Path) -> None:
    engine = make(small_networks.sharpening)
    changes: list[float] = []
    for number, strength in enumerate((0.0, 0.5, 1.0)):
        folder = tmp_path / str(number)
        folder.mkdir()
        output, picture = run(engine, damaged, folder, scale=1, strength=strength)
        assert output.details[0].action is (Action.RESTORED if strength else Action.LEFT)
        with Image.open(damaged) as original:
            changes.append(float(np.abs(pixels(picture) - pixels(original)).mean()))
    assert changes[0] == 0.0
    assert changes[2] == pytest.approx(2 * changes[1], rel=0.15)
    assert changes[2] > 0.3


def test_every_face_of_a_group_is_restored_but_those_beyond_the_limit(make: Make, tmp_path: Path) -> None:
    group, head = Image.new("RGB", (900, 300), (90, 100, 110)), Image.open(PORTRAIT).crop(HEAD)
    for x, side in ((10, 280), (300, 200), (520, 150), (700, 110)):
        group.paste(head.resize((side, side), Image.Resampling.LANCZOS), (x, 5))
    group.save(tmp_path / "group.png")
    output, _ = run(make(small_networks.sharpening), tmp_path / "group.png", tmp_path, scale=1, max_faces=3)
    assert (output.faces, output.restored) == (4, 3)
    assert [face.action for face in output.details] == [Action.RESTORED] * 3 + [Action.LEFT]
    assert "3 largest" in (output.details[3].reason or "")
    assert [face.box[0] for face in output.details] == sorted(face.box[0] for face in output.details)
    assert output.message == "4 faces were found: 3 restored, 1 left."


def test_a_face_is_shown_in_as_many_pixels_as_it_needs() -> None:
    with Image.open(PORTRAIT) as portrait:
        sharp = portrait.crop((145, 25, 305, 185)).resize((128, 128), Image.Resampling.LANCZOS)
    blurred = sharp.resize((64, 64), Image.Resampling.LANCZOS).resize((128, 128), Image.Resampling.BICUBIC)
    chance = np.random.default_rng(1)
    grainy = (pixels(blurred) + np.rint(chance.normal(0, 6, (128, 128, 1)))).clip(0, 255).astype(np.uint8)
    assert needed_side(np.asarray(sharp)) == 128
    assert needed_side(np.asarray(blurred)) == 80
    assert needed_side(grainy) <= 96, "grain is no detail"
    assert needed_side(np.full((128, 128, 3), 7, np.uint8)) == 80


def test_grain_is_measured_and_comes_back_only_where_there_was_any() -> None:
    chance, smooth = np.random.default_rng(2), np.full((200, 200, 3), 120, np.uint8)
    grainy = (smooth + np.rint(chance.normal(0, 5, (200, 200, 1)))).astype(np.uint8)
    assert grain_of(grainy[..., 0].astype(np.float32)) == pytest.approx(5, rel=0.2)
    face = np.full((512, 512, 3), 120, np.uint8)
    assert np.array_equal(grained(face, smooth), face)
    assert 1.5 < grained(face, grainy).std() < 5
    assert np.array_equal(grained(face, grainy), grained(face, grainy)), "the same every time"


def test_faces_that_overlap_are_parted_between_them() -> None:
    upright = np.array([[193.0, 240.0], [319.0, 240.0], [256.0, 314.0], [201.0, 371.0], [313.0, 371.0]])
    matrix = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    alone = face_mask(matrix, upright, [])
    beside = face_mask(matrix, upright, [upright + np.array([260.0, 0.0])])
    assert alone[300, 256] == pytest.approx(1.0)
    assert alone[0].max() < 0.02
    assert beside[300, 256] > 0.98
    assert beside[300, 470] < 0.1 < 0.9 < alone[300, 440]


@pytest.mark.parametrize(
    ("side", "large", "action", "strength"),
    [
        (700, "blend", Action.RESTORED, 1.0),
        (1100, "blend", Action.BLENDED, 0.6),
        (1100, "leave", Action.LEFT, 0.0),
        (1700, "blend", Action.LEFT, 0.0),
        (1100, "restore", Action.RESTORED, 1.0),
        (30, "restore", Action.LEFT, 0.0),
    ],
)
def test_large_and_tiny_faces_are_taken_back(
    side: int, large: str, action: Action, strength: float, same: FaceRestoration, tmp_path: Path
) -> None:
    """The network here sees 512 pixels: full strength up to 768, none from 1536 on."""
    width = round(side * 190 / 174)
    with Image.open(PORTRAIT) as portrait:
        head = portrait.crop(HEAD).resize((width, width), Image.Resampling.BICUBIC)
    picture = Image.new("RGB", (max(400, width + 20), max(400, width + 20)), (120, 120, 120))
    picture.paste(head, (10, 10))
    picture.save(tmp_path / "head.jpg", quality=95)
    output, _ = run(same, tmp_path / "head.jpg", tmp_path, scale=1, strength=1.0, large_faces=large)
    if side == 30 and not output.faces:
        return  # so small that it was not even seen
    [face] = output.details
    assert face.side == pytest.approx(side, rel=0.1)
    assert face.action is action
    assert face.strength == pytest.approx(strength, abs=0.15)
    assert (face.reason is None) == (action is Action.RESTORED)


@pytest.mark.parametrize("kind", [small_networks.moving, small_networks.black])
def test_a_face_that_would_become_another_is_left(kind: Callable[..., Path], make: Make, tmp_path: Path) -> None:
    values = (90,) if kind is small_networks.moving else ()
    output, picture = run(make(kind, *values), PORTRAIT, tmp_path, scale=1)
    with Image.open(PORTRAIT) as original:
        assert np.array_equal(pixels(picture), pixels(original))
    [face] = output.details
    assert face.action is Action.LEFT
    assert "moved" in (face.reason or "")
    assert output.restored == 0


def test_codeformers_second_input_is_fed_and_missing_ones_are_named(make: Make, tmp_path: Path) -> None:
    engine = make(small_networks.weighted, license="S-Lab-1.0", name="codeformer", extra={"weight": 1.0})
    output, _ = run(engine, PORTRAIT, tmp_path, scale=1, strength=1.0)
    assert (output.model, output.license, output.restored) == ("codeformer", "S-Lab-1.0", 1)
    with pytest.raises(ConfigError, match=r"weight.*extra"):
        make(small_networks.weighted, extra={"other": 1.0})


def test_a_network_with_gpens_template_and_a_smaller_square_loads(make: Make, tmp_path: Path) -> None:
    def small(path: Path) -> Path:
        return small_networks.same(path, side=256)

    output, picture = run(make(small, template="gpen", generative=False), PORTRAIT, tmp_path, scale=1, strength=1.0)
    [face] = output.details
    assert face.side > 190, "GPEN's square is larger around the same face"
    assert output.generative is False
    with Image.open(PORTRAIT) as original:
        assert np.abs(pixels(picture) - pixels(original))[60:160, 180:270].mean() < 3.5


def test_files_that_are_no_restorers_are_refused_when_the_model_loads(make: Make, tmp_path: Path) -> None:
    def oblong(path: Path) -> Path:
        graph = small_networks.OnnxGraph("oblong")
        graph.node("Identity", [graph.input("x", [1, 3, 512, 256])], output="y")
        graph.output("y", [1, 3, 512, 256])
        graph.write(path)
        return path

    def wordless(path: Path) -> Path:
        graph = small_networks.OnnxGraph("wordless")
        graph.node("Identity", [graph.input("x", [1, 12])], output="y")
        graph.output("y", [1, 12])
        graph.write(path)
        return path

    def broken(path: Path) -> Path:
        path.write_bytes(b"no model")
        return path

    for kind, told in ((oblong, "side, side"), (wordless, "takes one picture"), (broken, "cannot be loaded")):
        with pytest.raises(ConfigError, match=told):
            make(kind)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"template": "gpen"}, r"template.*file is not set"),
        ({"file": "x.onnx", "face_side": 64}, "face_side"),
        ({"face_side": 20}, "face_side"),
        ({"std": 0, "file": "x.onnx"}, "std"),
        ({"templat": "gpen"}, "templat"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        FaceRestoration(settings, Path("unused"))


def test_the_label_stands_on_what_was_restored_and_on_nothing_else(same: FaceRestoration, tmp_path: Path) -> None:
    output, labelled = run(same, PORTRAIT, tmp_path, scale=1, label=True)
    with Image.open(PORTRAIT) as original:
        assert np.abs(pixels(labelled) - pixels(original))[:60, :150].max() > 100
    media.picture((300, 200)).save(tmp_path / "none.png")
    again = tmp_path / "again"
    again.mkdir()
    _, bare = run(same, tmp_path / "none.png", again, scale=1, label=True)
    assert np.array_equal(pixels(bare), pixels(media.picture((300, 200))))
    handed = tmp_path / "handed"
    handed.mkdir()
    kept, _ = run(same, output.picture.path, handed, scale=1, strength=0.0)
    origin = origin_of(kept.picture.path)
    assert origin is not None, "a mark is handed on by a job that draws nothing"


def test_a_picture_without_a_face_is_a_result(same: FaceRestoration, tmp_path: Path) -> None:
    media.picture((300, 200)).save(tmp_path / "none.png")
    output, picture = run(same, tmp_path / "none.png", tmp_path)
    assert (output.faces, output.restored, output.details) == (0, 0, [])
    assert output.message.startswith("No face was found")
    assert picture.size == (600, 400)
    assert origin_of(output.picture.path) is None, "nothing was drawn"


@pytest.mark.parametrize("name", sorted(set(makers.ODD_PICTURES) - {"40 megapixels"}))
def test_an_odd_picture_keeps_its_size_and_its_kind(name: str, same: FaceRestoration, tmp_path: Path) -> None:
    from springtide.media.images import open_rgba

    path = makers.ODD_PICTURES[name](tmp_path)
    upright = open_rgba(path)
    _, picture = run(same, path, tmp_path, scale=1)
    assert picture.size == upright.size
    shown = picture.convert("RGBA")
    assert shown.getchannel("A").tobytes() == upright.getchannel("A").tobytes()
    opaque = np.asarray(upright)[..., 3] == 255
    assert np.abs(pixels(shown) - pixels(upright))[opaque].max(initial=0) <= 1


@pytest.mark.parametrize("kind", ["L", "LA", "CMYK", "sideways", "alpha"])
def test_a_face_in_a_picture_of_any_kind_is_restored_as_that_kind(kind: str, make: Make, tmp_path: Path) -> None:
    path = tmp_path / "face.png"
    exif = Image.Exif()
    with Image.open(PORTRAIT) as portrait:
        picture = portrait.crop((100, 0, 359, 259))  # an odd size
        if kind in ("alpha", "LA"):
            picture = picture.convert("L" if kind == "LA" else "RGB")
            picture.putalpha(Image.linear_gradient("L").rotate(180).resize(picture.size))
        elif kind == "sideways":
            exif[0x0112] = 6
            picture, path = picture.transpose(Image.Transpose.ROTATE_90), path.with_suffix(".jpg")
        else:
            picture = picture.convert(kind)
            path = path.with_suffix(".jpg") if kind == "CMYK" else path
        picture.save(path, exif=exif.tobytes())
    output, restored = run(make(small_networks.sharpening), path, tmp_path)
    assert output.restored == 1
    assert restored.size == (518, 518)
    assert restored.mode == {"L": "L", "LA": "LA", "alpha": "RGBA"}.get(kind, "RGB")
    left, top, right, bottom = output.details[0].box
    assert left < 125 < right
    assert top < 115 < bottom, "upright"
    if kind == "alpha":
        alpha = restored.getchannel("A").getextrema()
        assert alpha[0] < 5
        assert alpha[1] > 250


def test_a_face_at_the_border_is_restored(make: Make, tmp_path: Path) -> None:
    with Image.open(PORTRAIT) as portrait:
        portrait.crop((205, 60, 512, 512)).save(tmp_path / "border.png")
    output, picture = run(make(small_networks.sharpening), tmp_path / "border.png", tmp_path, scale=2)
    assert output.restored == 1
    assert picture.size == (614, 904)


def test_a_small_background_is_drawn_by_the_network(same: FaceRestoration, tmp_path: Path) -> None:
    with Image.open(PORTRAIT) as portrait:
        portrait.resize((64, 64)).save(tmp_path / "small.png")
    output, drawn = run(same, tmp_path / "small.png", tmp_path, scale=4, background="fast")
    again = tmp_path / "again"
    again.mkdir()
    _, kept = run(same, tmp_path / "small.png", again, scale=4)
    assert drawn.size == kept.size == (256, 256)
    assert np.abs(pixels(drawn) - pixels(kept)).mean() > 1.5
    assert np.abs(pixels(drawn) - pixels(kept)).mean() < 12
    assert output.generative is True


@pytest.mark.parametrize("maker", [makers.truncated_jpeg, makers.truncated_png, makers.text_named_jpg])
def test_a_picture_that_does_not_decode_is_the_callers_fault(
    maker: Callable[[Path], Path], same: FaceRestoration, tmp_path: Path
) -> None:
    image = probed(PORTRAIT, "image/*").model_copy(update={"path": maker(tmp_path)})
    with pytest.raises(BadMedia):
        same.run(Input(image=image), Line(tmp_path / "job"))


def test_an_animated_picture_is_refused_before_it_is_a_job(tmp_path: Path) -> None:
    frames = [media.picture((40, 30)), media.picture((40, 30)).rotate(180)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(BadMedia):
        probed(tmp_path / "moving.gif", "image/*")


def test_a_result_too_large_is_refused_before_it_is_a_job(tmp_path: Path) -> None:
    image = probed(PORTRAIT, "image/*").model_copy(update={"width": 4000, "height": 6000})
    with pytest.raises(ValidationError, match="384 megapixels"):
        Input(image=image, scale=4)
    assert Input(image=image, scale=2).scale == 2
    assert Input(image=image, scale="1").scale == 1, "as a form sends it"  # type: ignore[arg-type]
    for wrong in ({"scale": 3}, {"strength": 1.1}, {"max_faces": 0}, {"background": "blur"}):
        with pytest.raises(ValidationError):
            Input(image=image, **wrong)


def test_a_picture_wider_than_webp_allows_is_refused_by_name(same: FaceRestoration, tmp_path: Path) -> None:
    Image.new("RGB", (8_200, 2)).save(tmp_path / "wide.png")
    with pytest.raises(InvalidInput, match="16400x4") as caught:
        run(same, tmp_path / "wide.png", tmp_path, format="webp")
    assert caught.value.details["errors"][0]["loc"] == "format"


def test_a_cancel_between_faces_spares_the_rest(same: FaceRestoration, tmp_path: Path) -> None:
    class Cancelling(Line):
        def __call__(self, fraction: float, stage: str | None = None) -> None:
            super().__call__(fraction, stage)
            if stage == "restore":
                raise Cancelled

    line = Cancelling(tmp_path / "job")
    with pytest.raises(Cancelled):
        same.run(Input(image=probed(PORTRAIT, "image/*")), line)
    assert list(line.folder.iterdir()) == []


def test_the_estimate_grows_with_what_is_asked_for() -> None:
    engine = FaceRestoration({}, Path("unused"))
    image = probed(PORTRAIT, "image/*")
    costs = [
        engine.estimate(Input(image=image)),
        engine.estimate(Input(image=image, background="fast")),
        engine.estimate(Input(image=image, background="best")),
    ]
    assert costs == sorted(costs)
    assert costs[2] > 10 * costs[0] - 60
    assert costs[0] > 3
