"""Which patches are hidden, and which show the same place of an image."""

import torch
from torch import Tensor


def draw_patch_mask(side: int, size: int, ratio: float, generator: torch.Generator) -> Tensor:
    """Return (side * side,) bool, true for the patches in a share of the cells.

    Args:
        side: Patches per side.
        size: Edge of a cell, in patches; cells at the right and lower edge may be smaller.
        ratio: Share of the cells; at least one is masked.
        generator: Draws.
    """
    cells = -(-side // size)
    chosen = torch.zeros(cells * cells, dtype=torch.bool)
    count = max(1, round(ratio * cells * cells))
    chosen[torch.randperm(cells * cells, generator=generator)[:count]] = True
    grid = chosen.view(cells, cells).repeat_interleave(size, 0).repeat_interleave(size, 1)
    return grid[:side, :side].flatten()


def same_place(
    local_box: Tensor, global_box: Tensor, num_local: int, num_global: int
) -> tuple[Tensor, Tensor]:
    """Find the patch of a global crop that covers the centre of a patch of a local crop.

    Args:
        local_box: (n B, 4) see `Crops`.
        global_box: (2 B, 4).
        num_local: t, patches of a local crop, a square number.
        num_global: T, patches of a global crop, a square number.

    Returns:
        found: (n B, t) bool, patches that the first or else the second global crop covers.
        row: (found.sum(),) int64, their rows among the (2 B * T) patches of the global crops.
    """
    num_images = len(global_box) // 2
    per_image = len(local_box) // num_images
    side, fine = round(num_global**0.5), round(num_local**0.5)
    step = (torch.arange(fine, device=local_box.device) + 0.5) / fine
    within = torch.stack(torch.meshgrid(step, step, indexing='ij'), -1).view(1, -1, 2)
    place = local_box[:, None, :2] + within * local_box[:, None, 2:]  # (n B, t, 2)
    owner = torch.arange(num_images, device=place.device).repeat_interleave(per_image)
    found = torch.zeros(place.shape[:2], dtype=torch.bool, device=place.device)
    row = torch.zeros(place.shape[:2], dtype=torch.int64, device=place.device)
    for crop in (1, 0):  # the first one has the last word
        index = 2 * owner + crop
        box = global_box[index][:, None]
        cell = ((place - box[..., :2]) / box[..., 2:] * side).floor().long()
        inside = ((cell >= 0) & (cell < side)).all(-1)
        here = index[:, None] * num_global + cell[..., 0] * side + cell[..., 1]
        row = torch.where(inside, here, row)
        found |= inside
    return found, row[found]
