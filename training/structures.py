"""Values that cross module borders in training: scenes, views of them, batches, losses."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from concerto_ros.model import PointBatch
from training.tensor_batch import TensorBatch

IGNORED = -1  # label of points that belong to no class


class LossTerms(NamedTuple):
    """What an objective returns for a batch.

    Attributes:
        total: () float, what is minimised, with gradient.
        terms: The unweighted parts of it by name, () float without gradient; a term that does
            not apply to a batch is absent. Monitors that are no part of it stand behind them.
    """

    total: Tensor
    terms: dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepValues:
    """What changes from step to step; computed by `training.schedules` from the step alone.

    Attributes:
        step: Optimiser steps before this one.
        lr: Learning rate of the last layers.
        beta1: First momentum of AdamW.
        weight_decay: Of AdamW.
        momentum: Share of itself that the teacher keeps in this step.
    """

    step: int
    lr: float
    beta1: float
    weight_decay: float
    momentum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillationValues(StepValues):
    """What changes in self-distillation besides.

    Attributes:
        teacher_temp: Temperature of the teacher's targets.
        mask_size: Edge of a masked cell [m].
        mask_ratio: Share of the cells that are masked.
    """

    teacher_temp: float
    mask_size: float
    mask_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Which point is seen where in which image; stored sparsely, one row per pair.

    Attributes:
        point: (M,) int64, row of the point.
        image: (M,) int64, number of the image.
        patch: (M, 2) float32, (row, column) in patches of the image encoder; the first patch
            covers 0..1.
    """

    point: NDArray[np.int64]
    image: NDArray[np.int64]
    patch: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.point)


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneSample:
    """One cloud with up to a few images of it, as a dataset delivers it.

    Attributes:
        name: Unique in its data set.
        coord: (N, 3) float32 [m], z up.
        color: (N, 3) float32 RGB in 0..255; zero where unknown.
        normal: (N, 3) float32 unit vectors; zero where unknown.
        images: (I, S, S, 3) uint8 RGB, cut to a square; (0, S, S, 3) if their tokens are taken
            from a cache instead.
        tokens: (I, T, D) float16 from a cache; (0, 0, 0) if images are given.
        links: Between the points and the I images.
    """

    name: str
    coord: NDArray[np.float32]
    color: NDArray[np.float32]
    normal: NDArray[np.float32]
    images: NDArray[np.uint8]
    tokens: NDArray[np.float16]
    links: Links


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A part of a scene as one network sees it.

    Attributes:
        coord: (N, 3) float32 [m], augmented.
        origin_coord: (N, 3) float32 [m], in the scene, before augmentation.
        color: (N, 3) float32 RGB in 0..1, augmented.
        normal: (N, 3) float32 unit vectors, turned with `coord`; zero where unknown.
    """

    coord: NDArray[np.float32]
    origin_coord: NDArray[np.float32]
    color: NDArray[np.float32]
    normal: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.coord)


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneViews:
    """All views of one scene.

    Attributes:
        name: Of the scene.
        global_views: The first is the principal one.
        local_views: Smaller ones, around points of the principal one.
        images: (I, S, S, 3) float32 RGB in 0..1 of the images that see the principal view,
            augmented; (0, S, S, 3) if tokens are given.
        tokens: (I, T, D) float16; (0, 0, 0) if images are given.
        links: Between the points of the principal view and the I images.
    """

    name: str
    global_views: tuple[View, ...]
    local_views: tuple[View, ...]
    images: NDArray[np.float32]
    tokens: NDArray[np.float16]
    links: Links


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewBatch(TensorBatch):
    """Views of B scenes as tensors on one device.

    Attributes:
        names: Of the scenes.
        slots: Number of each scene within the whole step, over all ranks; seeds what is drawn
            for it.
        global_points: The clouds s0g0, s0g1, s1g0, s1g1, ...; `grid_coord` counts from each
            view's own lowest coordinates, and several rows may share a voxel.
        global_origin: (Ng, 3) float32 [m], `origin_coord` of their rows.
        local_points: The clouds s0l0, s0l1, ..., s1l0, ...
        local_origin: (Nl, 3) float32 [m].
        images: (I, 3, S, S) float32 in 0..1, not normalised; (0, 3, S, S) if tokens are given.
        tokens: (I, T, D) float32; (0, 0, 0) if images are given.
        link_point: (M,) int64, row of `global_points`, always in a principal view.
        link_image: (M,) int64, number of the image in the batch.
        link_patch: (M, 2) float32 (row, column) in patches.
        skipped: One sentence for each scene that could not be read and was replaced.
    """

    names: tuple[str, ...]
    slots: tuple[int, ...]
    global_points: PointBatch
    global_origin: Tensor
    local_points: PointBatch
    local_origin: Tensor
    images: Tensor
    tokens: Tensor
    link_point: Tensor
    link_image: Tensor
    link_patch: Tensor
    skipped: tuple[str, ...] = ()

    @property
    def num_images(self) -> int:
        """I, in whichever form they are given."""
        return max(len(self.images), len(self.tokens))

    @property
    def num_points(self) -> int:
        """Rows of all views."""
        return len(self.global_points) + len(self.local_points)
