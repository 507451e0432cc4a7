"""Files of weights that are asked for as another kind than they are."""

import pytest
import torch

from concerto_ros.config.tree import build
from concerto_ros.errors import CheckpointError
from concerto_ros.model import save_checkpoint
from training.checkpoint import LAST, TrainingState, load_state, save_state
from training.evaluation.backbone_features import load_backbone
from training.export import export
from training.networks.config import NetworkSection
from training.networks.make import make_network
from training.networks.released_checkpoint import PREFIX
from training.protocol.config import ProtocolConfig
from training.protocol.encoders import make_encoder

CPU = torch.device('cpu')
NANO = {'network.kind': 'hunet', 'network.size': 'nano', 'network.drop_path': 0.0}


def encoder_of(name):
    return make_encoder(build(ProtocolConfig, {'encoder.name': name}), 0, CPU)


def state(folder, prefix='student.', **changes):
    """Write a state with a nano network of masked scene modelling; return its path."""
    network = make_network(NetworkSection(kind='hunet', size='nano'))
    content = {
        'state_dict': {f'{prefix}{name}': t for name, t in network.state_dict().items()},
        'settings': {**NANO, 'data.voxel_size': 0.04},
        **changes,
    }
    return save_state(folder, TrainingState(step=1, optimizer={}, config={}, source={}, **content))


def released(folder):
    path = folder / 'released.pth'
    torch.save({'state_dict': {f'{PREFIX}x': torch.zeros(1)}, 'epoch': 3}, path)
    return path


def exported(folder):
    path = folder / 'backbone.safetensors'
    save_checkpoint(load_backbone('random', 'nano', 0), path, {'settings': NANO})
    return path


def test_the_folder_of_a_run_stands_for_its_last_state(tmp_path):
    encoder, same = encoder_of(f'masked:{state(tmp_path)}'), encoder_of(f'masked:{tmp_path}')
    assert same.facts == encoder.facts
    assert same.name == f'masked:{tmp_path}'
    (tmp_path / 'x').mkdir()
    with pytest.raises(CheckpointError, match=f'^{tmp_path}/x: this folder holds no last.pth'):
        encoder_of(f'masked:{tmp_path}/x')


@pytest.mark.parametrize(('asked', 'make', 'kind', 'what'), [
    ('masked', released, 'msm', 'a released checkpoint of masked scene modelling'),
    ('masked', exported, 'concerto', 'a file with a Concerto backbone'),
    ('concerto', released, 'msm', 'a released checkpoint'),
    ('concerto', state, 'masked', 'a state of training.pretrain_masked'),
    ('msm', exported, 'concerto', 'a file with a Concerto backbone'),
    ('msm', state, 'masked', 'a state of training.pretrain_masked'),
])  # fmt: skip
def test_a_file_of_another_kind_is_named_as_what_it_is(tmp_path, asked, make, kind, what):
    path = make(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        encoder_of(f'{asked}:{path}')
    assert str(caught.value).startswith(f'{asked}:{path}: is {what}')
    assert str(caught.value).endswith(f': judge it as {kind}:{path}')


def test_what_is_wrong_with_a_file_of_the_right_kind_is_told(tmp_path):
    tensors = {'student.embedding.stem.linear.weight': torch.zeros(1)}
    path = state(tmp_path, state_dict=tensors)
    with pytest.raises(CheckpointError, match='is another network than its settings say'):
        encoder_of(f'masked:{path}')


def test_no_advice_of_a_library_is_passed_on(tmp_path):
    path = tmp_path / 'text.pth'
    path.write_text('epoch 3\n')
    cure = f'^{path}: is no whole state of training, but damaged or something else; name a {LAST}'
    with pytest.raises(CheckpointError, match=cure) as caught:
        encoder_of(f'masked:{path}')
    assert len(str(caught.value).splitlines()) == 1
    for content in (b'epoch 3\n', b'<html>', state(tmp_path).read_bytes()[:5000]):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r'\(it is cut off, or torch did not write'):
            encoder_of(f'concerto:{path}')


@pytest.mark.parametrize(('make', 'kind'), [(state, 'masked'), (released, 'msm')])
def test_networks_that_the_node_does_not_run_are_not_exported(tmp_path, make, kind):
    path = make(tmp_path)
    cause = f'^{path}: is a .* with network.kind=hunet, which the node does not run: judge it as '
    with pytest.raises(CheckpointError, match=f'{cause}{kind}:{path} by training.evaluate, or'):
        export(path, tmp_path / 'out.safetensors')
    assert not (tmp_path / 'out.safetensors').exists()


def test_what_the_system_refuses_is_not_called_damaged(tmp_path):
    with pytest.raises(CheckpointError, match=f'^{tmp_path}: cannot be read \\(Is a directory'):
        load_state(tmp_path)
