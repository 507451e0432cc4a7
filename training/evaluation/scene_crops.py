"""Cropped and augmented voxels of labelled scenes, as batches for training."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from concerto_ros.model import PointBatch, Recipe
from training.datasets.labelled import LabelledScene
from training.datasets.loader import make_loader
from training.evaluation.config import TuningSection
from training.evaluation.scene_augmentation import augment_scene
from training.evaluation.voxels import scene_voxels, voxel_label
from training.views.crop import nearest

_ORDER, _VIEW, _MIX = 20, 21, 22  # purposes of random numbers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledVoxels:
    """Voxels of one or more clouds.

    Attributes:
        index: Number of the first cloud among all crops of the run.
        points: V rows.
        label: (V,) int64, `IGNORED` where unknown.
    """

    index: int
    points: PointBatch
    label: Tensor


class SceneCrops:
    """Crop i is a function of seed and i; each pass over the scenes has an order of its own.

    Args:
        scenes: To cut from.
        config: Size and augmentation.
        voxel_size: Edge length of a voxel [m].
        seed: Start of all random numbers.
    """

    def __init__(
        self,
        scenes: Sequence[LabelledScene],
        config: TuningSection,
        voxel_size: float,
        seed: int,
    ) -> None:
        self._scenes, self._config, self._seed = scenes, config, seed
        self._recipe = Recipe(voxel_size=voxel_size)

    def __len__(self) -> int:
        return self._config.num_steps * self._config.batch_size

    def __getitem__(self, index: int) -> LabelledVoxels:
        epoch, place = divmod(index, len(self._scenes))
        order = np.random.default_rng([self._seed, _ORDER, epoch]).permutation(len(self._scenes))
        scene = self._scenes[int(order[place])]
        rng = np.random.default_rng([self._seed, _VIEW, index])
        if self._config.augment:
            scene = augment_scene(scene, rng)
        return self._cropped(index, scene, rng)

    def collate(self, items: Sequence[LabelledVoxels]) -> LabelledVoxels:
        """Join crops into a batch; see `join_crops`."""
        return join_crops(items, self._config.mix_chance, self._seed)

    def _cropped(
        self, index: int, scene: LabelledScene, rng: np.random.Generator
    ) -> LabelledVoxels:
        prepared = scene_voxels(scene, self._recipe, torch.device('cpu'))
        points = prepared.points
        segment = torch.from_numpy(scene.segment)
        label = voxel_label(segment, prepared.inverse, len(points))
        coord = points.coord.numpy().T
        middle = coord[:, rng.integers(len(points))]
        rows = torch.from_numpy(nearest(coord, middle, self._config.max_points))
        return LabelledVoxels(index=index, points=_cut(points, rows), label=label[rows])


def crop_batches(crops: SceneCrops, config: TuningSection) -> Iterator[LabelledVoxels]:
    """Yield the batches of all passes of all steps, in order.

    Raises:
        ConcertoError: A scene cannot be used.
    """
    size = config.batch_size // config.accumulation
    batches = [range(start, start + size) for start in range(0, len(crops), size)]
    return make_loader(crops, batches, config.num_workers)


def join_crops(items: Sequence[LabelledVoxels], mix_chance: float, seed: int) -> LabelledVoxels:
    """Join crops into a batch; with a chance, each pair becomes one cloud (Mix3D).

    Both clouds of a pair keep their own cells, which may coincide; the network averages what
    shares a cell.

    Source: Nekrasov et al., Mix3D, arXiv 2110.02210.
    """
    rng = np.random.default_rng([seed, _MIX, items[0].index])
    ends = np.cumsum([len(item.points) for item in items])
    is_end = np.ones(len(items), dtype=bool)
    if rng.random() < mix_chance:
        is_end[:-1:2] = False
    parts = [item.points for item in items]
    points = PointBatch(
        coord=torch.cat([p.coord for p in parts]),
        grid_coord=torch.cat([p.grid_coord for p in parts]),
        feat=torch.cat([p.feat for p in parts]),
        offset=torch.from_numpy(ends[is_end]),
    )
    label = torch.cat([item.label for item in items])
    return LabelledVoxels(index=items[0].index, points=points, label=label)


def _cut(points: PointBatch, rows: Tensor) -> PointBatch:
    """Return some rows, with x and y centred anew; z keeps its floor."""
    coord = points.coord[rows]
    shift = (coord.amin(0) + coord.amax(0)) / 2
    shift[2] = 0
    coord, feat = coord - shift, points.feat[rows]
    grid = points.grid_coord[rows]
    return PointBatch(
        coord=coord,
        grid_coord=grid - grid.amin(0),
        feat=torch.cat([coord, feat[:, 3:]], dim=1),
        offset=torch.tensor([len(rows)]),
    )
