"""From clouds to the input of the network: as published weights expect it.

prepared = prepare_cloud(coord, color, normal)      # raw points, in metres, z up
pyramid = model(prepared.points)
feature = pyramid.upcast(2)[prepared.inverse]       # one row per raw point

Nine channels: coordinates [m] with x and y centred and the floor at z = 0, colour in 0..1, unit
normal; zeros where colour or normal is unknown.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concerto_ros.errors import ConcertoError
from concerto_ros.model.point_batch import PointBatch
from concerto_ros.model.segment_ops import segment_mean

_LATTICE = 16  # voxels; the coarsest cells keep their place when an origin moves by this
FLOOR_SHARE = 0.01  # of the voxels may lie below the floor, as outliers do
_AXIS_BITS = 16
_FNV_OFFSET, _FNV_PRIME = 14695981039346656037, 1099511628211  # of 64 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a family of weights was fed.

    Attributes:
        voxel_size: Edge length of a voxel, after scaling [m].
        scale: Factor on all coordinates.
        is_indoor: Centred before voxels are made, with the lowest point at z = 0; otherwise
            after it, and z stays.
    """

    voxel_size: float = 0.02
    scale: float = 1.0
    is_indoor: bool = True


INDOOR = Recipe()
OUTDOOR = Recipe(voxel_size=0.01, scale=0.2, is_indoor=False)  # concerto_large_outdoor


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedCloud:
    """The voxels of a cloud, and how to come back from them.

    Attributes:
        points: One cloud, one row per voxel.
        inverse: (N,) int64, row of `points` for each raw point.
    """

    points: PointBatch
    inverse: Tensor


def prepare_cloud(
    coord: Tensor,
    color: Tensor | None = None,
    normal: Tensor | None = None,
    *,
    recipe: Recipe = INDOOR,
    published_random: np.random.RandomState | None = None,
) -> PreparedCloud:
    """Turn the raw points of one cloud into voxels.

    By default the points of a voxel are averaged, and voxels are sorted along x, then y, then z,
    so the result depends neither on chance nor on the order of the points.

    Args:
        coord: (N, 3) float [m], z up. Cells are taken in float32, as the published transform
            does; a lattice of cells starts at the lowest coordinates.
        color: (N, 3) float or uint8, RGB in 0..255; None: unknown, zeros.
        normal: (N, 3) float unit vectors; None: unknown, zeros.
        recipe: `INDOOR` or `OUTDOOR`.
        published_random: Gives the published transform instead: a voxel is represented by one of
            its points, drawn from this generator, and voxels are sorted by their hash.
            `RandomState(k)` draws what the published code draws after `numpy.random.seed(k)`.

    Raises:
        ConcertoError: A shape does not fit, a number is not finite, or the cloud is wider than
            65535 voxels.
    """
    color = torch.zeros_like(coord) if color is None else color
    normal = torch.zeros_like(coord) if normal is None else normal
    _check(coord, color, normal)
    coord = coord.float() * recipe.scale
    if recipe.is_indoor:
        coord = coord - _center(coord, has_floor=True)
    grid = voxel_grid(coord, recipe.voxel_size)
    if published_random is None:
        grid, inverse = _unique_cells(grid)
        parts = [segment_mean(t.float(), inverse, len(grid)) for t in (coord, color, normal)]
    else:
        row, inverse = _published_sample(grid, published_random)
        grid, parts = grid[row], [t[row].float() for t in (coord, color, normal)]
    coord, color, normal = parts
    if not recipe.is_indoor:
        coord = coord - _center(coord, has_floor=False)
    return PreparedCloud(points=_batch(grid, coord, color, normal), inverse=inverse)


def lattice_origin(coord: Tensor, recipe: Recipe = INDOOR) -> Tensor:
    """Return the (3,) float64 lowest corner of voxel (0, 0, 0) of `prepare_cloud`.

    Voxel g of (N, 3) float points `coord` [m] has its centre at
    `origin + (g + 0.5) * recipe.voxel_size / recipe.scale` [m], in the frame of the points; of no
    points it begins at zero.
    """
    coord = coord.float() * recipe.scale
    center = _center(coord, has_floor=True) if recipe.is_indoor else coord.new_zeros(3)
    size = torch.full_like(center, recipe.voxel_size)
    low = (coord - center).amin(0) if len(coord) else center
    start = (low / size).floor().double() * recipe.voxel_size
    return (center.double() + start) / recipe.scale


def prepare_map(
    grid_coord: Tensor,
    coord: Tensor,
    color: Tensor,
    normal: Tensor,
    *,
    voxels_per_cell: int = 1,
    floor: float | None = None,
) -> PreparedCloud:
    """Turn voxels of a map into one cloud, on the map's own lattice.

    The lattice keeps its place modulo 16 cells, so that a voxel falls into the same coarse cells
    in every window. In z it should begin a cell below the floor, as in training, where it begins
    at the lowest point: a floor that lies on the border of coarse cells is two half ones to the
    network.

    Args:
        grid_coord: (N, 3) int64, voxel of each row, each once; N > 0.
        coord: (N, 3) float32 [m], z up.
        color: (N, 3) float32 RGB in 0..255.
        normal: (N, 3) float32 unit vectors, zero where unknown.
        voxels_per_cell: Voxels along the edge of a cell, which the network sees as one: their
            mean. 1: rows stay as they are; otherwise cells are sorted along x, then y, then z.
        floor: Height of the floor [m], of a map whose z begins a cell below it. None: where one
            point in a hundred lies lower, and the lattice is moved to begin a cell below.

    Raises:
        ConcertoError: The window is wider than 65535 cells.
    """
    inverse = torch.arange(len(coord), device=coord.device)
    grid = grid_coord if voxels_per_cell == 1 else grid_coord // voxels_per_cell
    start = torch.zeros_like(grid[0])
    if floor is None:
        start[2] = _lowest(grid[:, 2]) - 1
    grid = grid - start - (grid.amin(0) - start) // _LATTICE * _LATTICE
    if voxels_per_cell > 1:
        grid, inverse = _unique_cells(grid)
        coord, color, normal = (
            segment_mean(t, inverse, len(grid)) for t in (coord, color, normal)
        )
    center = _center(coord, has_floor=False)
    center[2] = _lowest(coord[:, 2]) if floor is None else floor
    return PreparedCloud(points=_batch(grid, coord - center, color, normal), inverse=inverse)


