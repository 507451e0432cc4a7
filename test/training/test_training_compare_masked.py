"""The comparison with masked scene modelling runs what is not done, and judges some claims."""

import pytest

from concerto_ros.config.tree import build, flatten, read_plain_yaml
from concerto_ros.errors import ConfigError
from training import compare_masked
from training.command import read_settings
from training.compare_masked import stages
from training.comparison.masked_config import CompareMaskedConfig, Judged
from training.comparison.masked_report import report, write_report
from training.comparison.masked_scores import COLUMNS, Scores
from training.jobs import stages as jobs_stages
from training.made_by import write_made_by
from training.masked_scene.config import MaskedConfig
from training.protocol.config import ProtocolConfig
from training.protocol.regimes import Regime
from training.protocol.report import EncoderReport, Entry, ProtocolReport

SETTINGS = 'config/training/compare_masked.yaml'
ENCODERS = ('random', 'points', 'joint')
U_NETS = ('unet', 'shallow', 'msm')


@pytest.fixture
def before(tmp_path):
    """What the other comparison leaves, of two seeds."""
    folder = tmp_path / 'compare'
    files = ['rooms/splits/train.json', 'rooms/splits/test.json']
    files += [f'{kind}_{s}/step_00000007.pth' for kind in ('joint', 'points') for s in (0, 1)]
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return folder


@pytest.fixture
def config(tmp_path, before):
    for name in ('msm', 'evaluate'):
        (tmp_path / f'{name}.yaml').touch()
    return build(CompareMaskedConfig, {
        'jobs.output': str(tmp_path / 'masked'), 'jobs.seeds': '0,1', 'data.compare': str(before),
        'masked.config': str(tmp_path / 'msm.yaml'),
        'protocol.config': str(tmp_path / 'evaluate.yaml'),
    })  # fmt: skip


def flat(*values):
    """Return the same mIoU of each seed in all columns."""
    return by_column(dict.fromkeys(COLUMNS, values))


def by_column(miou):
    return Scores(parameters=7, miou=miou)


def decoders(**scores):
    return {Judged(arm, 'decoder'): found for arm, found in scores.items()}


def entries(*, last, every):
    """Return what the protocol says of one seed, k-NN a tenth below linear; and of few labels."""
    return [
        Entry(
            seed=0, probe=probe, levels=levels, regime=Regime(1.0, count), num_channels=7,
            num_scenes=2, num_rows=40, classes={}, seconds=1.0,
            scores={'miou_of_present': miou - less if count == 0 else 0.01, 'miou': 0.0,
                    'macc': 0.0, 'allacc': 0.0},
        )
        for probe, less in (('linear', 0.0), ('knn', 0.1))
        for levels, miou in (('last', last), ('all', every))
        for count in (0, 20)
    ]  # fmt: skip


def write_results(folder, found, parameters=7):
    folder.mkdir(parents=True, exist_ok=True)
    encoder = EncoderReport(
        seed=0,
        name='mine',
        facts={'parameters': parameters},
        levels=[('a', 3), ('b', 4)],
        last=1,
        seconds={},
    )
    ProtocolReport(
        entries=found, encoders=[encoder], published='none', num_scenes=(2, 1), settings={},
        data_hash='', code={}, lists={},
    ).write(folder)  # fmt: skip


def test_the_report_tells_means_spread_and_seeds(config):
    more = {Judged('msm', 'decoder'): 0.2, Judged('msm', 'encoder'): 0.3}
    for judged in config.protocol.judged:
        for seed in (0, 1):
            miou = 0.1 * seed + more.get(judged, 0.0)
            found = entries(last=0.2 + miou, every=0.3 + miou)
            parameters = 1234 if judged.part == 'encoder' else 5678
            write_results(config.results_of(judged, seed).parent, found, parameters)
    text = write_report(config)
    assert '| features | parameters | linear last | linear all | k-NN last | k-NN a' in text
    assert (
        '| masked scene modelling | 5,678 | 45.00 +- 7.07 (40.00 50.00) '
        '| 55.00 +- 7.07 (50.00 60.00) '
        '| 35.00 +- 7.07 (30.00 40.00) | 45.00 +- 7.07 (40.00 50.00) |\n'
        '| masked scene modelling, encoder | 1,234 | 55.00 +- 7.07 (50.00 60.00) |'
    ) in text
    assert '\n| joint | 1,234 | ' in text
    assert '| joint: k-NN all - last | +10.00 | +10.00 .. +10.00 | holds |\n' in text
    assert '| msm encoder: k-NN all - last | +10.00 |' in text
    assert '| msm - random: linear all | +20.00 | +20.00 .. +20.00 | holds |\n' in text
    assert '| msm encoder - random: linear all | +30.00 |' in text
    assert '| msm - unet: linear all | +20.00 |' in text
    assert '| msm encoder - shallow encoder: linear all | +30.00 |' in text
    assert 'msm encoder - shallow:' not in text
    assert 'msm - shallow encoder' not in text
    rows = [line for line in text.splitlines() if line.startswith('| msm')]
    assert len(rows) == len(set(rows)) == 2 * 2 + 2 * 2 * 5
    assert (config.folder / 'report.md').read_text() == text


