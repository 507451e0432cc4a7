"""Revisions: which blocks changed since when; every reader keeps its own mark."""

import torch
from torch import Tensor

from concerto_ros.mapping.chunk_index import ChunkIndex
from concerto_ros.mapping.growing import GrowingTensor


class Revisions:
    """The revision of the map in which each block, and each chunk, changed last.

    A reader remembers the revision it has seen and asks for what changed since; readers need not
    know each other and may read at any rate. It costs a look at each chunk, and one at each block
    of those chunks that changed.

    Args:
        index: Whose numbers are marked.
        device: Where the marks live.
        reserve: Blocks that are expected at most.
    """

    def __init__(self, index: ChunkIndex, device: torch.device | str, reserve: int = 0) -> None:
        self._index = index
        self._of_block = GrowingTensor((), torch.int64, device, reserve)
        self._of_chunk = GrowingTensor((), torch.int64, device)

    @property
    def num_bytes(self) -> int:
        """Memory of the marks."""
        return self._of_block.num_bytes + self._of_chunk.num_bytes

    def mark(self, block: Tensor, revision: int) -> None:
        """Note that blocks (V,) int64 changed."""
        self._of_block.grow(self._index.num_blocks)
        self._of_block.all()[block] = revision
        self.mark_chunks(torch.unique(self._index.chunk_of_block(block)), revision)

    def mark_chunks(self, chunk: Tensor, revision: int) -> None:
        """Note that something changed in chunks (C,) that is no matter of their blocks."""
        self._of_chunk.grow(self._index.num_chunks)
        self._of_chunk.all()[chunk] = revision

    def forget(self, chunk: Tensor, block: Tensor) -> None:
        """Let numbers of chunks (C,) and blocks (V,) be as if nothing had ever changed."""
        self._of_chunk.all()[chunk] = 0
        self._of_block.all()[block] = 0

    def of(self, block: Tensor) -> Tensor:
        """Return the (V,) int64 revision of blocks (V,)."""
        return self._of_block.all()[block]

    def of_chunks(self, chunk: Tensor) -> Tensor:
        """Return the (C,) int64 revision of chunks (C,)."""
        return self._of_chunk.all()[chunk]

    def changed_since(self, revision: int) -> Tensor:
        """Return the (V,) int64 numbers of blocks that changed after a revision."""
        chunk = (self._of_chunk.all() > revision).nonzero()[:, 0]
        block = self._index.blocks_of_chunks(chunk)
        return block[self.of(block) > revision]
