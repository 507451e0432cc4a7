"""Names of objects that stay the same from query to query within one map."""

import hashlib
import re

import numpy as np
from numpy.typing import NDArray

_LEAST_COMMON = 0.4  # of the union of two boxes of one object
_LEAST_WITHIN = 0.8  # of the known box in that of an object that has grown


class ObjectRegistry:
    """Remembers which voxels carry which id, so that they get the same id again.

    An object is recognised when its box and a known one share enough of their union, or, if it
    has the same label, when most of the known box lies in its own: more of it has been seen. Then
    its box is brought up to date, so an id follows an object that grows. Boxes are those of
    voxels on the lattice of the map, which no correction of the robot's position moves.
    """

    def __init__(self) -> None:
        self._boxes: dict[str, NDArray[np.float64]] = {}  # id -> (2, 3) corners [voxels]

    def __len__(self) -> int:
        return len(self._boxes)

    def identify(self, bounds: list[NDArray[np.integer]], labels: list[str]) -> list[str]:
        """Return one id per object, the known ones where they fit; no id occurs twice.

        Args:
            bounds: (2, 3) integers each, lowest and highest voxel along each axis, of the objects
                of one answer; earlier ones choose first.
            labels: Of the objects; a new id starts with it.
        """
        names, known = list(self._boxes), np.array(list(self._boxes.values())).reshape(-1, 2, 3)
        is_free = np.ones(len(names), dtype=bool)
        found = []
        for voxels, label in zip(bounds, labels, strict=True):
            box = voxels + np.array([[-1.0], [2.0]])  # grown by a voxel on every side
            slug = re.sub(r'\W+', '_', label.lower()).strip('_')[:32] or 'object'
            is_same = np.array([name.rpartition('_')[0] == slug for name in names], dtype=bool)
            fit = np.where(is_free, _fit(known, box, is_same), 0.0)
            best = int(fit.argmax()) if len(fit) else -1
            if best >= 0 and fit[best] > 0:
                is_free[best] = False
                found.append(names[best])
            else:
                found.append(self._new(voxels, slug))
            self._boxes[found[-1]] = box
        return found

    def _new(self, voxels: NDArray[np.integer], slug: str) -> str:
        """Make an id of the label and the voxel in the middle, e.g. "blue_chair_3f2a"."""
        middle = ((voxels[0] + voxels[1]) // 2).tolist()
        attempt = 0
        while True:
            text = f'{slug} {middle} {attempt}'
            name = f'{slug}_{hashlib.blake2s(text.encode(), digest_size=2).hexdigest()}'
            if name not in self._boxes:
                return name
            attempt += 1


def _fit(
    known: NDArray[np.float64], box: NDArray[np.float64], is_same: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return (M,) intersection over union of known boxes (M, 2, 3) with one; 0: another object.

    Args:
        known: Lower and upper corners.
        box: (2, 3), lower and upper corner.
        is_same: (M,), which of the known ones have the same label.
    """
    low, high = np.maximum(known[:, 0], box[0]), np.minimum(known[:, 1], box[1])
    common = np.maximum(high - low, 0).prod(axis=1)
    size = (known[:, 1] - known[:, 0]).prod(axis=1)
    share = common / (size + (box[1] - box[0]).prod() - common)
    has_grown = is_same & (common >= _LEAST_WITHIN * size)
    fit: NDArray[np.float64] = np.where((share >= _LEAST_COMMON) | has_grown, share, 0.0)
    return fit
