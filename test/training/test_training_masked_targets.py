"""Targets at hidden cells, against a slow loop over points."""

from dataclasses import replace

import pytest
import torch
from training_masked import GEOMETRY, make_batch

from concerto_ros.model import PointBatch, make_plan
from training.masked_scene.masks import draw_hidden, hidden_cells
from training.masked_scene.target_norm import normed
from training.masked_scene.targets import cross_view_targets, shallow_targets
from training.networks.unet import take_rows
from training.objectives.masking import generator_of

CHANNELS = (3, 4, 5)


def _plans(batch):
    kept = torch.zeros(len(batch.full), dtype=torch.bool, device=batch.crop.device)
    kept[batch.crop] = True
    crops = take_rows(batch.full, kept)
    return tuple(
        make_plan(points.grid_coord, points.offset, GEOMETRY) for points in (crops, batch.full)
    )


def _hide(crops, level=2, views=(0, 1, 2, 3)):
    hidden = draw_hidden(crops, level, 0.4, [generator_of(view) for view in views])
    return hidden_cells(hidden, crops)


def _feats(full, seed=0):
    """Features that depend on the cell alone, not on its number."""
    feats = []
    for stage, channels in zip(full.stages, CHANNELS, strict=True):
        place = stage.cells.grid_coord.sum(1) + 10 * stage.cells.batch
        feats.append((place[:, None] * torch.arange(1, channels + 1, device=place.device)).cos())
    return feats


def _cells_of(plan, level):
    """Return for each row as it was given its cell at a level."""
    cell = plan.stages[0].cells.inverse
    for stage in plan.stages[1 : level + 1]:
        cell = stage.cells.inverse[cell]
    return cell


def _slow(batch, crops, hidden, value_of):
    """Return for each level {cell: mean of what is known of `value_of(level, point, view)`}."""
    crop_row = {int(voxel): i for i, voxel in enumerate(batch.crop)}
    found = []
    for level in range(3):
        cells, values = _cells_of(crops, level), {}
        for point, pair in enumerate(batch.point_voxel.tolist()):
            for view in (0, 1):
                row = crop_row.get(pair[view])
                if row is not None and hidden[level][cells[row]]:
                    value = value_of(level, point, view)
                    values.setdefault(int(cells[row]), []).append(value)
        found.append({cell: torch.stack(all_of).nanmean(0) for cell, all_of in values.items()})
    return found


def _assert_equal(targets, expected, crops, hidden):
    for level, (found, slow) in enumerate(zip(targets, expected, strict=True)):
        assert found.rows.tolist() == sorted(slow)
        assert torch.equal(found.rows, hidden[level].nonzero().squeeze(1))
        assert torch.equal(found.view, crops.stages[level].cells.batch[found.rows])
        assert found.target.dtype == torch.float32
        rows = [slow[int(row)] for row in found.rows]
        torch.testing.assert_close(found.target, torch.stack(rows))


@pytest.mark.parametrize('norm', ['none', 'layer', 'batch', 'whiten'])
@pytest.mark.parametrize('level', [1, 2])
def test_targets_of_the_teacher_are_means_over_points(level, norm):
    batch = make_batch()
    crops, full = _plans(batch)
    hidden, feats = _hide(crops, level), _feats(full)

    def value(level, point, view):
        row = _cells_of(full, level)[batch.point_voxel[point, 1 - view]]
        return normed(feats[level], norm)[row]

    targets = cross_view_targets(batch, crops, hidden, full, feats, norm)
    _assert_equal(targets, _slow(batch, crops, hidden, value), crops, hidden)


def test_shallow_targets_are_those_of_the_own_view():
    batch = make_batch()
    crops, _ = _plans(batch)
    hidden = _hide(crops)
    slow = _slow(batch, crops, hidden, lambda _, point, view: batch.point_target[point, view])
    _assert_equal(shallow_targets(batch, crops, hidden, 'none'), slow, crops, hidden)


def test_unknown_colours_and_normals_are_no_targets():
    batch = make_batch()
    crops, _ = _plans(batch)
    hidden = _hide(crops)
    target = batch.point_target.clone()
    target[::3, :, :3] = torch.nan
    target[::2, :, 3:] = torch.nan
    unknown = replace(batch, point_target=target)
    slow = _slow(batch, crops, hidden, lambda _, point, view: target[point, view])
    targets = shallow_targets(unknown, crops, hidden, 'none')
    for found, level in zip(targets, slow, strict=True):
        known = [cell for cell in sorted(level) if not level[cell].isnan().all()]
        assert found.rows.tolist() == known
        means = torch.stack([level[cell] for cell in known])
        torch.testing.assert_close(found.target, means, equal_nan=True)
    assert len(targets[0].rows) < len(slow[0])  # some cells have no known point
    assert targets[0].target.isnan().any()  # and some know but one of both


