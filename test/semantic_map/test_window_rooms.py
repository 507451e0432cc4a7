"""A window is cut along walls, and nothing of its interior is lost or looked at twice."""

import pytest
import torch

from concerto_ros.semantic_map.window_rooms import room_parts

SIZE = 0.04
FLOOR = 3


def cells_of(*boxes):
    """Cells in boxes (x0, x1, y0, y1, z0, z1) in metres above the floor, each once."""
    parts = []
    for box in boxes:
        axes = [
            torch.arange(round(low / SIZE), max(round(high / SIZE), round(low / SIZE) + 1))
            for low, high in zip(box[::2], box[1::2], strict=True)
        ]
        parts.append(torch.cartesian_prod(*axes))
    return torch.unique(torch.cat(parts), dim=0) + torch.tensor([0, 0, FLOOR])


FLOORS = (0, 6, 0, 3, 0, 0)
AROUND = [(0, 6, 0, 0, 0, 2.4), (0, 6, 3, 3, 0, 2.4), (0, 0, 0, 3, 0, 2.4), (6, 6, 0, 3, 0, 2.4)]
WALL = (3, 3.12, 0, 3, 0, 2.4)


def everywhere(cell):
    return torch.ones(len(cell), dtype=torch.bool)


def parts_of(cell, is_interior=None):
    if is_interior is None:
        is_interior = everywhere(cell)
    return room_parts(cell, is_interior, FLOOR, SIZE)


def test_a_wall_parts_two_rooms():
    cell = cells_of(FLOORS, *AROUND, WALL)
    parts = parts_of(cell)
    assert len(parts) == 2
    assert sorted(torch.cat(parts).tolist()) == list(range(len(cell)))
    sides = [cell[part, 0].double().mean() * SIZE for part in parts]
    assert abs(sides[0] - sides[1]) > 2.5
    for part in parts:  # of the wall between them each takes its side
        x = cell[part, 0] * SIZE
        assert x.max() <= 3.13 or x.min() >= 2.99


@pytest.mark.parametrize(
    ('doorway', 'number'), [((1.0, 1.7), 2), ((0.5, 2.5), 1)], ids=['a door', 'a wide opening']
)
def test_a_door_does_not_join_rooms_but_a_wide_opening_does(doorway, number):
    left, right = doorway
    walls = [(3, 3.12, 0, left, 0, 2.4), (3, 3.12, right, 3, 0, 2.4)]
    assert len(parts_of(cells_of(FLOORS, *AROUND, *walls))) == number


@pytest.mark.parametrize(
    'thing', [(2, 4, 0.5, 2.5, 0.7, 0.76), (3, 3.4, 0, 3, 0, 1.1)], ids=['a table', 'a counter']
)
def test_furniture_parts_no_room(thing):
    assert len(parts_of(cells_of(FLOORS, *AROUND, thing))) == 1


def test_the_halo_of_another_room_is_left_out():
    cell = cells_of(FLOORS, *AROUND, WALL)
    is_interior = cell[:, 0] * SIZE < 1
    (part,) = parts_of(cell, is_interior)
    assert set(is_interior.nonzero()[:, 0].tolist()) <= set(part.tolist())
    assert cell[part, 0].max() * SIZE <= 3.13


def test_the_room_with_most_of_the_interior_comes_last():
    cell = cells_of(FLOORS, *AROUND, WALL)
    for is_interior in (cell[:, 0] * SIZE < 4, cell[:, 0] * SIZE > 2):
        parts = parts_of(cell, is_interior)
        counts = [int(is_interior[part].sum()) for part in parts]
        assert counts == sorted(counts)
        assert sum(counts) == is_interior.sum()


def test_a_single_room_keeps_all_of_its_halo():
    behind = (6.8, 7, 0, 3, 0, 2.4)  # more than what noise makes of a wall
    cell = cells_of(FLOORS, *AROUND, behind)
    (part,) = parts_of(cell, cell[:, 0] * SIZE < 1)
    assert part.tolist() == list(range(len(cell)))


def test_an_interior_outside_of_all_rooms_is_looked_at_with_all_around_it():
    pillar = (8, 8.2, 1, 1.2, 0, 2.4)
    cell = cells_of(FLOORS, *AROUND, WALL, pillar)
    (part,) = parts_of(cell, cell[:, 0] * SIZE > 7)
    assert part.tolist() == list(range(len(cell)))


def test_where_there_is_no_room_all_is_one_part():
    corridor = cells_of((0, 6, 0, 0.6, 0, 0), (0, 6, 0, 0, 0, 2.4), (0, 6, 0.6, 0.6, 0, 2.4))
    (part,) = parts_of(corridor)
    assert part.tolist() == list(range(len(corridor)))
    (part,) = parts_of(torch.tensor([[5, -7, 2]]))
    assert part.tolist() == [0]


def test_without_interior_there_is_nothing_to_look_at():
    cell = cells_of(FLOORS)
    assert parts_of(cell, ~everywhere(cell)) == []
    assert parts_of(cell[:0]) == []


def test_where_the_window_lies_does_not_matter():
    cell = cells_of(FLOORS, *AROUND, WALL)
    moved = parts_of(cell - torch.tensor([160, 320, 0]))
    for part, other in zip(parts_of(cell), moved, strict=True):
        assert torch.equal(part, other)
