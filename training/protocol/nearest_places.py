"""The nearest of many places, by grids that widen until they are wide enough."""

import torch
from torch import Tensor

from training.protocol.cell_table import CellTable

_CHUNK = 1 << 13  # positions that are searched for at once
_PAIRS = 1 << 20  # of positions and places that are formed at once, and those of one position
_MATES = 8  # places that share the cell of a place on average, at most, in the first grid
_HALVINGS = 24  # at most; places that coincide cannot be parted


class PlaceSearch:
    """Finds the nearest of a set of places, however far.

    A search in cells of edge h sees all places within h. Most positions are settled in cells that
    hold a few places; the others look again in cells twice as wide. Cells are kept for the next
    search.

    Args:
        place: (M, 3) float64 [m].

    Attributes:
        num_places: M.
    """

    def __init__(self, place: Tensor) -> None:
        self.num_places = len(place)
        self._place = place
        self._grids: list[_Grid] = []  # each twice as wide as the one before

    def nearest(self, position: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return the nearest places of each position.

        Args:
            position: (V, 3) float64 [m].
            count: K, up to M.

        Returns:
            (V, K) float64 distances [m], growing, and (V, K) int64 rows of the places.
        """
        distance = position.new_empty(len(position), count)
        row = torch.zeros_like(distance, dtype=torch.int64)
        left = torch.arange(len(position), device=position.device)
        number = 0
        while len(left):
            grid = self._grid(number)
            for part in torch.split(left, _CHUNK):
                distance[part], row[part] = grid.nearest(position[part], count)
            left = left[distance[left, -1] > grid.edge]
            number += 1
        return distance, row

    def _grid(self, number: int) -> '_Grid':
        if not self._grids:
            self._grids.append(_Grid(self._place, _first_edge(self._place)))
        elif number == len(self._grids):
            self._grids.append(_Grid(self._place, 2 * self._grids[-1].edge))
        return self._grids[number]


def _first_edge(place: Tensor) -> float:
    edge = max(float((place.amax(0) - place.amin(0)).max()), 1e-6)
    for _ in range(_HALVINGS):
        size = _Grid(place, edge).size
        if float(size.square().sum()) <= _MATES * len(place):
            break
        edge /= 2
    return edge


class _Grid:
    """Places sorted by cell.

    Attributes:
        edge: Of a cell [m].
        size: (U,) int64, places in each occupied cell.
    """

    def __init__(self, place: Tensor, edge: float) -> None:
        self._place, self.edge = place, edge
        cells, cell, self.size = torch.unique(
            (place / edge).floor().long(), dim=0, return_inverse=True, return_counts=True
        )
        self._order = cell.argsort(stable=True)
        self._start = self.size.cumsum(0) - self.size
        self._table = CellTable(cells)

    def nearest(self, position: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return the (V, K) distances to places in the 27 cells around, and their rows.

        Distances are infinite where there are fewer places.
        """
        steps = torch.cartesian_prod(*[torch.arange(-1, 2, device=position.device)] * 3)
        around = (position / self.edge).floor().long()[:, None] + steps
        cell = self._table.find(around.flatten(0, 1)).view(around.shape[:2])
        size = torch.where(cell < 0, 0, self.size[cell])
        distance = position.new_full((len(position), count), torch.inf)
        row = torch.zeros_like(distance, dtype=torch.int64)
        for part in _bounded(size.sum(1)):
            query, candidate = self._pairs(cell[part], size[part])
            query = part[query]
            self._keep_nearest(position, query, candidate, distance, row)
        return distance, row

    def _keep_nearest(
        self, position: Tensor, query: Tensor, candidate: Tensor, distance: Tensor, row: Tensor
    ) -> None:
        """Write the nearest candidates of each query into the (V, K) distances and rows."""
        away = (position[query] - self._place[candidate]).norm(dim=1)
        order = away.argsort(stable=True)
        order = order[query[order].argsort(stable=True)]
        query, candidate, away = query[order], candidate[order], away[order]
        number = query.bincount(minlength=len(position))
        rank = torch.arange(len(query), device=query.device)
        rank -= (number.cumsum(0) - number)[query]
        kept = rank < distance.shape[1]
        distance[query[kept], rank[kept]] = away[kept]
        row[query[kept], rank[kept]] = candidate[kept]

    def _pairs(self, cell: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        """Return which of Q positions, and all places in its cells, (P,) int64 each.

        Args:
            cell: (Q, 27) int64, rows of cells.
            size: (Q, 27) int64, places in each; none where there is no such cell.
        """
        width = cell.shape[1]
        cell, size = cell.flatten(), size.flatten()
        pair = torch.arange(len(cell), device=cell.device).repeat_interleave(size)
        within = torch.arange(len(pair), device=cell.device) - (size.cumsum(0) - size)[pair]
        return pair // width, self._order[self._start[cell[pair]] + within]


def _bounded(number: Tensor) -> tuple[Tensor, ...]:
    """Return rows, in parts that have few pairs together; number (V,) int64 of pairs of each."""
    group = (number.cumsum(0) - 1).clamp(min=0) // _PAIRS
    counts = torch.unique_consecutive(group, return_counts=True)[1].tolist()
    return torch.split(torch.arange(len(number), device=number.device), counts)
