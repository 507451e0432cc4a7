"""What the command line of the preparation says, and how many processes it takes."""

import os

import pytest

from training.prepare.command import main


@pytest.fixture
def one_processor():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def help_of(command, capsys):
    with pytest.raises(SystemExit):
        main([command, '--help'])
    return ' '.join(capsys.readouterr().out.split())


@pytest.mark.parametrize('command', ['bag', 'rooms', 'scannet', 'video'])
def test_help_tells_the_defaults_that_there_are(command, capsys):
    text = help_of(command, capsys)
    for nonsense in ('(default: None)', '(default: )', '(default: ('):
        assert nonsense not in text
    assert 'that the scenes belong to (default: train)' in text


def test_help_tells_a_size_as_it_is_typed(capsys):
    assert 'of ratio 4:3 (default: 320x240)' in help_of('rooms', capsys)


@pytest.mark.skipif(not hasattr(os, 'sched_getaffinity'), reason='needs Linux')
def test_there_are_as_many_workers_as_processors_that_may_be_used(one_processor, capsys):
    assert 'scenes made at once (default: 1)' in help_of('rooms', capsys)


def test_no_list_of_scenes_is_named_where_all_failed(tmp_path, caplog):
    caplog.set_level('INFO')
    (tmp_path / 'scene').mkdir()
    assert main(['scannet', str(tmp_path / 'scene'), '-o', str(tmp_path), '--workers', '1']) == 2
    assert '0 scenes written with 0 points, 0 images and 0 links; 0 were complete' in caplog.text
    assert 'train.json' not in caplog.text
