"""What is hidden from the student: cells of one level, drawn for each view by itself."""

from collections.abc import Sequence

import torch
from torch import Tensor

from concerto_ros.model import Plan


def draw_hidden(
    plan: Plan, level: int, ratio: float, generators: Sequence[torch.Generator]
) -> Tensor:
    """Hide a share of the occupied cells of a level, with all that lies in them.

    Args:
        plan: Of the crops that the student is given.
        level: Whose cells are drawn: the coarsest (bottom-up) makes holes that no level can look
            into, the finest (0, top-down) scatters single voxels.
        ratio: Share of the cells of each view, rounded. Where a view has two cells or more, at
            least one is hidden and at least one is not; a single cell stays.
        generators: One per view, on the CPU; what is drawn depends on no other view.

    Returns:
        (V,) bool, true for the hidden rows of the finest level.
    """
    cells = plan.stages[level].cells
    counts = cells.batch.bincount(minlength=plan.num_clouds).tolist()
    drawn = [_draw(n, ratio, g) for n, g in zip(counts, generators, strict=True)]
    hidden = torch.cat(drawn).to(cells.key.device)
    for stage in reversed(plan.stages[1 : level + 1]):
        hidden = hidden[stage.cells.inverse]
    return hidden


def _draw(num_cells: int, ratio: float, generator: torch.Generator) -> Tensor:
    wanted = min(max(round(ratio * num_cells), 1), num_cells - 1)
    hidden = torch.zeros(num_cells, dtype=torch.bool)
    hidden[torch.randperm(num_cells, generator=generator)[: max(wanted, 0)]] = True
    return hidden


def hidden_cells(hidden: Tensor, plan: Plan) -> list[Tensor]:
    """Return at each level the (M_l,) bool of cells that hold no visible voxel, finest first.

    Args:
        hidden: (V,) bool, of the finest level.
        plan: Of these voxels.
    """
    levels = [hidden]
    for stage in plan.stages[1:]:
        covered = hidden.new_ones(len(stage.cells))
        covered[stage.cells.inverse[~levels[-1]]] = False
        levels.append(covered)
    return levels
