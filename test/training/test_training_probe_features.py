from itertools import pairwise

import numpy as np
import pytest
import torch

from concerto_ros.errors import ConcertoError
from training.datasets.labelled import LabelledScene
from training.evaluation.backbone_features import BackboneFeatures, load_backbone
from training.evaluation.features import DenseFeatures, JoinedFeatures
from training.evaluation.joined_features import JoinedSource
from training.evaluation.label_budget import choose_scenes, keep_labels
from training.evaluation.lifted_features import LiftedFeatures, fill_unseen
from training.evaluation.raw_features import RawFeatures
from training.evaluation.training_rows import collect_rows, measure_scaling
from training.evaluation.voxels import voxel_label
from training.image_encoders import ImageEncoder, PixelStatistics
from training.structures import Links

CPU = torch.device('cpu')


def make_scene(coord, segment=None, color=None, images=0, links=()):
    """A scene with a normal along z; links are (point, image, row, column)."""
    coord = np.asarray(coord, dtype=np.float32)
    table = np.asarray(links, dtype=np.float32).reshape(-1, 4)
    return LabelledScene(
        name='scene',
        coord=coord,
        color=np.zeros_like(coord) if color is None else np.asarray(color, dtype=np.float32),
        normal=np.tile(np.float32([0, 0, 1]), (len(coord), 1)),
        segment=np.zeros(len(coord), np.int64) if segment is None else np.asarray(segment),
        images=np.stack([np.full((4, 4, 3), 51 * i, np.uint8) for i in range(1, images + 1)])
        if images
        else np.zeros((0, 4, 4, 3), np.uint8),
        tokens=np.zeros((0, 0, 0), np.float16),
        links=Links(
            point=table[:, 0].astype(np.int64),
            image=table[:, 1].astype(np.int64),
            patch=table[:, 2:].copy(),
        ),
    )


def scattered(seed=0, num_points=200):
    rng = np.random.default_rng(seed)
    coord = rng.uniform(0, 1, (num_points, 3)).astype(np.float32)
    return make_scene(coord, rng.integers(-1, 3, num_points), rng.uniform(0, 255, (num_points, 3)))


def brightness_encoder():
    """One token per 2x2 patch: its brightness in 0..1 and a one."""

    def read(images):
        gray = torch.nn.functional.avg_pool2d(images.mean(1, keepdim=True), 2).flatten(1)
        return torch.stack([gray, torch.ones_like(gray)], dim=2)

    return ImageEncoder(
        'gray', torch.nn.Identity(), read, 2, 2,
        architecture='gray', pixels=PixelStatistics((0.0,) * 3, (1.0,) * 3),
    )  # fmt: skip


def test_the_most_frequent_class_names_a_voxel():
    label = torch.tensor([2, 2, 1, 0, 1, -1, -1, 3])
    inverse = torch.tensor([0, 0, 0, 1, 1, 1, 2, 4])
    assert voxel_label(label, inverse, 5).tolist() == [2, 0, -1, -1, 3]  # of equals, the lowest


def test_voxels_without_points_or_labels_are_ignored():
    empty = torch.zeros(0, dtype=torch.int64)
    assert voxel_label(empty, empty, 0).tolist() == []
    assert voxel_label(torch.tensor([-1]), torch.tensor([0]), 1).tolist() == [-1]


def test_raw_features_are_height_colour_and_normal():
    scene = make_scene([[0, 0, 5], [1, 0, 5.5]], color=[[255, 0, 0], [0, 51, 0]])
    found = RawFeatures(0.02, CPU)(scene)
    expected = torch.tensor([[0, 1, 0, 0, 0, 0, 1], [0.5, 0, 0.2, 0, 0, 0, 1]])
    torch.testing.assert_close(found.features.select(found.inverse), expected)


def test_selected_rows_of_a_backbone_are_those_of_the_concatenation():
    model = load_backbone('random', 'nano', 0)
    source = BackboneFeatures(model, 'random', 0.05, CPU)
    found = source(scattered())
    rows = torch.tensor([5, 0, 5])
    pyramid = found.features.pyramid
    torch.testing.assert_close(found.features.select(rows), pyramid.upcast()[rows])
    assert source.num_channels == pyramid.num_channels == 432
    assert not pyramid.levels[0].feat.requires_grad


