"""BlockRevisions: which blocks changed since when; every reader keeps its own mark."""

import torch
from torch import Tensor

from concerto_ros.mapping.growing import GrowingTensor


class BlockRevisions:
    """The revision of the map in which each block changed last.

    A reader remembers the revision it has seen and asks for what changed since; readers need not
    know each other and may read at any rate.
    """

    def __init__(self, device: torch.device | str) -> None:
        self._revision = GrowingTensor((), torch.int64, device)

    @property
    def num_bytes(self) -> int:
        """Memory of the marks."""
        return self._revision.num_bytes

    def mark(self, block: Tensor, revision: int) -> None:
        """Note that blocks (V,) int64 changed; blocks of new numbers are added."""
        missing = int(block.max()) + 1 - len(self._revision) if len(block) else 0
        if missing > 0:
            self._revision.append(torch.zeros(missing, dtype=torch.int64, device=block.device))
        self._revision.all()[block] = revision

    def of(self, block: Tensor) -> Tensor:
        """Return the (V,) int64 revision of blocks (V,)."""
        return self._revision.all()[block]

    def changed_since(self, revision: int) -> Tensor:
        """Return the (V,) int64 numbers of blocks that changed after a revision."""
        return (self._revision.all() > revision).nonzero()[:, 0]
