import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from concerto_ros.errors import ConfigError, SourceError
from training.datasets.layout import SceneWriter
from training.prepare.batch import prepare_scenes
from training.prepare.command import main
from training.prepare.scene import SceneReport


@dataclass(frozen=True)
class OnePoint:
    """Write a scene of one point, or fail."""

    name: str
    error: Exception | None = None
    is_killed: bool = False

    def write(self, writer: SceneWriter) -> SceneReport:
        zeros = np.zeros((1, 3))
        writer.write_cloud(zeros, zeros, zeros, {})
        if self.is_killed:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.error is not None:
            raise self.error
        return SceneReport(num_points=1, num_images=0, num_links=0, notices=('all is small',))


def scenes_of_split(root):
    return list(json.loads((root / 'splits' / 'train.json').read_text()))


def test_a_broken_scene_is_told_and_holds_up_nobody(tmp_path, caplog):
    jobs = [
        OnePoint('a'),
        OnePoint('b', SourceError('expected depth,\nfound none')),
        OnePoint('c', ValueError('odd bytes')),
        OnePoint('d'),
    ]
    report = prepare_scenes(jobs, tmp_path, 'train', 1)
    assert list(report.written) == ['a', 'd']
    assert report.failed == {'b': 'expected depth, found none', 'c': 'ValueError: odd bytes'}
    assert report.exit_status == 1
    assert scenes_of_split(tmp_path) == ['a_0', 'd_0']
    assert not (tmp_path / 'train' / 'b').exists()
    assert 'b is skipped: expected depth' in caplog.text
    assert 'a: all is small' in caplog.text


def test_complete_scenes_are_not_made_again(tmp_path):
    prepare_scenes([OnePoint('b')], tmp_path, 'train', 1)
    report = prepare_scenes([OnePoint('a'), OnePoint('b', ValueError())], tmp_path, 'train', 1)
    assert list(report.written) == ['a']
    assert report.num_complete == 1
    assert report.exit_status == 0
    assert scenes_of_split(tmp_path) == ['a_0', 'b_0']  # all that are there, by name


def test_nothing_made_is_a_failure(tmp_path):
    report = prepare_scenes([OnePoint('a', ValueError('odd'))], tmp_path, 'train', 1)
    assert report.exit_status == 2
    assert not (tmp_path / 'splits').exists()


def test_names_must_differ(tmp_path):
    with pytest.raises(ConfigError, match='several called a;'):
        prepare_scenes([OnePoint('a'), OnePoint('b'), OnePoint('a')], tmp_path, 'train', 1)


@pytest.mark.slow
def test_worker_processes_do_the_same(tmp_path):
    jobs = [OnePoint('a'), OnePoint('b', SourceError('none')), OnePoint('c')]
    report = prepare_scenes(jobs, tmp_path, 'train', 2)
    assert sorted(report.written) == ['a', 'c']
    assert report.failed == {'b': 'none'}
    assert scenes_of_split(tmp_path) == ['a_0', 'c_0']


@pytest.mark.slow
def test_a_killed_worker_is_told(tmp_path):
    report = prepare_scenes([OnePoint('a', is_killed=True)], tmp_path, 'train', 2)
    assert 'a worker process was killed' in report.failed['a']
    assert not (tmp_path / 'train').exists()
    report = prepare_scenes([OnePoint('a')], tmp_path, 'train', 1)
    assert report.exit_status == 0


@pytest.mark.slow
@pytest.mark.parametrize('num_workers', ['1', '2'])
def test_ctrl_c_leaves_no_half_scene_and_the_run_goes_on(tmp_path, num_workers):
    command = [
        sys.executable, '-m', 'training.prepare', 'rooms', '--seeds', '0:30', '--frames', '8',
        '--images', '2', '--size', '160x120', '--workers', num_workers, '-o', str(tmp_path),
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob('train/*')) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert 'interrupted' in errors
    assert 'Traceback' not in errors
    made = [path.name for path in tmp_path.glob('train/*')]
    assert 0 < len(made) < 30
    assert all((tmp_path / 'train' / name / 'coord.npy').exists() for name in made)
    assert not list(tmp_path.glob('.unfinished/train/*'))
    first = int(made[0].removeprefix('room_'))
    again = ['rooms', '--seeds', f'{first}:{first + 1}', '-o', str(tmp_path), '--workers', '1']
    assert main(again) == 0
    assert f'{made[0]}_0' in scenes_of_split(tmp_path)
