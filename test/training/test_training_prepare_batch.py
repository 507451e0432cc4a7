import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from concerto_ros.errors import ConfigError, SourceError
from training.datasets.layout import SceneWriter
from training.prepare.batch import prepare_scenes
from training.prepare.point_maps import load_provider
from training.prepare.scene import SceneReport


@dataclass(frozen=True)
class OnePoint:
    """Write a scene of one point, or fail; meet another one in the file `meeting` before."""

    name: str
    error: Exception | None = None
    is_killed: bool = False
    meeting: str = ''

    def write(self, writer: SceneWriter) -> SceneReport:
        zeros = np.zeros((1, 3))
        writer.write_cloud(zeros, zeros, zeros, {})
        if self.meeting:
            with open(self.meeting, 'rb' if self.is_killed else 'wb') as pipe:
                _ = pipe.read() if self.is_killed else pipe.write(b'here')
        if self.is_killed:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.error is not None:
            raise self.error
        notices = ('all is small', f'{os.environ.get("OMP_NUM_THREADS")} threads')
        return SceneReport(num_points=1, num_images=0, num_links=0, notices=notices)


@dataclass(frozen=True)
class Recorded(OnePoint):
    """A scene of a source."""

    source: Path = Path()


def prepare(jobs, root):
    return prepare_scenes(jobs, root, 'train', 1)


def scenes_of_split(root):
    return list(json.loads((root / 'splits' / 'train.json').read_text()))


def test_a_broken_scene_is_told_and_holds_up_nobody(tmp_path, caplog):
    jobs = [
        OnePoint('a'),
        OnePoint('b', SourceError('expected depth,\nfound none')),
        OnePoint('c', ValueError('odd bytes')),
        OnePoint('d'),
    ]
    report = prepare(jobs, tmp_path)
    assert list(report.written) == ['a', 'd']
    assert report.failed == {'b': 'expected depth, found none', 'c': 'ValueError: odd bytes'}
    assert report.exit_status == 1
    assert scenes_of_split(tmp_path) == ['a_0', 'd_0']
    assert not (tmp_path / 'train' / 'b').exists()
    assert 'b is skipped: expected depth' in caplog.text
    assert 'a: all is small' in caplog.text
    assert not (tmp_path / '.unfinished').exists()


def test_complete_scenes_are_not_made_again(tmp_path):
    prepare([OnePoint('b')], tmp_path)
    report = prepare([OnePoint('a'), OnePoint('b')], tmp_path)
    assert list(report.written) == ['a']
    assert report.num_complete == 1
    assert report.exit_status == 0
    assert scenes_of_split(tmp_path) == ['a_0', 'b_0']  # all that are there, by name


def test_scenes_that_were_made_otherwise_are_refused(tmp_path):
    prepare([OnePoint('a'), OnePoint('b'), OnePoint('c')], tmp_path)
    jobs = [OnePoint('a'), OnePoint('b', meeting='x'), OnePoint('c', meeting='x'), OnePoint('d')]
    with pytest.raises(ConfigError, match=r'train/b and 1 more was made .*: meeting was  and is'):
        prepare(jobs, tmp_path)
    assert not (tmp_path / 'train' / 'd').exists()
    shutil.rmtree(tmp_path / 'train')
    assert list(prepare(jobs[:1], tmp_path).written) == ['a']


def test_another_recording_of_the_same_name_is_refused(tmp_path):
    source = tmp_path / 'mine' / 'kitchen'
    source.mkdir(parents=True)
    (source / 'frames').write_text('12345')
    root = tmp_path / 'data'
    prepare([Recorded('kitchen', source=source)], root)
    assert prepare([Recorded('kitchen', source=source)], root).num_complete == 1
    (source / 'frames').write_text('123456')
    with pytest.raises(ConfigError, match=r'kitchen was made .*source.bytes was 5 and is now 6'):
        prepare([Recorded('kitchen', source=source)], root)
    with pytest.raises(ConfigError, match=f'source.path was {source} and is now {tmp_path},'):
        prepare([Recorded('kitchen', source=tmp_path)], root)


def test_scenes_of_which_nobody_knows_are_kept_and_told(tmp_path, caplog):
    prepare([OnePoint('a'), OnePoint('b')], tmp_path)
    (tmp_path / 'made_by' / 'train' / 'b.json').unlink()
    assert prepare([OnePoint('a'), OnePoint('b', meeting='x')], tmp_path).num_complete == 2
    assert '1 scenes of' in caplog.text
    assert 'nothing tells what made them' in caplog.text


def test_nothing_made_is_a_failure(tmp_path):
    report = prepare([OnePoint('a', ValueError('odd'))], tmp_path)
    assert report.exit_status == 2
    assert not (tmp_path / 'splits').exists()


def test_no_progress_bar_where_there_is_no_terminal(tmp_path, capsys):
    prepare([OnePoint('a')], tmp_path)
    assert '\r' not in capsys.readouterr().err


