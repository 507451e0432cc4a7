"""A comparison runs what is not done, and tells means, differences and intervals."""

import json
import math
import signal

import pytest

from concerto_ros.config.tree import build
from concerto_ros.errors import ConcertoError, ConfigError
from training import compare
from training.compare import stages
from training.comparison.config import CompareConfig
from training.comparison.report import ROWS, write_report
from training.interval import interval
from training.jobs import stages as jobs_stages
from training.jobs.jobs import Job, check_jobs, run_jobs
from training.made_by import has_record, write_made_by

SETTINGS = 'config/training/compare_rooms.yaml'


def config_of(folder, **values):
    return build(CompareConfig, {'jobs.output': str(folder), 'jobs.seeds': '0,1', **values})


def test_the_interval_is_that_of_student():
    low, high = interval([1.0, 3.0])  # mean 2, standard error 1, t of one degree of freedom
    assert (low, high) == pytest.approx((2 - 12.706, 2 + 12.706))
    assert interval([2.0, 2.0, 2.0]) == (2.0, 2.0)
    assert interval([2.0]) == (-math.inf, math.inf)


def test_the_report_pairs_the_seeds(tmp_path):
    config = config_of(tmp_path)
    for row in ROWS:
        for seed in (0, 1):
            miou = {'joint': 0.5, 'points': 0.4}.get(row, 0.1) + 0.1 * seed
            folder = config.probe_of(row, seed)
            folder.mkdir(parents=True)
            scores = {'miou_of_present': miou, 'macc_of_present': 0.7, 'allacc': 0.8}
            (folder / 'results.json').write_text(json.dumps(scores))
    text = write_report(config)
    assert '| joint | 55.00 | 70.00 | 80.00 | 50.00 60.00 |' in text
    assert '| joint - points | +10.00 | +10.00 .. +10.00 |' in text
    assert (tmp_path / 'report.md').read_text() == text


def test_both_pretrainings_differ_in_the_images_alone(tmp_path):
    jobs = stages(config_of(tmp_path))[2]
    assert [job.name for job in jobs] == ['joint 0', 'points 0', 'joint 1', 'points 1']
    joint, points = (set(job.arguments) for job in jobs[:2])
    assert joint - points == {f'run.output={tmp_path / "joint_0"}'}
    assert {name.partition('=')[0] for name in points - joint} == {
        'run.output', 'cross_modal.weight', 'distillation.mask_weight',
        'distillation.roll_weight', 'distillation.unmask_weight',
    }  # fmt: skip


def test_test_rooms_hold_furniture_that_training_never_saw(tmp_path):
    train, test = (job.made_by() for job in stages(config_of(tmp_path))[0])
    assert [rooms['--families'] for rooms in (train, test)] == ['train', 'test']
    assert [rooms['--seeds'] for rooms in (train, test)] == ['0:240', '2000:2040']


@pytest.mark.parametrize('seeds', ['0,1,0', '0, 00', '0,', 'a', '-1'])
def test_seeds_are_different_numbers(tmp_path, seeds):
    with pytest.raises(ConfigError, match=r'"jobs.seeds" must be different whole numbers'):
        config_of(tmp_path, **{'jobs.seeds': seeds})


def test_rooms_to_report_on_are_not_trained_on(tmp_path):
    rooms = {'data.train_rooms': 100, 'data.test_seed': 100}
    assert config_of(tmp_path, **rooms).data.test_seed == 100
    with pytest.raises(ConfigError, match=r'"data.test_seed" 99 is among the 100 rooms'):
        config_of(tmp_path, **{**rooms, 'data.test_seed': 99})


def test_what_is_done_stays_done(tmp_path):
    (tmp_path / 'result').write_text('')
    run_jobs(
        [Job(name='done', arguments=('no_such_module',), done=tmp_path / 'result')],
        parallel=1, threads=1,
    )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ['result']


def help_job(folder, *arguments):
    return Job(name='a', arguments=('json.tool', '-h', *arguments), done=folder / 'a.log')


def test_the_same_command_goes_on_and_another_is_refused(tmp_path):
    settings = tmp_path / 'some.yaml'
    settings.write_text('optimizer: {lr: 0.1}\n')
    job = help_job(tmp_path, str(settings), 'run.seed=1')
    run_jobs([job], parallel=1, threads=1)
    check_jobs([job], tmp_path)
    with pytest.raises(ConfigError, match=r'of "a" run.seed was 1 and is now 2; choose another'):
        check_jobs([help_job(tmp_path, str(settings), 'run.seed=2')], tmp_path)
    settings.write_text('optimizer: {lr: 0.2, clip: 1.0}\n')
    changes = 'optimizer.lr was 0.1 and is now 0.2, optimizer.clip was not there and is now 1.0;'
    with pytest.raises(ConfigError, match=changes):
        check_jobs([job], tmp_path)


@pytest.fixture
def done(tmp_path):
    """Folder of a comparison whose jobs are done."""
    scores = json.dumps({'miou_of_present': 0.5, 'macc_of_present': 0.7, 'allacc': 0.8})
    for job in (job for jobs in stages(config_of(tmp_path)) for job in jobs):
        job.done.parent.mkdir(parents=True, exist_ok=True)
        job.done.write_text(scores)
        write_made_by(job.record, job.made_by())
    return tmp_path


