"""Chooses frames between which the camera moved, while a recording is read."""

from dataclasses import dataclass

import numpy as np

from concerto_ros.geometry.frame import RGBDFrame

_GROWTH = 2.0  # of the distance between chosen frames, each time that there are too many


@dataclass(frozen=True, slots=True, kw_only=True)
class Spacing:
    """How far the camera must have moved since the last chosen frame.

    Attributes:
        translation: [m].
        rotation_deg: [degrees]; a frame is chosen that is far enough by either.
        max_images: Where more frames are, all are taken farther apart.
    """

    translation: float = 0.3
    rotation_deg: float = 20.0
    max_images: int = 60


class ChosenFrames:
    """The frames chosen so far; never more than `spacing.max_images` are kept."""

    def __init__(self, spacing: Spacing) -> None:
        self._spacing = spacing
        self._scale = 1.0
        self._frames: dict[int, RGBDFrame] = {}
        self._num_offered = 0

    def offer(self, frame: RGBDFrame) -> None:
        """Take a frame if the camera moved enough."""
        number = self._num_offered
        self._num_offered += 1
        last = next(reversed(self._frames.values()), None)
        if last is not None and motion(last, frame, self._spacing) < self._scale:
            return
        self._frames[number] = frame
        while len(self._frames) > max(1, self._spacing.max_images):
            self._scale *= _GROWTH
            self._thin()

    def named(self) -> dict[str, RGBDFrame]:
        """Return the chosen frames by their number among all that were offered, in order."""
        chosen = self._frames if self._spacing.max_images else {}
        return {f'{number:06d}': frame for number, frame in chosen.items()}

    def _thin(self) -> None:
        kept: dict[int, RGBDFrame] = {}
        last: RGBDFrame | None = None
        for number, frame in self._frames.items():
            if last is None or motion(last, frame, self._spacing) >= self._scale:
                kept[number] = last = frame
        self._frames = kept


def motion(a: RGBDFrame, b: RGBDFrame, spacing: Spacing) -> float:
    """Return how far the camera moved between two frames, as a multiple of the spacing."""
    R_a, R_b = a.T_map_depth[:3, :3], b.T_map_depth[:3, :3]
    cosine = np.clip((np.trace(R_a.T @ R_b) - 1) / 2, -1.0, 1.0)
    distance = np.linalg.norm(a.T_map_depth[:3, 3] - b.T_map_depth[:3, 3])
    turned = np.degrees(np.arccos(cosine)) / spacing.rotation_deg
    return float(max(distance / spacing.translation, turned))
