"""Who speaks: a photo or a film of a face, as frames in which the face follows a voice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from springtide.domain.errors import BadMedia
from springtide.engines.faces.detect import FaceDetector
from springtide.engines.faces.mesh import FaceMesh
from springtide.engines.human import anatomy
from springtide.engines.human.anatomy import Face, face_of
from springtide.engines.human.curves import Curves
from springtide.engines.human.footage import shown
from springtide.engines.human.motion import motion_of
from springtide.engines.human.mouth import Inside, Teeth
from springtide.engines.human.render import Look, Renderer, skin_of, teeth_of
from springtide.engines.human.schema import Input
from springtide.engines.human.track import Follower, found_in, measured, steady
from springtide.engines.human.warp import Array, Pixels, packed, sampled
from springtide.media.film import Film

NATURAL = 0.68  # of the widest opening: where strength 1 puts the loudest vowel; 1 looks like shouting
LOOKED_AT = 1280  # pixels: the longer side of what faces are looked for in
SMALLEST = 40.0  # pixels in the result: the height of a face below which lips are a few pixels thin
TURNED = 40.0  # degrees to the side: further round, half of the mouth is not to be seen
TURNING = 10.0  # degrees before that over which a film's face fades to what it is
ENLARGED = 2  # times: a photo is sampled from a picture so much larger, or it would be blurred as it moves
UNTOLD_S = 10.0  # of a film whose header does not tell its length, so much is looked at before it is begun
SAMPLES = 24  # frames of a film that are looked at before it is begun


class Subject(Protocol):
    """What photo and film have in common. `frames` may be read once."""

    size: tuple[int, int]
    fps: float
    frames_without_face: int

    @property
    def faces_found(self) -> int: ...

    def frames(self, curves: Curves, inputs: Input) -> Iterator[Pixels]:
        """As many as there are in `curves`, uint8[height, width, 3]."""
        ...


@dataclass
class Photo:
    """A still: the mouth speaks, lids and head move by themselves."""

    size: tuple[int, int]
    fps: float
    face: Face  # in pixels of the result
    picture: Image.Image
    faces_found: int
    frames_without_face: int = 0

    def frames(self, curves: Curves, inputs: Input) -> Iterator[Pixels]:
        width, height = self.size
        large = self.picture.resize((width * ENLARGED, height * ENLARGED), Image.Resampling.LANCZOS, reducing_gap=3.0)
        source = packed(np.asarray(large))
        across = np.broadcast_to((np.arange(width, dtype=np.float32) + 0.5) * ENLARGED, (height, width))
        down = np.broadcast_to(((np.arange(height, dtype=np.float32) + 0.5) * ENLARGED)[:, None], (height, width))
        ground = np.ascontiguousarray(sampled(source, across, down))
        del large
        teeth = teeth_of(ground, self.face)
        inside = Inside(skin_of(ground, self.face), teeth and teeth[0])
        motion = motion_of(curves.open, fps=self.fps, seed=inputs.seed, blinks=inputs.blink, amount=inputs.idle_motion)
        renderer = Renderer(source, ENLARGED, self.face, inside, moves=inputs.idle_motion > 0 or inputs.blink)
        for index in range(len(curves)):
            frame = ground.copy()
            roll, yaw, pitch, x, y = motion.pose[index].tolist()
            closed = float(motion.closed[index])
            renderer.draw(frame, _look(curves, index, inputs.strength, closed=closed, pose=(roll, yaw, pitch, x, y)))
            yield frame


@dataclass
class Filmed:
    """A film: the mouth speaks, all else is as it was filmed."""

    size: tuple[int, int]
    fps: float
    film: Film
    follower: Follower
    inside: Inside
    frames_without_face: int = 0

    @property
    def faces_found(self) -> int:
        return self.follower.most_faces

    def frames(self, curves: Curves, inputs: Input) -> Iterator[Pixels]:
        given = shown(self.film, count=len(curves), fps=self.fps, size=self.size, extend=inputs.extend)
        for index, (frame, face) in enumerate(steady(given, self.follower)):
            share = 0.0 if face is None else _share(face)
            if face is None or share <= 0:
                self.frames_without_face += 1
                yield frame
                continue
            before = frame.copy() if share < 1 else frame
            renderer = Renderer(packed(frame), 1, face, self.inside, moves=False)
            renderer.draw(frame, _look(curves, index, inputs.strength))
            yield frame if share >= 1 else _faded(before, frame, share)


def _look(
    curves: Curves,
    index: int,
    strength: float,
    *,
    closed: float = 0.0,
    pose: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0),
) -> Look:
    opening = float(curves.open[index]) * NATURAL * strength
    return Look(opening=opening, width=float(curves.width[index]) * min(1.0, strength), closed=closed, pose=pose)


def _share(face: Face) -> float:
    """How much of the rendered mouth is shown: none of one that is too small or seen from the side."""
    if face.height < SMALLEST:
        return 0.0
    return float(np.clip((TURNED - face.turned) / TURNING, 0, 1))


def _faded(before: Pixels, after: Pixels, share: float) -> Pixels:
    return (before + (after - before.astype(np.float32)) * np.float32(share) + 0.5).astype(np.uint8)


def photographed(
    picture: Image.Image, detector: FaceDetector, mesh: FaceMesh, *, size: tuple[int, int], fps: float
) -> Photo:
    """The largest face of a picture. Raises BadMedia where there is none that could speak."""
    view = picture
    if max(picture.size) > LOOKED_AT:
        view = picture.resize(fitted(*picture.size, LOOKED_AT), Image.Resampling.BOX, reducing_gap=2.0)
    pixels = np.asarray(view)
    faces = detector.find(pixels)
    seen = next((seen for face in faces if (seen := measured(pixels, face, mesh)) is not None), None)
    if seen is None:
        raise BadMedia(
            f"No face is found in this picture of {picture.width}x{picture.height} pixels: send a portrait in which "
            "the face is seen from the front and stands upright.",
            code="no_face",
        )
    scaled = seen.points * np.array([size[0] / view.width, size[1] / view.height, size[0] / view.width], np.float32)
    face = face_of(scaled)
    _refuse_unfit(face, scaled, size)
    return Photo(size=size, fps=fps, face=face, picture=picture, faces_found=len(faces))


def _refuse_unfit(face: Face, points: Array, size: tuple[int, int]) -> None:
    if face.height < SMALLEST:
        raise BadMedia(
            f"The largest face would be {face.height:.0f} pixels high in a result of {size[0]}x{size[1]}, at least "
            f"{SMALLEST:.0f} are needed: send a closer picture, or ask for a larger `size`.",
            code="face_too_small",
        )
    if face.turned > TURNED:
        raise BadMedia(
            f"The face is turned by about {face.turned:.0f} degrees, at most {TURNED:.0f} work: send a picture in "
            "which it is seen from the front.",
            code="face_turned_away",
        )
    mouth = points[[*anatomy.UPPER_OUTER, *anatomy.LOWER_OUTER], :2]
    if (mouth < 0).any() or (mouth > np.array(size)).any():
        raise BadMedia(
            "The mouth is cut off by the picture's edge: send a picture that shows all of it.", code="face_cut_off"
        )


def filmed(
    film: Film, detector: FaceDetector, mesh: FaceMesh, *, size: tuple[int, int], fps: float, until_s: float
) -> Filmed:
    """The largest face of a film. Raises BadMedia where none is seen in the frames that are looked at.

    until_s: so much of the film will be used.
    """
    length_s = min(film.duration_s or UNTOLD_S, until_s)
    best: tuple[float, Teeth] | None = None
    skins, most, height = list[Array](), 0, 0.0
    for index in range(SAMPLES):
        at_s = length_s * index / SAMPLES
        frame = next(film.frames(fps=fps, size=size, start_s=at_s, stop_s=at_s + 2 / fps), None)
        if frame is None:  # past the end, which a header may tell wrong
            continue
        faces = found_in(frame, detector)
        most = max(most, len(faces))
        seen = next((seen for face in faces if (seen := measured(frame, face, mesh)) is not None), None)
        if seen is None:
            continue
        face = face_of(seen.points)
        height = max(height, face.height)
        if _share(face) < 1:
            continue
        skins.append(skin_of(frame, face))
        teeth = teeth_of(frame, face)
        if teeth is not None and (best is None or teeth[1] > best[0]):
            best = teeth[1], teeth[0]
    if not skins:
        raise _no_film(most, height)
    follower = Follower(detector, mesh)
    follower.most_faces = most
    inside = Inside(np.median(skins, axis=0), best and best[1])
    return Filmed(size=size, fps=fps, film=film, follower=follower, inside=inside)


def _no_film(faces: int, height: float) -> BadMedia:
    if not faces:
        return BadMedia(
            f"No face is found in any of {SAMPLES} frames of the video: send one in which a face is seen from "
            "the front.",
            code="no_face",
        )
    if height < SMALLEST:
        return BadMedia(
            f"The largest face is {height:.0f} pixels high in the result, at least {SMALLEST:.0f} are needed: send a "
            "closer shot, or ask for a larger `size`.",
            code="face_too_small",
        )
    return BadMedia("The face is never seen from the front: send a video in which it is.", code="face_turned_away")


def fitted(width: int, height: int, longer: int) -> tuple[int, int]:
    """A size of this shape with this longer side, both even as H.264 wants them."""
    scale = longer / max(width, height)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
