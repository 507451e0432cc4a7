"""Names of objects that stay the same from query to query within one map."""

import hashlib
import re

import numpy as np
from numpy.typing import NDArray

from concerto_ros.structures import Box


class ObjectRegistry:
    """Remembers which box carries which id, so that the same voxels get the same id again.

    An object is recognised when its box and a known one, both grown by a voxel and made
    axis-aligned, share `min_overlap` of their union. A recognised object's box is brought up to
    date, so an id follows an object that grows while more of it is seen.

    Args:
        voxel_size: Edge length of a voxel [m].
        min_overlap: Intersection over union, 0..1.
    """

    def __init__(self, voxel_size: float, min_overlap: float = 0.4) -> None:
        self._voxel_size = voxel_size
        self._min_overlap = min_overlap
        self._boxes: dict[str, NDArray[np.float64]] = {}  # id -> (6,) lower and upper corner

    def __len__(self) -> int:
        return len(self._boxes)

    def identify(self, boxes: list[Box], labels: list[str]) -> list[str]:
        """Return one id per box, the known ones where they fit; no id occurs twice.

        Args:
            boxes: Of the objects of one answer; earlier ones choose first.
            labels: Of the objects; a new id starts with it.
        """
        taken: list[str] = []
        for box, label in zip(boxes, labels, strict=True):
            bounds = _bounds(box, self._voxel_size)
            name = self._known(bounds, taken) or self._new(box, label)
            self._boxes[name] = bounds
            taken.append(name)
        return taken

    def _known(self, bounds: NDArray[np.float64], taken: list[str]) -> str:
        """Return the id whose box overlaps most; empty if none does enough."""
        free = [name for name in self._boxes if name not in taken]
        if not free:
            return ''
        overlap = _overlap(np.array([self._boxes[name] for name in free]), bounds)
        best = int(overlap.argmax())
        return free[best] if overlap[best] >= self._min_overlap else ''

    def _new(self, box: Box, label: str) -> str:
        """Make an id of the label and the voxel of the box's centre, e.g. "blue_chair_3f2a"."""
        slug = re.sub(r'\W+', '_', label.lower()).strip('_')[:32] or 'object'
        voxel = np.floor(box.center / self._voxel_size).astype(np.int64).tolist()
        attempt = 0
        while True:
            text = f'{slug} {voxel} {attempt}'
            name = f'{slug}_{hashlib.blake2s(text.encode(), digest_size=2).hexdigest()}'
            if name not in self._boxes:
                return name
            attempt += 1


def _bounds(box: Box, margin: float) -> NDArray[np.float64]:
    """Return (6,) lower and upper corner [m] of the axis-aligned box around `box`."""
    c, s = abs(np.cos(box.yaw)), abs(np.sin(box.yaw))
    dx, dy, dz = box.size
    half = np.array([c * dx + s * dy, s * dx + c * dy, dz]) / 2 + margin
    return np.concatenate([box.center - half, box.center + half])


def _overlap(many: NDArray[np.float64], one: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (M,) intersection over union of axis-aligned boxes (M, 6) with one (6,)."""
    low, high = np.maximum(many[:, :3], one[:3]), np.minimum(many[:, 3:], one[3:])
    common = np.maximum(high - low, 0).prod(axis=1)
    union = (many[:, 3:] - many[:, :3]).prod(axis=1) + (one[3:] - one[:3]).prod() - common
    share: NDArray[np.float64] = common / union
    return share
