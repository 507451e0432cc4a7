import hashlib
import importlib.util
import json
import logging
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from concerto_ros.config.tree import build, read_plain_yaml
from concerto_ros.errors import ConfigError, SourceError
from concerto_ros.model import load_checkpoint, save_checkpoint
from concerto_ros.semantics import ClassHead
from training.evaluation.backbone_features import BackboneFeatures
from training.evaluation.config import ProbeConfig
from training.evaluation.evaluate import HeadClassifier, evaluate
from training.evaluation.probe_scenes import ProbeScenes
from training.evaluation.run_probe import run_probe
from training.evaluation.segmentation_network import with_decoder
from training.image_encoders import SmallViT, VitConfig, save_vit
from training.probe import main

needs_peft = pytest.mark.skipif(
    importlib.util.find_spec('peft') is None,
    reason='peft is not installed: pip install -r training/requirements.txt',
)
WALLS = 'left wall, right wall'  # labels of the tiny scenes: 0 and 1


@pytest.fixture
def probe(tiny_split, tmp_path):
    """Return a function that runs a probe on the tiny scenes."""

    def run(name='probe', **changes):
        settings = {
            'run.output': str(tmp_path / name),
            'run.device': 'cpu',
            'data.train': str(tiny_split),
            'data.validation': str(tiny_split),
            'data.vocabulary': WALLS,
            'data.voxel_size': 0.05,
            'linear.num_steps': 30,
            'tuning.num_steps': 2,
            'tuning.batch_size': 2,
            'tuning.num_workers': 0,
            'optimizer.lr': 0.05,
        }
        changes = {name.replace('__', '.'): value for name, value in changes.items()}
        return run_probe(build(ProbeConfig, {**settings, **changes}))

    return run


