"""Names and colours of labels; id 0 is "unknown" and class i has id i + 1."""

import colorsys
import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from concerto_ros.structures import Labels

UNKNOWN_NAME = 'unknown'
UNKNOWN_COLOR = (128, 128, 128)

_SCANNET20 = {
    'wall': (174, 199, 232),
    'floor': (152, 223, 138),
    'cabinet': (31, 119, 180),
    'bed': (255, 187, 120),
    'chair': (188, 189, 34),
    'sofa': (140, 86, 75),
    'table': (255, 152, 150),
    'door': (214, 39, 40),
    'window': (197, 176, 213),
    'bookshelf': (148, 103, 189),
    'picture': (196, 156, 148),
    'counter': (23, 190, 207),
    'desk': (247, 182, 210),
    'curtain': (219, 219, 141),
    'refrigerator': (255, 127, 14),
    'shower curtain': (158, 218, 229),
    'toilet': (44, 160, 44),
    'sink': (112, 128, 144),
    'bathtub': (227, 119, 194),
    'otherfurniture': (82, 84, 163),
}


def palette(names: Sequence[str]) -> NDArray[np.uint8]:
    """Return a bright colour for each name, (L, 3) uint8 RGB; equal names have equal colours."""
    colors = np.array([_color_of(name) for name in names], dtype=np.uint8)
    return colors.reshape(-1, 3)


def make_labels(
    vocabulary: str, names: Sequence[str], colors: NDArray[np.uint8] | None = None
) -> Labels:
    """Build labels from the names of classes.

    Args:
        vocabulary: Where the names come from.
        names: Name of each class, without "unknown".
        colors: (len(names), 3) uint8 RGB; by default those of `palette`.

    Returns:
        Labels whose id 0 is "unknown", grey.
    """
    classes = palette(names) if colors is None else colors
    return Labels(
        vocabulary=vocabulary,
        names=(UNKNOWN_NAME, *names),
        colors=np.concatenate([np.array([UNKNOWN_COLOR], dtype=np.uint8), classes]),
    )


def _color_of(name: str) -> list[int]:
    hue, saturation, value = hashlib.sha256(name.encode()).digest()[:3]
    rgb = colorsys.hsv_to_rgb(hue / 256, 0.45 + saturation / 512, 0.65 + value / 768)
    return [round(255 * part) for part in rgb]


SCANNET20 = make_labels(
    'scannet20', tuple(_SCANNET20), np.array(list(_SCANNET20.values()), dtype=np.uint8)
)
