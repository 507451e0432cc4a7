import pytest
import torch

from concerto_ros.model.serialization import CURVES, curve_code, curve_depth, z_order_code

# Codes of the published serialisation: depth, cell, and the code along each of CURVES.
PUBLISHED_CODES = [
    (1, (1, 0, 0), (4, 2, 7, 3)),
    (1, (0, 1, 0), (2, 4, 3, 7)),
    (1, (0, 0, 1), (1, 1, 1, 1)),
    (2, (1, 2, 3), (29, 43, 22, 50)),
    (3, (5, 3, 6), (350, 238, 400, 176)),
    (8, (5, 3, 6), (350, 238, 166, 294)),
    (9, (5, 3, 6), (350, 238, 400, 176)),
    (10, (5, 3, 6), (350, 238, 304, 390)),
    (8, (1, 0, 0), (4, 2, 3, 1)),
    (8, (0, 1, 0), (2, 4, 1, 3)),
    (8, (0, 0, 1), (1, 1, 7, 7)),
    (9, (1, 0, 0), (4, 2, 1, 7)),
    (9, (0, 1, 0), (2, 4, 7, 1)),
    (9, (0, 0, 1), (1, 1, 3, 3)),
    (10, (1, 0, 0), (4, 2, 7, 3)),
    (10, (0, 1, 0), (2, 4, 3, 7)),
    (10, (0, 0, 1), (1, 1, 1, 1)),
    (8, (100, 200, 50), (5936392, 10066056, 7354350, 16334538)),
    (9, (100, 200, 50), (5936392, 10066056, 3677150, 6830062)),
    (10, (300, 17, 511), (86424395, 52811469, 69559470, 117335214)),
    (12, (1000, 2000, 3000), (11810814464, 13958239744, 16259960082, 12309432594)),
    (
        16,
        (40000, 12345, 65535),
        (182498683631179, 113210123278925, 234284789754958, 76268035599726),
    ),
]


def codes(cells, depth):
    z_code = z_order_code(torch.tensor(cells))
    return torch.stack([curve_code(curve, z_code, depth) for curve in CURVES], dim=1)


@pytest.mark.parametrize(('depth', 'cell', 'expected'), PUBLISHED_CODES)
def test_codes_equal_the_published_ones(depth, cell, expected):
    assert codes([cell], depth)[0].tolist() == list(expected)


def test_depth_may_differ_from_row_to_row():
    depths, cells, expected = zip(*PUBLISHED_CODES, strict=True)
    assert codes(cells, torch.tensor(depths)).tolist() == [list(code) for code in expected]


@pytest.mark.parametrize('curve', ['hilbert', 'hilbert-trans'])
@pytest.mark.parametrize('depth', [1, 2, 3, 4])
def test_hilbert_curves_visit_every_cell_by_steps_of_one(curve, depth):
    axis = torch.arange(2**depth)
    grid = torch.cartesian_prod(axis, axis, axis)
    code = curve_code(curve, z_order_code(grid), depth)
    assert code.sort().values.tolist() == list(range(8**depth))
    steps = grid[code.argsort()].diff(dim=0).abs().sum(1)
    assert steps.unique().tolist() == [1]


def test_code_of_a_pooled_cell_is_the_code_without_its_last_octant():
    grid = torch.randint(0, 2**9, (500, 3), generator=torch.Generator().manual_seed(0))
    fine, coarse = z_order_code(grid), z_order_code(grid >> 1)
    for curve in CURVES:
        assert torch.equal(curve_code(curve, fine, 9) >> 3, curve_code(curve, coarse, 8))


def test_depth_counts_the_bits_of_the_cell_after_the_largest():
    largest = torch.tensor([0, 1, 2, 3, 6, 7, 8, 127, 254, 255, 256, 511, 65534])
    assert curve_depth(largest).tolist() == [1, 2, 2, 3, 3, 4, 4, 8, 8, 9, 9, 10, 16]


def test_no_cells_have_no_codes():
    nothing = z_order_code(torch.zeros(0, 3, dtype=torch.int64))
    assert curve_code('hilbert', nothing, 5).shape == (0,)