def test_seeds_are_paired_before_they_are_judged():
    # Far apart from seed to seed, but always one above the other.
    text = report(decoders(shallow=flat(10.0, 50.0, 90.0), msm=flat(11.0, 51.1, 90.9)))
    assert '| msm - shallow: linear all | +1.00 | +0.75 .. +1.25 | holds |' in text
    assert 'colours and normals: this holds; of 2 intervals 2 lie above zero, 0 below.\n' in text


@pytest.mark.parametrize(
    ('deltas', 'verdict'),
    [((1.0, 1.1), 'holds'), ((-1.0, -1.1), 'does not hold'), ((1.0, -1.1), 'is open'),
     ((5.0,), 'is open')],
)  # fmt: skip
def test_what_the_interval_says_is_the_verdict(deltas, verdict):
    unet, msm = flat(*(30.0 for _ in deltas)), flat(*(30.0 + d for d in deltas))
    text = report(decoders(shallow=unet, unet=unet, msm=msm))
    assert f'its network untrained: this {verdict}; ' in text
    assert f'colours and normals: this {verdict}; ' in text
    row = next(line for line in text.splitlines() if line.startswith('| msm - shallow'))
    assert row.endswith(f'| {verdict} |')


def test_a_claim_for_all_holds_only_where_none_is_against_it():
    linear_last, linear_all, *knn = COLUMNS
    good = {linear_last: [10.0, 10.0], linear_all: [12.0, 12.0], knn[0]: [9.0, 9.0]}
    good[knn[1]] = [9.5, 9.51]
    bad = {**good, linear_all: [9.0, 9.0]}
    claim = 'Hierarchical features beat those of the last level: this '
    unsure = {**good, linear_all: [9.0, 12.0]}
    for miou, verdict in (
        (good, 'holds; of 4 intervals 4 lie above zero, 0 below.'),
        (bad, 'does not hold; of 4 intervals 3 lie above zero, 1 below.'),
        (unsure, 'is open; of 4 intervals 3 lie above zero, 0 below.'),
    ):
        text = report(decoders(shallow=by_column(good), hunet=by_column(miou)))
        assert f'{claim}{verdict}\n' in text
        assert text.count('hunet: linear all - last') == 1


def test_what_was_not_compared_is_not_claimed():
    text = report({Judged('points', 'encoder'): flat(1.0, 2.0)})
    assert 'colours and normals: this was not measured.' in text
    assert 'msm - ' not in text


@pytest.mark.parametrize('change', [lambda e: e[1:], lambda e: [*e, e[0]]])
def test_results_that_lack_something_are_refused(config, change):
    for judged in config.protocol.judged:
        for seed in (0, 1):
            write_results(config.results_of(judged, seed).parent, entries(last=0.2, every=0.3))
    encoder = Judged('msm', 'encoder')
    write_results(config.results_of(encoder, 1).parent, change(entries(last=0.2, every=0.3)))
    told = r'msm_encoder_1/results.json holds [02] results of probe "linear" with levels "last"'
    with pytest.raises(ConfigError, match=told):
        write_report(config)


def test_pretrainings_differ_in_their_target_alone(config):
    jobs = {job.name: job for job in stages(config)[0]}
    assert list(jobs) == ['shallow 0', 'msm 0', 'shallow 1', 'msm 1']
    shallow, msm = (set(jobs[name].arguments) for name in ('shallow 0', 'msm 0'))
    assert msm - shallow == {f'run.output={config.folder}/msm_0'}
    assert shallow - msm == {
        f'run.output={config.folder}/shallow_0', 'target=shallow', 'loss.distance=smooth_l1'
    }  # fmt: skip


def test_every_arm_is_judged_alike(config, before):
    jobs = {job.name: set(job.arguments) for job in stages(config)[1]}
    assert len(jobs) == 2 * (len(ENCODERS) + 2 * len(U_NETS))
    names = {
        'random': 'concerto:random#nano',
        'points': f'concerto:{before}/points_1/step_00000007.pth',
        'joint': f'concerto:{before}/joint_1/step_00000007.pth',
        'unet': 'masked:random#hunet/released',  # the defaults of pretrain_masked
        'shallow': f'masked:{config.folder}/shallow_1/step_00001000.pth',
        'msm': f'masked:{config.folder}/msm_1/step_00001000.pth',
    }
    for arm, name in names.items():
        own = {f'encoder.name={name}', f'run.output={config.folder}/protocol/{arm}_1'}
        if arm in U_NETS:
            own.add('encoder.family=decoder')
            changed = jobs[f'protocol {arm} encoder 1'] ^ jobs[f'protocol {arm} 1']
            assert changed == {f'encoder.family={part}' for part in ('encoder', 'decoder')} | {
                f'run.output={config.folder}/protocol/{name}_1' for name in (arm, f'{arm}_encoder')
            }
        assert own <= jobs[f'protocol {arm} 1']
        assert len(jobs[f'protocol {arm} 1'] - jobs['protocol points 0'] - own) == 1  # the seed


