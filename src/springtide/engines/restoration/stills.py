"""One picture: find its faces, draw each anew, and put it back.

Every face is drawn from the picture as it came, so their order changes nothing. A face that the network would make
worse is left: one too small to be seen, one much larger than the network sees, and one whose eyes, nose or mouth would
end up elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from springtide.engines.faces.align import SIDE, alignment, five_points, native_side
from springtide.engines.faces.detect import FaceDetector, FoundFace
from springtide.engines.faces.mesh import FaceMesh, Landmarks, region_around
from springtide.engines.faces.warp import Matrix, mapped, warped
from springtide.engines.restoration.blending import colour_matched, face_mask, grained, paste, sharpness
from springtide.engines.restoration.restorers import Restorer
from springtide.engines.restoration.schema import Action, Background, FaceReport, Input, LargeFaces
from springtide.engines.upscaling.pictures import Parts

SMALLEST_SIDE = 40.0  # pixels of a face's square: below, the eyes are a handful of pixels and what is drawn is invented
FULL_UNTIL, NONE_FROM = 1.5, 3.0  # times what the network sees: between them a large face is blended ever less
SHIFT_MAX = 0.2  # of the distance of the eyes: more is another face

Pixels = NDArray[np.uint8]
Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sighting:
    """A face in the picture."""

    found: FoundFace
    seen: Landmarks

    @property
    def points(self) -> Points:
        return five_points(self.seen.points)


@dataclass(frozen=True, slots=True)
class Eyes:
    """The networks that see faces."""

    detector: FaceDetector
    mesh: FaceMesh

    def find(self, parts: Parts) -> list[Sighting]:
        """The faces of a picture, the largest first; what only the detector takes for a face is none."""
        rgb = _on_white(parts)
        sightings = [Sighting(found, self.mesh.measure(rgb, found)) for found in self.detector.find(rgb)]
        return [one for one in sightings if one.seen.is_face]


@dataclass(frozen=True, slots=True)
class Retoucher:
    """Draws faces anew."""

    restorer: Restorer
    mesh: FaceMesh

    def retouch(
        self, canvas: Pixels, parts: Parts, faces: Sequence[Sighting], inputs: Input, on_face: Callable[[int], None]
    ) -> list[FaceReport]:
        """Restore faces in `canvas`, which is the picture `inputs.scale` times as large, in place.

        on_face: called before each with its number; what it raises ends the work.
        """
        reports: list[FaceReport] = []
        for index, face in enumerate(faces):
            on_face(index)
            others = [other.points for other in faces if other is not face]
            reports.append(self._face(canvas, parts, face, others, inputs, is_wanted=index < inputs.max_faces))
        return reports

    def _face(
        self,
        canvas: Pixels,
        parts: Parts,
        face: Sighting,
        others: Sequence[Points],
        inputs: Input,
        *,
        is_wanted: bool,
    ) -> FaceReport:
        matrix = alignment(face.points, self.restorer.template)
        side = native_side(matrix)
        part, reason = self._share(side, inputs.large_faces)
        if not is_wanted:
            part, reason = 0.0, f"only the {inputs.max_faces} largest were asked for"
        report = FaceReport(
            box=tuple(round(value, 1) for value in face.found.box),  # type: ignore[arg-type]  # four in, four out
            side=round(side, 1),
            confidence=round(face.seen.presence, 3),
            action=Action.LEFT,
            reason=reason,
            strength=0.0,
        )
        if part * inputs.strength <= 0.0:
            return report
        before = warped(parts.rgb, matrix, (SIDE, SIDE))
        made = colour_matched(self.restorer.restore(parts.rgb, matrix), before, is_grey=parts.is_grey)
        shift = self._shift(face, matrix, made)
        figures: dict[str, Any] = {
            "sharpness_before": round(sharpness(before), 2),
            "sharpness_after": round(sharpness(made), 2),
            "landmark_shift": round(shift, 3),
        }
        if shift > SHIFT_MAX:
            figures["reason"] = "restored, its eyes, nose or mouth would have moved: it may be another face then"
            return report.model_copy(update=figures)
        strength = part * inputs.strength
        if inputs.background is Background.KEEP:  # else the grain around is gone, too
            pixels = min(SIDE, max(1, round(side)))
            made = grained(made, warped(parts.rgb, matrix * (pixels / SIDE), (pixels, pixels)))
        mask = face_mask(matrix, face.points, others) * strength
        paste(canvas, made, mask, _from_canvas(matrix, inputs.scale))
        action = Action.RESTORED if part == 1.0 else Action.BLENDED
        return report.model_copy(update={**figures, "action": action, "strength": round(strength, 3)})

    def _share(self, side: float, large: LargeFaces) -> tuple[float, str | None]:
        """How much of a restored face is taken where its square is `side` pixels in the picture, and why not all."""
        if side < SMALLEST_SIDE:
            return 0.0, f"too small: its square has {side:.0f} pixels, at least {SMALLEST_SIDE:.0f} are needed"
        beyond = (side / self.restorer.side - FULL_UNTIL) / (NONE_FROM - FULL_UNTIL)
        if beyond <= 0 or large is LargeFaces.RESTORE:
            return 1.0, None
        if beyond >= 1 or large is LargeFaces.LEAVE:
            return 0.0, f"large already: {side:.0f} pixels, the network sees {self.restorer.side}"
        return 1.0 - beyond, f"large: {side:.0f} pixels, the network sees {self.restorer.side}"

    def _shift(self, face: Sighting, matrix: Matrix, made: Pixels) -> float:
        """How far the five points moved at the most, in distances of the eyes."""
        wanted = mapped(face.points, matrix)
        there = self.mesh.look(made, region_around(mapped(face.seen.points[:, :2], matrix)))
        if not there.is_face:
            return 1.0
        eyes = max(float(np.linalg.norm(wanted[1] - wanted[0])), SIDE / 8)  # at least: in profile they come together
        return float(np.linalg.norm(five_points(there.points) - wanted, axis=1).max()) / eyes


def _from_canvas(matrix: Matrix, scale: int) -> Matrix:
    """From the enlarged picture to the square, where `matrix` starts from the picture."""
    return np.concatenate([matrix[:, :2] / scale, matrix[:, 2:]], axis=1)


def _on_white(parts: Parts) -> Pixels:
    if parts.alpha is None:
        return parts.rgb
    picture = Image.new("RGB", (parts.width, parts.height), "white")
    picture.paste(Image.fromarray(parts.rgb), mask=parts.alpha)
    return np.asarray(picture)
