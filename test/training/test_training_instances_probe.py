import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_pretended_cuda import pretended_cuda  # noqa: F401  # a fixture
from training_scenes import labelled_scene

from concerto_ros.errors import ConcertoError, ConfigError, SourceError
from training.evaluation.class_lists import ClassList
from training.evaluation.training_rows import measure_scaling, no_scaling
from training.protocol.instances.config import InstanceSection
from training.protocol.instances.head import InstanceHeads
from training.protocol.instances.loss import instance_loss
from training.protocol.instances.probe import InstanceProbe
from training.protocol.instances.rows import InstanceRows
from training.protocol.instances.train import _Batches, _scaling

CPU = torch.device('cpu')
CLASSES = ClassList('custom', ('wall', 'chair', 'table'))
QUICK = InstanceSection(epochs=60, batch_size=2)
EDGE = 0.1  # of a voxel [m]
SIDE = 5  # voxels of an object along each axis


def room(seed):
    """Two chairs and a table that touch each other, on a wall; one point per voxel."""
    rng = np.random.default_rng(seed)
    cube = np.stack(np.meshgrid(*[np.arange(SIDE)] * 3), axis=-1).reshape(-1, 3)
    corners = np.array([[0, 0, 0], [SIDE, 0, 0], [2 * SIDE, 0, 0], [0, SIDE, 0]])
    grid = np.concatenate([corner + cube for corner in corners]) + rng.integers(0, 9, 3)
    coord = (EDGE * (grid + 0.5)).astype(np.float32)
    segment, instance = np.repeat([1, 1, 2, 0], len(cube)), np.repeat([7, 3, 8, 1], len(cube))
    return labelled_scene(coord, segment, name=f'room{seed}', instance=instance)


def probe(config=QUICK):
    return InstanceProbe(CLASSES, config, EDGE, CPU)


def features(scene):
    """Return what tells the class, and the place within the object."""
    place = (torch.from_numpy(scene.coord) / EDGE).reshape(4, -1, 3)
    local = (place - place.mean(1, keepdim=True)).reshape(-1, 3)
    classes = torch.nn.functional.one_hot(torch.from_numpy(scene.segment), 3)
    return torch.cat([local, 5 * classes], dim=1)


def targets_of(scene):
    inverse, position = torch.arange(len(scene.coord)), torch.from_numpy(scene.coord)
    return probe().targets(scene, inverse, position)


def found_in(scene, classifier, feat=None):
    """Return proposals, with features read in two parts."""
    parts = torch.tensor_split(features(scene) if feat is None else feat, 2)
    return classifier.propose(
        [classifier.read(part) for part in parts], torch.from_numpy(scene.coord)
    )


def rows_of(scenes):
    parts = [(features(scene), targets_of(scene)) for scene in scenes]
    return InstanceRows(
        feat=torch.cat([feat for feat, _ in parts]).half(),
        label=torch.cat([targets.label for _, targets in parts]),
        offset=torch.cat([targets.offset for _, targets in parts]),
        has_offset=torch.cat([targets.has_offset for _, targets in parts]),
        scene=torch.arange(len(parts)).repeat_interleave(4 * SIDE**3),
    )


@pytest.mark.parametrize('offset_head', ['linear', 'mlp'])
def test_objects_that_touch_are_told_apart(offset_head):
    instances = probe(replace(QUICK, offset_head=offset_head))
    classifier = instances.train(rows_of([room(0), room(1)]), seed=0)
    scores, scene = instances.scores(), room(2)
    found = found_in(scene, classifier)
    scores.add(found, torch.arange(len(scene.coord)), scene)
    assert scores.result().ap.tolist() == pytest.approx([1, 1])
    assert (found.score > 0.5).all()


def test_unmoved_voxels_are_clusters_too_if_wanted():
    instances = probe(replace(QUICK, clusters='both'))
    classifier = instances.train(rows_of([room(0), room(1)]), seed=0)
    scene = room(2)
    found = found_in(scene, classifier)
    sizes = found.mask.sum(1)
    pair = 2 * SIDE**3  # the chairs, which touch; their IoU with either is above the overlap
    assert sizes.tolist() in ([SIDE**3] * 3, [SIDE**3, pair])
    apart = replace(QUICK, clusters='both', overlap=0.6)
    classifier = probe(apart).train(rows_of([room(0), room(1)]), seed=0)
    found = found_in(scene, classifier)
    assert sorted(found.mask.sum(1).tolist()) == [SIDE**3] * 3 + [pair]


def test_targets_point_from_voxels_to_the_middle_of_their_object():
    scene = room(0)
    scene.segment[:2], scene.instance[2] = -1, -1
    targets = targets_of(scene)
    assert targets.label[:3].tolist() == [-1, -1, 1]
    is_wall = torch.arange(len(scene.coord)) >= 3 * SIDE**3
    assert (
        targets.has_offset.tolist() == (~is_wall & (torch.arange(len(scene.coord)) > 2)).tolist()
    )
    assert not targets.offset[~targets.has_offset].any()
    rows = slice(3, SIDE**3)  # what is known of the first chair
    place = torch.from_numpy(scene.coord)[rows]
    torch.testing.assert_close(place + targets.offset[rows], place.mean(0).expand_as(place))


