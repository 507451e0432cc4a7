"""Encoders by name: what they say of a scene, and that asking does not change them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from concerto_ros.config.tree import build
from concerto_ros.errors import CheckpointError, ConcertoError, ConfigError
from concerto_ros.model import Recipe, save_checkpoint
from training.checkpoint import TrainingState, save_state
from training.datasets.labelled import LabelledScene
from training.evaluation.backbone_features import BackboneFeatures, load_backbone
from training.evaluation.voxels import scene_voxels
from training.networks.config import NetworkSection
from training.networks.make import make_network
from training.networks.released_checkpoint import PREFIX
from training.protocol.config import ProtocolConfig
from training.protocol.encoders import example, make_encoder
from training.protocol.encoders.concerto import ConcertoEncoder
from training.protocol.encoders.example import HandMade
from training.protocol.encoders.facts import weights_sha256
from training.protocol.encoders.unet import drawn_points, nearest_points
from training.protocol.source import HierarchySource
from training.structures import Links

CPU = torch.device('cpu')
VOXEL_SIZE = 0.05
EXAMPLE = 'python:training.protocol.encoders.example:HandMade'


@pytest.fixture(scope='module')
def scene():
    """Return points on two walls."""
    rng = np.random.default_rng(0)
    coord = rng.uniform(0, 1.5, (600, 3)).astype(np.float32) + np.float32([3, -2, 1])
    coord[:300, 0], coord[300:, 1] = 3, -2
    return LabelledScene(
        name='scene',
        coord=coord,
        color=rng.uniform(0, 255, coord.shape).astype(np.float32),
        normal=np.tile(np.float32([0, 0, 1]), (600, 1)),
        segment=np.zeros(600, np.int64),
        images=np.zeros((0, 4, 4, 3), np.uint8),
        tokens=np.zeros((0, 0, 0), np.float16),
        links=Links(
            point=np.zeros(0, np.int64),
            image=np.zeros(0, np.int64),
            patch=np.zeros((0, 2), np.float32),
        ),
    )


def encoder_of(name, family='decoder', seed=0):
    settings = {'encoder.name': name, 'encoder.family': family, 'data.voxel_size': VOXEL_SIZE}
    return make_encoder(build(ProtocolConfig, settings), seed, CPU)


def source_of(encoder, mode='nearest', voxel_size=VOXEL_SIZE):
    return HierarchySource(
        encoder,
        voxel_size=voxel_size,
        mode=mode,
        query='voxel',
        unit_levels=False,
        device=CPU,
    )


def masked_state(folder, kind='concerto', **changes):
    """Write a state of training whose networks are nano and differ; return its path."""
    settings = {
        'network.kind': kind, 'network.size': 'nano', 'network.drop_path': 0.1,
        'data.voxel_size': 0.04,
    }  # fmt: skip
    tensors = {'token': torch.zeros(1)}
    for seed, part in enumerate(('student', 'teacher')):
        torch.manual_seed(seed)
        network = make_network(NetworkSection(kind=kind, size='nano', drop_path=0.1))
        tensors |= {f'{part}.{name}': t for name, t in network.state_dict().items()}
    content = {'state_dict': tensors, 'settings': settings, **changes}
    state = TrainingState(step=1, optimizer={}, config={}, source={}, **content)
    return save_state(folder, state)


def released_file(folder):
    """Write a nano network as the authors of the paper do; return path and network."""
    network = make_network(NetworkSection(kind='hunet', size='nano'))
    path = folder / 'released.pth'
    tensors = {f'{PREFIX}{name}': t for name, t in network.state_dict().items()}
    torch.save({'state_dict': tensors}, path)
    return path, network


@pytest.fixture(scope='module', params=['concerto', 'masked', 'msm', 'python'])
def encoder(request, tmp_path_factory):
    """Return an encoder of each kind."""
    folder = tmp_path_factory.mktemp('encoders')
    names = {
        'concerto': lambda: 'concerto:random#nano',
        'masked': lambda: f'masked:{masked_state(folder)}',
        'msm': lambda: f'msm:{released_file(folder)[0]}#nano',
        'python': lambda: EXAMPLE,
    }
    return encoder_of(names[request.param]())


def test_every_kind_is_a_hierarchy_on_nested_lattices(encoder, scene):
    hierarchy = encoder(scene)
    assert tuple(level.feat.shape[1] for level in hierarchy.levels) == encoder.num_channels
    num_levels = len(encoder.num_channels)
    assert [level.stride for level in hierarchy.levels] == [1, 2, 4, 8, 16][:num_levels]
    assert len({level.name for level in hierarchy.levels}) == num_levels
    finest = hierarchy.levels[0].coord
    for level in hierarchy.levels:
        assert torch.equal(level.coord.unique(dim=0), (finest // level.stride).unique(dim=0)), (
            level.name
        )
        assert level.feat.isfinite().all()
        assert level.feat.dtype == torch.float32
        assert not level.feat.requires_grad
    # Every point lies in an occupied voxel.
    place = (torch.from_numpy(scene.coord).double() - hierarchy.origin) / hierarchy.voxel_size
    cells = {tuple(cell) for cell in finest.tolist()}
    assert sum(tuple(cell) in cells for cell in place.floor().long().tolist()) > 0.99 * len(place)


def test_every_kind_says_the_same_again_and_can_be_sampled(encoder, scene):
    source = source_of(encoder, 'trilinear')
    first, again = source(scene), source(scene)
    rows = first.inverse.unique()
    assert torch.equal(first.features.select(rows), again.features.select(rows))
    assert first.features.select(rows).shape == (len(rows), source.num_channels)


def test_asking_changes_no_parameter_and_no_buffer(encoder, scene):
    if isinstance(encoder, HandMade):
        assert encoder.facts == {'parameters': 0}
        return
    network = encoder.network
    before = weights_sha256(network)
    source_of(encoder)(scene).features.select(torch.arange(5))
    assert weights_sha256(network) == before == encoder.facts['weights'].removeprefix('sha256:')
    assert encoder.facts['parameters'] == sum(p.numel() for p in network.parameters())
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


def test_the_hash_of_weights_knows_names_shapes_and_buffers():
    norm = torch.nn.BatchNorm1d(4)
    before = weights_sha256(norm)
    norm.running_mean += 1
    assert weights_sha256(norm) != before
    plain, renamed = torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.Linear(2, 2))
    renamed[0].load_state_dict(plain.state_dict())
    assert weights_sha256(plain) != weights_sha256(renamed)


# --- Concerto ----------------------------------------------------------------------------


def test_levels_of_concerto_are_what_the_probe_of_the_node_reads(scene):
    encoder = encoder_of('concerto:random#nano', seed=3)
    found = source_of(encoder)(scene)
    expected = BackboneFeatures(load_backbone('random', 'nano', 3), '', VOXEL_SIZE, CPU)(scene)
    rows = torch.arange(expected.features.num_points)
    assert torch.equal(found.inverse, expected.inverse)
    assert torch.equal(found.features.select(rows), expected.features.select(rows))
    assert encoder.last == 4
    assert [name for name, _ in found.features.layout][::4] == ['encoder 0', 'encoder 4']


def test_a_checkpoint_is_fed_the_voxels_it_was_trained_on(tmp_path, scene):
    model = load_backbone('random', 'nano', 0)
    path = tmp_path / 'own_1.pth'
    save_checkpoint(model, path, {'settings': {'data.voxel_size': 0.1}})
    encoder = encoder_of(f'concerto:{tmp_path}/own_{{seed}}.pth', seed=1)
    assert encoder.name == f'concerto:{path}'
    assert encoder.facts['voxel_size'] == '0.1 m'
    assert encoder(scene).voxel_size == 0.1
    assert encoder_of('concerto:random#nano')(scene).voxel_size == VOXEL_SIZE


# --- U-Nets ------------------------------------------------------------------------------


@pytest.mark.parametrize('kind', ['concerto', 'hunet'])
def test_student_and_teacher_come_out_of_a_state(tmp_path, scene, kind):
    path = masked_state(tmp_path, kind)
    student, teacher, default = (
        encoder_of(f'masked:{path}{option}') for option in ('#student', '#teacher', '')
    )
    torch.manual_seed(1)
    expected = make_network(NetworkSection(kind=kind, size='nano', drop_path=0.1))
    assert teacher.facts['weights'] == f'sha256:{weights_sha256(expected)}'
    assert default.facts == student.facts
    assert student.facts['weights'] != teacher.facts['weights']
    assert default(scene).voxel_size == 0.04
    assert default.last == 0
    assert default.num_channels == expected.channels


def test_families_choose_the_maps_of_a_u_net(tmp_path, scene):
    path = masked_state(tmp_path)
    encoder, decoder, both = (
        encoder_of(f'masked:{path}', family) for family in ('encoder', 'decoder', 'both')
    )
    assert (encoder.last, decoder.last, both.last) == (4, 0, 1)
    assert both.num_channels[0::2] == encoder.num_channels
    assert both.num_channels[1::2] == decoder.num_channels
    levels = both(scene).levels
    assert [level.name for level in levels[:3]] == ['encoder 0', 'decoder 0', 'encoder 1']
    for part, alone in ((levels[0::2], encoder), (levels[1::2], decoder)):
        for level, expected in zip(part, alone(scene).levels, strict=True):
            assert torch.equal(level.feat, expected.feat)
            assert torch.equal(level.coord, expected.coord)


def test_released_weights_are_those_of_the_student(tmp_path):
    path, network = released_file(tmp_path)
    encoder = encoder_of(f'msm:{path}#nano')
    assert encoder.facts['weights'] == f'sha256:{weights_sha256(network)}'
    assert encoder.facts['voxel_size'] == f'{VOXEL_SIZE} m'
    assert encoder.last == 0


def test_released_weights_infer_as_released_only_if_asked_to(tmp_path, scene):
    name = f'msm:{released_file(tmp_path)[0]}#nano'
    steady = encoder_of(name)
    assert steady.facts['inference'] == 'deterministic'
    settings = {'encoder.name': name, 'encoder.as_released': True, 'data.voxel_size': VOXEL_SIZE}
    noisy = make_encoder(build(ProtocolConfig, settings), 5, CPU)
    assert noisy.facts['inference'] == 'as released: attention dropout, curves drawn from 5'
    assert steady.facts['voxels'] == 'point nearest to the centre'
    assert noisy.facts['voxels'] == 'one of their points, drawn'
    first, second = (noisy(scene).levels[-1].feat for _ in range(2))
    assert not torch.equal(first, second)


def test_as_released_the_point_of_a_voxel_is_drawn_from_the_generator_of_the_network(
    tmp_path, scene
):
    name = f'msm:{released_file(tmp_path)[0]}#nano'
    settings = {'encoder.name': name, 'encoder.as_released': True, 'data.voxel_size': VOXEL_SIZE}
    encoder = make_encoder(build(ProtocolConfig, settings), 5, CPU)
    noise = torch.Generator().manual_seed(5)
    first, second = (encoder._voxels(scene)[0].feat for _ in range(2))
    for feat in (first, second):
        assert torch.equal(feat, drawn_points(scene, VOXEL_SIZE, CPU, noise)[0].feat)
    assert not torch.equal(first, second)
    assert encoder.network.noise.get_state().equal(noise.get_state())


@pytest.mark.parametrize('kind', ['concerto', 'hunet'])
def test_untrained_networks_follow_the_seed(kind):
    name = f'masked:random#{kind}/nano'
    first, again, other = (encoder_of(name, seed=seed).facts['weights'] for seed in (0, 0, 1))
    assert first == again != other
    torch.manual_seed(1)
    expected = make_network(NetworkSection(kind=kind, size='nano'))
    assert other == f'sha256:{weights_sha256(expected)}'


@pytest.mark.parametrize(
    ('option', 'message'),
    [('', r'masked:random: after # must be kind and size'), ('#nano', 'as in masked:random#con'),
     ('#ptv3/nano', '"kind" must be one of hunet, concerto'), ('#hunet/wide', "got 'wide'")],
)  # fmt: skip
def test_untrained_networks_have_a_kind_and_a_size(option, message):
    with pytest.raises(ConfigError, match=message):
        encoder_of(f'masked:random{option}')


@pytest.mark.parametrize('kind', ['concerto', 'hunet'])
def test_parameters_are_those_that_the_maps_need(kind, scene):
    for family in ('encoder', 'decoder', 'both'):
        encoder = encoder_of(f'masked:random#{kind}/nano', family)
        network = encoder.network.requires_grad_(True)
        with torch.enable_grad():
            levels = type(encoder).__call__.__wrapped__(encoder, scene).levels
            sum(level.feat.sum() for level in levels).backward()
        needed = sum(p.numel() for p in network.parameters() if p.grad is not None)
        assert encoder.facts['parameters'] == needed, family


def test_an_encoder_says_the_same_under_a_decoder_and_alone(scene):
    below = encoder_of('masked:random#concerto/nano', 'encoder')
    alone = ConcertoEncoder(below.network.backbone, 'alone', VOXEL_SIZE, CPU, 'fp32')
    assert below.facts['voxels'] == alone.facts['voxels'] == 'mean of their points'
    for level, expected in zip(below(scene).levels, alone(scene).levels, strict=True):
        cells, rows = torch.unique(level.coord, dim=0, return_inverse=True)
        others, their_rows = torch.unique(expected.coord, dim=0, return_inverse=True)
        assert torch.equal(cells, others)
        found, same = level.feat[rows.argsort()], expected.feat[their_rows.argsort()]
        torch.testing.assert_close(found, same, atol=1e-4, rtol=1e-4)


def test_a_voxel_of_the_published_network_is_its_point_nearest_to_the_centre(scene):
    facts = encoder_of('masked:random#hunet/nano').facts
    assert facts['voxels'] == 'point nearest to the centre'
    points, origin = nearest_points(scene, VOXEL_SIZE, CPU)
    voxels = scene_voxels(scene, Recipe(voxel_size=VOXEL_SIZE), CPU)
    assert torch.equal(points.grid_coord, voxels.points.grid_coord)
    coord = torch.from_numpy(scene.coord).double()
    center = origin + (points.grid_coord + 0.5) * VOXEL_SIZE
    for voxel in range(0, len(points), 37):
        members = (voxels.inverse == voxel).nonzero()[:, 0]
        nearest = members[(coord[members] - center[voxel]).norm(dim=1).argmin()]
        color = torch.from_numpy(scene.color)[nearest] / 255
        torch.testing.assert_close(points.feat[voxel, 3:6], color)
        assert points.feat[voxel, 6:].tolist() == [0, 0, 1]
    single = voxels.inverse.bincount() == 1  # there the mean is the point
    torch.testing.assert_close(points.feat[single], voxels.points.feat[single])


def test_a_drawn_voxel_is_any_of_its_points(scene):
    noise = torch.Generator().manual_seed(0)
    voxels = scene_voxels(scene, Recipe(voxel_size=VOXEL_SIZE), CPU)
    color = torch.from_numpy(scene.color) / 255
    [voxel] = (voxels.inverse.bincount() == 2).nonzero()[0].tolist()
    first, second = color[voxels.inverse == voxel]
    draws = [drawn_points(scene, VOXEL_SIZE, CPU, noise)[0] for _ in range(40)]
    found = torch.stack([points.feat[voxel, 3:6] for points in draws])
    is_first, is_second = ((found == part).all(1) for part in (first, second))
    assert (is_first ^ is_second).all()
    assert 8 < is_first.sum() < 32
    fixed, drawn = nearest_points(scene, VOXEL_SIZE, CPU)[0], draws[0]
    assert torch.equal(drawn.grid_coord, fixed.grid_coord)
    single = voxels.inverse.bincount() == 1
    assert torch.equal(drawn.feat[single], fixed.feat[single])


def test_of_equally_near_points_the_first_stands_for_the_voxel(scene):
    twice = replace(
        scene,
        **{
            part: np.concatenate([getattr(scene, part)] * 2)
            for part in ('coord', 'normal', 'segment')
        },
        color=np.concatenate([scene.color, 255 - scene.color]),
    )
    once, both = (nearest_points(s, VOXEL_SIZE, CPU)[0] for s in (scene, twice))
    assert torch.equal(once.feat, both.feat)


# --- what can go wrong -------------------------------------------------------------------


def test_weights_for_outdoor_scans_are_refused():
    with pytest.raises(ConfigError, match='concerto:large_outdoor wants outdoor scans'):
        encoder_of('concerto:large_outdoor')


@pytest.mark.parametrize('name', ['', 'concerto', 'concerto:', 'ptv3:base'])
def test_names_of_no_kind_are_refused(name):
    with pytest.raises(ConfigError, match=r'encoder.name must be concerto:CHECKPOINT'):
        encoder_of(name)


@pytest.mark.parametrize(
    'name',
    ['python:no.such.module:make', 'python:training.protocol:make', 'python:./x.py:make'],
)
def test_what_cannot_be_imported_is_named(name):
    with pytest.raises(ConfigError, match=f'^{name}: cannot be imported'):
        encoder_of(name)


def test_a_state_of_another_training_is_refused(tmp_path):
    path = masked_state(tmp_path, settings={'data.voxel_size': 0.02})
    with pytest.raises(CheckpointError, match=f'judge it as concerto:{path}'):
        encoder_of(f'masked:{path}')


def test_the_teacher_of_shallow_targets_is_missing(tmp_path):
    path = masked_state(tmp_path, state_dict={'student.x': torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r'has no network under teacher\.\*'):
        encoder_of(f'masked:{path}#teacher')
    with pytest.raises(CheckpointError, match='is another network than its settings say'):
        encoder_of(f'masked:{path}')
    with pytest.raises(ConfigError, match='after # must be student or teacher'):
        encoder_of(f'masked:{path}#both')


def test_levels_of_other_widths_than_announced_are_refused(scene):
    encoder = encoder_of(EXAMPLE)
    encoder.num_channels = (7,) * 4
    with pytest.raises(ConcertoError, match=r'gave levels of .* let num_channels list'):
        source_of(encoder)(scene)


# --- the example -------------------------------------------------------------------------


def test_the_example_is_short_and_holds_means(scene):
    with open(example.__file__) as file:
        assert len(file.readlines()) < 30
    hierarchy = encoder_of(EXAMPLE)(scene)
    voxels = scene_voxels(scene, Recipe(voxel_size=0.04), CPU).points
    torch.testing.assert_close(
        hierarchy.levels[-1].feat[0],
        voxels.feat[(voxels.grid_coord < 16).all(1), 2:].mean(0),
    )
