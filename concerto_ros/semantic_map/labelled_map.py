"""LabelledMap: voxels and what the network knows of them, which go and come chunk by chunk."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from concerto_ros.config.schema import SemanticsConfig
from concerto_ros.mapping import VoxelMap
from concerto_ros.mapping.voxel_rows import STORED
from concerto_ros.semantic_map.labeler import Labeler

Record = Mapping[str, Tensor]

_AT_ONCE = 64  # chunks that are read at a time


class LabelledMap:
    """A map in memory.

    Attributes:
        voxels: The map.
        labeler: Of this map.

    Args:
        voxel_size: Edge length of a voxel [m].
        labeler: Becomes that of the new map.
        device: Where the map lives.
        max_bytes: Memory that it is expected to need at most.
        revision: To start from.
        start_ns: Stamp from which others are counted [ns]; None: that of the first frame.
    """

    def __init__(
        self,
        voxel_size: float,
        labeler: Labeler,
        device: torch.device | str,
        max_bytes: int,
        revision: int = 0,
        start_ns: int | None = None,
    ) -> None:
        self.voxels = VoxelMap(
            voxel_size,
            device,
            revision,
            cells=labeler.layout(voxel_size),
            max_bytes=max_bytes,
            start_ns=start_ns,
        )
        self.labeler = labeler
        labeler.attach(self.voxels)

    def empty(self, max_bytes: int = 1 << 26) -> 'LabelledMap':
        """Return an empty map beside this one, of the same weights and vocabulary."""
        voxels = self.voxels
        other = LabelledMap.__new__(LabelledMap)
        other.voxels = VoxelMap(
            voxels.voxel_size,
            voxels.device,
            cells=voxels.cells.layout if voxels.cells else None,
            max_bytes=max_bytes,
            start_ns=voxels.start_ns,
        )
        other.labeler = self.labeler.beside(other.voxels)
        return other

    @property
    def num_bytes(self) -> dict[str, int]:
        """Memory by layer, with what freed voxels have left to be used again."""
        layers = self.voxels.num_bytes
        if self.labeler.store:
            for level, size in enumerate(self.labeler.store.bytes_per_level):
                layers[f'features_{level}'] = size
            layers['queries'] = self.labeler.query_bytes
        return layers

    @property
    def num_bytes_used(self) -> int:
        """Memory of what there is."""
        used, cells = self.voxels.num_bytes_used, self.voxels.cells
        if self.labeler.store and cells:
            for level, size in enumerate(self.labeler.store.bytes_per_level):
                used += size * cells.num_used(level) // max(1, cells.length(level))
        return used

    def record(self, chunk_key: int) -> dict[str, Tensor]:
        """Return all that there is of a chunk, on the CPU.

        Raises:
            KeyError: There is no such chunk.
        """
        record, slots = self.voxels.record(chunk_key)
        record |= self.labeler.take(slots)
        return {name: value.cpu() for name, value in record.items()}

    def insert(
        self, chunk_key: int, record: Record, names: Sequence[str], config: SemanticsConfig
    ) -> None:
        """Take a chunk that is not there from its record.

        Args:
            chunk_key: Of the chunk.
            record: What `record` returned.
            names: The vocabulary by which it is labelled.
            config: Least confidence of a label, if the vocabulary is another now.
        """
        if len(record['place']) == 0:
            return
        slots = self.voxels.insert(chunk_key, record)
        self.labeler.put(slots, record, names, config)

    def unseen(self, record: Record) -> dict[str, Tensor]:
        """Return the record of a chunk as if no network had ever looked at it."""
        kept = {name: record[name] for name in ('place', 'revision', *STORED)}
        kept['is_looked_at'] = torch.zeros_like(kept['is_looked_at'])
        kept['num_dirty'] = kept['is_surface'].sum()[None]
        if cells := self.voxels.cells:
            none = torch.empty(0, dtype=torch.int64)
            levels = range(cells.layout.num_levels)
            kept |= {f'cell_{level}': none.int() for level in levels}
            kept |= {'label': torch.empty(0, 2).short(), 'confidence': torch.empty(0, 2).half()}
            kept |= self.labeler.take([none.to(self.voxels.device) for _ in levels])
        return {name: value.cpu() for name, value in kept.items()}

    def evict(self, chunk_key: int) -> None:
        """Forget a chunk that is kept elsewhere."""
        self.labeler.forget(self.voxels.evict(chunk_key))

    def parts(
        self,
        keys: Iterable[int],
        read: Callable[[int], tuple[Record, Sequence[str]]],
        config: SemanticsConfig,
    ) -> Iterator['LabelledMap']:
        """Read chunks that are kept elsewhere a few at a time, each few as a map of their own.

        Any thread may do so while the map goes on.

        Args:
            keys: Of the chunks.
            read: Returns the record of a chunk and the vocabulary by which it is labelled.
            config: Least confidence of a label.
        """
        waiting = sorted(keys)
        for start in range(0, len(waiting), _AT_ONCE):
            part = self.empty()
            for key in waiting[start : start + _AT_ONCE]:
                part.insert(key, *read(key), config)
            yield part
