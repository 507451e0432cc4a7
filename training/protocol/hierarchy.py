"""What an encoder must give so that the protocol can judge it: features on several levels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from training.datasets.labelled import LabelledScene


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Level:
    """The features of one level.

    Attributes:
        name: Unique in its hierarchy, such as 'decoder 2'.
        feat: (M, C) float, finite.
        coord: (M, 3). With a stride: int64 cells of the level's lattice, from 0 on, no two
            equal; cell c covers base voxels c * stride up to (c + 1) * stride along each axis.
            Without: float32 places in the frame of the scene [m], of points or centres.
        stride: Base voxels per cell along an axis, any number from 1 on; None: no lattice.
    """

    name: str
    feat: Tensor
    coord: Tensor
    stride: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hierarchy:
    """What an encoder says of one scene.

    Attributes:
        levels: Finest first.
        voxel_size: Edge of a base voxel [m].
        origin: (3,) float64 [m], lowest corner of base voxel (0, 0, 0) in the frame of the scene.
    """

    levels: tuple[Level, ...]
    voxel_size: float
    origin: Tensor


class HierarchicalEncoder(Protocol):
    """A frozen 3D encoder; whatever has these five members can be judged.

    Attributes:
        name: For the tables.
        num_channels: C of each level, finest first.
        last: Index of the level that the network computes last: 0 for the decoder of a U-Net,
            the coarsest for an encoder alone.
        facts: What the results should say of it, such as number of parameters and the hash of
            its weights.
    """

    name: str
    num_channels: tuple[int, ...]
    last: int
    facts: Mapping[str, str | int]

    def __call__(self, scene: LabelledScene) -> Hierarchy:
        """Return the features of a scene, without gradient, the same at every call."""
        ...
