import signal

import numpy as np
import pytest
import torch
from training_scenes import labelled_scene

from concerto_ros.model import BackboneConfig, PointTransformerV3
from training.backbone_sizes import backbone_config
from training.config import BackboneSection
from training.evaluation.config import HeadOptimizerSection, ProbeConfig, RunSection, TuningSection
from training.evaluation.linear_probe import linear_layer
from training.evaluation.scene_augmentation import augment_color, augment_scene
from training.evaluation.scene_crops import SceneCrops, crop_batches, join_crops
from training.evaluation.segmentation_network import (
    SegmentationNetwork,
    decoder_config,
    with_decoder,
)
from training.evaluation.tune import tune

CPU = torch.device('cpu')
TUNING = TuningSection(
    num_steps=2, batch_size=2, num_workers=0, max_points=100, augment=False, mix_chance=0.0
)


def halves(seed=0, num_points=160):
    """A scene whose left half is black and of class 0, and whose right half is white."""
    rng = np.random.default_rng(seed)
    coord = rng.uniform(-1, 1, (num_points, 3)).astype(np.float32)
    segment = (coord[:, 0] > 0).astype(np.int64)
    color = np.repeat(255 * segment[:, None], 3, axis=1).astype(np.float32)
    normal = np.tile(np.float32([0, 0, 1]), (num_points, 1))
    return labelled_scene(coord, segment, color, normal, name=f'scene{seed}')


def small_encoder(drop_path=0.0):
    torch.manual_seed(0)
    return PointTransformerV3(
        BackboneConfig(
            enc_depths=(1, 1, 1),
            enc_channels=(16, 16, 32),
            enc_num_head=(1, 1, 2),
            enc_patch_size=(64, 64, 64),
            stride=(2, 2),
            drop_path=drop_path,
        )
    )


def tuned(network, scenes=None, **changes):
    section = TuningSection(
        **{**{f: getattr(TUNING, f) for f in TUNING.__dataclass_fields__}, **changes}
    )
    config = ProbeConfig(
        run=RunSection(seed=1), tuning=section, optimizer=HeadOptimizerSection(lr=0.01)
    )
    tune(network, scenes or [halves(0), halves(1)], config, CPU)
    return network


def decoder_network(freeze=True):
    model = with_decoder(small_encoder(), 1, seed=0)
    head = linear_layer(model.config.dec_channels[0], 2, torch.Generator().manual_seed(0))
    return SegmentationNetwork(model, head, [model.embedding, model.enc] if freeze else [])


def weights(module):
    return {name: t.clone() for name, t in module.state_dict().items()}


def changed(before, module):
    return {name for name, t in module.state_dict().items() if not torch.equal(t, before[name])}


@pytest.mark.parametrize(
    ('size', 'channels'),
    [('base', (64, 96, 192, 384)), ('nano', (64, 64, 64, 128)), ('small', (64, 64, 128, 256))],
)
def test_the_decoder_has_the_published_width(size, channels):
    config = decoder_config(backbone_config(BackboneSection(size=size)), 2)
    assert config.dec_channels == channels
    assert config.dec_depths == (2, 2, 2, 2)