def test_random_weights_follow_the_seed_and_leave_other_draws_alone():
    before = torch.random.get_rng_state()
    weights = [
        load_backbone('random', 'nano', seed).embedding.stem[0].weight for seed in (0, 0, 1)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_linear_map_of_joined_features_is_that_of_the_concatenation():
    first, second = torch.randn(6, 2), torch.randn(6, 3)
    joined = JoinedFeatures(DenseFeatures(first), DenseFeatures(second), 2)
    dense = DenseFeatures(torch.cat([first, second], dim=1))
    weight, bias, rows = torch.randn(4, 5), torch.randn(4), torch.tensor([3, 1])
    torch.testing.assert_close(joined.linear(weight, bias), dense.linear(weight, bias))
    torch.testing.assert_close(joined.select(rows), dense.select(rows))
    assert joined.num_points == 6


def test_two_sources_lie_side_by_side():
    raw = RawFeatures(0.02, CPU)
    joined = JoinedSource(raw, raw)
    found = joined(scattered())
    one = raw(scattered()).features.feat
    assert (joined.name, joined.num_channels) == ('raw+raw', 14)
    torch.testing.assert_close(
        found.features.select(torch.arange(len(one))), torch.hstack([one, one])
    )


def test_tokens_are_averaged_over_the_images_that_see_a_point():
    coord = [[0, 0, 0], [1, 0, 0], [1.2, 0, 0], [9, 0, 0]]
    links = [(0, 0, 0.5, 1.9), (0, 1, 1.2, 0.1), (1, 1, 0, 0)]
    scene = make_scene(coord, images=2, links=links)
    found = LiftedFeatures(brightness_encoder(), 0.02, CPU)(scene)
    feat = found.features.select(found.inverse)
    # Images are 0.2 and 0.4 bright; the third point is 0.2 m from a seen one, the last far off.
    expected = torch.tensor([[0.3, 1], [0.4, 1], [0.4, 1], [0, 0]])
    torch.testing.assert_close(feat, expected)


def test_tokens_of_a_cache_take_the_place_of_images():
    encoder = brightness_encoder()
    scene = make_scene([[0, 0, 0]], images=1, links=[(0, 0, 1, 1)])
    tokens = np.arange(8, dtype=np.float16).reshape(1, 4, 2)
    cached = LabelledScene(
        **{n: getattr(scene, n) for n in ('name', 'coord', 'color', 'normal', 'segment', 'links')},
        images=np.zeros((0, 4, 4, 3), np.uint8),
        tokens=tokens,
    )
    found = LiftedFeatures(encoder, 0.02, CPU)(cached)
    assert found.features.feat.tolist() == [[6, 7]]


def test_a_scene_without_images_has_zeros():
    found = LiftedFeatures(brightness_encoder(), 0.02, CPU)(make_scene([[0, 0, 0]]))
    assert found.features.feat.tolist() == [[0, 0]]


def test_nothing_is_filled_where_all_is_seen():
    feat = torch.tensor([[1.0], [2.0]])
    assert torch.equal(fill_unseen(feat, torch.ones(2), torch.zeros(2, 3)), feat)


def test_rows_of_labelled_voxels_only_are_collected():
    scene = make_scene([[0, 0, 0], [1, 0, 0], [2, 0, 0]], segment=[1, -1, 2])
    rows = collect_rows(RawFeatures(0.02, CPU), [scene, scene], 0, seed=0)
    assert rows.label.tolist() == [1, 2, 1, 2]
    assert rows.feat.dtype == torch.float16


def test_a_limit_draws_other_voxels_for_another_seed_but_the_same_for_the_same():
    source = RawFeatures(0.02, CPU)
    first, again, other = (collect_rows(source, [scattered()], 20, seed) for seed in (0, 0, 1))
    assert len(first) == 20
    assert torch.equal(first.feat, again.feat)
    assert not torch.equal(first.feat, other.feat)


def test_no_label_at_all_is_refused():
    with pytest.raises(ConcertoError, match='no point of the training scenes has a label'):
        collect_rows(RawFeatures(0.02, CPU), [make_scene([[0, 0, 0]], segment=[-1])], 0, seed=0)


def test_features_beyond_float16_are_refused():
    scene = make_scene([[0, 0, 0], [0, 0, 700]])
    source = RawFeatures(0.02, CPU)
    found = source(scene)
    found.features.feat.mul_(1000)
    with pytest.raises(ConcertoError, match='scene: features of raw exceed 65504'):
        collect_rows(_Fixed(found), [scene], 0, seed=0)


class _Fixed:
    """A source that knows one scene."""

    name, num_channels = 'raw', 7

    def __init__(self, found):
        self._found = found

    def __call__(self, scene):
        return self._found


def test_scaling_gives_mean_zero_and_spread_one_and_spares_constants():
    feat = torch.tensor([[1.0, 5.0], [3.0, 5.0]]).half()
    scaling = measure_scaling(feat, rows_per_pass=1)
    assert scaling(feat).tolist() == [[-1, 0], [1, 0]]


def test_scaling_can_be_folded_into_a_linear_map():
    feat = torch.randn(50, 3).half()
    scaling = measure_scaling(feat)
    weight, bias = torch.randn(2, 3), torch.randn(2)
    folded, shifted = scaling.fold(weight, bias)
    torch.testing.assert_close(
        feat.float() @ folded.t() + shifted, scaling(feat) @ weight.t() + bias
    )


def test_a_smaller_share_of_the_scenes_is_part_of_a_larger_one():
    shares = [choose_scenes(range(100), share, seed=3) for share in (0.01, 0.05, 0.2, 1.0)]
    assert [len(share) for share in shares] == [1, 5, 20, 100]
    assert all(set(a) < set(b) for a, b in pairwise(shares))
    assert shares[-1] == list(range(100))
    assert choose_scenes(range(100), 0.2, seed=4) != shares[2]


def test_one_scene_is_always_kept():
    assert choose_scenes(['only'], 0.01, seed=0) == ['only']


def test_a_smaller_number_of_labels_is_part_of_a_larger_one():
    segment = np.where(np.arange(500) % 2, 7, -1)
    few, more = (keep_labels(segment, count, seed=0, number=1) for count in (20, 50))
    assert (few >= 0).sum() == 20
    assert (more >= 0).sum() == 50
    assert (more[few >= 0] == 7).all()
    assert (segment[more >= 0] == 7).all()
    assert (keep_labels(segment, 20, seed=0, number=2) != few).any()


@pytest.mark.parametrize('count', [0, 3, 100])
def test_scarce_labels_are_all_kept(count):
    segment = np.array([1, -1, 2, 3])
    assert keep_labels(segment, count, seed=0, number=0).tolist() == segment.tolist()