@pytest.fixture(scope='session')
def vit_file(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('vit') / 'vit.pth'
    save_vit(SmallViT(VitConfig(image_size=32, patch_size=8, channels=16, depth=1, heads=2)), path)
    return path


def test_the_command_prints_the_table_and_writes_it(tiny_split, tmp_path, capsys):
    config, output = tmp_path / 'probe.yaml', tmp_path / 'out'
    config.write_text(f'data: {{train: {tiny_split}, validation: {tiny_split}}}\n')
    status = main([str(config), f'run.output={output}', f'data.vocabulary={WALLS}',
                   'source.kind=raw', 'linear.num_steps=2', 'run.device=cpu'])  # fmt: skip
    shown = capsys.readouterr().out
    assert status == 0
    assert (output / 'table.md').read_text() in shown
    assert '| left wall | ' in shown
    assert '| mean of all 2 | ' in shown
    assert 'nothing of this is for the node' in shown


def test_raw_normals_tell_two_walls_apart(probe, tmp_path):
    result = probe(source__kind='raw', data__voxel_size=0.001)
    assert result.scores.miou == 1  # each wall has its own normal
    content = json.loads((tmp_path / 'probe' / 'results.json').read_text())
    assert content['miou'] == content['allacc'] == 1
    assert content['classes']['left wall'] == {'iou': 1, 'accuracy': 1, 'num_points': 4 * 300}
    assert (content['source'], content['num_channels']) == ('raw', 7)
    assert content['settings']['data.voxel_size'] == 0.001
    assert content['checkpoint_hash'] == ''
    assert len(content['data_hash']) == 64
    assert {'git', 'torch'} <= set(content['code'])


def test_the_same_seed_gives_the_same_result_bit_for_bit(probe, tmp_path):
    heads = []
    for name in ('a', 'b'):
        probe(name, linear__num_steps=5)
        heads.append(ClassHead.load(tmp_path / name / 'head.safetensors'))
    assert torch.equal(heads[0].weight, heads[1].weight)
    assert torch.equal(heads[0].bias, heads[1].bias)


def test_lifted_and_joined_features_can_be_probed(probe, vit_file, tmp_path):
    images = {'source__image_encoder': f'vit:{vit_file}', 'source__image_size': 32}
    lifted = probe(source__kind='lifted', **images)
    cached = probe('cached', source__kind='lifted', source__token_cache=str(tmp_path), **images)
    joined = probe('joined', source__kind='concat', **images)
    assert lifted.num_channels == 16
    assert joined.num_channels == 432 + 16
    assert cached.scores.miou == pytest.approx(lifted.scores.miou, abs=0.05)  # float16
    assert joined.scores.miou > lifted.scores.miou


def test_neighbours_can_be_asked(probe):
    result = probe(probe__method='knn', source__kind='raw', knn__voxels_per_scene=50)
    assert result.scores.miou > 0.9


@pytest.mark.parametrize(
    'method', ['decoder', 'full', pytest.param('lora', marks=needs_peft), 'linear']
)
def test_what_is_tuned_is_saved(probe, tiny_split, tmp_path, method):
    result = probe(probe__method=method, linear__features='augmented')
    model, report = load_checkpoint(tmp_path / 'probe' / 'backbone.safetensors')
    head = ClassHead.load(tmp_path / 'probe' / 'head.safetensors')
    has_decoder = method in ('decoder', 'full')
    assert model.config.enc_mode != has_decoder
    assert head.weight.shape == (2, 64 if has_decoder else 432)
    assert result.source == f'random {method}'
    source = BackboneFeatures(model, 'loaded', 0.05, torch.device('cpu'))
    scenes = ProbeScenes('data.train', str(tiny_split), 'segment20', 2)
    scores = evaluate(HeadClassifier(source, head), scenes, 2)
    assert scores.iou.tolist() == result.scores.iou.tolist()
    if has_decoder:
        assert result.node == {}
    else:
        folder = tmp_path / 'probe'
        assert result.for_the_node() == (
            f'for the node: semantics.checkpoint={folder}/backbone.safetensors '
            f'semantics.head={folder}/head.safetensors map.voxel_size=0.05\n'
        )
    assert (report.voxel_size, report.origin['settings']['probe.method']) == (0.05, method)


def test_a_checkpoint_is_known_by_its_hash(probe, tiny_weights, tmp_path):
    path = tiny_weights()['semantics.checkpoint']
    result = probe(source__checkpoint=path, linear__num_steps=1)
    assert result.checkpoint_hash == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert result.node == {
        'semantics.checkpoint': path,
        'semantics.head': str(tmp_path / 'probe' / 'head.safetensors'),
        'map.voxel_size': '0.05',
    }


def test_voxels_of_another_size_than_in_pretraining_are_warned_of(
    probe, tiny_weights, tmp_path, caplog
):
    backbone, _ = load_checkpoint(tiny_weights()['semantics.checkpoint'])
    path = tmp_path / 'backbone.pth'
    save_checkpoint(backbone, path, {'settings': {'data.voxel_size': 0.05}})
    settings = {'source__checkpoint': str(path), 'linear__num_steps': 1}
    assert probe(**settings).node['map.voxel_size'] == '0.05'
    assert not caplog.records
    result = probe('other', **settings, data__voxel_size=0.1)
    assert result.node == {}
    assert 'on voxels of the size that it was trained on' in result.for_the_node()
    [record] = caplog.records
    assert record.levelname == 'WARNING'
    assert 'is 0.1 m, but source.checkpoint was trained on voxels of 0.05 m' in caplog.text


@pytest.mark.parametrize(
    'method', ['linear', 'full', pytest.param('lora', marks=needs_peft), 'augmented']
)
def test_a_decoder_of_the_checkpoint_is_left_out(probe, tmp_path, tiny_weights, method):
    encoder, _ = load_checkpoint(tiny_weights()['semantics.checkpoint'])
    save_checkpoint(with_decoder(encoder, 1, seed=0), tmp_path / 'decoder.pth')
    features = 'augmented' if method == 'augmented' else 'cached'
    result = probe(
        source__checkpoint=str(tmp_path / 'decoder.pth'),
        probe__method=method.replace('augmented', 'linear'),
        linear__features=features,
        linear__num_steps=1,
    )
    assert result.num_channels == (64 if method == 'full' else encoder.config.out_channels)


@pytest.mark.parametrize(
    ('method', 'part'), [('linear', 'train'), ('knn', 'train'), ('full', 'train'),
                         ('linear', 'validation')],
)  # fmt: skip
def test_a_label_beyond_the_classes_is_told(probe, tiny_split, tmp_path, method, part):
    shutil.copytree(tiny_split.parents[1], tmp_path / 'other')
    path = next((tmp_path / 'other').rglob('scene2/segment20.npy'))
    segment = np.load(path)
    segment[0] = 57
    np.save(path, segment)
    split = tmp_path / 'other' / 'splits' / tiny_split.name
    with pytest.raises(SourceError, match=r'^other/train/scene2: a point has label 57, .* 2 cla'):
        probe(**{f'data__{part}': str(split)}, probe__method=method, source__kind='backbone',
              linear__num_steps=1, tuning__num_workers=1, tuning__batch_size=4)  # fmt: skip


def test_validation_scenes_without_any_label_are_told(probe, tiny_split, tmp_path):
    shutil.copytree(tiny_split.parents[1], tmp_path / 'other')
    for path in (tmp_path / 'other').rglob('segment20.npy'):
        np.save(path, np.full_like(np.load(path), -1))
    split = tmp_path / 'other' / 'splits' / tiny_split.name
    with pytest.raises(SourceError, match='no point of the validation scenes has a label: check'):
        probe(source__kind='raw', data__validation=str(split), linear__num_steps=1)


def test_a_tuning_tells_how_far_it_is(probe, caplog):
    caplog.set_level('INFO')
    probe(probe__method='decoder', run__log_every=2, tuning__num_steps=3)
    steps = [m for m in caplog.messages if m.startswith('step')]
    assert [re.match(r'step (\d)/3 loss \d\.\d{3} \d+k points/s data \d+% 0:00:\d\d left', m)[1]
            for m in steps] == ['2', '3']  # fmt: skip


def test_a_signal_ends_a_probe_with_a_sentence(tiny_split, tmp_path, capsys, caplog):
    caplog.set_level('INFO')

    class Signal(logging.Handler):
        def emit(self, record):
            signal.raise_signal(signal.SIGTERM)

    config = tmp_path / 'probe.yaml'
    config.write_text(f'data: {{train: {tiny_split}, validation: {tiny_split}}}\n')
    handler, logger = Signal(), logging.getLogger('training.evaluation.tuning_progress')
    logger.addHandler(handler)
    try:
        status = main([
            str(config), f'run.output={tmp_path}', 'run.device=cpu', 'run.log_every=1',
            'probe.method=decoder', 'data.voxel_size=0.1', 'tuning.batch_size=1',
            'tuning.num_workers=0', 'tuning.num_steps=2',
        ])  # fmt: skip
    finally:
        logger.removeHandler(handler)
    assert status == 143
    error = capsys.readouterr().err
    assert error == 'training.probe: stopped by a signal; the same command starts anew\n'


def test_variants_at_test_time_change_the_sum_only(probe):
    plain, summed = (
        probe(source__kind='raw', probe__test_time_variants=flag) for flag in (False, True)
    )
    assert summed.scores.num_points.tolist() == plain.scores.num_points.tolist()


def test_fewer_labels_and_scenes_are_taken(probe, tiny_split):
    assert probe(source__kind='raw', probe__scene_share=0.5).num_scenes == (2, 4)
    few = ProbeScenes('data.train', str(tiny_split), 'segment20', 2, points_per_scene=20)
    assert [(scene.segment >= 0).sum() for scene in few] == [20] * 4
    again = ProbeScenes(
        'x', str(tiny_split), 'segment20', 2, points_per_scene=20, scene_share=0.25
    )
    kept = [scene for scene in few if scene.name == again[0].name]
    assert (again[0].segment == kept[0].segment).all()


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'data.train': ''}, '"data.train" must name a split'),
        ({'data.train': 'x-*.tar'}, '"data.train" names shards, x-.*, which probes do not read'),
        ({'data.vocabulary': 'nothing'}, 'data.vocabulary must be one of scannet20'),
        ({'data.segment': 'segment200'}, r"labels of this scene are \['segment20'\]"),
        ({'source.checkpoint': 'missing.pth'}, 'there is no such file'),
        ({'source.kind': 'raw', 'probe.method': 'full'}, 'needs source.kind=backbone, got raw'),
        ({'run.output': '/dev/null/x'}, '"run.output" /dev/null/x cannot be made'),
    ],
)
def test_errors_are_told_in_one_sentence(tiny_split, tmp_path, capsys, changes, sentence):
    values = {
        'data.train': tiny_split, 'data.validation': tiny_split, 'run.output': tmp_path / 'out',
        'run.device': 'cpu', **changes,
    }  # fmt: skip
    config = tmp_path / 'empty.yaml'
    config.write_text('')
    status = main([str(config), *(f'{name}={value}' for name, value in values.items())])
    message = capsys.readouterr().err
    assert status == 2
    assert message.count('\n') == 1
    assert message.startswith('training.probe: ')
    assert re.search(sentence, message), message


def test_the_settings_that_are_shipped_can_be_read(root):
    values = read_plain_yaml(root / 'config' / 'training' / 'probe.yaml')
    config = build(ProbeConfig, values)
    assert config.data.train.endswith('train.json')


def test_passes_share_a_batch_evenly():
    with pytest.raises(ConfigError, match=r'tuning\.batch_size must be a multiple .* 64 and 3'):
        build(ProbeConfig, {'tuning.accumulation': 3})
