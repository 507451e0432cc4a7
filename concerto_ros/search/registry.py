"""Names of objects that stay the same from query to query within one map."""

import re
from collections.abc import Set
from hashlib import blake2s
from itertools import compress, count

import numpy as np
from numpy.typing import NDArray

_LEAST_COMMON = 0.4  # of the union of two boxes of one object
_LEAST_WITHIN = 0.8  # of the known box in that of an object that has grown
_SLUG_LENGTH = 32  # letters of the label in an id
_SLUGS = f'U{_SLUG_LENGTH}'


class ObjectRegistry:
    """Remembers which voxels carry which id, so that they get the same id again.

    An object is recognised when its box and a known one share enough of their union, or, if it
    has the same label, when most of the known box lies in its own: more of it has been seen. Then
    its box is brought up to date, so an id follows an object that grows. Boxes are those of
    voxels on the lattice of the map, which no correction of the robot's position moves.

    Args:
        capacity: Objects that are remembered at most; those not found for longest are forgotten.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        # One row per object, the one not found for longest first.
        self._names: list[str] = []
        self._slugs = np.empty(0, dtype=_SLUGS)
        self._boxes = np.empty((0, 2, 3))  # corners [voxels]

    def __len__(self) -> int:
        return len(self._names)

    def identify(self, bounds: list[NDArray[np.integer]], labels: list[str]) -> list[str]:
        """Return one id per object, the known ones where they fit; no id occurs twice.

        Args:
            bounds: (2, 3) integers each, lowest and highest voxel along each axis, of the objects
                of one answer; earlier ones choose first.
            labels: Of the objects; a new id starts with it.
        """
        is_free, taken = np.ones(len(self), dtype=bool), set(self._names)
        found, boxes = [], []
        for voxels, label in zip(bounds, labels, strict=True):
            box = voxels + np.array([[-1.0], [2.0]])  # grown by a voxel on every side
            slug = re.sub(r'\W+', '_', label.lower()).strip('_')[:_SLUG_LENGTH] or 'object'
            fit = np.where(is_free, _fit(self._boxes, box, self._slugs == slug), 0.0)
            best = int(fit.argmax()) if len(fit) else -1
            if best >= 0 and fit[best] > 0:
                is_free[best] = False
                name = self._names[best]
            else:
                name = _new_name(voxels, slug, taken)
                taken.add(name)
            found.append(name)
            boxes.append(box)
        self._remember(is_free, found, boxes)
        return found

    def _remember(
        self, is_free: NDArray[np.bool_], found: list[str], boxes: list[NDArray[np.float64]]
    ) -> None:
        """Put what was found behind all that was not, and forget what is too much."""
        slugs = np.array([name.rpartition('_')[0] for name in found], dtype=_SLUGS)
        newest = slice(-self._capacity, None)
        self._names = [*compress(self._names, is_free), *found][newest]
        self._slugs = np.concatenate([self._slugs[is_free], slugs])[newest]
        corners = np.array(boxes).reshape(-1, 2, 3)
        self._boxes = np.concatenate([self._boxes[is_free], corners])[newest]


def _new_name(voxels: NDArray[np.integer], slug: str, taken: Set[str]) -> str:
    """Make an id of the label and the voxel in the middle, e.g. "blue_chair_3f2a".

    It gets more digits where many are taken.
    """
    middle = ((voxels[0] + voxels[1]) // 2).tolist()
    names = (
        f'{slug}_{_digits(f"{slug} {middle} {attempt}", 2 + attempt // 8)}' for attempt in count()
    )
    return next(name for name in names if name not in taken)


def _digits(text: str, num_bytes: int) -> str:
    return blake2s(text.encode(), digest_size=num_bytes).hexdigest()


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
