import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from concerto_ros.errors import CheckpointError
from concerto_ros.model import load_checkpoint, save_checkpoint
from concerto_ros.model.checkpoint_config import STEM
from concerto_ros.published_weights import LICENCE
from concerto_ros.weights_file import read_weights, write_weights

SUFFIXES = ['.pth', '.safetensors']
VARIANTS = [
    {},
    {'in_channels': 6, 'mask_token': False, 'qkv_bias': False, 'layer_scale': 1.0},
    {'enc_depths': (1, 2), 'enc_channels': (16, 64), 'enc_num_head': (1, 4), 'stride': (2,),
     'enc_patch_size': (1024, 1024), 'mlp_ratio': 2, 'enable_rpe': True},
    {'enc_mode': False, 'dec_depths': (1, 2, 1, 1), 'dec_channels': (32, 32, 64, 64),
     'dec_num_head': (2, 2, 4, 4)},
]  # fmt: skip


def assert_has(model, tensors):
    state = model.state_dict()
    assert state.keys() == tensors.keys()
    assert all(torch.equal(state[k], t) for k, t in tensors.items())


@pytest.fixture
def published(tiny_model):
    """Configuration and tensors as a published file has them."""
    model = tiny_model()
    config = {
        'in_channels': 9,
        'order': ['z', 'z-trans', 'hilbert', 'hilbert-trans'],
        'enc_depths': [1, 1, 1, 1, 1],
        'enc_channels': [16, 32, 32, 48, 64],
        'enc_num_head': [1, 2, 2, 3, 4],
        'enc_patch_size': [64] * 5,
        'stride': [2, 2, 2, 2],
        'mlp_ratio': 4,
        'drop_path': 0.3,
        'mask_token': True,
        'enc_mode': True,
        'qkv_bias': True,
        'qk_scale': None,
        'attn_drop': 0.0,
        'proj_drop': 0.0,
        'layer_scale': None,
        'pre_norm': True,
        'shuffle_orders': True,
        'enable_rpe': False,
        'enable_flash': True,
        'upcast_attention': False,
        'upcast_softmax': False,
        'traceable': True,
        'freeze_encoder': False,
    }
    return config, model.state_dict()


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_saved_backbone_comes_back(tmp_path, tiny_model, random_points, suffix):
    model, points = tiny_model(), random_points()
    path = tmp_path / f'tiny{suffix}'
    save_checkpoint(model, path)
    loaded, report = load_checkpoint(str(path))
    assert loaded.config == model.config
    assert torch.equal(loaded(points).upcast(), model(points).upcast())
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    assert report.num_parameters == sum(p.numel() for p in model.parameters())
    assert (report.unknown_config, report.missing_config, report.left_out) == ((), (), ())
    assert report.has_config
    assert report.licence == ''
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_published_format_with_other_keys_loads_and_is_reported(tmp_path, published, suffix):
    config, tensors = published
    config['rope_base'] = 10
    del config['drop_path']
    path = tmp_path / f'concerto{suffix}'
    write_weights(path, config, tensors)
    _, report = load_checkpoint(path)
    assert report.unknown_config == ('rope_base',)
    assert report.missing_config == ('drop_path',)
    assert str(report) == (
        f'concerto{suffix}: {report.num_parameters / 1e6:.1f} M parameters; '
        'ignored unknown configuration rope_base; took the published default for drop_path'
    )


def test_a_published_name_loads_from_the_cache_and_tells_its_licence(
    tmp_path, published, monkeypatch
):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    (tmp_path / 'concerto_ros').mkdir()
    write_weights(tmp_path / 'concerto_ros/concerto_tiny.pth', *published)
    _, report = load_checkpoint('tiny')
    assert report.licence == LICENCE
    assert str(report).endswith(LICENCE)
    with pytest.raises(CheckpointError, match='run "concerto download small" once'):
        load_checkpoint('small')