def test_names_must_differ(tmp_path):
    with pytest.raises(ConfigError, match='several called a;'):
        prepare([OnePoint('a'), OnePoint('b'), OnePoint('a')], tmp_path)


def test_a_root_that_cannot_be_written_is_told_once(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(ConfigError, match=r'file/data cannot be written \(Not a directory\)'):
        prepare([OnePoint('a'), OnePoint('b')], tmp_path / 'file' / 'data')


def test_what_a_killed_process_left_of_a_complete_scene_is_removed(tmp_path):
    prepare([OnePoint('a')], tmp_path)
    (tmp_path / '.unfinished' / 'train' / 'a' / 'cloud').mkdir(parents=True)
    assert prepare([OnePoint('a')], tmp_path).num_complete == 1
    assert not (tmp_path / '.unfinished').exists()


def test_worker_processes_do_the_same_and_a_killed_one_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '2')
    meeting = str(tmp_path / 'meeting')
    os.mkfifo(meeting)  # so that the outcomes of a and b are there before the end of k
    last, killed = OnePoint('c', meeting=meeting), OnePoint('k', is_killed=True, meeting=meeting)
    jobs = [killed, OnePoint('a'), OnePoint('b', SourceError('none')), last]
    report = prepare_scenes(jobs, tmp_path, 'train', 2)
    assert report.written['a'].notices[1] == '1 threads'
    assert os.environ['OMP_NUM_THREADS'] == '2'
    assert report.failed['b'] == 'none'
    assert 'a worker process was killed' in report.failed['k']
    assert 'a_0' in scenes_of_split(tmp_path)
    assert not (tmp_path / 'train' / 'k').exists()
    assert prepare([OnePoint('a'), OnePoint('k')], tmp_path).exit_status == 0
    left = list((tmp_path / '.unfinished').glob('*/*'))
    assert [path.name for path in left] in ([], ['c'])  # which may have been cut off with k


# A provider that stops the command as a terminal or a scheduler does, once, at the dark clip.
STOPPING = """
import os, signal
import numpy as np
from training.prepare.point_maps import PointMaps

def make():
    return lift

def lift(frames):
    if frames[0].max() == 0 and 'STOP' in os.environ:
        process, number = map(int, os.environ['STOP'].split())
        os.kill(process, number)
        signal.pause()
    points = np.zeros((len(frames), 4, 4, 3), np.float32)
    points[..., 0], points[..., 2] = np.mgrid[:4, :4]
    points[:, 1:, :, 1] = 1  # the ground is below
    return PointMaps(
        color=np.stack(frames), points=points, confidence=np.ones(points.shape[:3], np.float32),
        T_world_camera=np.stack([np.eye(4)] * len(frames)),
        intrinsics=np.stack([np.eye(3)] * len(frames)),
    )
"""


@pytest.fixture
def clips(tmp_path, monkeypatch):
    load_provider.cache_clear()
    (tmp_path / 'stopping_provider.py').write_text(STOPPING)
    monkeypatch.syspath_prepend(tmp_path)
    folders = [tmp_path / 'clips' / name for name in 'abcd']
    for folder in folders:
        folder.mkdir(parents=True)
        Image.new('RGB', (4, 4), 'black' if folder.name == 'c' else 'red').save(folder / '0.png')
    return folders


def command_of(clips, num_workers):
    root = clips[0].parent.parent / 'data'
    options = ['--provider', 'stopping_provider:make', '--workers', str(num_workers)]
    return root, ['video', *map(str, clips), *options, '-o', str(root)]


def check_half_done(root):
    made = {path.name for path in root.glob('train/*')}
    assert made & {'a', 'b'}  # for the third clip is begun when one is done
    assert 'c' not in made
    assert not (root / '.unfinished').exists()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_half_scene_and_the_run_goes_on(clips, number, monkeypatch, caplog):
    from training.prepare.command import main  # worker processes load this file, and not torch

    root, command = command_of(clips, num_workers=1)
    monkeypatch.setenv('STOP', f'{os.getpid()} {int(number)}')
    assert main(command) == 143
    assert 'prepare: stopped by a signal; the same command goes on' in caplog.text
    check_half_done(root)
    monkeypatch.delenv('STOP')
    assert main(command) == 0
    assert scenes_of_split(root) == ['a_0', 'b_0', 'c_0', 'd_0']


@pytest.mark.slow
def test_ctrl_c_of_a_terminal_ends_worker_processes(clips, tmp_path):
    root, command = command_of(clips, num_workers=2)
    whole_group = f'0 {int(signal.SIGINT)}'
    ended = subprocess.run(
        [sys.executable, '-m', 'training.prepare', *command], cwd=Path(__file__).parents[2],
        env={**os.environ, 'STOP': whole_group, 'PYTHONPATH': str(tmp_path)}, check=False,
        start_new_session=True, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert ended.returncode == 143
    assert 'stopped by a signal' in ended.stderr
    assert 'Traceback' not in ended.stderr
    check_half_done(root)
