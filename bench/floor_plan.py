"""Floor plans of labelled rooms, row by row the same rooms labelled in other ways."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from concerto_ros.structures import Labels
from concerto_ros.visualization.canvas import GREY, Canvas

_PIXEL = 0.02  # [m]
_BELOW = 1.8  # what hangs higher is left out, ceilings above all [m]
_MARGIN, _TITLE = 24, 40  # [px]
_PAPER, _DIFFERENT = (255, 255, 255), (0, 0, 0)


def draw_plans(
    path: Path,
    coord: Sequence[NDArray[np.floating]],
    rows: Mapping[str, Sequence[NDArray[np.integer]]],
    labels: Labels,
) -> None:
    """Write a PNG of rooms from above; black is what the first row labels in another way.

    Args:
        path: To write; its folder is made.
        coord: (N, 3) of the voxels of each room, floor at z = 0 [m].
        rows: By title, the (N,) labels of each room; 0: unknown.
        labels: Colours.
    """
    first = next(iter(rows.values()))
    plans = {
        title: [
            _plan(xyz, labels.colors[label], (label != ours) & (label > 0))
            for xyz, label, ours in zip(coord, row, first, strict=True)
        ]
        for title, row in rows.items()
    }
    heights, widths = zip(*(plan.shape[:2] for plan in next(iter(plans.values()))), strict=True)
    step = max(heights) + _TITLE + _MARGIN
    canvas = Canvas((sum(widths) + _MARGIN * (len(widths) + 1), step * len(plans)))
    for number, (title, row) in enumerate(plans.items()):
        left, top = _MARGIN, number * step + _TITLE
        canvas.text((left, number * step + 10), title, size=20, color=GREY)
        for plan in row:
            box = (left, top, left + plan.shape[1], top + plan.shape[0])
            canvas.panel(box, plan.repeat(canvas.scale, 0).repeat(canvas.scale, 1))
            left += plan.shape[1] + _MARGIN
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.reduced().save(path)


def _plan(
    coord: NDArray[np.floating], color: NDArray[np.uint8], is_different: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Return (H, W, 3), the highest voxel of each column."""
    chosen = np.flatnonzero(coord[:, 2] < _BELOW)
    chosen = chosen[coord[chosen, 2].argsort(kind='stable')]  # the last one stays
    place = np.floor(coord[chosen, :2] / _PIXEL).astype(int)
    place -= place.min(0)
    plan = np.full((*(place.max(0) + 1)[::-1], 3), _PAPER, dtype=np.uint8)
    shown = np.where(is_different[chosen, None], _DIFFERENT, color[chosen])
    plan[place[:, 1], place[:, 0]] = shown
    return plan[::-1]