def test_a_folder_of_save_pretrained_loads(tmp_path, published):
    config, tensors = published
    (tmp_path / 'config.json').write_text(json.dumps(config))
    save_file(tensors, tmp_path / 'model.safetensors')
    model, report = load_checkpoint(tmp_path)
    assert_has(model, tensors)
    assert report.has_config
    (tmp_path / 'config.json').write_text('{')
    with pytest.raises(CheckpointError, match='cannot be read'):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_the_origin_is_kept_beside_the_published_format(tmp_path, tiny_model, suffix):
    origin = {'settings': {'data.voxel_size': 0.04}, 'source': {'git': 'abc'}}
    path = tmp_path / f'a{suffix}'
    save_checkpoint(tiny_model(), path, origin)
    _, report = load_checkpoint(path)
    assert (report.origin, report.voxel_size) == (origin, 0.04)
    assert str(report).endswith('trained on voxels of 0.04 m')
    assert not {'settings', 'source'} & read_weights(path)[0].keys()  # goes to a constructor


@pytest.mark.parametrize('text', ['a hub', '{{ name }}', '[1, 2]'])
def test_metadata_of_others_is_passed_over(tmp_path, published, text):
    others = {'format': 'pt', 'source': text, 'template': text}
    metadata = {**others, 'config': json.dumps(published[0])}
    save_file(published[1], tmp_path / 'a.safetensors', metadata=metadata)
    _, report = load_checkpoint(tmp_path / 'a.safetensors')
    assert (report.origin, report.voxel_size) == ({}, None)


@pytest.mark.parametrize('prefix', ['module.student.backbone.', 'student.backbone.', 'module.'])
def test_the_student_is_taken_out_of_a_state_of_training(tmp_path, published, prefix):
    config, tensors = published
    others = {'patch_proj.weight': torch.zeros(3)}
    if 'student' in prefix:
        others |= {f'module.teacher.backbone.{k}': t + 1 for k, t in tensors.items()}
    state = {**others, **{prefix + k: t for k, t in tensors.items()}}
    content = {
        'epoch': 3,
        'state_dict': state,
        'optimizer': {'state': {0: {'step': torch.tensor(1.0)}}, 'param_groups': [{'lr': 1e-3}]},
        'best_metric_value': np.float64(0.7),
    }
    torch.save(content, tmp_path / 'a.pth')
    model, report = load_checkpoint(tmp_path / 'a.pth')
    assert_has(model, tensors)
    assert dataclasses.asdict(model.config) == {
        **dataclasses.asdict(model.config),
        'order': tuple(config['order']),
        'enc_channels': tuple(config['enc_channels']),
        'enc_patch_size': (1024,) * 5,
    }
    assert (report.prefix, len(report.left_out)) == (prefix, len(others))
    assert 'holds no configuration' in str(report)
    assert f'took {prefix}*, left out {len(others)} other tensors' in str(report)


@pytest.mark.parametrize('changes', VARIANTS)
def test_tensors_imply_their_configuration(tmp_path, tiny_model, changes):
    expected = tiny_model(**changes)
    torch.save(expected.state_dict(), tmp_path / 'a.pth')
    model, report = load_checkpoint(tmp_path / 'a.pth')
    assert_has(model, expected.state_dict())
    assert not report.has_config
    for name in {'enc_depths', 'enc_channels', 'enc_num_head', 'enc_mode', *changes}:
        assert getattr(model.config, name) == getattr(expected.config, name)
    assert model.config.order == ('z', 'z-trans', 'hilbert', 'hilbert-trans')


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_a_decoder_comes_back(tmp_path, tiny_model, suffix):
    model = tiny_model(**VARIANTS[-1])
    save_checkpoint(model, tmp_path / f'a{suffix}')
    loaded, report = load_checkpoint(tmp_path / f'a{suffix}')
    assert loaded.config == model.config
    assert report.num_parameters == sum(p.numel() for p in model.parameters())
    assert_has(loaded, model.state_dict())
    assert any(name.startswith('dec.dec3.') for name in model.state_dict())


