"""The reference of the training benchmark computes what ours does, and its stages add up."""

import itertools
from types import ModuleType

import numpy as np
import pytest
import torch

from bench.harness import paired
from bench.published_backbone import TrainedNetwork, on_our_backbone
from bench.published_step import all_distances, divided_sinkhorn
from bench.stages import Stages
from bench.step_check import CONFIG, NUM_POINTS, check_equality, lattice_batch, random_objective
from bench.training_scene import part, room_sample, take
from training.objectives.losses import sinkhorn_knopp
from training.objectives.matching import match


@pytest.fixture(scope='module')
def room():
    """Return a small part of a room, with tokens of its images."""
    return part(room_sample(), 3000)


@pytest.mark.slow
@pytest.mark.parametrize('make', [TrainedNetwork, on_our_backbone])
def test_losses_and_gradients_are_ours(make):
    check_equality(make)


def test_the_check_sees_another_step(monkeypatch):
    monkeypatch.setattr('bench.published_step.divided_sinkhorn', lambda x, _: x.softmax(1))
    with pytest.raises(AssertionError):
        check_equality(on_our_backbone)


def test_no_two_points_of_the_check_share_a_voxel():
    points = lattice_batch().global_points
    rows = torch.cat([points.batch[:, None], points.grid_coord], dim=1)
    assert len(torch.unique(rows, dim=0)) == len(points) > 1.9 * NUM_POINTS


def test_the_reference_has_the_weights_of_the_model_itself():
    model = random_objective(CONFIG).student.backbone
    parameters = dict(TrainedNetwork(model).named_parameters())
    assert all(parameters[name] is value for name, value in model.named_parameters())


def test_matching_and_balancing_are_ours():
    generator = torch.Generator().manual_seed(0)
    coord, view = torch.rand(2, 300, 3, generator=generator), torch.arange(300) % 2
    rows, references = all_distances(coord[0], view, coord[1], view, [0, 1])
    ours = match(coord[0], view, coord[1], view, 0.32)
    assert dict(zip(rows.tolist(), references.tolist(), strict=True)) == dict(
        zip(ours.query.tolist(), ours.reference.tolist(), strict=True)
    )
    logits = torch.rand(20, 8, generator=generator) * 2 - 1
    torch.testing.assert_close(divided_sinkhorn(logits, 0.07), sinkhorn_knopp(logits, 0.07, 3))


def test_published_views_follow_the_settings(room):
    pytest.importorskip('scipy', reason='make bench installs scipy')
    from bench.published_views import published_views

    views = published_views(room, np.random.default_rng(0), CONFIG)
    num_voxels = len(np.unique(np.floor(room.coord / CONFIG.data.voxel_size), axis=0))
    assert len(views) == 2 + CONFIG.views.num_local
    assert len(views[0]['coord']) == num_voxels
    assert views[0]['feat'].shape == (num_voxels, 9)


def test_dense_places_are_those_of_the_links(room):
    pytest.importorskip('scipy', reason='make bench installs scipy')
    from bench.published_views import dense_correspondence

    dense = dense_correspondence(room)
    links = room.links
    assert dense.shape == (3000, len(room.tokens), 2)
    assert (dense >= 0).all(2).sum() == len(links)
    np.testing.assert_array_equal(dense[links.point, links.image], links.patch)


def test_some_points_keep_their_links(room):
    some = take(room, np.array([7, 3]))
    np.testing.assert_array_equal(some.coord, room.coord[[7, 3]])
    expected = np.isin(room.links.point, [3, 7]).sum()
    assert len(some.links) == expected
    for point, image, patch in zip(
        some.links.point, some.links.image, some.links.patch, strict=True
    ):
        before = (room.links.point == [7, 3][point]) & (room.links.image == image)
        np.testing.assert_array_equal(room.links.patch[before][0], patch)


def test_an_inner_stage_is_taken_off_the_outer_one():
    now = itertools.count().__next__  # each look at the clock takes a second
    stages = Stages(now)
    module = ModuleType('steps')
    module.inner = now  # takes one more
    with stages.watch(module, inner='inner'):
        for _ in range(2):
            stages.next_round()
            with stages.stage('outer'):
                module.inner()
    assert (stages.ms('inner'), stages.ms('outer')) == (2000, 2000)


def test_pairs_are_timed_by_the_clock_that_is_given():
    clock = {'now': 0.0}

    def wait(seconds):
        clock['now'] += seconds

    result = paired(
        lambda _: wait(3.0), lambda _: wait(2.0), 4, warmup=1, clock=lambda: clock['now']
    )
    assert (result.speedup, result.ours_ms, result.num_pairs) == (1.5, 2000, 3)
