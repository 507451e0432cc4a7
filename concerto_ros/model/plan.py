"""Everything a forward pass needs that does not depend on features.

Voxels are sorted once along the z-order curve. The cells of every coarser stage then are runs
of equal leading bits, already in order, and neighbours in space are mostly neighbours in memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor

from concerto_ros.errors import ConcertoError
from concerto_ros.model.config import BackboneConfig
from concerto_ros.model.serialization import MAX_DEPTH, curve_code, curve_depth, z_order_code
from concerto_ros.model.sparse_conv import Neighborhood, find_neighbors
from concerto_ros.model.windows import Windows, make_windows

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
    reference: bool = False,
    generator: torch.Generator | None = None,
) -> Plan:
    """Prepare the geometry of a forward pass; by default the same input gives the same plan.

    Args:
        grid_coord: (N, 3) int64, voxel of each point, as in `PointBatch`.
        offset: (B,) int64, end of each cloud's rows.
        config: Of the network.
        depth: Levels of the octree, which orient the Hilbert curves. A number for the input,
            one less per halving after it: give it to keep features steady while a map grows.
            Or one number per stage. By default each cloud has the depth its own extent needs.
        permutations: For each stage the order in which blocks take the curves of the config;
            by default they take them as listed.
        reference: Do as the published network where nothing else is given: the clouds of a
            batch share the depth of the largest, and permutations are drawn at random.
        generator: Of these random numbers, on the CPU; by default the global one, as published.

    Raises:
        ConcertoError: A cell does not fit into the given depth, or `depth` or `permutations`
            do not fit the stages.
    """
    num_clouds = len(offset)
    shifts = [stride.bit_length() - 1 for stride in config.stride]
    depths = _stage_depths(depth, shifts)
    if permutations is None:
        permutations = draw_permutations(config, generator) if reference else None
    turns = _check_permutations(permutations, config)
    cells = _sort_voxels(grid_coord, offset)
    stages = []
    for stage, num_orders in enumerate(_orders_in_use(config)):
        if stage:
            cells = _pool(cells, shifts[stage - 1])
        levels = _levels_of_cells(cells, num_clouds, depths[stage], shared=reference)
        turn = turns[stage][:num_orders]
        orders = tuple(_order_along(config.order[i], cells, levels) for i in turn)
        counts = cells.batch.bincount(minlength=num_clouds).tolist()
        windows = make_windows(counts, _window_size(config, stage, counts), grid_coord.device)
        stages.append(
            StagePlan(
                cells=cells,
                orders=orders,
                windows=tuple(windows.along(order) for order in orders),
                neighborhood=find_neighbors(cells.grid_coord, cells.batch),
            )
        )
    return Plan(stages=tuple(stages), num_clouds=num_clouds)


def draw_permutations(
    config: BackboneConfig, generator: torch.Generator | None = None
) -> list[list[int]]:
    """Draw the order of curves of each stage, in the sequence of the published network.

    Args:
        config: Without its `shuffle_orders` the first stage keeps its order and draws nothing;
            later stages draw in any case.
        generator: On the CPU; by default the global one, as published.
    """
    num_curves = len(config.order)
    permutations = [list(range(num_curves))] if not config.shuffle_orders else []
    while len(permutations) < config.num_stages:
        permutations.append(torch.randperm(num_curves, generator=generator).tolist())
    return permutations


def _check_permutations(
    permutations: Sequence[Sequence[int]] | None, config: BackboneConfig
) -> Sequence[Sequence[int]]:
    identity = list(range(len(config.order)))
    if permutations is None:
        return [identity] * config.num_stages
    is_valid = all(sorted(permutation) == identity for permutation in permutations)
    if not is_valid or len(permutations) != config.num_stages:
        raise ConcertoError(
            f'permutations must order the numbers {identity} for each of {config.num_stages} '
            f'stages, got {permutations}'
        )
    return permutations


def _orders_in_use(config: BackboneConfig) -> list[int]:
    """Return how many curves the blocks of each stage ask for."""
    decoder = () if config.enc_mode else config.dec_depths
    depths = zip_longest(config.enc_depths, decoder, fillvalue=0)
    return [min(max(both), len(config.order)) for both in depths]


def _window_size(config: BackboneConfig, stage: int, counts: list[int]) -> int:
    size = config.enc_patch_size[stage]
    return size if config.enable_flash else min([size, *filter(None, counts)])


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
    num_stages = len(shifts) + 1
    if depth is None:
        return [None] * num_stages
    if isinstance(depth, int):
        return [depth - sum(shifts[:stage]) for stage in range(num_stages)]
    if len(depth) != num_stages:
        raise ConcertoError(f'depth must be one number for each of {num_stages} stages: {depth}')
    return depth


def _levels_of_cells(
    cells: Cells, num_clouds: int, depth: int | None, shared: bool
) -> int | Tensor:
    """Return the given depth if the cells fit, else that which the extent of the cloud needs.

    Returns:
        A number, or (V,) int64 where clouds differ.
    """
    extent = cells.grid_coord.amax(1)
    if depth is None and shared:
        return int(curve_depth(extent.amax())) if len(extent) else 1
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
