"""The table of cells against a dictionary."""

import pytest
import torch

from concerto_ros.errors import ConcertoError
from training.protocol import cell_table
from training.protocol.cell_table import CellTable


def different_cells(count, low, high, seed=0):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(low, high, (2 * count, 3), generator=generator).unique(dim=0)
    return drawn[torch.randperm(len(drawn), generator=generator)[:count]]


def by_dictionary(coord, asked):
    rows = {tuple(cell): row for row, cell in enumerate(coord.tolist())}
    return [rows.get(tuple(cell), -1) for cell in asked.tolist()]


@pytest.mark.parametrize(
    ('count', 'low', 'high'),
    [(1, 0, 3), (500, 0, 12), (3000, -1000, 1000), (200, -(2**62), 2**62)],
)
def test_rows_are_those_of_a_dictionary(count, low, high, device):
    coord = different_cells(count, low, high)
    asked = torch.cat([coord.flip(0), different_cells(400, low, high, seed=1), coord - 1, -coord])
    found = CellTable(coord.to(device)).find(asked.to(device))
    assert found.tolist() == by_dictionary(coord, asked)


def test_cells_that_hash_alike_are_told_apart():
    first, second, _ = cell_table._FACTORS
    step = torch.tensor([second, -first, 0])
    alike = torch.arange(60)[:, None] * step + torch.tensor([3, -1, 4])
    slots, steps = cell_table._walk(alike, 256)
    assert len(slots.unique()) == len(steps.unique()) == 1
    table = CellTable(alike[::2])
    assert table.find(alike).tolist() == by_dictionary(alike[::2], alike)


def test_dense_cells_need_few_rounds():
    axis = torch.arange(40)
    slots, _ = cell_table._walk(torch.cartesian_prod(axis, axis, axis), 1 << 17)
    # Thrown at random into twice as many slots, 21 % would find theirs taken.
    assert 1 - len(slots.unique()) / 40**3 < 0.25


def test_an_empty_table_holds_nothing():
    table = CellTable(torch.zeros(0, 3, dtype=torch.int64))
    assert table.find(torch.tensor([[0, 0, 0], [-1, 5, 2]])).tolist() == [-1, -1]


def test_no_question_has_no_answer():
    asked = torch.zeros(0, 3, dtype=torch.int64)
    assert CellTable(different_cells(5, 0, 4)).find(asked).tolist() == []


@pytest.mark.parametrize('count', [2, 500])
def test_equal_cells_are_refused(count):
    coord = different_cells(count, 0, 30)
    coord[-1] = coord[0]
    with pytest.raises(ConcertoError, match=f'rows 0 and {count - 1} are the same cell'):
        CellTable(coord)
