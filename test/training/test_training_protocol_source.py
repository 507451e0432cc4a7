"""Where an encoder's features are read, and which levels are judged."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from concerto_ros.config.tree import build
from concerto_ros.errors import ConcertoError, ConfigError
from concerto_ros.model import Recipe, lattice_origin
from training.datasets.labelled import LabelledScene
from training.evaluation.voxels import scene_voxels
from training.protocol.config import ProtocolConfig
from training.protocol.encoders import make_encoder
from training.protocol.hierarchy import Hierarchy, Level
from training.protocol.source import HierarchySource, level_sets
from training.structures import Links

CPU = torch.device('cpu')


def scattered_scene(num_points=300, seed=0):
    rng = np.random.default_rng(seed)
    coord = rng.uniform(-1, 1, (num_points, 3)).astype(np.float32) + np.float32([7, -3, 0.4])
    return LabelledScene(
        name='scene',
        coord=coord,
        color=rng.uniform(0, 255, coord.shape).astype(np.float32),
        normal=np.tile(np.float32([0, 0, 1]), (num_points, 1)),
        segment=np.zeros(num_points, np.int64),
        images=np.zeros((0, 4, 4, 3), np.uint8),
        tokens=np.zeros((0, 0, 0), np.float16),
        links=Links(
            point=np.zeros(0, np.int64),
            image=np.zeros(0, np.int64),
            patch=np.zeros((0, 2), np.float32),
        ),
    )


class Centers:
    """Says of each cell where its centre is, in the frame of the scene [m], on two levels.

    Args:
        voxel_size: Of its lattice [m].
        noise: Added to its origin [m].
    """

    name = 'centers'
    num_channels = (3, 3)

    def __init__(self, voxel_size, noise=0.0):
        self._recipe, self._noise = Recipe(voxel_size=voxel_size), noise

    def __call__(self, scene):
        voxels = scene_voxels(scene, self._recipe, CPU)
        origin = lattice_origin(torch.from_numpy(scene.coord), self._recipe) + self._noise
        levels = []
        for stride in (1, 2):
            coord = (voxels.points.grid_coord // stride).unique(dim=0)
            feat = origin + (coord + 0.5) * stride * self._recipe.voxel_size
            levels.append(
                Level(name=f'stride {stride}', feat=feat.float(), coord=coord, stride=stride)
            )
        return Hierarchy(levels=tuple(levels), voxel_size=self._recipe.voxel_size, origin=origin)


def make_source(encoder, **kwargs):
    options = {
        'voxel_size': 0.05, 'mode': 'nearest', 'query': 'voxel', 'unit_levels': False,
        'device': CPU,
    }  # fmt: skip
    return HierarchySource(encoder, **{**options, **kwargs})


@pytest.mark.parametrize('noise', [0.0, 1e-6])
def test_on_the_lattice_of_the_encoder_places_are_exactly_the_centres_of_voxels(noise):
    scene = scattered_scene()
    found = make_source(Centers(0.05, noise))(scene)
    expected = scene_voxels(scene, Recipe(voxel_size=0.05), CPU)
    assert torch.equal(found.features._position, expected.points.grid_coord.double() + 0.5)
    assert torch.equal(found.inverse, expected.inverse)


def test_voxels_lie_around_their_points():
    scene = scattered_scene()
    source = make_source(Centers(0.05))
    found = source(scene)
    feat = found.features.select(found.inverse)[:, :3]
    assert (feat - torch.from_numpy(scene.coord)).abs().max() < 0.025 + 1e-5
    assert (source.name, source.num_channels) == ('centers', 6)


@pytest.mark.parametrize(('mine', 'reach'), [(0.02, 0.05), (0.11, 0.055 + 0.05)])
def test_a_lattice_of_another_size_is_read_at_the_same_places(mine, reach):
    scene = scattered_scene()
    found = make_source(Centers(mine))(scene)
    feat = found.features.select(found.inverse)[:, :3]
    # Half a cell of the encoder, or the way to an occupied one, beside half a voxel.
    is_read = feat.abs().sum(1) > 0
    assert is_read.float().mean() > 0.9
    assert (feat - torch.from_numpy(scene.coord))[is_read].abs().max() < reach


def test_points_are_read_where_they_are():
    scene = scattered_scene()
    found = make_source(Centers(0.05), query='point')(scene)
    assert found.inverse.tolist() == list(range(300))
    feat = found.features.select(found.inverse)[:, 3:]
    assert (feat - torch.from_numpy(scene.coord)).abs().max() < 0.05 + 1e-5
    between = make_source(Centers(0.05), query='point', mode='trilinear')(scene)
    assert between.features.select(found.inverse).shape == (300, 6)


class Shifted(Centers):
    """Says that its lattice begins elsewhere."""

    def __init__(self, shift):
        super().__init__(0.05)
        self._shift = shift

    def __call__(self, scene):
        found = super().__call__(scene)
        return replace(found, origin=found.origin + self._shift)


@pytest.mark.parametrize('query', ['voxel', 'point'])
def test_a_lattice_that_lies_elsewhere_is_refused(query):
    source = make_source(Shifted(20.0), query=query)
    with pytest.raises(
        ConcertoError, match='centers, scene: level "stride 1" has nothing to read'
    ):
        source(scattered_scene())


def test_the_share_of_places_without_a_cell_is_kept():
    def gaps(*scenes):
        source = make_source(Shifted(torch.tensor([0.22, 0, 0]).double()))
        for scene in scenes:
            source(scene)
        return source.geometry.get('unread')

    one, other = scattered_scene(), scattered_scene(seed=1)
    assert gaps() is None
    assert 0 < gaps(one)['stride 2'] < gaps(one)['stride 1'] < 1
    mean = (gaps(one)['stride 1'] + gaps(other)['stride 1']) / 2
    assert gaps(one, other)['stride 1'] == pytest.approx(mean)
    whole = make_source(Centers(0.05))
    whole(scattered_scene())
    assert whole.geometry == {
        'voxel_size': 0.05, 'strides': [1, 2], 'unread': {'stride 1': 0, 'stride 2': 0},
    }  # fmt: skip


class Doubled(Centers):
    """Gives a cell twice."""

    def __call__(self, scene):
        found = super().__call__(scene)
        found.levels[0].coord[7] = found.levels[0].coord[3]
        return found


def test_equal_cells_are_told_with_encoder_level_and_scene():
    with pytest.raises(ConcertoError, match='centers, scene: level "stride 1": rows 3 and 7 are'):
        make_source(Doubled(0.05))(scattered_scene())


@pytest.mark.parametrize(('mine', 'query', 'is_told'), [
    (0.02, 'voxel', True), (0.02, 'point', False), (0.05, 'voxel', False), (0.1, 'voxel', False),
])  # fmt: skip
def test_cells_finer_than_the_judged_voxels_are_told_once(caplog, mine, query, is_told):
    source = make_source(Centers(mine), query=query)
    for seed in range(2):
        source(scattered_scene(seed=seed))
    assert len(caplog.messages) == is_told
    if is_told:
        assert 'cells of 0.02 m, finer than data.voxel_size 0.05 m' in caplog.messages[0]
        assert 'set data.voxel_size=0.02, or sampling.query=point' in caplog.messages[0]


class FourLevels:
    name, num_channels, last = 'four', (1, 2, 3, 4), 3


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('all', {'all': (0, 1, 2, 3)}),
        ('last', {'last': (3,)}),
        ('2, 0', {'0,2': (0, 2)}),
        ('each', {'0': (0,), '1': (1,), '2': (2,), '3': (3,)}),
        (
            'all_but',
            {
                'all but 0': (1, 2, 3),
                'all but 1': (0, 2, 3),
                'all but 2': (0, 1, 3),
                'all but 3': (0, 1, 2),
            },
        ),
        ('last;3;all;0,1,2,3', {'last = 3': (3,), 'all = 0,1,2,3': (0, 1, 2, 3)}),
        ('last; all;1,2;all', {'last': (3,), 'all': (0, 1, 2, 3), '1,2': (1, 2)}),
    ],
)
def test_sets_of_levels_by_name(text, expected):
    assert level_sets(text, FourLevels()) == expected


@pytest.mark.parametrize('text', ['', 'first', '4', '0,0', '-1', '1;', '1.5'])
def test_sets_that_name_no_level_are_refused(text):
    with pytest.raises(ConfigError, match='four has the levels 0 to 3, but a set is'):
        level_sets(text, FourLevels())


def test_all_but_the_only_level_is_none():
    one = FourLevels()
    one.num_channels = (5,)
    with pytest.raises(ConfigError, match='a set is "all_but": write all, last, each or'):
        level_sets('all_but', one)


@pytest.mark.parametrize('name', ['concerto:random#nano', 'masked:random#hunet/nano'])
def test_half_precision_is_blamed_for_features_that_are_not_finite(name):
    settings = {'encoder.name': name, 'run.precision': 'bf16', 'data.voxel_size': 0.05}
    encoder = make_encoder(build(ProtocolConfig, settings), 0, CPU)
    for parameter in encoder.network.parameters():
        parameter.fill_(torch.nan)
    with pytest.raises(ConcertoError, match=r'level ".*coder 0": .* and try run.precision=fp32$'):
        make_source(encoder)(scattered_scene())
