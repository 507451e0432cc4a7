"""Which cells of a level a position reads, and how much of each."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from training.protocol.cell_table import CellTable
from training.protocol.nearest_places import PlaceSearch

_CHUNK = 1 << 15  # positions whose 27 cells around are looked up at once
_TOUCHING = 1e-9  # m; places nearer than this weigh as if they were so far away


class Stencil(NamedTuple):
    """The feature of a position is the weighted sum of K rows of a level.

    Attributes:
        row: (V, K) int64, in range even where the weight is zero.
        weight: (V, K) float32.
    """

    row: Tensor
    weight: Tensor

    def apply(self, feat: Tensor) -> Tensor:
        """Return the (V, C) sums of the rows of a level, feat (M, C) float."""
        if len(feat) == 0:
            return feat.new_zeros(len(self.row), feat.shape[1])
        weight = self.weight.to(feat)
        return functional.embedding_bag(self.row, feat, mode='sum', per_sample_weights=weight)


def nearest(table: CellTable, index: Tensor) -> Stencil:
    """Read the cell that holds a position, or of the 26 around it the nearest occupied one.

    Args:
        table: The occupied cells.
        index: (V, 3) float64, positions in cells; cell c reaches from c to c + 1.
    """
    cell = index.floor().long()
    row = table.find(cell)
    empty = (row < 0).nonzero()[:, 0]
    row[empty] = _nearest_around(table, index[empty], cell[empty])
    return _stencil(row[:, None], torch.ones_like(row, dtype=torch.float64)[:, None])


def trilinear(table: CellTable, index: Tensor) -> Stencil:
    """Read between the centres of eight cells; empty ones are zero. Arguments as for `nearest`."""
    return _stencil(*_corners(table, index - 0.5))


def trilinear_occupied(table: CellTable, index: Tensor) -> Stencil:
    """Share the weights of empty cells among occupied ones; where there is none, as `nearest`.

    Arguments as for `nearest`.
    """
    row, weight = _corners(table, index - 0.5)
    weight = torch.where(row < 0, 0, weight)
    total = weight.sum(1, keepdim=True)
    weight = weight / total.where(total > 0, 1)
    alone = (total[:, 0] == 0).nonzero()[:, 0]
    fallback = nearest(table, index[alone])
    row[alone, :1], weight[alone, :1] = fallback.row, fallback.weight.double()
    return _stencil(row, weight)


def released(table: CellTable, index: Tensor, extent: Tensor) -> Stencil:
    """Read as the released code of masked scene modelling does, which shifts and blurs.

    Positions are divided by the extent of the level, but then taken for places between the first
    and the last centre: half a cell too high at one end, too low at the other.

    Args:
        table: As for `nearest`.
        index: As for `nearest`, of the centre of a base voxel.
        extent: (3,) int64, highest occupied cell + 1.
    """
    return _stencil(*_corners(table, index * (extent - 1) / extent))


def between_points(search: PlaceSearch, position: Tensor) -> Stencil:
    """Read the three nearest of a set of places, weighted by the inverse of the distance.

    Args:
        search: The places.
        position: (V, 3) float64 [m].
    """
    if search.num_places == 0:
        return _stencil(*[position.new_zeros(len(position), 0)] * 2)
    distance, row = search.nearest(position, min(3, search.num_places))
    weight = 1 / distance.clamp(min=_TOUCHING)
    return _stencil(row, weight / weight.sum(1, keepdim=True))


def in_chunks(make: Callable[[Tensor], Stencil], position: Tensor) -> Stencil:
    """Make a stencil of few positions at a time, to hold no more than that at once."""
    parts = [make(part) for part in torch.split(position, _CHUNK)]
    return Stencil(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _stencil(row: Tensor, weight: Tensor) -> Stencil:
    return Stencil(row.long().clamp(min=0), torch.where(row < 0, 0, weight).float())


def _corners(table: CellTable, index: Tensor) -> tuple[Tensor, Tensor]:
    """Return the (V, 8) rows around an index at which cell c has its centre at c, and weights."""
    low = index.floor()
    corner = _block(0, 2, index)
    share = (index - low)[:, None]
    weight = torch.where(corner == 1, share, 1 - share).prod(2)
    row = table.find((low.long()[:, None] + corner).flatten(0, 1))
    return row.view(-1, len(corner)), weight


def _nearest_around(table: CellTable, index: Tensor, cell: Tensor) -> Tensor:
    around = cell[:, None] + _block(-1, 2, index)
    row = table.find(around.flatten(0, 1)).view(around.shape[:2])
    distance = (around + 0.5 - index[:, None]).square().sum(2)
    best = torch.where(row < 0, torch.inf, distance).argmin(1, keepdim=True)
    return row.gather(1, best)[:, 0]


def _block(start: int, stop: int, like: Tensor) -> Tensor:
    """Return the (K, 3) int64 cells of a cube."""
    return torch.cartesian_prod(*[torch.arange(start, stop, device=like.device)] * 3)
