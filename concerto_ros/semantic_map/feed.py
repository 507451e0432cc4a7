"""MapFeed: a map and its changes for who listens, some groups at a time."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
import torch

from concerto_ros.config.schema import SemanticsConfig
from concerto_ros.mapping import CHUNK_VOXELS, GROUP_VOXELS, VoxelMap
from concerto_ros.mapping.voxel_keys import pack_chunks
from concerto_ros.mapping.voxel_reading import Groups
from concerto_ros.semantic_map.labelled_map import LabelledMap
from concerto_ros.semantic_map.paging import Paging
from concerto_ros.structures import MapChanges

_PER_CHUNK = CHUNK_VOXELS // GROUP_VOXELS

Describe = Callable[[VoxelMap, Groups], MapChanges]


class MapFeed:
    """Tells all of a map, and then what changes, each group as it is when its turn comes.

    Args:
        labelled: The map in memory.
        paging: The rest of it.
        describe: Makes of groups of a part of the map what is told.
    """

    def __init__(self, labelled: LabelledMap, paging: Paging, describe: Describe) -> None:
        self._voxels, self._paging, self._describe = labelled.voxels, paging, describe
        self._revision = 0
        self._pending: dict[int, None] = {}  # keys of groups, in their order
        self._paged: set[int] = set()  # keys of chunks on the disk

    @property
    def has_more(self) -> bool:
        """Whether groups that are in memory wait."""
        return bool(self._pending)

    def next(self, max_groups: int) -> MapChanges:
        """Return the next groups of those that are in memory; empty: nothing has changed."""
        self._take_news()
        keys = list(islice(self._pending, max_groups))
        for key in keys:
            del self._pending[key]
        groups = self._voxels.groups(torch.tensor(keys, dtype=torch.int64))
        is_gone = groups.revision == 0  # to the disk, since it changed
        if is_gone.any():
            chunk = groups.key[is_gone].div(_PER_CHUNK, rounding_mode='floor')
            self._paged.update(pack_chunks(chunk, groups.submap[is_gone]).tolist())
        return self._describe(self._voxels, groups)

    def take_paged(self) -> frozenset[int]:
        """Return the keys of chunks on the disk that are to be told with `read`, each once."""
        paged, self._paged = frozenset(self._paged), set()
        return paged

    def read(
        self, chunk_keys: Iterable[int], max_groups: int, config: SemanticsConfig
    ) -> Iterator[MapChanges]:
        """Read chunks on the disk, some groups at a time; any thread may do so.

        Raises:
            MapFileError: A chunk is gone or damaged.
        """
        for part in self._paging.parts(chunk_keys, config):
            keys = part.voxels.changed_group_keys(0)
            for some in torch.split(keys, max_groups):
                yield self._describe(part.voxels, part.voxels.groups(some))

    def _take_news(self) -> None:
        if self._revision == self._voxels.revision:
            return
        self._paged |= self._paging.changed_since(self._revision)
        keys = self._voxels.changed_group_keys(self._revision)  # may raise the revision
        self._pending.update(dict.fromkeys(keys.tolist()))
        self._revision = self._voxels.revision


def as_changes(voxels: VoxelMap, groups: Groups, **fields: object) -> MapChanges:
    """Return groups as plain arrays.

    Args:
        voxels: A map or a part of it.
        groups: Of it; those without a revision are left out.
        **fields: The other fields of `MapChanges`.
    """
    held = (groups.revision > 0).cpu()
    return MapChanges(
        group_size=GROUP_VOXELS * voxels.voxel_size,
        voxel_size=voxels.voxel_size,
        submap=groups.submap.cpu()[held].numpy().astype(np.uint16),
        key=groups.key.cpu()[held].numpy().astype(np.int32),
        sequence=groups.revision.cpu()[held].numpy().astype(np.uint64),
        num_points=groups.num_rows.cpu()[held].numpy().astype(np.uint32),
        cloud=voxels.cloud(groups.rows),
        **fields,  # type: ignore[arg-type]
    )
