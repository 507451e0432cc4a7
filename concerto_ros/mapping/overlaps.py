"""Where submaps hold the same space: which voxels stand for the surface, and how it is labelled.

Nothing is changed in the submaps, so it can be asked anew whenever they move.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

_REACH = 1.25  # voxels; lattices that are turned do not line up, nor do surfaces to the millimetre
_REGION = 8  # voxels; per cube of that size the submap that measured more comes first
_LABELS = 1 << 16  # more than any id
_FACING = 0.3  # cosine from which two normals face the same way


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """What overlapping submaps say together.

    Attributes:
        stands: (N,) bool, rows that stand for their surface; the others are to be left out.
        label: (N, 2) int64 for the rows that stand; their own for the others.
        confidence: (N, 2) float32 in 0..1, likewise.
    """

    stands: Tensor
    label: Tensor
    confidence: Tensor


def overlapping_chunks(
    chunk: Tensor, submap: Tensor, T_world_submap: Tensor, edge: float, margin: float
) -> Tensor:
    """Find the chunks of different submaps whose bounding boxes meet; only their rows can overlap.

    Args:
        chunk: (K, 3) int64, cube [chunk, chunk + 1) * edge of its submap.
        submap: (K,) int64.
        T_world_submap: (S, 4, 4) float64 of all submaps.
        edge: Of a chunk [m].
        margin: Boxes that are this close meet too [m]; take two voxels.

    Returns:
        (P, 2) int64 places in `chunk` of two that meet; each pair both ways round, sorted.
    """
    pose = T_world_submap[submap]
    center = (pose[:, :3, :3] @ ((chunk.double() + 0.5) * edge)[..., None])[..., 0] + pose[
        :, :3, 3
    ]
    half = pose[:, :3, :3].abs().sum(2) * (edge / 2) + margin / 2
    low = ((center - half) / edge).floor().long()
    high = ((center + half) / edge).floor().long()
    steps = torch.arange(int((high - low).max()) + 1 if len(chunk) else 0, device=chunk.device)
    cells = low[:, None] + torch.cartesian_prod(steps, steps, steps)
    owner, nth = (cells <= high[:, None]).all(2).nonzero(as_tuple=True)
    pairs = []
    for i, j in _neighbors(cells[owner, nth], reach=0):
        a, b = owner[i], owner[j]
        meets = ((center[a] - center[b]).abs() <= half[a] + half[b]).all(1)
        pairs.append((a * len(chunk) + b)[meets & (submap[a] != submap[b])])
    pair = torch.unique(torch.cat(pairs))
    return torch.stack([pair // len(chunk), pair % len(chunk)], dim=1)


def vote(
    coord: Tensor,
    normal: Tensor,
    submap: Tensor,
    weight: Tensor,
    label: Tensor,
    confidence: Tensor,
    voxel_size: float,
) -> Vote:
    """Choose among rows of different submaps that lie on one surface, and let them vote.

    Two rows are of one surface if they are of different submaps, within 1.25 voxels, and face the
    same way. Of these the row stands whose submap has the more weight in the cube of 8 voxels
    around it, so that a surface is taken from one submap as far as possible and not stitched of
    two at every step. Every row that does not stand has one within reach that does. Rows of one
    submap never exclude each other. A row that stands gets the label with the largest sum of
    weight times confidence among itself and those it stands for, and that sum over all weight that
    is labelled as its confidence; rows that stand alone stay as they are.

    Args:
        coord: (N, 3) float in the world [m].
        normal: (N, 3) float in the world; zero where unknown, which faces any way.
        submap: (N,) int64.
        weight: (N,) float, positive; how much it was measured, such as the number of views.
        label: (N, 2) int64; 0 is unknown and has no vote.
        confidence: (N, 2) float in 0..1.
        voxel_size: [m].
    """
    rank = _ranks(coord, submap, weight.double(), _REGION * voxel_size)
    below, above, distance = _rivals(coord.double(), normal, submap, rank, _REACH * voxel_size)
    stands = _stands(len(coord), below, above)
    stands_for = torch.arange(len(coord), device=coord.device)
    is_heard = stands[above]  # no row that stands has one above it that stands
    below, above, distance = below[is_heard], above[is_heard], distance[is_heard]
    order = distance.argsort(stable=True)
    order = order[below[order].argsort(stable=True)]
    is_nearest = _is_first(below[order])
    stands_for[below[order][is_nearest]] = above[order][is_nearest]
    columns = [
        _elect(stands_for, weight.double(), label[:, i], confidence[:, i])
        for i in range(label.shape[1])
    ]
    return Vote(
        stands=stands,
        label=torch.stack([winner for winner, _ in columns], dim=1),
        confidence=torch.stack([share for _, share in columns], dim=1),
    )


def _ranks(coord: Tensor, submap: Tensor, weight: Tensor, region: float) -> Tensor:
    """Return (N,) int64, equal within a submap in a region and different otherwise.

    More weight of the submap in the region is a higher rank.
    """
    key, _ = _keys(torch.cat([(coord / region).floor().long(), submap[:, None]], dim=1))
    held, of_held = torch.unique(key, return_inverse=True)
    total = torch.zeros(len(held), dtype=weight.dtype, device=weight.device)
    total.index_add_(0, of_held, weight)
    rank = torch.empty(len(held), dtype=torch.int64, device=coord.device)
    rank[total.argsort(stable=True)] = torch.arange(len(held), device=coord.device)
    return rank[of_held]


def _rivals(
    coord: Tensor, normal: Tensor, submap: Tensor, rank: Tensor, reach: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rows (P,), those of higher rank on their surface (P,), and the distances (P,)."""
    found = []
    for a, b in _neighbors((coord / reach).floor().long(), reach=1):
        is_other = (submap[a] != submap[b]) & (rank[a] < rank[b])
        below, above = a[is_other], b[is_other]
        distance = (coord[below] - coord[above]).norm(dim=1)
        n, m = normal[below], normal[above]
        opposes = (n * m).sum(1) < _FACING * n.norm(dim=1) * m.norm(dim=1)
        is_one = (distance <= reach) & ~opposes
        found.append((below[is_one], above[is_one], distance[is_one]))
    below, above, distance = (torch.cat(parts) for parts in zip(*found, strict=True))
    return below, above, distance


