"""Everything a forward pass needs that does not depend on features.

Voxels are sorted once along the z-order curve. The cells of every coarser stage then are runs
of equal leading bits, already in order, and neighbours in space are mostly neighbours in memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from concerto_ros.errors import ConcertoError
from concerto_ros.model.attention import Windows, make_windows
from concerto_ros.model.config import BackboneConfig
from concerto_ros.model.serialization import MAX_DEPTH, curve_code, curve_depth, z_order_code
from concerto_ros.model.sparse_conv import Neighborhood, find_neighbors

_CODE_BITS = 3 * MAX_DEPTH  # the number of the cloud stands above the code in a sort key


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """The occupied cells of one stage in z-order, cloud after cloud.

    Attributes:
        key: (V,) int64, cloud and z-order code, growing.
        code_bits: Bits of the code in the key.
        grid_coord: (V, 3) int64, at the resolution of the stage.
        batch: (V,) int64, cloud of each cell.
        inverse: Cell that holds each cell of the stage before; before the first stage come the
            points as they were given.
    """

    key: Tensor
    code_bits: int
    grid_coord: Tensor
    batch: Tensor
    inverse: Tensor

    def __len__(self) -> int:
        return len(self.key)

    @property
    def z_code(self) -> Tensor:
        """(V,) int64."""
        return self.key & ((1 << self.code_bits) - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """The geometry of one stage.

    Attributes:
        cells: Its rows.
        orders: Cells along each curve that the blocks use, (V,) int64 each.
        windows: Attention windows along each of `orders`; block i uses number i modulo curves.
        neighborhood: Neighbours for the convolutions.
    """

    cells: Cells
    orders: tuple[Tensor, ...]
    windows: tuple[Windows, ...]
    neighborhood: Neighborhood


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The geometry of all stages for one batch of clouds, shared by any number of passes.

    Attributes:
        stages: Finest first.
        num_clouds: B.
    """

    stages: tuple[StagePlan, ...]
    num_clouds: int


@torch.no_grad()
def make_plan(
    grid_coord: Tensor,
    offset: Tensor,
    config: BackboneConfig,
    *,
    depth: int | Sequence[int] | None = None,
    permutations: Sequence[Sequence[int]] | None = None,
    patch_sizes: Sequence[int] | None = None,
) -> Plan:
    """Prepare the geometry of a forward pass; the same input always gives the same plan.

    Args:
        grid_coord: (N, 3) int64, voxel of each point, as in `PointBatch`.
        offset: (B,) int64, end of each cloud's rows.
        config: Of the network.
        depth: Levels of the octree, which orient the Hilbert curves. A number for the input,
            one less per halving after it: give it to keep features steady while a map grows.
            Or one number per stage. By default each cloud has the depth its own extent needs.
        permutations: For each stage the order in which blocks take the curves of the config;
            the identity by default. The published network draws them at random in each pass.
        patch_sizes: Rows of a window per stage instead of those of the config.

    Raises:
        ConcertoError: A cell does not fit into the given depth.
    """
    num_clouds = len(offset)
    shifts = [stride.bit_length() - 1 for stride in config.stride]
    depths = _stage_depths(depth, shifts)
    sizes = config.enc_patch_size if patch_sizes is None else patch_sizes
    identity = range(len(config.order))
    cells = _sort_voxels(grid_coord, offset)
    stages = []
    for stage, num_blocks in enumerate(config.enc_depths):
        if stage:
            cells = _pool(cells, shifts[stage - 1])
        levels = _levels_of_cells(cells, num_clouds, depths[stage])
        turn = identity if permutations is None else permutations[stage]
        orders = tuple(_order_along(config.order[i], cells, levels) for i in turn[:num_blocks])
        counts = cells.batch.bincount(minlength=num_clouds).tolist()
        windows = make_windows(counts, sizes[stage], grid_coord.device)
        stages.append(
            StagePlan(
                cells=cells,
                orders=orders,
                windows=tuple(windows.along(order) for order in orders),
                neighborhood=find_neighbors(cells.grid_coord, cells.batch),
            )
        )
    return Plan(stages=tuple(stages), num_clouds=num_clouds)


def _sort_voxels(grid_coord: Tensor, offset: Tensor) -> Cells:
    counts = offset.diff(prepend=offset.new_zeros(1))
    batch = torch.arange(len(offset), device=offset.device).repeat_interleave(counts)
    key = (batch << _CODE_BITS) | z_order_code(grid_coord)
    key, inverse = torch.unique(key, return_inverse=True)
    return _take(key, _CODE_BITS, inverse, grid_coord, batch)


def _pool(cells: Cells, shift: int) -> Cells:
    """Return the cells that are `2 ** shift` times as wide."""
    key, inverse = torch.unique_consecutive(cells.key >> (3 * shift), return_inverse=True)
    code_bits = cells.code_bits - 3 * shift
    return _take(key, code_bits, inverse, cells.grid_coord >> shift, cells.batch)


def _take(key: Tensor, code_bits: int, inverse: Tensor, grid: Tensor, batch: Tensor) -> Cells:
    """Give each key the grid coordinate and the cloud of its members, which all agree."""
    return Cells(
        key=key,
        code_bits=code_bits,
        grid_coord=grid.new_empty(len(key), 3).index_copy_(0, inverse, grid),
        batch=batch.new_empty(len(key)).index_copy_(0, inverse, batch),
        inverse=inverse,
    )


def _stage_depths(
    depth: int | Sequence[int] | None, shifts: Sequence[int]
) -> Sequence[int] | list[None]:
    if depth is None:
        return [None] * (len(shifts) + 1)
    if isinstance(depth, int):
        return [depth - sum(shifts[:stage]) for stage in range(len(shifts) + 1)]
    return depth


def _levels_of_cells(cells: Cells, num_clouds: int, depth: int | None) -> int | Tensor:
    """Return the given depth if the cells fit, else the (V,) depth that each cloud needs."""
    extent = cells.grid_coord.amax(1)
    if depth is None:
        largest = extent.new_zeros(num_clouds).scatter_reduce(0, cells.batch, extent, 'amax')
        return curve_depth(largest)[cells.batch]
    if len(extent) and int(extent.amax()) >= 2.0**depth:
        raise ConcertoError(
            f'grid_coord must fit into {depth} levels, so below {2.0**depth:g}, '
            f'found {int(extent.amax())}: give a larger depth or a smaller window'
        )
    return depth


def _order_along(curve: str, cells: Cells, levels: int | Tensor) -> Tensor:
    if curve == 'z':
        return torch.arange(len(cells), device=cells.key.device)
    code = curve_code(curve, cells.z_code, levels)
    return ((cells.batch << _CODE_BITS) | code).argsort()