def test_a_voxel_takes_the_object_of_most_of_its_points():
    scene = room(0)
    scene.instance[: SIDE**3] = np.arange(SIDE**3) % 5 % 2  # 3 of 5 points are of object 0
    inverse = torch.cat([torch.arange(SIDE**3) // 5, 25 + torch.arange(3 * SIDE**3)])
    position = torch.rand(25 + 3 * SIDE**3, 3)
    targets = probe().targets(scene, inverse, position)
    goal = position[:25] + targets.offset[:25]
    torch.testing.assert_close(goal, position[:25].mean(0).expand(25, 3))


def test_a_scene_without_objects_cannot_teach():
    with pytest.raises(SourceError, match=r'room0 has no instance\.npy'):
        targets_of(replace(room(0), instance=None))


def test_the_loss_is_the_published_sum():
    logits = torch.tensor([[0.0, 0.0], [3.0, 3.0], [9.0, 0.0]])
    offset = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [5.0, 5.0, 5.0]])
    true = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    has_offset = torch.tensor([True, True, False])
    loss = instance_loss(logits, offset, torch.tensor([0, 1, -1]), true, has_offset)
    assert loss.item() == pytest.approx(math.log(2) + (1 + 3) / 2 - (1 + 0) / 2)


def test_a_batch_without_objects_or_labels_has_no_loss():
    logits, zero = torch.ones(2, 3, requires_grad=True), torch.zeros(2, 3)
    nothing = torch.zeros(2, dtype=torch.bool)
    loss = instance_loss(logits, zero, torch.full((2,), -1), zero, nothing)
    assert loss.item() == 0


@pytest.mark.parametrize('offset_head', ['linear', 'mlp'])
def test_heads_read_scaled_features(offset_head):
    feat = 3 + 20 * torch.randn(50, 6)
    scaling = measure_scaling(feat)
    heads = InstanceHeads(3, offset_head, scaling, torch.Generator().manual_seed(0))
    same = InstanceHeads(3, offset_head, no_scaling(6), torch.Generator().manual_seed(0))
    for mode in (True, False):
        found, expected = heads.train(mode)(feat), same.train(mode)(scaling(feat))
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_same_seed_gives_the_same_objects():
    rows, scene = rows_of([room(0), room(1)]), room(2)
    instances = probe(replace(QUICK, epochs=2))
    first, again, other = (found_in(scene, instances.train(rows, seed)) for seed in (0, 0, 1))
    assert first.score.tolist() == again.score.tolist() != other.score.tolist()


def test_numbers_of_any_size_and_count_are_learnt_alike():
    rows, scene = rows_of([room(0), room(1)]), room(2)
    large = replace(rows, feat=1000 * rows.feat)
    twice = replace(rows, feat=torch.cat([rows.feat, rows.feat], dim=1))
    feat = features(scene)
    for taught, asked in ((large, 1000 * feat), (twice, torch.cat([feat, feat], dim=1))):
        found = found_in(scene, probe().train(taught, 0), asked)
        assert len(found.label) == 3


def test_scaled_rows_have_length_one_on_average():
    feat = 7 + torch.randn(50, 6) * torch.tensor([1.0, 9, 0.1, 2, 3, 4])
    scaled = _scaling(feat, standardize=True)(feat)
    torch.testing.assert_close(scaled.mean(0), torch.zeros(6), atol=1e-5, rtol=0)
    assert scaled.square().sum(1).mean().item() == pytest.approx(1)
    assert torch.equal(_scaling(feat, standardize=False)(feat), feat)


def test_a_learning_rate_that_explodes_is_told():
    with pytest.raises(ConcertoError, match=r'lower instances\.lr'):
        probe(replace(QUICK, lr=1e30)).train(rows_of([room(0), room(1)]), 0)


def test_some_class_must_have_objects():
    with pytest.raises(ConfigError, match=r'instances\.excluded names all classes'):
        probe(replace(QUICK, excluded='wall, chair,table'))


def test_targets_and_objects_are_the_same_on_a_gpu(pretended_cuda):  # noqa: F811
    scene = room(2)
    classifier = probe().train(rows_of([room(0), room(1)]), 0)
    told, found = targets_of(scene), found_in(scene, classifier)
    with torch.no_grad():
        classifier._heads.to('cuda')
        inverse = torch.arange(len(scene.coord), device='cuda')
        position = torch.from_numpy(scene.coord).to('cuda')
        there = probe().targets(scene, inverse, position)
        readings = [classifier.read(features(scene).to('cuda'))]
        proposals = classifier.propose(readings, position)
    torch.testing.assert_close(there.offset.cpu(), told.offset)
    assert proposals.mask.tolist() == found.mask.tolist()


def test_the_learning_rate_falls_with_the_power():
    rows, scene = rows_of([room(0), room(1)]), room(2)
    steep = replace(QUICK, power=1e9, momentum=0.0)  # nothing after the first step
    once = replace(steep, epochs=1)
    found, expected = (
        probe(config).train(rows, 0).read(features(scene)) for config in (steep, once)
    )
    torch.testing.assert_close(found, expected)


def test_a_step_sees_whole_scenes_and_a_rest_sits_out():
    scene = torch.tensor([0, 0, 4, 4, 4, 9])
    config = replace(QUICK, batch_size=2, epochs=5)
    batches = list(_Batches(scene, config, torch.Generator().manual_seed(0)))
    assert len(batches) == 5
    for batch in batches:
        chosen = torch.unique(scene[batch])
        assert len(chosen) == 2
        assert sorted(batch.tolist()) == torch.isin(scene, chosen).nonzero()[:, 0].tolist()
    assert len({tuple(torch.unique(scene[batch]).tolist()) for batch in batches}) > 1