def test_the_untrained_u_net_is_the_one_that_is_trained(config, tmp_path):
    (tmp_path / 'msm.yaml').write_text('network: {kind: concerto, size: nano}\n')
    job = next(job for job in stages(config)[1] if job.name == 'protocol unet encoder 1')
    assert 'encoder.name=masked:random#concerto/nano' in job.arguments
    assert 'run.seeds=1' in job.arguments


def test_arms_that_are_not_named_cost_nothing(config):
    some = build(CompareMaskedConfig, {'protocol.arms': 'random, hunet'}, config)
    names = [job.name for jobs in stages(some) for job in jobs if job.name.endswith('0')]
    assert names == [
        'hunet 0',
        'protocol random 0',
        'protocol hunet 0',
        'protocol hunet encoder 0',
    ]


@pytest.mark.parametrize('arms', ['msm,msm', 'mms', 'msm,', ''])
def test_arms_are_different_names(arms):
    with pytest.raises(ConfigError, match=r'"protocol\.arms" must be different names by commas'):
        build(CompareMaskedConfig, {'protocol.arms': arms})


@pytest.mark.parametrize('missing', ['rooms/splits/test.json', 'joint_1/step_00000007.pth'])
def test_what_the_other_comparison_left_out_is_told(config, before, missing):
    (before / missing).unlink()
    told = r'(test\.json|joint_1/step_\*\.pth) is not there; run training.compare first, with the'
    with pytest.raises(ConfigError, match=told):
        stages(config)


def test_the_command_refuses_other_settings_and_takes_more_seeds(config, capsys):
    for job in (job for jobs in stages(config) for job in jobs):
        job.done.parent.mkdir(parents=True, exist_ok=True)
        if job.done.suffix == '.json':
            write_results(job.done.parent, entries(last=0.2, every=0.3))
        else:
            job.done.touch()
        write_made_by(job.record, job.made_by())

    same = [f'{p.name}={p.value}' for p in flatten(config) if p.name != 'jobs.seeds']

    def run(*settings):
        return compare_masked.main([SETTINGS, *same, *settings])

    assert run('jobs.seeds=1') == 0
    assert run('jobs.seeds=0,1') == 0
    assert 'this holds' in capsys.readouterr().out
    assert run('jobs.seeds=0,1', 'masked.num_steps=7') == 2
    assert 'of "shallow 0" run.num_steps was 1000 and is now 7' in capsys.readouterr().err


@pytest.mark.parametrize('kind', ['masked', 'protocol'])
def test_wrong_settings_are_told_before_the_first_job(config, monkeypatch, capsys, tmp_path, kind):
    monkeypatch.setattr(jobs_stages, 'run_jobs', lambda *_: pytest.fail('a job has begun'))
    (tmp_path / 'wrong.yaml').write_text('run: {sede: 1}\n')
    same = [f'{p.name}={p.value}' for p in flatten(config)]
    assert compare_masked.main([SETTINGS, *same, f'{kind}.config={tmp_path}/wrong.yaml']) == 2
    assert 'wrong.yaml: unknown parameter "run.sede"' in capsys.readouterr().err


@pytest.mark.parametrize('name', ['compare_masked', 'compare_masked_gpu'])
def test_the_settings_that_ship_are_those_of_their_commands(before, name):
    shipped = build(CompareMaskedConfig, read_plain_yaml(f'config/training/{name}.yaml'))
    changes = {
        'data.compare': str(before), 'jobs.seeds': '0,1', 'protocol.arms': 'random,unet,msm,hunet',
    }  # fmt: skip
    jobs = stages(build(CompareMaskedConfig, changes, shipped))
    trees = {'training.pretrain_masked': MaskedConfig, 'training.evaluate': ProtocolConfig}
    for module, *arguments in (job.arguments for stage in jobs for job in stage):
        assert read_settings(trees[module], arguments, module).data.voxel_size == 0.04


def test_the_other_comparison_keeps_its_report():
    with pytest.raises(ConfigError, match=r'"jobs\.output" runs/compare is that of training.com'):
        build(CompareMaskedConfig, {'jobs.output': 'runs/compare'})