def test_a_file_from_before_zip_archives_loads(tmp_path, published):
    config, tensors = published
    content = {'config': config, 'state_dict': tensors}
    torch.save(content, tmp_path / 'a.pth', _use_new_zipfile_serialization=False)
    assert_has(load_checkpoint(tmp_path / 'a.pth')[0], tensors)


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_a_loaded_network_does_not_change_with_its_file(tmp_path, published, suffix):
    path = tmp_path / f'a{suffix}'
    write_weights(path, *published)
    model, _ = load_checkpoint(path)
    with path.open('r+b') as file:
        file.write(bytes(path.stat().st_size))
    assert_has(model, published[1])


def test_missing_key_means_the_published_default(tmp_path, published):
    config, tensors = published
    del config['order']
    write_weights(tmp_path / 'a.pth', config, tensors)
    assert load_checkpoint(tmp_path / 'a.pth')[0].config.order == ('z', 'z-trans')


def test_order_may_be_one_name(tmp_path, published):
    config, tensors = published
    write_weights(tmp_path / 'a.pth', {**config, 'order': 'hilbert'}, tensors)
    assert load_checkpoint(tmp_path / 'a.pth')[0].config.order == ('hilbert',)


def test_half_precision_weights_become_single(tmp_path, published):
    config, tensors = published
    write_weights(tmp_path / 'a.pth', config, {k: t.half() for k, t in tensors.items()})
    model, _ = load_checkpoint(tmp_path / 'a.pth')
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_differences_of_tensors_are_listed(tmp_path, published):
    config, tensors = published
    del tensors['embedding.mask_token']
    tensors['embedding.stem.linear.bias'] = torch.zeros(17)
    tensors['head.weight'] = torch.zeros(1)
    write_weights(tmp_path / 'a.pth', config, tensors)
    message = (
        r'a.pth: tensors do not fit .* 1 missing: embedding.mask_token; '
        r'1 unexpected: head.weight; '
        r'1 of another shape: embedding.stem.linear.bias \(17,\) instead of \(16,\)$'
    )
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / 'a.pth')


def test_numbers_that_are_not_finite_are_refused(tmp_path, published):
    config, tensors = published
    tensors['embedding.stem.norm.bias'][3] = float('nan')
    write_weights(tmp_path / 'a.pth', config, tensors)
    with pytest.raises(CheckpointError, match=r'not finite in embedding\.stem\.norm\.bias'):
        load_checkpoint(tmp_path / 'a.pth')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'qk_scale': 0.5}, 'qk_scale = 0.5 is not supported, only None is'),
        ({'enc_depths': [1]}, 'its configuration is not valid: enc_depths'),
        ({'enc_depths': None}, 'its configuration is not valid'),
        ({'mlp_ratio': 'four'}, 'its configuration is not valid'),
        ({'enc_mode': False}, r'\d+ missing: dec\.dec'),
        ({'order': ['peano']}, 'its configuration is not valid: order must name curves'),
    ],
)
def test_configurations_of_other_networks_are_refused(tmp_path, published, change, message):
    config, tensors = published
    write_weights(tmp_path / 'a.pth', {**config, **change}, tensors)
    with pytest.raises(CheckpointError, match=rf'a\.pth: .*{message}'):
        load_checkpoint(tmp_path / 'a.pth')


