"""WindowChoice: what of a map the network looks at next."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from concerto_ros.config.schema import SemanticsConfig
from concerto_ros.mapping import CHUNK_VOXELS
from concerto_ros.mapping.submaps import Submaps
from concerto_ros.semantic_map.labelled_map import LabelledMap
from concerto_ros.semantic_map.network_input import Window, floor_height, read_window
from concerto_ros.semantic_map.paging import Paging
from concerto_ros.semantic_map.window_scheduler import ChunkTable, WindowScheduler, points_within
from concerto_ros.semantic_map.world import World

_BROUGHT = 16  # chunks at a time that come back from the disk to be looked at


class WindowChoice:
    """Reads the most valuable window of a map, until nothing has changed enough.

    Args:
        labelled: A map with a network.
        paging: What of it lies on the disk.
        submaps: Where its parts are.
        config: Halo of the windows.
        leveled: Submaps whose floor lies where the network expects it.

    Attributes:
        leveled: The same, of now.
        points_per_second: How fast the network was, to be set by who runs it; 0: not known.
    """

    def __init__(
        self,
        labelled: LabelledMap,
        paging: Paging,
        submaps: Submaps,
        config: SemanticsConfig,
        leveled: Iterable[int] = (),
    ) -> None:
        self.leveled = set(leveled)
        self.points_per_second = 0.0
        self._brought: dict[int, int] = {}  # chunks from the disk, with their revisions
        self._tried: dict[int, int] = {}
        self._labelled, self._paging, self._submaps = labelled, paging, submaps
        self._map = labelled.voxels
        assert self._map.cells is not None
        self._layout = self._map.cells.layout
        self._scheduler = WindowScheduler(
            halo=config.halo, cells_per_chunk=CHUNK_VOXELS >> self._layout.edge_bits[-1]
        )

    def next(
        self, camera: tuple[int, NDArray[np.float64]], config: SemanticsConfig
    ) -> Window | None:
        """Read the next window; None: nothing has changed enough.

        Args:
            camera: Its submap and its position (3,) there [m]; what is near comes first.
            config: How much the network may look at.

        Raises:
            MapFileError: A chunk on the disk is gone or damaged.
        """
        max_points = self._max_points(config)
        while True:
            key = self._map.chunks().key
            chosen = self._scheduler.next(self._table(*camera), max_points)
            if chosen is None:
                if not self._bring_due(config):
                    return None
                continue
            floor = self._level(chosen.submap)
            if floor is not None:
                chunk_key = key[torch.from_numpy(chosen.interior).to(key.device)]
                return read_window(self._map, chunk_key, chosen.halo, floor, max_points)

    def _table(self, submap: int, position: NDArray[np.float64]) -> ChunkTable:
        """Return the chunks in memory as the scheduler sees them."""
        chunks, world = self._map.chunks(), World(self._submaps.poses, self._map.voxel_size)
        T = world.T_world_submap[submap]
        camera = T[:3, :3] @ torch.from_numpy(position) + T[:3, 3]
        distance = (world.center(chunks.key.cpu()) - camera).norm(dim=1)
        return ChunkTable(
            key=chunks.key.cpu().numpy(),
            submap=chunks.submap.cpu().numpy(),
            place=chunks.grid.cpu().numpy(),
            num_surface=chunks.num_surface.cpu().numpy(),
            num_dirty=chunks.num_dirty.cpu().numpy(),
            last_seen=chunks.last_seen.cpu().numpy(),
            distance=distance.numpy(),
        )

    def _bring_due(self, config: SemanticsConfig) -> bool:
        """Take back chunks that went to the disk before the network had looked at them.

        To be called when nothing in memory is due; so what was brought before and not looked at
        is not due after all, and stays where it is until it changes.
        """
        self._tried |= self._brought
        revisions = self._paging.revisions
        due = [key for key in self._paging.due if self._tried.get(key) != revisions[key]]
        self._brought = {key: revisions[key] for key in due[:_BROUGHT]}
        self._paging.bring(self._brought, config)
        self._paging.make_room(keep=self._brought)
        return bool(self._brought)

    def _max_points(self, config: SemanticsConfig) -> int:
        """Return how many voxels the network may look at at a time."""
        if config.max_latency == 0 or self.points_per_second == 0:
            return config.max_points
        return points_within(config.max_latency, self.points_per_second, config.max_points)

    def _level(self, submap: int) -> float | None:
        """Return the height of the floor in a submap [m]; None: the submap was just moved for it.

        The network was trained with the floor a cell above the lower end of its lattice.
        """
        cell, height = floor_height(self._map, submap)
        steps = (1 - cell) * self._layout.voxels_per_cell
        is_first = submap not in self.leveled
        self.leveled.add(submap)
        if abs(1 - cell) > (0 if is_first else 1) and not self._paging.holds_of(submap):
            self._labelled.labeler.forget(self._map.shift(submap, steps))
            self._submaps.lower(submap, steps * self._map.voxel_size)
            return None
        if submap == self._submaps.active:
            self._submaps.floor_z = height + self._submaps.T_odom_active[2, 3]
        return height
