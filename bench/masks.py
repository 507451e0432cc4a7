"""What is hidden from the student, by the plan against unique cells of each view.

python -m bench.masks

The reference goes from the voxels of each view to coarser and coarser cells, by `torch.unique` of
coordinates packed into one number, draws some of the coarsest, and marks all cells that hold
nothing visible. Ours reads both off the plan. The plan itself, which the network needs anyway,
also has curves, windows and neighbours, and is timed with the masks as well.
"""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from bench.harness import paired
from bench.indoor_cloud import indoor_points
from concerto_ros.model import Plan, PointBatch, make_plan
from training.backbone_sizes import backbone_config
from training.config import BackboneSection
from training.masked_scene.masks import draw_hidden, hidden_cells

NUM_VIEWS, NUM_VOXELS, RATIO = 4, 60_000, 0.4
_COARSEST = 4
_BITS = 21  # of a coordinate in the key of a cell
_HALVED = sum(((1 << (_BITS - 1)) - 1) << (_BITS * axis) for axis in range(3))  # bits of a key
_ROUNDS = 6


def main() -> None:
    """Print the comparison."""
    torch.set_num_threads(1)
    points = views(indoor_points(NUM_VOXELS).grid_coord)
    plan = plan_of(points)
    check_equality(points, plan)
    clock = time.process_time

    def reference(i: int) -> object:
        return by_unique(points, i)

    alone = paired(reference, lambda i: by_plan(plan, i), _ROUNDS, warmup=1, clock=clock)
    with_plan = paired(
        reference, lambda i: by_plan(plan_of(points), i), _ROUNDS, warmup=1, clock=clock
    )
    print(
        f'masks: {alone.speedup:.1f} x as fast as unique cells per view ({alone}), with '
        f'the plan {with_plan.speedup:.2f} x ({with_plan}), {NUM_VIEWS} views of {NUM_VOXELS:,} '
        'voxels'
    )


def views(grid_coord: Tensor) -> PointBatch:
    """Return a cloud several times, turned by its axes."""
    turned = [grid_coord.roll(i, dims=1) for i in range(NUM_VIEWS)]
    grid = torch.cat(turned)
    return PointBatch(
        coord=grid.float(), grid_coord=grid, feat=grid.float(),
        offset=torch.arange(1, NUM_VIEWS + 1) * len(grid_coord),
    )  # fmt: skip


def plan_of(points: PointBatch) -> Plan:
    """Return the cells of the five levels."""
    return make_plan(
        points.grid_coord, points.offset, backbone_config(BackboneSection(size='nano'))
    )


def by_plan(plan: Plan, seed: int) -> list[Tensor]:
    """Return (M_l,) bool, the hidden cells of each level, of all views together."""
    hidden = draw_hidden(plan, _COARSEST, RATIO, _generators(seed))
    return hidden_cells(hidden, plan)


def by_unique(points: PointBatch, seed: int) -> list[list[Tensor]]:
    """Return the same of each view by itself; what is drawn differs."""
    found = []
    for view, generator in enumerate(_generators(seed)):
        parents = parents_by_unique(points.grid_coord[points.batch == view])
        num_cells = int(parents[-1].max()) + 1
        drawn = torch.zeros(num_cells, dtype=torch.bool)
        chosen = torch.randperm(num_cells, generator=generator)[: round(RATIO * num_cells)]
        drawn[chosen] = True
        for parent in reversed(parents):
            drawn = drawn[parent]
        found.append(covered_cells(parents, drawn))
    return found


def parents_by_unique(grid_coord: Tensor) -> list[Tensor]:
    """Return the (M_l,) int64 parent of each cell of a view, at all levels but the coarsest.

    Args:
        grid_coord: (V, 3) int64, different voxels from 0 on.
    """
    x, y, z = grid_coord.unbind(1)
    key, parents = (x << (2 * _BITS)) | (y << _BITS) | z, []
    for _ in range(_COARSEST):
        key, parent = torch.unique((key >> 1) & _HALVED, return_inverse=True)
        parents.append(parent)
    return parents


def covered_cells(parents: Sequence[Tensor], hidden: Tensor) -> list[Tensor]:
    """Return (M_l,) bool at each level, the cells of a view without a visible voxel.

    Args:
        parents: From `parents_by_unique`.
        hidden: (V,) bool, voxels.
    """
    levels = [hidden]
    for parent in parents:
        covered = torch.ones(int(parent.max()) + 1, dtype=torch.bool)
        covered[parent[~levels[-1]]] = False
        levels.append(covered)
    return levels


def check_equality(points: PointBatch, plan: Plan) -> None:
    """Compare numbers of hidden cells: of drawn ones, and of all levels for the same voxels."""
    ours, theirs = by_plan(plan, 0), by_unique(points, 0)
    num_drawn = sum(int(levels[-1].sum()) for levels in theirs)
    assert int(ours[-1].sum()) == num_drawn, (int(ours[-1].sum()), num_drawn)
    hidden = ours[0][plan.stages[0].cells.inverse]
    expected = [0] * (_COARSEST + 1)
    for view in range(NUM_VIEWS):
        rows = points.batch == view
        covered = covered_cells(parents_by_unique(points.grid_coord[rows]), hidden[rows])
        expected = [n + int(x.sum()) for n, x in zip(expected, covered, strict=True)]
    assert [int(level.sum()) for level in ours] == expected


def _generators(seed: int) -> Sequence[torch.Generator]:
    return [torch.Generator().manual_seed(NUM_VIEWS * seed + i) for i in range(NUM_VIEWS)]


if __name__ == '__main__':
    main()