@pytest.mark.parametrize(
    ('tensors', 'message'),
    [
        # Point Transformer V3 of the first kind, a head, and a stem without its network
        (
            {'embedding.stem.conv.weight': torch.zeros(2)},
            'is no Concerto backbone, which holds em',
        ),
        ({'seg_head.weight': torch.zeros(2)}, 'is no Concerto backbone.* found seg_head.weight'),
        ({STEM: torch.zeros(2, 9)}, 'without a configuration, its tensors must tell'),
        ({f'a.{STEM}': torch.zeros(2, 9), f'b.{STEM}': torch.zeros(2, 9)}, r'several .* a\., b\.'),
    ],
)
def test_other_networks_are_refused(tmp_path, tensors, message):
    torch.save({'state_dict': tensors}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(tmp_path / 'a.pth')
    assert '\n' not in str(caught.value)


def test_missing_files_and_other_suffixes_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match='there is no such file'):
        load_checkpoint(tmp_path / 'absent.pth')
    with pytest.raises(
        CheckpointError, match=r'must be a \.pth or .* one of the names nano, .*tiny, small'
    ):
        load_checkpoint(tmp_path / 'weights.onnx')
    with pytest.raises(CheckpointError, match=r'one of the names nano, .*tiny, small'):
        load_checkpoint('bass')
    (tmp_path / 'folder.pth').mkdir()
    with pytest.raises(CheckpointError, match=r'model\.safetensors: there is no such file'):
        load_checkpoint(tmp_path / 'folder.pth')


@pytest.mark.parametrize('suffix', SUFFIXES)
@pytest.mark.parametrize('share', [0.0, 0.001, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path, published, suffix, share):
    path = tmp_path / f'a{suffix}'
    write_weights(path, *published)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match='cannot be read, so copy or download it again') as e:
        load_checkpoint(path)
    assert '\n' not in str(e.value)


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_other_content_is_refused(tmp_path, suffix):
    path = tmp_path / f'a{suffix}'
    path.write_text('<html>You have been redirected to a login page.</html>')
    with pytest.raises(CheckpointError, match='cannot be read') as e:
        load_checkpoint(path)
    assert '\n' not in str(e.value)


class Surprise:
    def __reduce__(self):
        return (print, ('code in the file ran',))


def test_code_in_a_file_is_not_run(tmp_path, capsys):
    torch.save({'config': Surprise(), 'state_dict': {}}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'they could run code \(.*GLOBAL print') as caught:
        load_checkpoint(tmp_path / 'a.pth')
    assert '\n' not in str(caught.value)
    assert capsys.readouterr().out == ''


def test_one_flipped_bit_in_an_archive_is_found(tmp_path, published):
    path = tmp_path / 'a.pth'
    write_weights(path, *published)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r'download it again \(wrong check sum of a'):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ('content', 'found'),
    [
        ([1, 2], r"\['list'\]"),
        ({'config': {}, 'state_dict': {'a': 1}}, r"\['config', 'state_dict'\]"),
        ({'config': 'base', 'state_dict': {'a': torch.zeros(1)}}, r"\['config', 'state_dict'\]"),
        ({}, r'\[\]'),
    ],
)
def test_files_without_tensors_are_refused(tmp_path, content, found):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=f"expected a 'state_dict' of .* found {found}"):
        load_checkpoint(tmp_path / 'a.pth')


def test_metadata_that_is_no_configuration_is_refused(tmp_path, published):
    save_file(published[1], tmp_path / 'b.safetensors', metadata={'config': json.dumps('base')})
    with pytest.raises(CheckpointError, match="with their 'config'"):
        load_checkpoint(tmp_path / 'b.safetensors')


def test_writing_fails_in_one_sentence(tmp_path):
    with pytest.raises(CheckpointError, match='cannot be written'):
        write_weights(tmp_path / 'absent' / 'a.pth', {}, {})
    with pytest.raises(CheckpointError, match='cannot be written'):
        write_weights(tmp_path / 'absent' / 'a.safetensors', {}, {})
    with pytest.raises(CheckpointError, match='must be a'):
        write_weights(tmp_path / 'a.npz', {}, {})


def test_tensors_that_share_memory_can_be_written(tmp_path):
    base = torch.arange(6.0)
    write_weights(tmp_path / 'a.safetensors', {}, {'a': base, 'b': base[:3]})
    assert read_weights(tmp_path / 'a.safetensors')[1]['b'].tolist() == [0, 1, 2]
