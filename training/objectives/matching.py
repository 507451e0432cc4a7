"""Nearest rows of two sets of clouds, by a grid that is searched finely first.

Apart from `prepare.nearest`, which is faster on whole scenes but has neither GPU nor many clouds.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_FINE = 4  # most neighbours lie within this fraction of the radius


class Matches(NamedTuple):
    """Pairs of rows, in the order of the queries; a query without a partner is absent.

    Attributes:
        query: (R,) int64.
        reference: (R,) int64.
    """

    query: Tensor
    reference: Tensor


@torch.no_grad()
def match(
    query: Tensor,
    query_cloud: Tensor,
    reference: Tensor,
    reference_cloud: Tensor,
    radius: float,
) -> Matches:
    """Find the nearest reference of each query in the cloud of the same number.

    A search in cells of edge h sees all references within h. Cells of a quarter of the radius
    settle nearly all queries; the rest look again in cells as wide as the radius. On one CPU core,
    8000 rows on 8000 take 16 ms, all distances 270 ms; 1000 rows 2 ms either way.

    Args:
        query: (Q, 3) float32 [m].
        query_cloud: (Q,) int64, any numbers from 0, in any order.
        reference: (R, 3) float32 [m].
        reference_cloud: (R,) int64, likewise.
        radius: Pairs are closer than this [m].

    Returns:
        The pairs; of equally near references the one of the lowest row.
    """
    nearest = torch.full_like(query_cloud, -1)
    open_rows = torch.arange(len(query), device=query.device)
    for edge in (radius / _FINE, radius):
        found, distance = _nearest_around(
            query[open_rows], query_cloud[open_rows], reference, reference_cloud, edge
        )
        settled = distance < edge
        nearest[open_rows[settled]] = found[settled]
        open_rows = open_rows[~settled]
    rows = (nearest >= 0).nonzero().squeeze(1)
    return Matches(rows, nearest[rows])


def _nearest_around(
    query: Tensor, query_cloud: Tensor, reference: Tensor, reference_cloud: Tensor, edge: float
) -> tuple[Tensor, Tensor]:
    """Search the 27 cells around each query.

    Returns:
        The (Q,) row of the nearest reference, and the (Q,) distance [m]; infinite where none is.
    """
    if len(query) == 0 or len(reference) == 0:
        return torch.zeros_like(query_cloud), torch.full_like(query[:, 0], torch.inf)
    row, candidate = _candidates(*_cell_keys(query, query_cloud, reference, reference_cloud, edge))
    distance = (query[row] - reference[candidate]).norm(dim=1)
    nearest = distance.new_full((len(query),), torch.inf)
    nearest = nearest.scatter_reduce(0, row, distance, 'amin')
    is_nearest = distance == nearest[row]
    first = torch.full_like(query_cloud, len(reference))
    first = first.scatter_reduce(0, row[is_nearest], candidate[is_nearest], 'amin')
    return first, nearest


def _cell_keys(
    query: Tensor, query_cloud: Tensor, reference: Tensor, reference_cloud: Tensor, edge: float
) -> tuple[Tensor, Tensor]:
    """Number the cells so that those along z follow each other.

    Returns:
        The (Q, 9) keys of the middle cells of the columns around each query, and the (R,) keys
        of the references.
    """
    low = torch.minimum(query.amin(0), reference.amin(0))
    query_cell, reference_cell = ((x - low).div(edge).long() + 1 for x in (query, reference))
    # A free cell on every side, so that no neighbour lies beyond the border of a row.
    size = torch.maximum(query_cell.amax(0), reference_cell.amax(0)) + 2
    columns = torch.cartesian_prod(*[torch.arange(-1, 2, device=query.device)] * 2)
    columns = (columns[:, 0] * size[1] + columns[:, 1]) * size[2]

    def key(cloud: Tensor, cell: Tensor) -> Tensor:
        return ((cloud * size[0] + cell[:, 0]) * size[1] + cell[:, 1]) * size[2] + cell[:, 2]

    return key(query_cloud, query_cell)[:, None] + columns, key(reference_cloud, reference_cell)


def _candidates(query_key: Tensor, reference_key: Tensor) -> tuple[Tensor, Tensor]:
    """Return all pairs (query, reference) of which the cells touch, (P,) int64 each."""
    ordered, order = reference_key.sort()
    start = torch.searchsorted(ordered, query_key - 1).flatten()
    count = torch.searchsorted(ordered, query_key + 1, right=True).flatten() - start
    pair = torch.arange(len(count), device=count.device).repeat_interleave(count)
    within = torch.arange(len(pair), device=count.device) - (count.cumsum(0) - count)[pair]
    return pair // query_key.shape[1], order[start[pair] + within]