def _neighbors(cell: Tensor, *, reach: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pairs (P,), (P,) of entries of cells (N, 3) that are up to `reach` cells apart.

    Each pair comes once each way round; an entry is its own neighbour too.
    """
    key, strides = _keys(cell, margin=reach)
    key, order = key.sort(stable=True)
    steps = torch.arange(-reach, reach + 1, device=cell.device)
    for step in torch.cartesian_prod(steps, steps):
        middle = key + (step * strides[:2]).sum()
        begin = torch.searchsorted(key, middle - reach)
        count = torch.searchsorted(key, middle + reach, right=True) - begin
        a = torch.arange(len(key), device=cell.device).repeat_interleave(count)
        within = torch.arange(len(a), device=cell.device) - (count.cumsum(0) - count)[a]
        yield order[a], order[begin[a] + within]


def _keys(cell: Tensor, margin: int = 0) -> tuple[Tensor, Tensor]:
    """Return (N,) int64 keys of cells (N, D), sorted as these are, and (D,) strides between them.

    Cells up to `margin` beyond the outermost have keys of their own.
    """
    if len(cell) == 0:
        return cell.new_zeros(0), cell.new_ones(cell.shape[1])
    cell = cell - cell.amin(0) + margin
    size = cell.amax(0) + 1 + margin
    strides = torch.cat([size[1:].flip(0).cumprod(0).flip(0), size.new_ones(1)])
    return (cell * strides).sum(1), strides


def _stands(num: int, below: Tensor, above: Tensor) -> Tensor:
    """Return (N,) bool: rows in falling rank, unless one above them on their surface stands."""
    stands = torch.zeros(num, dtype=torch.bool, device=below.device)
    is_open = ~stands
    while is_open.any():
        waits, excluded = torch.zeros_like(stands), torch.zeros_like(stands)
        waits[below[is_open[above]]] = True
        stands |= is_open & ~waits
        excluded[below[stands[above]]] = True
        is_open &= ~stands & ~excluded
    return stands


def _elect(
    stands_for: Tensor, weight: Tensor, label: Tensor, confidence: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the labels (N,) int64 and confidences (N,) float32 after the vote."""
    label, confidence = label.clone(), confidence.float().clone()
    is_shared = torch.bincount(stands_for, minlength=len(label)) > 1
    voter = (is_shared[stands_for] & (label > 0)).nonzero()[:, 0]
    option, of_option = torch.unique(
        stands_for[voter] * _LABELS + label[voter], return_inverse=True
    )
    of_row = option // _LABELS
    score = torch.zeros(len(option), dtype=weight.dtype, device=weight.device)
    score.index_add_(0, of_option, weight[voter] * confidence[voter])
    total = torch.zeros_like(weight).index_add_(0, stands_for[voter], weight[voter])
    order = score.argsort(descending=True, stable=True)
    order = order[of_row[order].argsort(stable=True)]
    winner = order[_is_first(of_row[order])]
    row = of_row[winner]
    label[row] = option[winner] % _LABELS
    confidence[row] = (score[winner] / total[row]).float()
    return label, confidence


def _is_first(value: Tensor) -> Tensor:
    """Return (N,) bool, where a sorted value (N,) differs from the one before."""
    is_first = torch.ones_like(value, dtype=torch.bool)
    is_first[1:] = value[1:] != value[:-1]
    return is_first