def test_a_full_disk_is_told_with_its_folder_and_a_cure(done, capsys):
    (done / 'report.md').symlink_to('/dev/full')
    same = ('points.num_steps=1000', 'jobs.seeds=0,1', 'jobs.device=auto')
    assert compare.main([SETTINGS, f'jobs.output={done}', *same]) == 2
    assert capsys.readouterr().err == (
        f'training.compare: "jobs.output" {done} cannot be written (No space left on device); '
        'make room there and run it again, or choose another\n'
    )


def test_the_command_refuses_other_settings_and_takes_more_seeds(done, capsys):
    def run(*settings):
        return compare.main([SETTINGS, f'jobs.output={done}', *settings])

    same = ('points.num_steps=1000', 'jobs.device=auto')
    assert run(*same, 'jobs.seeds=1') == 0
    assert run(*same, 'jobs.seeds=0,1') == 0
    assert run(*same, 'jobs.seeds=0,1', 'points.image_size=224') == 2
    assert 'of "joint 0" cross_modal.image_size was 448 and is now 224' in capsys.readouterr().err


@pytest.mark.parametrize('kind', ['points', 'probe'])
def test_wrong_settings_are_told_before_the_first_job(tmp_path, monkeypatch, capsys, kind):
    monkeypatch.setattr(jobs_stages, 'run_jobs', lambda *_: pytest.fail('a job has begun'))
    config = tmp_path / 'some.yaml'
    command = [SETTINGS, f'jobs.output={tmp_path / "all"}', f'{kind}.config={config}']
    assert compare.main(command) == 2
    assert f'cannot read the parameter file {config}' in capsys.readouterr().err
    config.write_text('run: {sede: 1}\n')
    assert compare.main(command) == 2
    assert 'some.yaml: unknown parameter "run.sede"' in capsys.readouterr().err


def test_an_encoder_of_ones_own_needs_none_of_the_package_index(tmp_path):
    def names(**values):
        return {job.name for jobs in stages(config_of(tmp_path, **values)) for job in jobs}

    own = {'points.image_encoder': 'timm:resnet18@some.safetensors'}
    assert names() - names(**own) == {'image encoder'}


def test_what_nobody_knows_is_kept_and_told(tmp_path, caplog):
    job = help_job(tmp_path)
    job.done.write_text('made by an earlier version')
    check_jobs([job], tmp_path)
    assert 'a.log: kept as it is; nothing tells what made it' in caplog.text


def test_a_failed_command_may_be_mended_by_another(tmp_path):
    bad = Job(name='a', arguments=('json.tool', '--wrong'), done=tmp_path / 'a.txt')
    with pytest.raises(ConcertoError, match='failed: a'):
        run_jobs([bad], parallel=1, threads=1)
    check_jobs([Job(name='a', arguments=('json.tool', '-h'), done=bad.done)], tmp_path)


def test_what_failed_half_way_goes_on_by_the_same_command_alone(tmp_path):
    bad = Job(name='a', arguments=('json.tool', '--wrong'), done=tmp_path / 'a.txt')
    (tmp_path / 'last.pth').write_text('of a pretraining that failed later')
    with pytest.raises(ConcertoError, match='failed: a'):
        run_jobs([bad], parallel=1, threads=1)
    check_jobs([bad], tmp_path)
    other = Job(name='a', arguments=('json.tool', '-h'), done=bad.done)
    with pytest.raises(ConfigError, match='of "a" --wrong was  and is now not there'):
        check_jobs([other], tmp_path)


# A command that stops the one that started it, and lasts until it is stopped itself.
POKE = """
import os, pathlib, signal, sys

def end(*_):
    pathlib.Path(sys.argv[2]).write_text('ended')
    sys.exit(3)

signal.signal(signal.SIGTERM, end)
os.kill(os.getppid(), int(sys.argv[1]))
while True:
    signal.pause()
"""


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def number(request):
    """Give a signal that is not ignored, as nohup and shells in the background have it."""
    before = signal.signal(request.param, signal.default_int_handler)
    yield request.param
    signal.signal(request.param, before)


def test_a_signal_ends_what_runs(tmp_path, monkeypatch, capsys, number):
    (tmp_path / 'poke.py').write_text(POKE)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    poke = Job(
        name='poke', done=tmp_path / 'never',
        arguments=('poke', str(int(number)), str(tmp_path / 'told')),
    )  # fmt: skip
    monkeypatch.setattr(compare, 'stages', lambda _: [[poke, help_job(tmp_path)]])
    assert compare.main([SETTINGS, f'jobs.output={tmp_path}', 'jobs.parallel=1']) == 143
    assert signal.getsignal(number) is signal.default_int_handler
    assert (tmp_path / 'told').read_text() == 'ended'
    assert not (tmp_path / 'a.log').exists()
    assert capsys.readouterr().err == (
        'training.compare: stopped by a signal; the same command goes on from there\n'
    )
    assert has_record(poke.record)  # for it is half done by this command


def test_what_fails_is_named_after_the_others_ran(tmp_path):
    good = Job(name='good one', arguments=('json.tool', '-h'), done=tmp_path / 'good_one.log')
    bad = Job(name='bad', arguments=('no_such_module',), done=tmp_path / 'bad.txt')
    with pytest.raises(ConcertoError, match=r'failed: bad \(status 1, see .*bad\.log\)'):
        run_jobs([bad, good], parallel=2, threads=1)
    assert 'usage' in (tmp_path / 'good_one.log').read_text()
    assert 'No module named no_such_module' in (tmp_path / 'bad.log').read_text()
