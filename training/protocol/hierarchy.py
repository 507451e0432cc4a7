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
        name: A text, unique in its hierarchy, such as 'decoder 2'.
        feat: (M, C) float tensor, finite; as coord on the device that the encoder was given.
        coord: (M, 3). With a stride: int64 cells of the level's lattice, from 0 on, no two
            equal; cell c covers base voxels c * stride up to (c + 1) * stride along each axis.
            Without: float places in the frame of the scene [m], of points or centres, finite.
        stride: Base voxels per cell along an axis, any int or float from 1 on; None: no lattice.
    """

    name: str
    feat: Tensor
    coord: Tensor
    stride: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hierarchy:
    """What an encoder says of one scene.

    Attributes:
        levels: Finest first: no stride is less than one before it. Equal ones may follow each
            other, as the maps of encoder and decoder of a U-Net do; levels without a stride
            stand where their spacing puts them, which is not checked.
        voxel_size: Edge of a base voxel [m].
        origin: (3,) float64 [m], lowest corner of base voxel (0, 0, 0) in the frame of the scene.
    """

    levels: tuple[Level, ...]
    voxel_size: float
    origin: Tensor


class HierarchicalEncoder(Protocol):
    """A frozen 3D encoder; whatever has these four attributes and can be called can be judged.

    Attributes:
        name: For the tables.
        num_channels: C of each level, in the order of `Hierarchy.levels`, finest first.
        last: Index of the level that the network computes last: the finest of the decoder of a
            U-Net, which is 0 where there are no maps of its encoder, the coarsest of an encoder
            alone.
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
