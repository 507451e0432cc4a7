import pytest
import torch

from concerto_ros.model import PointBatch
from training.objectives.masking import cells_of, draw_mask, generator_of, hide


def views(*sizes, seed=0, extent=2.0):
    """Views of random points; each starts somewhere else."""
    generator = torch.Generator().manual_seed(seed)
    parts = [
        torch.rand(n, 3, generator=generator) * extent + 3 * torch.randn(3, generator=generator)
        for n in sizes
    ]
    coord = torch.cat(parts)
    offset = torch.tensor(sizes).cumsum(0)
    batch = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return PointBatch(
        coord=coord,
        grid_coord=cells_of(coord, batch, len(sizes), 0.02),
        feat=torch.rand(len(coord), 9, generator=generator),
        offset=offset,
    )


def generators(count):
    return [generator_of(7, 3, 0, view) for view in range(count)]


@pytest.mark.parametrize('ratio', [0.3, 0.7])
def test_the_ratio_holds_for_the_cells_of_each_view(ratio):
    points = views(500, 60, 900)
    mask = draw_mask(points, 0.4, ratio, generators(3))
    cell = cells_of(points.coord, points.batch, 3, 0.4)
    for view in range(3):
        rows = points.batch == view
        cells = {tuple(c) for c in cell[rows].tolist()}
        masked = {tuple(c) for c in cell[rows & mask].tolist()}
        visible = {tuple(c) for c in cell[rows & ~mask].tolist()}
        assert not masked & visible
        assert len(masked) == int(ratio * len(cells))


def test_a_mask_depends_on_its_generator_and_not_on_other_views():
    points = views(300, 400)
    both = draw_mask(points, 0.2, 0.5, generators(2))
    second = PointBatch(
        coord=points.coord[300:],
        grid_coord=points.grid_coord[300:],
        feat=points.feat[300:],
        offset=torch.tensor([400]),
    )
    assert torch.equal(draw_mask(second, 0.2, 0.5, generators(2)[1:]), both[300:])
    assert not torch.equal(draw_mask(second, 0.2, 0.5, generators(1)), both[300:])


def test_generators_of_equal_numbers_are_equal():
    draw = [torch.rand(3, generator=generator_of(*n)).tolist() for n in ((1, 2), (1, 2), (2, 1))]
    assert draw[0] == draw[1] != draw[2]


def test_a_view_may_be_empty():
    points = views(0, 50, 0)
    mask = draw_mask(points, 0.4, 0.5, generators(3))
    assert mask.shape == (50,)
    assert len(hide(points, mask, 0.01, 0.02, generators(3))) == 50


def test_only_masked_points_move_and_not_far():
    points = views(3000, 2000)
    mask = draw_mask(points, 0.2, 0.5, generators(2))
    hidden = hide(points, mask, 0.01, 0.02, generators(2))
    moved = hidden.coord - points.coord
    assert torch.equal(hidden.coord[~mask], points.coord[~mask])
    assert torch.equal(hidden.feat, points.feat)
    assert moved.abs().max() <= 0.02 + 1e-6
    assert abs(moved[mask].mean()) < 5e-4  # cut on both sides alike
    assert moved[mask].std() == pytest.approx(0.0096, rel=0.05)  # a normal one cut at 2 sigma


def test_without_jitter_nothing_moves():
    points = views(50, 60)
    hidden = hide(points, torch.ones(110, dtype=torch.bool), 0.0, 0.02, generators(2))
    assert torch.equal(hidden.coord, points.coord)
    assert torch.equal(hidden.grid_coord, points.grid_coord)


def test_what_moves_changes_voxels_by_as_much_and_the_rest_stays():
    points = views(300, 200)
    mask = draw_mask(points, 0.2, 0.5, generators(2))
    hidden = hide(points, mask, 0.01, 0.02, generators(2))
    assert torch.equal(hidden.grid_coord[~mask], points.grid_coord[~mask])
    before, after = (torch.floor(p.coord[mask] / 0.02).long() for p in (points, hidden))
    expected = (points.grid_coord[mask] + after - before).clamp_min(0)
    assert torch.equal(hidden.grid_coord[mask], expected)
    assert (after != before).any()


def test_cells_by_hand():
    coord = torch.tensor([[-1.0, 0, 0], [-0.25, 0.5, 0], [10.0, 10, 10]])
    cells = cells_of(coord, torch.tensor([0, 0, 1]), 2, 0.5)
    assert cells.tolist() == [[0, 0, 0], [1, 1, 0], [0, 0, 0]]
