"""The model in the box is made by commands whose settings exist, and says what it is worth."""

import json

import pytest

from concerto_ros.box import BOX, HEAD, NAME, TRANSLATOR
from concerto_ros.config.tree import build, read_plain_yaml
from concerto_ros.errors import ConcertoError
from concerto_ros.model import load_checkpoint
from concerto_ros.semantics import ClassHead, Translator
from concerto_ros.weights_file import read_weights_file, write_weights
from training.box import __main__ as box
from training.box.config import BoxConfig
from training.box.pack import pack
from training.box.stages import stages
from training.jobs import stages as jobs_stages

SHARES = {
    'all': {
        'hit@1': {'value': 0.9, 'low': 0.8, 'high': 0.95, 'count': 7},
        'absent': {'value': float('nan'), 'count': 0},
    }
}
MEANS = {'miou_of_present': 0.5, 'macc_of_present': 0.6, 'allacc': 0.7, 'code': {'git': 'abc'}}


def config_of(tmp_path):
    return build(BoxConfig, {'jobs.output': str(tmp_path), 'jobs.ship': str(tmp_path / 'box')})


@pytest.fixture
def made(tmp_path, tiny_weights):
    """Folder in which everything is done, with small weights."""
    config, weights = config_of(tmp_path), tiny_weights()
    for job in (job for stage in stages(config) for job in stage):
        job.done.parent.mkdir(parents=True, exist_ok=True)
        if job.done.suffix == '.json':
            content = {**MEANS, 'shares': SHARES, 'calibration_error': 0.01}
            job.done.write_text(json.dumps(content))
    (tmp_path / 'box').mkdir()
    read = {name: read_weights_file(weights[f'semantics.{name}']) for name in
            ('checkpoint', 'head', 'translator')}  # fmt: skip
    files = {
        'checkpoint': config.backbone,
        'head': tmp_path / 'head' / 'head.safetensors',
        'translator': config.translator,
    }
    for name, path in files.items():
        write_weights(path, read[name].config, read[name].tensors)
    state = tmp_path / 'joint' / 'step_00001000.pth'
    write_weights(state, {}, read['checkpoint'].tensors, {'source': {'git': 'def'}})
    return config


def test_settings_of_all_commands_are_understood(tmp_path, monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(jobs_stages, 'run_jobs', lambda jobs, *_: ran.extend(jobs))
    arguments = ['config/training/box.yaml', f'jobs.output={tmp_path}', f'jobs.ship={tmp_path}']
    assert box.main(arguments) == 2  # nothing was made
    assert f'{tmp_path}/head/results.json: cannot be read' in capsys.readouterr().err
    assert [job.name for job in ran][-1] == 'search'


def test_reserved_rooms_are_only_reported_on(tmp_path):
    used = [job for stage in stages(config_of(tmp_path)) for job in stage
            if any('900000' in text or 'test.json' in text for text in job.arguments)]  # fmt: skip
    assert {job.name for job in used} == {'rooms test', 'head', 'raw', 'random', 'search'}
    for job in used:
        assert not any('data.train' in a and 'test.json' in a for a in job.arguments)


def test_files_that_ship_say_how_they_were_made_and_what_they_are_worth(made, tmp_path):
    text = pack(made)
    files = {name: tmp_path / 'box' / path.name for name, path in BOX.items()}
    assert str(files[NAME]) in text
    load_checkpoint(files[NAME])
    ClassHead.load(files[HEAD])
    Translator.load(files[TRANSLATOR])
    for file in files.values():
        origin = read_weights_file(file).origin
        assert origin['metrics']['labels']['head']['miou_of_present'] == 0.5
        assert origin['metrics']['search'] == {'all': {'hit@1': 0.9}}
        assert origin['made_by']['tuned']['git'] == 'abc'
        assert origin['made_by']['pretraining']['git'] == 'def'
        assert '--seeds=0:240' in origin['made_by']['rooms train']['command']


def test_a_damaged_result_is_named(made):
    (made.folder / 'raw' / 'results.json').write_text('{')
    with pytest.raises(ConcertoError, match=r'raw/results.json: cannot be read'):
        pack(made)


def test_the_settings_that_are_shown_are_the_defaults():
    values = read_plain_yaml('config/training/box.yaml')
    config = build(BoxConfig, values)
    assert config.rooms == BoxConfig().rooms
    assert config.steps == BoxConfig().steps
