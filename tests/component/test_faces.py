"""Faces are found at every size, measured to the pixel and brought to a template; what is no face is none."""

from __future__ import annotations

import numpy as np
import pytest
from engine_world import DATA, fetched
from numpy.typing import NDArray
from PIL import Image

from springtide.engines.faces.align import (
    TEMPLATES,
    alignment,
    five_points,
    native_side,
    similarity,
)
from springtide.engines.faces.detect import FaceDetector, _tiles
from springtide.engines.faces.mesh import FaceMesh
from springtide.engines.faces.models import FACE_WEIGHTS
from springtide.engines.faces.template import Template
from springtide.engines.faces.warp import inverse, mapped, warped

pytestmark = pytest.mark.xdist_group("engines")

# As looked at in an image viewer, pixels of portrait.jpg.
EYES, MOUTH_CORNERS = ((203.3, 100.5), (246.5, 103.5)), ((201.0, 139.0), (248.0, 139.0))
HEAD = (150, 25, 300, 185)


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector(fetched(*FACE_WEIGHTS))


@pytest.fixture(scope="module")
def mesh() -> FaceMesh:
    return FaceMesh(fetched(*FACE_WEIGHTS))


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    return Image.open(DATA / "portrait.jpg").convert("RGB")


def pixels(picture: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(picture)


def pasted(portrait: Image.Image, size: tuple[int, int], *heads: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A grey picture with the head pasted at (x, y) as many pixels wide as the third number says."""
    canvas, head = Image.new("RGB", size, (110, 112, 115)), portrait.crop(HEAD)
    for x, y, width in heads:
        canvas.paste(head.resize((width, round(width * head.height / head.width)), Image.Resampling.LANCZOS), (x, y))
    return pixels(canvas)


def test_a_portraits_face_is_found_and_measured(detector: FaceDetector, mesh: FaceMesh, portrait: Image.Image) -> None:
    rgb = pixels(portrait)
    [face] = detector.find(rgb)
    assert face.box[0] < EYES[0][0] < EYES[1][0] < face.box[2]
    assert face.score > 0.8
    landmarks = mesh.measure(rgb, face)
    assert landmarks.points.shape == (468, 3)
    assert landmarks.presence > 0.95
    points = five_points(landmarks.points)
    assert np.abs(points[[0, 1, 3, 4]] - np.array([*EYES, *MOUTH_CORNERS])).max() < 4
    again = mesh.look(rgb, landmarks.region)  # as the next frame of a film is looked at
    assert np.abs(again.points - landmarks.points)[:, :2].max() < 2
    assert again.presence > 0.95


def test_a_group_is_found_whole_the_largest_first(detector: FaceDetector, portrait: Image.Image) -> None:
    heads = [(40, 60, 300), (500, 200, 150), (800, 100, 90), (1000, 300, 60), (1200, 50, 56), (1400, 400, 200)]
    faces = detector.find(pasted(portrait, (1600, 800), *heads))
    assert len(faces) == len(heads)
    assert [face.side for face in faces] == sorted((face.side for face in faces), reverse=True)
    for x, y, width in heads:
        inside = [f for f in faces if x < f.box[0] and f.box[2] < x + width and y < f.box[1]]
        assert len(inside) == 1, f"the head {width} pixels wide"


@pytest.mark.parametrize("turned", [False, True], ids=["portrait", "landscape"])
def test_a_small_face_in_a_scan_of_twenty_four_megapixels_is_found(
    turned: bool, detector: FaceDetector, portrait: Image.Image
) -> None:
    size = (6000, 4000) if turned else (4000, 6000)
    heads = [(size[0] - 400, 1900, 260), (300, size[1] - 500, 180)]
    faces = detector.find(pasted(portrait, size, *heads))
    assert len(faces) == 2
    assert all(80 < face.side < 200 for face in faces)


def test_a_face_at_the_border_is_found_and_its_square_repeats_the_edge(
    detector: FaceDetector, mesh: FaceMesh, portrait: Image.Image
) -> None:
    rgb = pixels(portrait.crop((205, 0, 512, 512)))  # the face lacks an eye's outer corner and half a cheek
    [face] = detector.find(rgb)
    matrix = alignment(five_points(mesh.measure(rgb, face).points))
    square = warped(rgb, matrix, (512, 512))
    assert square.min() >= 0
    assert square[:, 0].std() > 5, "no black bar where the picture ends"


def test_odd_and_tiny_pictures_have_no_faces_and_do_no_harm(detector: FaceDetector) -> None:
    for size in ((1, 1), (1, 700), (3000, 2), (129, 97), (640, 480)):
        noise = np.random.default_rng(3).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        assert detector.find(noise) == []
    assert detector.find(np.zeros((300, 300, 3), np.uint8)) == []


def test_what_is_no_face_has_no_presence(mesh: FaceMesh, detector: FaceDetector, portrait: Image.Image) -> None:
    rgb = pixels(portrait)
    [face] = detector.find(rgb)
    region = mesh.measure(rgb, face).region
    away = type(region)(430.0, 430.0, region.side, 0.0)  # the helmet
    assert not mesh.look(rgb, away).is_face


@pytest.mark.parametrize("template", list(Template))
def test_alignment_brings_the_face_to_its_template(
    template: Template, detector: FaceDetector, mesh: FaceMesh, portrait: Image.Image
) -> None:
    tilted = portrait.rotate(20, Image.Resampling.BICUBIC, center=(225, 115)).resize((700, 700))
    rgb = pixels(tilted)
    [face] = detector.find(rgb)
    matrix = alignment(five_points(mesh.measure(rgb, face).points), template)
    square = warped(rgb, matrix, (512, 512))
    [upright] = detector.find(square)
    points = five_points(mesh.measure(square, upright).points)
    assert np.abs(points - TEMPLATES[template]).max() < 20, "a face is not the template's face"
    assert abs(points[0, 1] - points[1, 1]) < 6, "the eyes are level"
    assert 200 < native_side(matrix) < 350


def test_a_similarity_is_found_again_from_its_points() -> None:
    turn = np.array([[1.2, -0.7, 30.0], [0.7, 1.2, -8.0]])
    points = np.random.default_rng(1).random((5, 2)) * 100
    assert np.allclose(similarity(points, mapped(points, turn)), turn)
    assert np.allclose(mapped(mapped(points, turn), inverse(turn)), points)


def test_a_warp_there_and_back_is_the_same_picture(portrait: Image.Image) -> None:
    rgb = pixels(portrait)
    identity = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert np.array_equal(warped(rgb, identity, (512, 512)), rgb)
    chequered = (np.indices((200, 200)).sum(0) % 2 * 255).astype(np.uint8)
    third = warped(chequered, identity / 3, (66, 66)).astype(int)
    assert np.abs(third - 127).max() < 40, "pixels are averaged, not skipped"
    assert np.array_equal(warped(rgb[..., 0], identity, (512, 512)), rgb[..., 0])


def test_tiles_leave_no_place_where_a_face_is_not_whole_in_one() -> None:
    for width, height, smallest in ((640, 480, 24), (6000, 4000, 94), (400, 3000, 47)):
        tiles = _tiles(width, height, smallest=smallest)
        finest = min(tile.side for tile in tiles)
        assert smallest / finest > 0.06
        chance = np.random.default_rng(2)
        for x, y in chance.random((200, 2)) * (width - smallest, height - smallest):
            assert any(
                tile.left <= x
                and x + smallest <= tile.left + tile.side
                and tile.top <= y
                and y + smallest <= tile.top + tile.side
                for tile in tiles
                if tile.side == finest
            )
