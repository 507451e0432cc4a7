"""The rooms within a window.

The network was trained on single rooms whose middle is the origin. Of a window that shows parts of
several rooms it misreads 12 to 19 points in a hundred more than of the rooms one by one, whatever
the halo. So a window is cut along its walls, and the network looks at one room after the other.
"""

import torch
from torch import Tensor
from torch.nn import functional

# Chosen on three buildings of synthetic rooms, where 2 to 5 points in a hundred are lost against
# the rooms one by one, and 12 to 17 without; on a fourth one 11, and 19 without.
_COLUMN = 0.08  # edge of a column [m]
_HEIGHTS = (1.0, 2.0)  # above the floor: over tables, below ceilings [m]
_WALL = 0.7  # of that height is occupied in the columns of a wall
_PASSAGE = 0.4  # from a wall on, space belongs to a room; doors are narrower than twice that [m]
_MIN_AREA = 0.75  # of that space: less is no room, but a part of one [m^2]
_REACH = 0.3  # beyond `_PASSAGE`: to the far side of a wall, as thick as noise makes it [m]


def room_parts(cell: Tensor, is_interior: Tensor, floor: int, cell_size: float) -> list[Tensor]:
    """Cut a window into what the network looks at one by one.

    Args:
        cell: (M, 3) int64, cells of the network in the window, z up.
        is_interior: (M,) bool, cells whose features will be kept; the others are halo.
        floor: z of the cells on the floor.
        cell_size: Edge length of a cell [m].

    Returns:
        Rows of each part, (P,) int64, growing. Each has a cell of the interior, and each cell of
        the interior is in one part. The part with most of the interior comes last: coarse cells
        at a wall belong to both parts, and keep what was written last.
    """
    if not is_interior.any():
        return []
    room = _rooms(cell, floor, cell_size)
    num_rooms = len(torch.unique(room[room > 0]))
    names, count = torch.unique(room[is_interior & (room > 0)], return_counts=True)
    if num_rooms == 1 or len(names) == 0:  # nothing says what belongs to another room
        return [torch.arange(len(cell), device=cell.device)]
    names = names[count.argsort(stable=True)]
    room = torch.where(is_interior & (room == 0), names[-1], room)
    return [(room == name).nonzero()[:, 0] for name in names]


def _rooms(cell: Tensor, floor: int, cell_size: float) -> Tensor:
    """Return (M,) float number of the room of each cell, the same in a column; 0: of none."""
    column = cell[:, :2] // max(1, round(_COLUMN / cell_size))
    column = column - column.amin(0)
    edge = cell_size * max(1, round(_COLUMN / cell_size))
    is_seen = column.new_zeros((column.amax(0) + 1).tolist(), dtype=torch.bool)
    is_seen[column[:, 0], column[:, 1]] = True
    occupied = _occupied_heights(column, (cell[:, 2] - floor) * cell_size, is_seen.shape)
    is_wall = occupied >= _WALL
    margin = round(_PASSAGE / edge)
    is_free = is_seen & (_largest_within(is_wall.float(), margin) == 0)
    room = _connected(is_free)
    name, inverse, count = torch.unique(room, return_inverse=True, return_counts=True)
    room = torch.where(count * edge**2 >= _MIN_AREA, name, 0)[inverse]
    for _ in range(margin + round(_REACH / edge)):
        room = torch.where(room > 0, room, _largest_within(room, 1))
    return room[column[:, 0], column[:, 1]]


def _occupied_heights(column: Tensor, height: Tensor, shape: torch.Size) -> Tensor:
    """Return (X, Y) float, the occupied share of `_HEIGHTS` in steps of `_COLUMN`."""
    low, high = _HEIGHTS
    num_steps = round((high - low) / _COLUMN)
    step = ((height - low) / (high - low) * num_steps).floor().long()
    is_between = (step >= 0) & (step < num_steps)
    occupied = column.new_zeros((*shape, num_steps), dtype=torch.bool)
    x, y = column[is_between].unbind(1)
    occupied[x, y, step[is_between]] = True
    return occupied.float().mean(2)


def _connected(is_free: Tensor) -> Tensor:
    """Return (X, Y) float, one positive number per connected region; 0 where it is not free."""
    number = torch.arange(1, is_free.numel() + 1, device=is_free.device).view(is_free.shape)
    room = torch.where(is_free, number, 0).float()
    while True:
        spread = torch.where(is_free, _largest_within(room, 1), 0)
        if torch.equal(spread, room):
            return room
        room = spread


def _largest_within(values: Tensor, steps: int) -> Tensor:
    """Return (X, Y), the largest of the values up to some steps away, also diagonally."""
    edge = 2 * steps + 1
    return functional.max_pool2d(values[None, None], edge, 1, steps)[0, 0]
