"""ChunkRecords: chunks that go to the disk and come back."""

from collections.abc import Mapping

import torch
from torch import Tensor

from concerto_ros.mapping.voxel_keys import (
    CHUNK_SHIFT,
)
from concerto_ros.mapping.voxel_reading import VoxelReading

_IN_CHUNK = (1 << CHUNK_SHIFT) - 1


class ChunkRecords(VoxelReading):
    """Takes chunks out of a map and puts them back, as they were."""

    def record(self, chunk_key: int) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Return all that there is of a chunk, to be written down.

        Returns:
            Arrays by name, copies; and per level the numbers of its cells, in their order.

        Raises:
            KeyError: There is no such chunk.
        """
        self.refresh()
        key = torch.tensor([chunk_key], device=self.device)
        if int(self._index.chunks(key)) < 0:
            raise KeyError(chunk_key)
        rows = self.rows_of_chunks(key)
        rows = rows[self.key(rows).argsort()]
        record = {'place': (self.key(rows) & _IN_CHUNK).int(), **self._rows.record(rows)}
        chunk = self._index.chunks(key)
        record['revision'] = self._revisions.of_chunks(chunk)
        record['num_dirty'] = self._surface.of_chunks(chunk)[1]
        if self.cells is None:
            return record, []
        cell = torch.unique(self.cell(rows))
        cells = self.cells.record(chunk_key, cell[cell >= 0])
        record |= {f'cell_{level}': place for level, (_, place) in enumerate(cells)}
        record['label'] = self.cells.label.all()[cells[0][0]]
        record['confidence'] = self.cells.confidence.all()[cells[0][0]]
        return record, [slot for slot, _ in cells]

    def insert(self, chunk_key: int, record: Mapping[str, Tensor]) -> list[Tensor]:
        """Take a chunk that is not there from its record.

        Returns:
            Per level the (M_s,) int64 numbers of its cells, in the order of the record.
        """
        record = {name: value.to(self.device) for name, value in record.items()}
        key = (chunk_key << CHUNK_SHIFT) | record['place'].long()
        row, _, block = self._index.add_voxels(key, self._rows.slots)
        self._rows.begin(row, key)
        self._rows.restore(row, record)
        chunk = self._index.chunks(torch.tensor([chunk_key], device=self.device))
        revision, is_thin = int(record['revision']), self._thinned_revision == self.revision
        self.revision = max(self.revision, revision)
        if is_thin:  # as the record is
            self._thinned_revision = self.revision
        self._revisions.mark(block, revision)
        slots = self._insert_cells(chunk_key, record, row, key)
        self._surface.count(block)
        num_lost = record['num_dirty'] - self._surface.of_chunks(chunk)[1]
        self._surface.add_dirty(chunk, num_lost.clamp(min=0))
        self._mark_restored(block)
        return slots

    def evict(self, chunk_key: int) -> list[Tensor]:
        """Forget a chunk that is kept elsewhere; to readers of changes nothing changes.

        Returns:
            Per level the numbers of the cells that were freed.
        """
        self.refresh()
        key = torch.tensor([chunk_key], device=self.device)
        chunk = self._index.chunks(key)
        block = self._index.blocks_of_chunks(chunk)
        freed = self._free_cells(chunk)
        self._rows.end(self.rows_of_chunks(key))
        self._surface.forget(chunk, block)
        self._revisions.forget(chunk, block)
        self._index.remove_chunk(chunk_key)
        return freed

    def _insert_cells(
        self, chunk_key: int, record: Mapping[str, Tensor], row: Tensor, key: Tensor
    ) -> list[Tensor]:
        if not self.cells:
            return []
        levels = range(self.cells.layout.num_levels)
        keys = [(chunk_key << CHUNK_SHIFT) | record[f'cell_{level}'].long() for level in levels]
        slots = [self.cells.claim(level, keys[level])[0] for level in levels]
        for level in levels[:-1]:
            self.cells.set_parents(level, slots[level], self.cells.slots(level + 1, keys[level]))
        self.cells.label.all()[slots[0]] = record['label']
        self.cells.confidence.all()[slots[0]] = record['confidence']
        cell = self.cells.nearest(key)
        self._rows.cell.all()[row] = cell.int()
        # Written down while the network looked, its cells may be missing.
        self._rows.is_looked_at.all()[row[cell < 0]] = False
        return slots
