"""A mapped scene that the network looks at again and again, in windows of any kind."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.model import StoredFeatures
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.rooms.classes import CLASS_NAMES, scannet20_of
from concerto_ros.rooms.cloud import RoomCloud
from concerto_ros.semantic_map.network_input import Window, floor_height, read_window
from concerto_ros.structures import Labels
from training.prepare.nearest import nearest_within

Ints = NDArray[np.int64]

_REACH = 0.06  # to the true surface, as thick as noise makes it [m]
_NO_LIMIT = 10**9  # voxels


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What came of looking at a scene.

    Attributes:
        label: (N, 2) int64 of its voxels, by the head and by the vocabulary.
        feature: (N, C) float16, those of all levels side by side.
        num_cells: That the network saw, each as often as it saw it.
    """

    label: Ints
    feature: torch.Tensor
    num_cells: int


class Scene:
    """The surface of a mapped room, and what it really is.

    Attributes:
        coord: (N, 3) float64 of the voxels, in the building [m].
        truth: (N, 2) int64 labels, of the head and of the vocabulary; 0: there is none.
        num_cells: Of the network.
        labels: What the ids of the head mean.

    Args:
        frames: Of one room.
        cloud: Its true surface; None: unknown.
    """

    def __init__(self, frames: Iterable[RGBDFrame], cloud: RoomCloud | None) -> None:
        self._pipeline, _ = mapped(frames)  # which puts the floor where the network expects it
        voxel_map = self._pipeline._map
        self._rows = voxel_map.surface_rows()
        T = self._pipeline._submaps.poses[0]
        self.coord = voxel_map.coord(self._rows).numpy() @ T[:3, :3].T + T[:3, 3]
        self.truth: Ints = np.zeros((len(self._rows), 2), dtype=np.int64)
        if cloud is not None:
            self.truth = self._truth(cloud)
        self.labels = self._pipeline.labels
        self.num_cells = len(torch.unique(voxel_map.cell(self._rows)))

    def look(self, edge: Sequence[int], halo: int) -> Look:
        """Label all anew, in windows whose interiors are boxes of chunks.

        Args:
            edge: Chunks of a box along x, y and z.
            halo: Cells of the coarsest level around it.
        """
        voxel_map, labeler = self._pipeline._map, self._pipeline._labeler
        labeler.attach(voxel_map)
        _, floor = floor_height(voxel_map, 0)
        chunks, num_cells = voxel_map.chunks(), 0
        box, of_chunk = torch.unique(
            (chunks.grid - chunks.grid.amin(0)) // torch.tensor(edge), dim=0, return_inverse=True
        )
        for number in range(len(box)):
            interior = chunks.key[(of_chunk == number) & (chunks.num_surface > 0)]
            if len(interior):
                window = read_window(voxel_map, interior, halo, floor, _NO_LIMIT)
                pyramids = labeler.run(window, self._pipeline.config.semantics)
                labeler.write(window, pyramids, self._pipeline.config.semantics)
                num_cells += cells_of(window)
        return self._now(num_cells)

    def _truth(self, cloud: RoomCloud) -> Ints:
        of_class = np.stack(
            [
                _ids(self._pipeline.labels, [scannet20_of(name) for name in CLASS_NAMES]),
                _ids(self._pipeline.language_labels, CLASS_NAMES),
            ],
            axis=1,
        )
        return nearest(self.coord, cloud.coord, of_class[cloud.label], _REACH)

    def _now(self, num_cells: int) -> Look:
        labeler, cell = self._pipeline._labeler, self._pipeline._map.cell(self._rows)
        assert labeler.store is not None
        known, of_row = torch.unique(cell, return_inverse=True)
        label, _ = self._pipeline._map.labels(self._rows)
        feature = _side_by_side(labeler.store.part(known))
        return Look(label=label.long().numpy(), feature=feature[of_row], num_cells=num_cells)


def mapped(frames: Iterable[RGBDFrame], every: int = 0) -> tuple[PerceptionPipeline, int]:
    """Map and label frames with the network that comes with the package, on the CPU.

    Args:
        frames: To map.
        every: Frames from one window to the next, as a node begins them; 0: all at the end.

    Returns:
        The pipeline, and how many cells the network saw.
    """
    pipeline = PerceptionPipeline(build(ConcertoConfig, {'map.device': 'cpu'}))
    num_cells = 0
    for index, frame in enumerate(frames, start=1):
        pipeline.integrate(frame)
        if every and index % every == 0:
            num_cells += _look_once(pipeline)
    return pipeline, num_cells + _look(pipeline)


def look_again(pipeline: PerceptionPipeline) -> int:
    """Label all anew in windows as the pipeline chooses; return how many cells were seen."""
    pipeline._map.mark_unseen(pipeline._map.key(pipeline._map.surface_rows()))
    return _look(pipeline)


def cells_of(window: Window) -> int:
    """Return how many cells of the network a window shows."""
    return sum(len(part.points.coord) for part in window.parts)


def nearest(
    coord: NDArray[np.floating], others: NDArray[np.floating], values: Ints, reach: float
) -> Ints:
    """Return (N, L) for points (N, 3) what the nearest others (M, 3) have of (M, L).

    Args:
        coord: [m].
        others: [m].
        values: Of the others.
        reach: Farther away is nothing, and 0 [m].
    """
    found = nearest_within(coord, others, (reach / 4, reach))
    return np.concatenate([values, np.zeros_like(values[:1])])[found]


def _look(pipeline: PerceptionPipeline) -> int:
    """Have the network look until nothing is due; return how many cells it saw."""
    num_cells = 0
    while number := _look_once(pipeline):
        num_cells += number
    return num_cells


def _look_once(pipeline: PerceptionPipeline) -> int:
    window = pipeline.begin_semantics()
    if window is None:
        return 0
    pipeline.finish_semantics(window, pipeline.run_semantics(window))
    return cells_of(window)


def _ids(labels: Labels, names: Sequence[str]) -> Ints:
    """Return the ids of names; 0: there is no such label."""
    known = {name: number for number, name in enumerate(labels.names)}
    return np.array([known.get(name, 0) for name in names])


def _side_by_side(features: StoredFeatures) -> torch.Tensor:
    row, columns = torch.arange(features.num_points), []
    for number, level in enumerate(features.levels):
        row = level.inverse[row].long() if number else row
        columns.append(level.feat[row] * level.scale)
    return torch.cat(columns, dim=1)
