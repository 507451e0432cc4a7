"""A comparison runs what is not done, and tells means, differences and intervals."""

import json
import math

import pytest

from concerto_ros.config.tree import build
from concerto_ros.errors import ConcertoError
from training.compare import stages
from training.comparison.config import CompareConfig
from training.comparison.jobs import Job, run_jobs
from training.comparison.report import ROWS, interval, write_report


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
    train, val, test = (job.arguments for job in stages(config_of(tmp_path))[0])
    families = [args[args.index('--families') + 1] for args in (train, val, test)]
    seeds = [args[args.index('--seeds') + 1] for args in (train, val, test)]
    assert families == ['train', 'train', 'test']
    assert seeds == ['0:240', '1000:1024', '2000:2040']


def test_what_is_done_stays_done(tmp_path):
    (tmp_path / 'result').write_text('')
    run_jobs(
        [Job(name='done', arguments=('no_such_module',), done=tmp_path / 'result')],
        parallel=1, threads=1,
    )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ['result']


def test_what_fails_is_named_after_the_others_ran(tmp_path):
    good = Job(name='good one', arguments=('json.tool', '-h'), done=tmp_path / 'good_one.log')
    bad = Job(name='bad', arguments=('no_such_module',), done=tmp_path / 'bad.txt')
    with pytest.raises(ConcertoError, match=r'failed: bad \(status 1, see .*bad\.log\)'):
        run_jobs([bad, good], parallel=2, threads=1)
    assert 'usage' in (tmp_path / 'good_one.log').read_text()
    assert 'No module named no_such_module' in (tmp_path / 'bad.log').read_text()
