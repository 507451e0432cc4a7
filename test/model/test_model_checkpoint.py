import json

import pytest
import torch
from safetensors.torch import save_file

from concerto_ros.errors import CheckpointError
from concerto_ros.model import load_backbone, save_backbone
from concerto_ros.weights_file import read_weights, write_weights

SUFFIXES = ['.pth', '.safetensors']


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
        'enable_flash': True,
        'layer_scale': None,
    }
    return config, model.state_dict()


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_saved_backbone_comes_back(tmp_path, tiny_model, random_points, suffix):
    model, points = tiny_model(), random_points()
    path = tmp_path / f'tiny{suffix}'
    save_backbone(model, path)
    loaded, report = load_backbone(str(path))
    assert loaded.config == model.config
    assert torch.equal(loaded(points).upcast(), model(points).upcast())
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    assert report.num_parameters == sum(p.numel() for p in model.parameters())
    assert (report.unknown_config, report.missing_config, report.left_out) == ((), (), ())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_published_format_with_other_keys_loads_and_is_reported(tmp_path, published, suffix):
    config, tensors = published
    config['rope_base'] = 10
    config['enc_mode'] = False
    del config['drop_path']
    tensors['dec.dec0.up.proj.0.weight'] = torch.zeros(2, 2)
    path = tmp_path / f'concerto{suffix}'
    write_weights(path, config, tensors)
    _, report = load_backbone(path)
    assert report.unknown_config == ('rope_base',)
    assert report.missing_config == ('drop_path',)
    assert report.left_out == ('dec.dec0.up.proj.0.weight',)
    assert str(report) == (
        f'concerto{suffix}: {report.num_parameters / 1e6:.1f} M parameters; '
        'ignored unknown configuration rope_base; took the published default for drop_path; '
        'left out 1 tensors of the decoder'
    )


def test_missing_key_means_the_published_default(tmp_path, published):
    config, tensors = published
    del config['order']
    write_weights(tmp_path / 'a.pth', config, tensors)
    assert load_backbone(tmp_path / 'a.pth')[0].config.order == ('z', 'z-trans')


def test_order_may_be_one_name(tmp_path, published):
    config, tensors = published
    write_weights(tmp_path / 'a.pth', {**config, 'order': 'hilbert'}, tensors)
    assert load_backbone(tmp_path / 'a.pth')[0].config.order == ('hilbert',)


def test_half_precision_weights_become_single(tmp_path, published):
    config, tensors = published
    write_weights(tmp_path / 'a.pth', config, {k: t.half() for k, t in tensors.items()})
    model, _ = load_backbone(tmp_path / 'a.pth')
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
        load_backbone(tmp_path / 'a.pth')


def test_numbers_that_are_not_finite_are_refused(tmp_path, published):
    config, tensors = published
    tensors['embedding.stem.norm.bias'][3] = float('nan')
    write_weights(tmp_path / 'a.pth', config, tensors)
    with pytest.raises(CheckpointError, match=r'not finite in embedding\.stem\.norm\.bias'):
        load_backbone(tmp_path / 'a.pth')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'enable_rpe': True}, 'enable_rpe = True is not supported, only False is'),
        ({'layer_scale': 1e-5}, 'layer_scale = 1e-05 is not supported'),
        ({'pre_norm': False}, 'pre_norm = False is not supported'),
        ({'enc_depths': [1]}, 'its configuration is not valid: enc_depths'),
        ({'enc_depths': None}, 'its configuration is not valid'),
        ({'mlp_ratio': 'four'}, 'its configuration is not valid'),
    ],
)
def test_configurations_of_other_networks_are_refused(tmp_path, published, change, message):
    config, tensors = published
    write_weights(tmp_path / 'a.pth', {**config, **change}, tensors)
    with pytest.raises(CheckpointError, match=message):
        load_backbone(tmp_path / 'a.pth')


def test_missing_files_and_other_suffixes_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match='there is no such file'):
        load_backbone(tmp_path / 'absent.pth')
    with pytest.raises(CheckpointError, match=r'must be a \.pth or \.safetensors file'):
        load_backbone(tmp_path / 'weights.onnx')
    (tmp_path / 'folder.pth').mkdir()
    with pytest.raises(CheckpointError, match='there is no such file'):
        load_backbone(tmp_path / 'folder.pth')


@pytest.mark.parametrize('suffix', SUFFIXES)
@pytest.mark.parametrize('share', [0.0, 0.001, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path, published, suffix, share):
    path = tmp_path / f'a{suffix}'
    write_weights(path, *published)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match='cannot be read, so copy or download it again') as e:
        load_backbone(path)
    assert '\n' not in str(e.value)


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_other_content_is_refused(tmp_path, suffix):
    path = tmp_path / f'a{suffix}'
    path.write_text('<html>You have been redirected to a login page.</html>')
    with pytest.raises(CheckpointError, match='cannot be read') as e:
        load_backbone(path)
    assert '\n' not in str(e.value)


class Surprise:
    def __reduce__(self):
        return (print, ('code in the file ran',))


def test_code_in_a_file_is_not_run(tmp_path, capsys):
    torch.save({'config': Surprise(), 'state_dict': {}}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='cannot be read'):
        load_backbone(tmp_path / 'a.pth')
    assert capsys.readouterr().out == ''


def test_files_without_configuration_are_refused(tmp_path, published):
    torch.save(published[1], tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match="expected a 'config' and a 'state_dict'"):
        load_backbone(tmp_path / 'a.pth')
    torch.save([1, 2], tmp_path / 'b.pth')
    with pytest.raises(CheckpointError, match='found list'):
        load_backbone(tmp_path / 'b.pth')
    save_file(published[1], tmp_path / 'a.safetensors')
    with pytest.raises(CheckpointError, match=r"found \['state_dict'\]"):
        load_backbone(tmp_path / 'a.safetensors')
    save_file({}, tmp_path / 'b.safetensors', metadata={'config': json.dumps('base')})
    with pytest.raises(CheckpointError, match="expected a 'config'"):
        load_backbone(tmp_path / 'b.safetensors')


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
