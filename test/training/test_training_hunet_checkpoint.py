"""Released checkpoints: which are read, and what is said of the others."""

import pytest
import torch

from concerto_ros.errors import CheckpointError, ConfigError
from training.networks import released_checkpoint
from training.networks.hunet import HUNet
from training.networks.hunet_config import HUNetConfig
from training.networks.released_checkpoint import PREFIX, load_released

TINY = HUNetConfig(
    encoder=(8, 16), decoder=(8, 16), convolution=(1, 1), attention=(0, 1), heads=(1, 2)
)


@pytest.fixture(autouse=True)
def tiny_size(monkeypatch):
    """Make the released network a small one."""
    monkeypatch.setitem(released_checkpoint.SIZES, 'released', TINY)


def _tensors(network):
    return {f'{PREFIX}{name}': tensor for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize('section', ['state_dict', 'model'])
def test_the_student_is_taken_and_the_rest_left(tmp_path, section):
    network, path = HUNet(TINY), tmp_path / 'msm.pth'
    beside = {
        'module.teacher.up.0.0.norm.scale': torch.ones(3),
        'module.mask_token': torch.ones(1),
    }
    torch.save({section: {**beside, **_tensors(network)}, 'epoch': 1800, 'optimizer': {}}, path)
    found = load_released(path, 'released')
    for name, tensor in network.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name
    assert not found.training
    assert not any(p.requires_grad for p in found.parameters())
    assert found.noise is None


def _missing(tensors):
    del tensors[f'{PREFIX}skip.0.gamma']


def _unexpected(tensors):
    tensors[f'{PREFIX}final_stem.weight'] = torch.ones(2, 8)


def _misshapen(tensors):
    tensors[f'{PREFIX}down.0.0.bias'] = torch.ones(15)


def _damaged(tensors):
    tensors[f'{PREFIX}down.0.0.bias'] = torch.full((16,), float('nan'))


def _renamed(tensors):
    for name in list(tensors):
        tensors[name.removeprefix('module.')] = tensors.pop(name)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (_missing, r'size "released": 1 of 50 .*such as skip.0.gamma: .*none found'),
        (_unexpected, r'1 of 51 tensors differ, such as final_stem.weight: none expected'),
        (_misshapen, r'such as down.0.0.bias: \(16,\) expected, \(15,\) found'),
        (_damaged, r'numbers of module.student.down.0.0.bias are not finite'),
        (_renamed, r'named module.student.\*; found student.init_transform.0.weight'),
    ],
)
def test_other_tensors_are_refused(tmp_path, change, message):
    tensors, path = _tensors(HUNet(TINY)), tmp_path / 'msm.pth'
    change(tensors)
    torch.save({'state_dict': tensors}, path)
    with pytest.raises(CheckpointError, match=message):
        load_released(path, 'released')


def test_damaged_and_missing_files(tmp_path):
    path = tmp_path / 'msm.pth'
    with pytest.raises(CheckpointError, match='there is no such file'):
        load_released(path, 'released')
    torch.save({'state_dict': _tensors(HUNet(TINY))}, path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match=r'msm.pth: cannot be read'):
        load_released(path, 'released')
    torch.save({'state_dict': print}, path)
    with pytest.raises(CheckpointError, match='could run code'):
        load_released(path, 'released')


def test_sizes_that_do_not_exist(tmp_path):
    with pytest.raises(ConfigError, match=r'one of released, .*, got "?\'wide\''):
        load_released(tmp_path / 'msm.pth', 'wide')
