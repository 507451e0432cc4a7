"""CloudReader: the surface of a map, taken in short steps while the map goes on."""

import time
from collections.abc import Callable
from itertools import chain
from typing import Any

import torch

from concerto_ros.config.schema import SemanticsConfig
from concerto_ros.semantic_map.labelled_map import LabelledMap
from concerto_ros.semantic_map.paging import Paging
from concerto_ros.semantic_map.world import World
from concerto_ros.structures import MapCloud

Run = Callable[[Callable[[], Any]], Any]

_STEP = 0.004  # [s]
_AT_ONCE = 4  # chunks


class CloudReader:
    """Reads the chunks that there are when it is made, each as it is when its turn comes.

    Args:
        labelled: The map in memory.
        paging: The rest of it.
        world: Where its submaps are.
        config: Of the labels.
    """

    def __init__(
        self, labelled: LabelledMap, paging: Paging, world: World, config: SemanticsConfig
    ) -> None:
        self._voxels, self._paging, self._world = labelled.voxels, paging, world
        self._config = config
        self._waiting: list[int] = self._voxels.chunks().key.tolist()
        self._paged = set(paging.keys)
        none = torch.empty(0, dtype=torch.int64, device=self._voxels.device)
        self._parts = [world.part(self._voxels, none)]

    def read(self, run: Run) -> MapCloud:
        """Return the thin surface in the world.

        Args:
            run: Has the thread that owns the map execute a function, and returns what that
                returns. The rest is done in the thread of the caller.

        Raises:
            MapFileError: A chunk on the disk is gone or damaged.
        """
        while run(self._step):
            pass
        pages = self._paging.parts(self._paged, self._config)
        read = (self._world.part(page.voxels, page.voxels.surface_rows()) for page in pages)
        return self._world.joined(chain(self._parts, read))

    def _step(self) -> bool:
        """Take something of what is in memory; return whether there is more."""
        end = time.perf_counter() + _STEP
        while self._waiting:
            some, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
            self._paged |= self._paging.keys.intersection(some)  # went there in the meantime
            key = torch.tensor(some, device=self._voxels.device)
            self._parts.append(self._world.part(self._voxels, self._voxels.surface_rows(key)))
            if time.perf_counter() > end:
                break
        return bool(self._waiting)