@pytest.mark.parametrize('norm', ['batch', 'whiten'])
def test_shallow_targets_are_normed_where_they_are_known(norm):
    batch = make_batch()
    crops, _ = _plans(batch)
    hidden = _hide(crops)
    batch.point_target[::3, :, :3] = torch.nan
    plain, found = (shallow_targets(batch, crops, hidden, n) for n in ('none', norm))
    for one, other in zip(plain, found, strict=True):
        assert torch.equal(one.target.isnan(), other.target.isnan())
        for half in (slice(0, 3), slice(3, 6)):
            known = ~one.target[:, half].isnan().any(1)
            expected = normed(one.target[known, half], norm)
            torch.testing.assert_close(other.target[known, half], expected)


def _swapped(batch):
    """Exchange views A and B of a batch of one scene."""
    full, num_first = batch.full, int(batch.full.offset[0])
    order = torch.arange(len(full)).roll(-num_first)
    place = order.argsort()
    return replace(
        batch,
        full=PointBatch(
            coord=full.coord[order],
            grid_coord=full.grid_coord[order],
            feat=full.feat[order],
            offset=torch.tensor([len(full) - num_first, len(full)]),
        ),
        point_voxel=place[batch.point_voxel].flip(1),
        point_target=batch.point_target.flip(1),
        crop=place[batch.crop].sort().values,
    )


def test_swapping_the_views_swaps_the_halves():
    batch = make_batch((0,))
    found = []
    for one, views in ((batch, (0, 1)), (_swapped(batch), (1, 0))):
        crops, full = _plans(one)
        hidden = _hide(crops, views=views)
        feats = [feat.clone() for feat in _feats(full)]
        if views == (1, 0):  # `_feats` knows the number of a view
            for level, stage in enumerate(full.stages):
                place = stage.cells.grid_coord.sum(1) + 10 * (1 - stage.cells.batch)
                feats[level] = (place[:, None] * torch.arange(1, CHANNELS[level] + 1)).cos()
        targets = cross_view_targets(one, crops, hidden, full, feats, 'none')
        found.append([targets, shallow_targets(one, crops, hidden, 'none')])
    for first, second in zip(*found, strict=True):
        for level in range(3):
            for view in (0, 1):
                torch.testing.assert_close(
                    first[level].target[first[level].view == view],
                    second[level].target[second[level].view == 1 - view],
                )


def test_other_points_do_not_count():
    """Neither those at visible voxels nor those outside the crop of the student."""
    batch = make_batch()
    crops, full = _plans(batch)
    hidden = _hide(crops)
    targets = cross_view_targets(batch, crops, hidden, full, _feats(full), 'none')
    hidden_voxels = batch.crop[hidden[0][crops.stages[0].cells.inverse]]
    counts = torch.isin(batch.point_voxel, hidden_voxels).any(1)
    assert 0 < int(counts.sum()) < len(counts)
    fewer = replace(batch, point_voxel=batch.point_voxel[counts])
    again = cross_view_targets(fewer, crops, hidden, full, _feats(full), 'none')
    for one, other in zip(targets, again, strict=True):
        assert torch.equal(one.target, other.target)


def test_the_teacher_gets_no_gradient():
    batch = make_batch()
    crops, full = _plans(batch)
    feats = [feat.requires_grad_() for feat in _feats(full)]
    targets = cross_view_targets(batch, crops, _hide(crops), full, feats, 'layer')
    assert not any(t.target.requires_grad for t in targets)


def test_nothing_hidden_gives_no_targets():
    batch = make_batch()
    crops, full = _plans(batch)
    hidden = [torch.zeros_like(level) for level in _hide(crops)]
    targets = cross_view_targets(batch, crops, hidden, full, _feats(full), 'none')
    assert [t.target.shape for t in targets] == [(0, channels) for channels in CHANNELS]
    assert [len(t.target) for t in shallow_targets(batch, crops, hidden, 'whiten')] == [0, 0, 0]


def test_targets_are_the_same_on_every_device(device):
    batch = make_batch()
    crops, full = _plans(batch)
    expected = cross_view_targets(batch, crops, _hide(crops), full, _feats(full), 'none')
    moved = batch.to(device)
    crops, full = _plans(moved)
    targets = cross_view_targets(moved, crops, _hide(crops), full, _feats(full), 'none')
    for one, other in zip(targets, expected, strict=True):
        torch.testing.assert_close(one.target.cpu(), other.target, rtol=1e-4, atol=1e-4)
