"""Full views and crops of several scenes as tensors."""

from dataclasses import dataclass

from torch import Tensor

from concerto_ros.model import PointBatch
from training.tensor_batch import TensorBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedBatch(TensorBatch):
    """Two views of each of S scenes on one device.

    Attributes:
        names: Of the scenes.
        slots: Number of each scene within the whole step, over all ranks; seeds what is drawn
            for it.
        full: The clouds s0A, s0B, s1A, s1B, ..., each the whole scene, one row per voxel; `feat`
            is (V, 9): coordinates [m], colours in 0..1, normals; `grid_coord` counts from each
            view's own minimum.
        point_voxel: (P, 2) int64, row of `full` in view A and in view B of each point of each
            scene, scene after scene.
        point_target: (P, 2, 6) float32, colour in -1..1 and unit normal of each point as view A
            and view B have it; NaN where unknown, (0, 2, 6) if nobody asks for it.
        crop: (K,) int64, rows of `full` that the student is given, growing.
        skipped: One sentence for each scene that could not be read and was replaced.
    """

    names: tuple[str, ...]
    slots: tuple[int, ...]
    full: PointBatch
    point_voxel: Tensor
    point_target: Tensor
    crop: Tensor
    skipped: tuple[str, ...] = ()

    @property
    def num_points(self) -> int:
        """Rows of all full views."""
        return len(self.full)