def test_a_decoder_keeps_the_weights_of_the_encoder():
    encoder = small_encoder()
    model = with_decoder(encoder, 1, seed=0)
    own = model.state_dict()
    assert all(torch.equal(own[name], t) for name, t in encoder.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


def test_a_frozen_encoder_stays_as_it_is_and_in_eval_mode():
    network = decoder_network()
    before = weights(network)
    network.train()
    assert network.backbone.dec.training
    assert not network.backbone.enc['enc0'].training
    names = changed(before, tuned(network))
    assert {name.split('.')[1] for name in names} == {'dec', 'weight', 'bias'}


def test_full_tuning_changes_every_part():
    network = decoder_network(freeze=False)
    before = weights(network)
    names = changed(before, tuned(network))
    assert {n.split('.')[1] for n in names} == {'embedding', 'enc', 'dec', 'weight', 'bias'}


def test_a_small_scene_is_learned_by_heart():
    network = tuned(decoder_network(), num_steps=40)
    batch = join_crops([SceneCrops([halves(0)], TUNING, 0.05, 0)[0]], 0.0, 0)
    with torch.no_grad():
        right = network(batch.points).argmax(1) == batch.label
    assert right.float().mean() > 0.95


def test_the_same_seed_gives_the_same_weights_bit_for_bit():
    first, again = (tuned(decoder_network(), augment=True, mix_chance=0.5) for _ in range(2))
    assert changed(weights(first), again) == set()


def test_accumulated_passes_equal_one_pass():
    # One whole scene twice: the mean of two equal losses is the loss of both together.
    networks = [decoder_network(), decoder_network()]
    crops = {'batch_size': 2, 'max_points': 1000, 'num_steps': 1}
    for passes, network in enumerate(networks, 1):
        tuned(network, [halves(0)], accumulation=passes, **crops)
    one, two = (n.head.weight for n in networks)
    torch.testing.assert_close(one, two)


def test_crops_are_a_function_of_seed_and_index():
    crops = SceneCrops([halves(0), halves(1)], TuningSection(max_points=50), 0.05, seed=5)
    again = SceneCrops([halves(0), halves(1)], TuningSection(max_points=50), 0.05, seed=5)
    assert len(crops[3].points) == 50
    assert torch.equal(crops[3].points.feat, again[3].points.feat)
    assert not torch.equal(crops[3].points.coord, crops[5].points.coord)


def test_each_pass_sees_every_scene_once():
    scenes = [halves(seed, num_points=100 + 10 * seed) for seed in range(3)]
    crops = SceneCrops(scenes, TuningSection(augment=False), 0.001, seed=0)
    for epoch in range(3):
        assert {len(crops[3 * epoch + i].points) for i in range(3)} == {100, 110, 120}


def test_a_crop_is_centred_and_keeps_its_floor():
    crop = SceneCrops([halves()], TUNING, 0.05, seed=0)[0]
    coord = crop.points.feat[:, :3]
    assert torch.equal(coord, crop.points.coord)
    middle = (coord.amin(0) + coord.amax(0)) / 2
    torch.testing.assert_close(middle[:2], torch.zeros(2), atol=1e-6, rtol=0)
    assert crop.points.grid_coord.amin(0).tolist() == [0, 0, 0]
    assert ((crop.points.feat[:, 3] > 0.5) == (crop.label == 1)).all()


def test_mixing_joins_pairs_of_clouds():
    crops = SceneCrops([halves(0), halves(1)], TUNING, 0.05, seed=0)
    items = [crops[i] for i in range(4)]
    sizes = [len(item.points) for item in items]
    apart, mixed = join_crops(items, 0.0, 0).points.offset, join_crops(items, 1.0, 0).points.offset
    assert apart.tolist() == np.cumsum(sizes).tolist()
    assert mixed.tolist() == [sum(sizes[:2]), sum(sizes)]
    assert join_crops(items[:1], 1.0, 0).points.offset.tolist() == sizes[:1]


def test_batches_come_in_order_from_several_processes():
    section = TuningSection(num_steps=3, batch_size=2, accumulation=2, max_points=50)
    scenes = [halves(0), halves(1)]
    alone, many = (
        list(crop_batches(SceneCrops(scenes, s, 0.05, 0), s))
        for s in (section_with(section, 0), section_with(section, 2))
    )
    assert [batch.index for batch in many] == list(range(6))
    assert all(torch.equal(a.points.feat, b.points.feat) for a, b in zip(alone, many, strict=True))


class InterruptedCrops(SceneCrops):
    """Crops during which Ctrl-C comes, which reaches all processes."""

    def __getitem__(self, index):
        signal.raise_signal(signal.SIGINT)
        return super().__getitem__(index)


def test_processes_that_make_batches_leave_signals_to_their_parent():
    section = TuningSection(num_steps=1, batch_size=2, num_workers=1, max_points=50)
    [batch] = crop_batches(InterruptedCrops([halves()], section, 0.05, 0), section)
    assert len(batch.points) == 100


def section_with(section, num_workers):
    values = {name: getattr(section, name) for name in section.__dataclass_fields__}
    return TuningSection(**{**values, 'num_workers': num_workers})


def test_augmented_scenes_keep_a_share_of_points_and_their_labels():
    scene = halves(num_points=2000)
    augmented = augment_scene(scene, np.random.default_rng(0))
    assert 0.75 < len(augmented.coord) / 2000 < 0.85
    assert len(augmented.segment) == len(augmented.color) == len(augmented.normal)
    norm = np.linalg.norm(augmented.normal, axis=1)
    np.testing.assert_allclose(norm, 1, rtol=1e-5)
    bright = augmented.color.mean(axis=1) > 100
    assert (bright == (augmented.segment == 1)).all()


def test_black_is_unknown_and_stays_black():
    color = np.float32([[0, 0, 0], [0, 100, 0]])
    for seed in range(5):
        changed_color = augment_color(color, np.random.default_rng(seed))
        assert changed_color[0].tolist() == [0, 0, 0]
        assert 0 <= changed_color.min() <= changed_color.max() <= 255


def test_a_single_point_can_be_augmented():
    scene = halves(num_points=1)
    assert all(len(augment_scene(scene, np.random.default_rng(s)).coord) == 1 for s in range(5))
