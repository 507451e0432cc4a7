"""Cells that are hidden from the student."""

import pytest
import torch
from training_masked import GEOMETRY, make_batch

from concerto_ros.model import make_plan
from training.masked_scene.masks import draw_hidden, hidden_cells
from training.networks.unet import take_rows
from training.objectives.masking import mask_generator

RATIO = 0.4


def _plan(slots=(0, 1)):
    full = make_batch(slots).full
    return make_plan(full.grid_coord, full.offset, GEOMETRY)


def _hide(plan, level, slots=(0, 1), step=5, ratio=RATIO):
    generators = [mask_generator(0, step, slot, view) for slot in slots for view in (0, 1)]
    return draw_hidden(plan, level, ratio, generators)


@pytest.mark.parametrize('level', [0, 1, 2])
def test_a_share_of_the_cells_of_each_view_is_hidden(level):
    plan = _plan()
    cells = plan.stages[level].cells
    is_hidden = hidden_cells(_hide(plan, level), plan)[level]
    for view in range(4):
        counted = is_hidden[cells.batch == view]
        assert int(counted.sum()) == round(RATIO * len(counted)) > 0


@pytest.mark.parametrize('level', [0, 1, 2])
def test_masks_nest_and_finer_cells_inherit_them(level):
    plan = _plan()
    levels = hidden_cells(_hide(plan, level), plan)
    for coarse in range(1, 3):
        parent = plan.stages[coarse].cells.inverse
        assert levels[coarse - 1][levels[coarse][parent]].all()  # no look into a hidden cell
        if coarse <= level:
            assert torch.equal(levels[coarse - 1], levels[coarse][parent])
    for is_hidden, stage in zip(levels, plan.stages, strict=True):
        assert is_hidden.shape == stage.cells.key.shape


def test_a_coarse_cell_with_one_visible_voxel_is_not_hidden():
    plan = _plan()
    hidden = torch.ones(len(plan.stages[0].cells), dtype=torch.bool)
    hidden[7] = False
    for is_hidden in hidden_cells(hidden, plan):
        assert int((~is_hidden).sum()) == 1


def test_what_is_drawn_for_a_view_depends_on_nothing_but_its_numbers():
    plan, alone = _plan((0, 1)), _plan((1,))
    both = _hide(plan, 2)[plan.stages[0].cells.batch >= 2]
    assert torch.equal(both, _hide(alone, 2, (1,)))
    assert not torch.equal(both, _hide(alone, 2, (1,), step=6))


@pytest.mark.parametrize('ratio', [0.01, 0.99])
def test_something_is_hidden_and_something_is_not(ratio):
    plan = _plan()
    hidden = _hide(plan, 2, ratio=ratio)
    for view in range(4):
        part = hidden[plan.stages[0].cells.batch == view]
        assert part.any()
        assert not part.all()


def test_a_view_of_one_cell_or_none_stays_as_it_is():
    full = make_batch((0,)).full
    first, second = (full.batch == view for view in (0, 1))
    one = torch.zeros_like(first)
    one[first.nonzero()[0]] = True
    for kept, expected in ((one | second, 0), (second, 0)):
        points = take_rows(full, kept)
        plan = make_plan(points.grid_coord, points.offset, GEOMETRY)
        hidden = _hide(plan, 2, (0,))
        assert int(hidden[plan.stages[0].cells.batch == 0].sum()) == expected
        assert hidden.any()


def test_an_empty_batch_hides_nothing():
    full = make_batch((0,)).full
    points = take_rows(full, torch.zeros(len(full), dtype=torch.bool))
    plan = make_plan(points.grid_coord, points.offset, GEOMETRY)
    assert [len(level) for level in hidden_cells(_hide(plan, 2, (0,)), plan)] == [0, 0, 0]