def centered(points: PointBatch, rows: Tensor) -> PointBatch:
    """Return rows (M,) of one cloud with their middle at x = y = 0; cells and heights stay."""
    coord = points.coord[rows]
    coord = coord - _center(coord, has_floor=False)
    return PointBatch(
        coord=coord,
        grid_coord=points.grid_coord[rows],
        feat=torch.cat([coord, points.feat[rows, 3:]], dim=1),
        offset=torch.tensor([len(coord)], device=coord.device),
    )


def voxel_grid(coord: Tensor, voxel_size: float) -> Tensor:
    """Return the (N, 3) int64 cells of (N, 3) float32 coordinates [m], counted from the lowest.

    The quotient is taken in float32. In float64, which the published code uses under numpy 2,
    some 2 % of coordinates in whole millimetres fall into another cell.
    """
    size = torch.full_like(coord[:1], voxel_size)  # a number would become a factor on CUDA
    grid = (coord / size).floor().long()
    return grid - grid.amin(0) if len(grid) else grid


def voxel_hash(grid_coord: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return the (N,) hashes of cells (N, 3) by which the published transform sorts them.

    Source: FNV, 64 bits, taken over three numbers instead of bytes: multiply, then xor.
    """
    code = np.full(len(grid_coord), _FNV_OFFSET, dtype=np.uint64)
    for column in grid_coord.astype(np.uint64).T:
        code = (code * np.uint64(_FNV_PRIME)) ^ column  # modulo 2 ** 64
    return code


def _lowest(height: Tensor) -> Tensor:
    """Return the () height of the floor: below it lie few of (N,) heights, outliers."""
    return height.kthvalue(1 + int(FLOOR_SHARE * (len(height) - 1))).values


def _unique_cells(grid: Tensor) -> tuple[Tensor, Tensor]:
    """Return the (V, 3) different cells, sorted along x, then y, then z, and (N,) inverse."""
    largest = int(grid.amax()) if len(grid) else 0
    if largest >= 1 << _AXIS_BITS:
        raise ConcertoError(
            f'the cloud is {largest + 1} voxels wide, {1 << _AXIS_BITS} fit: coordinates are in '
            'metres; cut the cloud, or leave out points that lie far away'
        )
    x, y, z = grid.unbind(1)
    key = (x << 2 * _AXIS_BITS) | (y << _AXIS_BITS) | z
    key, inverse = torch.unique(key, return_inverse=True)
    axes = [key >> 2 * _AXIS_BITS, key >> _AXIS_BITS, key]
    return torch.stack(axes, dim=1) & ((1 << _AXIS_BITS) - 1), inverse


def _published_sample(grid: Tensor, random: np.random.RandomState) -> tuple[Tensor, Tensor]:
    """Return the (V,) row that represents each voxel, and the (N,) voxel of each row.

    Points of equal hash come in the order in which numpy's default sort leaves them, which may
    differ between builds of numpy; so it is in the published transform.
    """
    code = voxel_hash(grid.cpu().numpy())
    order = np.argsort(code)
    _, voxel, count = np.unique(code[order], return_inverse=True, return_counts=True)
    first = np.cumsum(count) - count
    drawn = random.randint(0, count.max(initial=1), count.size) % count
    inverse = np.empty_like(order)
    inverse[order] = voxel
    row = torch.from_numpy(order[first + drawn])
    return row.to(grid.device), torch.from_numpy(inverse).to(grid.device)


def _center(coord: Tensor, has_floor: bool) -> Tensor:
    """Return (3,): the middle in x and y; in z the lowest coordinate, or zero."""
    if len(coord) == 0:
        return coord.new_zeros(3)
    low, high = coord.amin(0), coord.amax(0)
    center = (low + high) / 2
    center[2] = low[2] if has_floor else 0
    return center


def _batch(grid: Tensor, coord: Tensor, color: Tensor, normal: Tensor) -> PointBatch:
    return PointBatch(
        coord=coord,
        grid_coord=grid,
        feat=torch.cat([coord, color / 255, normal], dim=1),
        offset=torch.tensor([len(coord)], device=coord.device),
    )


def _check(coord: Tensor, color: Tensor, normal: Tensor) -> None:
    for name, value in (('coord', coord), ('color', color), ('normal', normal)):
        if value.shape != (len(coord), 3):
            raise ConcertoError(
                f'{name} must be ({len(coord)}, 3), as many rows as coord, '
                f'got {tuple(value.shape)}'
            )
        if not value.isfinite().all():
            raise ConcertoError(f'{name} holds NaN or infinity: leave such points out')
