"""`concerto inspect` on every kind of file."""

import hashlib
import os
import subprocess
import sys

import pytest
import torch

from concerto_ros.cli import main
from concerto_ros.model import BackboneConfig, PointTransformerV3, save_checkpoint
from concerto_ros.semantics import ClassHead, Translator
from concerto_ros.weights_file import write_weights

SIZES = {
    'enc_depths': (1, 2),
    'enc_channels': (16, 32),
    'enc_num_head': (1, 2),
    'enc_patch_size': (1024, 1024),
    'stride': (2,),
}


@pytest.fixture
def inspect(capsys):
    """Return inspect(path): run the command, return the exit code and {name: text} it printed."""

    def run(path):
        code = main(['inspect', str(path)])
        said = capsys.readouterr()
        lines = said.out.replace('\n' + ' ' * 12, ' ').splitlines()
        assert said.out.count('\n') < 40  # one screen
        assert all(len(line) <= 99 for line in said.out.splitlines())
        return code, {line[:12].strip(): line[12:] for line in lines}, said.err

    return run


@pytest.fixture
def network():
    return PointTransformerV3(BackboneConfig(**SIZES))


def test_a_backbone_is_told_by_its_stages(tmp_path, network, inspect):
    path = tmp_path / 'a.pth'
    save_checkpoint(network, path)
    code, said, errors = inspect(path)
    assert (code, errors) == (0, '')
    assert said['file'] == str(path)
    assert said['size'] == f'{path.stat().st_size / 1e6:.2f} MB'
    assert said['sha256'] == hashlib.sha256(path.read_bytes()).hexdigest() + '  a.pth'
    assert said['tensors'] == '63 float32'
    assert 'enc_channels [16, 32]' in said['config']
    assert said['kind'] == 'Concerto backbone'
    assert said['embedding'] == '5 tensors, 208 parameters'
    # a block of C channels has 40 C² + 17 C numbers; pooling from 16 to 32 has 608
    assert said['enc0'] == '18 tensors, 10,512 parameters'
    assert said['enc1'] == '40 tensors, 83,616 parameters'
    assert said['parameters'] == '94,336'
    assert said['features'].startswith('48 channels')
    assert said['report'] == 'a.pth: 0.1 M parameters'


def test_a_state_of_training_is_told_with_what_it_implies(tmp_path, network, inspect):
    state = {f'module.student.backbone.{k}': t.half() for k, t in network.state_dict().items()}
    state['module.patch_proj.weight'] = torch.zeros(7)
    torch.save({'epoch': 1, 'state_dict': state}, tmp_path / 'a.pth')
    code, said, _ = inspect(tmp_path / 'a.pth')
    assert code == 0
    assert said['tensors'] == '63 float16, 1 float32'
    assert said['config'] == 'none in the file'
    assert 'enc_depths (1, 2)' in said['implied']
    assert said['other'] == '1 tensors, 7 parameters'
    assert 'took module.student.backbone.*, left out 1 other tensors' in said['report']


def test_where_weights_come_from_is_told(tmp_path, network, inspect):
    origin = {'settings': {'data.voxel_size': 0.04}, 'source': {'git': 'abc', 'torch': '2.4'}}
    save_checkpoint(network, tmp_path / 'a.safetensors', origin)
    _, said, _ = inspect(tmp_path / 'a.safetensors')
    assert said['trained by'] == 'git abc, torch 2.4'
    assert said['report'].endswith('trained on voxels of 0.04 m')


def test_what_made_weights_and_what_they_are_worth_is_told(tmp_path, network, inspect):
    origin = {
        'made_by': {'tuned': {'command': 'training.probe x.yaml', 'git': 'abc'}},
        'metrics': {'labels': {'head': {'miou_of_present': 0.51234}}},
    }
    save_checkpoint(network, tmp_path / 'a.safetensors', origin)
    _, said, _ = inspect(tmp_path / 'a.safetensors')
    assert said['made by'] == 'tuned: python -m training.probe x.yaml (git abc)'
    assert said['measured'] == 'labels head miou_of_present 0.5123'


def test_a_head_is_told_by_its_classes(tmp_path, inspect):
    names = tuple(f'thing {i}' for i in range(50))
    head = ClassHead(
        weight=torch.zeros(50, 48), bias=torch.zeros(50), names=names, vocabulary='things'
    )
    head.save(tmp_path / 'a.safetensors')
    code, said, _ = inspect(tmp_path / 'a.safetensors')
    assert code == 0
    assert said['kind'] == 'class head for features of 48 channels'
    assert said['vocabulary'] == 'things'
    assert said['classes'].startswith('50: thing 0, thing 1, ')
    assert said['classes'].endswith('thing 39, and 10 more')


def test_a_translator_is_told_by_its_encoder(tmp_path, inspect):
    translator = Translator(
        weight=torch.zeros(8, 48), bias=torch.zeros(8), text_encoder='open_clip:A/b'
    )
    translator.save(tmp_path / 'a.pth')
    code, said, _ = inspect(tmp_path / 'a.pth')
    assert code == 0
    assert said['kind'] == 'translator of features of 48 channels into texts of 8 numbers'
    assert said['encoder'] == 'open_clip:A/b'


def test_a_published_name_is_told_with_its_licence(tmp_path, network, inspect, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    code, _, errors = inspect('tiny')
    assert code == 2
    assert 'run "concerto download tiny" once' in errors
    (tmp_path / 'concerto_ros').mkdir()
    save_checkpoint(network, tmp_path / 'concerto_ros/concerto_tiny.pth')
    code, said, _ = inspect('tiny')
    assert code == 0
    assert 'CC-BY-NC-4.0' in said['licence']


def test_a_folder_is_told_file_by_file(tmp_path, network, inspect):
    write_weights(tmp_path / 'model.safetensors', {}, network.state_dict())
    (tmp_path / 'config.json').write_text('{"in_channels": 9, "rope": 1}')
    code, said, errors = inspect(tmp_path)
    assert said['config'] == 'in_channels 9, rope 1'
    assert said['sha256'].endswith('  model.safetensors')
    assert said['enc1'] == '40 tensors, 83,616 parameters'
    assert code == 2  # the configuration is not that of these tensors
    assert 'tensors do not fit the configuration' in errors


def test_what_is_unknown_is_listed(tmp_path, inspect):
    torch.save({'a': torch.zeros(3), 'b': torch.zeros(1, 2)}, tmp_path / 'a.pth')
    code, said, _ = inspect(tmp_path / 'a.pth')
    assert code == 0
    assert said['kind'].startswith('unknown')
    assert said['names'] == 'a (3,), b (1, 2)'


@pytest.mark.parametrize('content', [None, b'', b'PK\x03\x04 and no more'])
def test_a_file_that_cannot_be_read_ends_in_one_sentence(tmp_path, inspect, content):
    path = tmp_path / 'a.pth'
    if content is not None:
        path.write_bytes(content)
    code, said, errors = inspect(path)
    assert (code, said) == (2, {})
    assert errors.startswith(f'concerto: {path}: ')
    assert errors.count('\n') == 1


def test_a_reader_who_has_seen_enough_is_no_error():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, '-m', 'concerto_ros.cli', 'inspect', 'nano']
    run = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (run.returncode, run.stderr) == (0, '')
