import hashlib
import json
import re
import shlex
import shutil
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch

from concerto_ros.config.tree import build, read_plain_yaml
from concerto_ros.errors import CheckpointError, ConfigError, SourceError
from training.command import read_settings
from training.evaluate import main
from training.evaluation.class_lists import class_list
from training.protocol import run
from training.protocol.config import ProtocolConfig
from training.protocol.deviations import deviations
from training.protocol.encoders import depends_on_seed, example, make_encoder
from training.protocol.encoders.facts import weights_sha256
from training.protocol.labelled_data import labelled_data
from training.protocol.run import run_protocol

WALLS = 'left wall, right wall'  # labels of the tiny scenes: 0 and 1
ASKED = []  # scenes that `Counting` was asked about, encoders that `network` made


class Counting(example.HandMade):
    """Notes what it is asked about."""

    def __call__(self, scene):
        ASKED.append(scene.name)
        return super().__call__(scene)


class Broken(example.HandMade):
    """Gives a number that is none."""

    def __call__(self, scene):
        found = super().__call__(scene)
        found.levels[2].feat[0] = torch.nan
        return found


class Large(example.HandMade):
    """Gives numbers that float16 does not hold."""

    def __call__(self, scene):
        found = super().__call__(scene)
        found.levels[0].feat.mul_(1e6)
        return found


def network(device):
    """Return an encoder with weights, and keep it."""
    config = build(ProtocolConfig, {'encoder.name': 'concerto:random#nano'})
    ASKED.append(make_encoder(config, 0, device))
    return ASKED[-1]


class Faulty(example.HandMade):
    """Says of itself what no results can hold."""

    facts = MappingProxyType({'folder': Path()})


def of_seed_0(device):
    """Return an encoder, and note it."""
    ASKED.append('made')
    return example.HandMade(device)


@pytest.fixture(scope='session')
def judged(tiny_split, tmp_path_factory):
    """Return the list of equal scenes in another place: nothing was learned from them."""
    root = tmp_path_factory.mktemp('judged') / 'scenes'
    shutil.copytree(tiny_split.parents[1], root)
    for path in root.rglob('segment20.npy'):
        np.save(path.with_name('instance.npy'), np.load(path))  # each wall is an object
    return root / 'splits' / tiny_split.name


def settings(split, output, judged, **changes):
    changes = {name.replace('__', '.'): value for name, value in changes.items()}
    return {
        'run.output': str(output),
        'run.device': 'cpu',
        'run.seeds': '0',
        'encoder.name': f'python:{__name__}:Counting',
        'data.train': str(split),
        'data.validation': str(judged),
        'data.vocabulary': WALLS,
        'data.voxel_size': 0.05,
        'linear.epochs': 10,
        'linear.warmup_epochs': 0,
        'linear.lr': 0.05,
        'linear.batch_size': 2,
        **changes,
    }


@pytest.fixture
def evaluate(tiny_split, judged, tmp_path):
    """Return a function that runs the protocol on the tiny scenes, and forgets who was asked."""
    ASKED.clear()

    def run(name='out', **changes):
        values = settings(tiny_split, tmp_path / name, judged, **changes)
        return run_protocol(build(ProtocolConfig, values))

    return run


def test_the_command_prints_the_table_and_writes_it(tiny_split, judged, tmp_path, capsys):
    config, output = tmp_path / 'evaluate.yaml', tmp_path / 'out'
    config.write_text('linear: {epochs: 1, warmup_epochs: 0}\n')
    values = settings(tiny_split, output, judged, linear__epochs=1, run__seeds='0,1')
    status = main([str(config), *(f'{name}={value}' for name, value in values.items())])
    shown = capsys.readouterr().out
    assert status == 0
    assert (output / 'table.md').read_text() in shown
    assert 'hand-made: 35 channels of all levels; mean of 2 seeds' in shown
    assert re.search(r'\| knn \| all \| 100 % \| all \| [\d.]+ ± ', shown)
    assert 'Levels: 0 = 1:1 (4 cm), 1 = 1:2 (8 cm), ' in shown
    assert '4 = 1:16 (64 cm); last is 4. Scenes: 4 for training, 4 for validation.' in shown
    content = json.loads((output / 'results.json').read_text())
    keys = [(e['seed'], e['probe'], e['levels']) for e in content['entries']]
    assert keys == [
        (s, p, v) for s in (0, 1) for p in ('linear', 'knn') for v in ('last', 'all')
    ]  # fmt: skip
    assert content['settings']['data.voxel_size'] == 0.05
    assert content['num_scenes'] == [4, 4]
    assert {name: len(h) for name, h in content['data_hash'].items()} == {
        'train': 64, 'validation': 64
    }  # fmt: skip
    assert content['deviations']['linear.epochs'] == {'run': 1, 'published': 200}
    assert 'linear.bias' not in content['deviations']
    assert ', linear.epochs 1 (200), linear.warmup_epochs 0 (2)\n' in shown
    assert set(content['code']) == {'concerto_ros', 'git', 'torch', 'numpy', 'python'}
    assert content['machine'] == {'device': 'cpu', 'threads': torch.get_num_threads()}
    assert [name[-6:] for name in content['scenes']['validation']] == [
        f'scene{i}' for i in range(4)
    ]
    told = content['encoders'][1]
    assert (
        told['facts']['code']
        == f'sha256:{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()}'
    )
    assert told['geometry']['strides'] == [1, 2, 4, 8, 16]
    assert set(told['geometry']['unread']) == {f'1:{2**i}' for i in range(5)}
    assert content['encoders'][1]['levels'] == [[f'1:{2**i}', 7] for i in range(5)]
    assert set(content['encoders'][1]['seconds']) == {'features', 'training', 'validation'}


def test_an_encoder_is_asked_once_about_each_scene_whatever_is_judged(evaluate):
    evaluate(
        sampling__levels='last;all;each', regimes__scene_shares='0.5,1.0',
        regimes__points_per_scene='5,20', linear__epochs=1,
    )  # fmt: skip
    assert len(ASKED) == len(set(ASKED)) == 4 + 4


def test_scenes_that_no_regime_needs_are_not_asked_about(evaluate):
    evaluate(regimes__scene_shares='0.5', linear__epochs=1)
    assert len(ASKED) == 2 + 4


def test_normals_tell_two_walls_apart(evaluate):
    report = evaluate(sampling__levels='0;all', linear__epochs=20, data__voxel_size=0.02)
    scores = {(e.probe, e.levels): e.scores['miou'] for e in report.entries}
    assert min(scores.values()) > 0.97  # a voxel of the edge holds points of both
    chosen = report.entries[0]
    assert (chosen.num_channels, chosen.num_scenes) == (7, 4)
    assert chosen.classes['left wall']['num_points'] == 4 * 300


def test_what_only_a_fine_level_knows_is_not_found_in_a_coarse_one(evaluate):
    report = evaluate(sampling__levels='last;all', linear__epochs=40)
    scores = {(e.probe, e.levels): e.scores['miou'] for e in report.entries}
    assert scores['linear', 'all'] > scores['linear', 'last']


def test_the_same_seed_gives_the_same_scores_bit_for_bit(evaluate):
    first, again = (evaluate(name, cache__voxels_per_scene=50) for name in ('a', 'b'))
    assert [e.scores for e in first.entries] == [e.scores for e in again.entries]
    assert first.entries[0].num_rows == 4 * 50


def test_few_scenes_and_few_labels(evaluate, tmp_path):
    report = evaluate(regimes__scene_shares='0.5', regimes__points_per_scene='5,20')
    rows = {e.regime: (e.num_scenes, e.num_rows) for e in report.entries if e.probe == 'linear'}
    assert list(rows) == [(0.5, 0), (1.0, 5), (1.0, 20)]
    assert rows[0.5, 0][0] == 2
    assert rows[0.5, 0][1] > 200
    assert rows[1.0, 5] == (4, 20)  # each label in a voxel of its own, with this seed
    assert 70 <= rows[1.0, 20][1] <= 80
    lists = json.loads((tmp_path / 'out' / 'lists.json').read_text())['0']
    assert len(lists['scenes']['0.5']) == 2
    few, more = lists['points']['5'], lists['points']['20']
    assert {name: len(points) for name, points in few.items()} == dict.fromkeys(few, 5)
    assert all(set(few[name]) <= set(more[name]) for name in few)


def test_a_batch_job_tells_how_far_its_loops_are(evaluate, caplog):
    with caplog.at_level('INFO'):
        evaluate(linear__epochs=1, linear__features='augmented')
    told = [record.message for record in caplog.records if ' of 4' in record.message]
    assert told == [
        *(f'training scenes: {n} of 4' for n in range(1, 5)),
        *(f'validation scenes: {n} of 4' for n in range(1, 5)),
    ]
    assert 'linear steps: 2 of 2' in caplog.text


def test_official_lists_are_followed(evaluate, tmp_path):
    (tmp_path / '50.txt').write_text('scene1\nscene3\n')
    points = {f'scene{i}': np.arange(i, 600, 100) for i in range(4)}
    torch.save(points, tmp_path / 'points6')
    evaluate(
        regimes__scene_shares='0.5', regimes__points_per_scene='6',
        regimes__scene_list=str(tmp_path / '{percent}.txt'),
        regimes__point_list=str(tmp_path / 'points{count}'),
    )  # fmt: skip
    lists = json.loads((tmp_path / 'out' / 'lists.json').read_text())['0']
    assert lists['scenes']['0.5'] == ['scene1', 'scene3']
    assert lists['points']['6'] == {name: rows.tolist() for name, rows in points.items()}


def test_features_of_augmented_scenes_are_made_anew_in_each_step(evaluate):
    report = evaluate(
        linear__features='augmented', linear__epochs=3, probes='linear', linear__max_points=100,
        regimes__points_per_scene='20', regimes__scene_shares='',
    )  # fmt: skip
    assert len(ASKED) == 3 * 4 + 4  # one pass for both sets of levels
    assert [(e.levels, e.num_rows) for e in report.entries] == [('last', 0), ('all', 0)]


def test_augmented_training_learns(evaluate, tiny_split, tmp_path):
    shutil.copytree(tiny_split.parents[1], tmp_path / 'high')
    for path in (tmp_path / 'high').rglob('segment20.npy'):  # what turns and flips leave alone
        np.save(path, (np.load(path.with_name('coord.npy'))[:, 2] > 1).astype(np.int16))
    shutil.copytree(tmp_path / 'high', tmp_path / 'judged')
    train, validation = (
        str(tmp_path / part / 'splits' / tiny_split.name) for part in ('high', 'judged')
    )
    report = evaluate(
        linear__features='augmented', linear__epochs=20, linear__lr=0.2, sampling__levels='0',
        data__train=train, data__validation=validation, data__voxel_size=0.02,
    )  # fmt: skip
    assert [e.probe for e in report.entries] == ['linear', 'knn']
    assert report.entries[0].scores['miou'] > 0.85


@pytest.mark.parametrize('features', ['cached', 'augmented'])
def test_probes_leave_the_encoder_as_it_was(evaluate, features):
    evaluate(
        encoder__name=f'python:{__name__}:network', linear__features=features, linear__epochs=1
    )
    [encoder] = ASKED
    assert f'sha256:{weights_sha256(encoder.network)}' == encoder.facts['weights']
    assert not any(p.requires_grad for p in encoder.network.parameters())


@pytest.mark.parametrize('changes', [
    {'sampling__query': 'point'}, {'sampling__mode': 'nearest'},
    {'sampling__normalize': 'both'}, {'linear__standardize': True},
])  # fmt: skip
def test_the_way_of_sampling_can_be_chosen(evaluate, changes):
    report = evaluate(sampling__levels='0,1', linear__epochs=40, **changes)
    assert min(e.scores['miou'] for e in report.entries) > 0.9


@pytest.mark.parametrize(('setting', 'options'), [
    ('sampling__mode', ('trilinear', 'nearest', 'trilinear_occupied', 'released')),
    ('sampling__query', ('voxel', 'point')),
    ('sampling__normalize', ('none', 'level', 'whole', 'both')),
])  # fmt: skip
def test_every_way_of_sampling_gives_other_scores(evaluate, setting, options):
    found = set()
    for option in options:
        report = evaluate(
            option, probes='linear', sampling__levels='2,3', linear__epochs=8, **{setting: option}
        )
        found.add(tuple(report.entries[0].scores.values()))
    assert len(found) == len(options)


def test_threads_are_those_asked_for(evaluate):
    before = torch.get_num_threads()
    try:
        report = evaluate(run__num_threads=before + 1, linear__epochs=1)
    finally:
        torch.set_num_threads(before)
    assert report.machine['threads'] == before + 1


def test_objects_can_be_found(evaluate, judged, tmp_path):
    shutil.copytree(judged.parents[1], tmp_path / 'learned')
    report = evaluate(
        probes='instances', data__train=str(tmp_path / 'learned' / 'splits' / judged.name),
        instances__excluded='', instances__epochs=5, sampling__levels='0',
        regimes__points_per_scene='20',
    )  # fmt: skip
    [entry] = report.entries  # none where few points have labels
    assert set(entry.scores) == {'map', 'map50', 'map25'}
    assert set(entry.classes) == {'left wall', 'right wall'}
    assert '| probe | levels | scenes | points | AP50 |' in report.table()


def test_every_encoder_is_made_before_a_scene_is_read(evaluate, monkeypatch):
    monkeypatch.setattr(run, '_judged', lambda *args: pytest.fail('a scene was read'))
    with pytest.raises(ConfigError, match=r'of_seed_1.*or in one that PYTHONPATH names'):
        evaluate(encoder__name=f'python:{__name__}:of_seed_{{seed}}', run__seeds='0,1')
    assert ASKED == ['made']


def test_an_encoder_that_no_seed_changes_is_made_once(evaluate):
    report = evaluate(
        encoder__name=f'python:{__name__}:of_seed_0', run__seeds='0,1', linear__epochs=1
    )
    assert ASKED == ['made']
    assert [encoder.seed for encoder in report.encoders] == [0, 1]


@pytest.mark.parametrize(('changes', 'expected'), [
    ({'encoder.name': 'concerto:large'}, False),
    ({'encoder.name': 'masked:run_{seed}/last.pth'}, True),
    ({'encoder.name': 'concerto:random#nano'}, True),
    ({'encoder.name': 'masked:random#unet/nano'}, True),
    ({'encoder.name': 'msm:file.pth', 'encoder.as_released': True}, True),
])  # fmt: skip
def test_seeds_change_some_encoders(changes, expected):
    assert depends_on_seed(build(ProtocolConfig, changes)) is expected


def test_what_was_found_with_a_seed_is_written_before_the_next(evaluate, tmp_path, monkeypatch):
    judged = run._judged

    def interrupted(config, attempt, *rest):
        if attempt.seed == 1:
            raise CheckpointError('interrupted')
        return judged(config, attempt, *rest)

    monkeypatch.setattr(run, '_judged', interrupted)
    with pytest.raises(CheckpointError, match='interrupted'):
        evaluate(run__seeds='0,1', linear__epochs=1)
    content = json.loads((tmp_path / 'out' / 'results.json').read_text())
    assert {entry['seed'] for entry in content['entries']} == {0}
    assert list(json.loads((tmp_path / 'out' / 'lists.json').read_text())) == ['0']


def test_results_of_other_settings_are_not_replaced(evaluate, tmp_path):
    evaluate(linear__epochs=1)
    before = (tmp_path / 'out' / 'results.json').read_text()
    other = f'python:{__name__}:of_seed_0'
    told = (
        rf'"run.output" .*out holds other results: encoder.name was python:{__name__}:Counting '
        rf'and is now {other}, linear.epochs was 1 and is now 2; name another folder by run.output'
    )
    with pytest.raises(ConfigError, match=told):
        evaluate(linear__epochs=2, encoder__name=other)
    assert (tmp_path / 'out' / 'results.json').read_text() == before
    with pytest.raises(ConfigError, match=r'results: run.seeds .* and is now 3 and 1 more;'):
        evaluate(knn__k=3, knn__bank_per_class=5, run__seeds='1', linear__epochs=2)


@pytest.mark.parametrize('text', ['{"entries": []}', '[]', 'nothing', '{"settings": 1}'])
def test_what_another_command_left_is_not_replaced(evaluate, tmp_path, text):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'results.json').write_text(text)
    with pytest.raises(ConfigError, match=r'out/results.json is not of training.evaluate: name'):
        evaluate(linear__epochs=1)


def test_the_same_settings_begin_anew(evaluate, tmp_path):
    first = evaluate(linear__epochs=1, run__seeds='0,1')
    results = tmp_path / 'out' / 'results.json'
    content = json.loads(results.read_text())
    content['entries'] = content['entries'][:4]  # interrupted after a seed
    results.write_text(json.dumps(content))
    again = evaluate(linear__epochs=1, run__seeds='0,1', run__num_threads=torch.get_num_threads())
    assert [e.scores for e in again.entries] == [e.scores for e in first.entries]
    assert len(json.loads(results.read_text())['entries']) == 8
    assert {path.name for path in results.parent.iterdir()} == {
        'table.md', 'results.json', 'lists.json'
    }  # fmt: skip


@pytest.mark.parametrize('lacking', ['segment20', 'instance'])
def test_missing_files_of_validation_are_told_before_a_scene_is_read(
    evaluate, judged, tmp_path, lacking
):
    for part in ('learned', 'lacking'):
        shutil.copytree(judged.parents[1], tmp_path / part)
    (tmp_path / 'lacking' / 'train' / 'scene3' / f'{lacking}.npy').unlink()
    train, validation = (
        str(tmp_path / part / 'splits' / judged.name) for part in ('learned', 'lacking')
    )
    with pytest.raises(SourceError, match=f'scene3.*{lacking}.npy'):
        evaluate(probes='linear,instances', data__train=train, data__validation=validation)
    assert ASKED == []


def test_a_scene_is_either_to_learn_from_or_to_judge_by(evaluate, tiny_split):
    with pytest.raises(ConfigError, match=r'scene0 stands in "data.train" .*scenes that do: 4'):
        evaluate(data__validation=str(tiny_split))
    assert ASKED == []


def test_the_hash_of_the_data_knows_what_is_read(evaluate, tiny_split, judged, tmp_path):
    def hashes(root, probes='linear'):
        config = build(ProtocolConfig, {
            'data.vocabulary': WALLS, 'data.train': str(judged), 'probes': probes,
            'data.validation': str(root / 'splits' / judged.name),
        })  # fmt: skip
        return labelled_data(config).hashes()

    root = tmp_path / 'moved'
    shutil.copytree(judged.parents[1], root)
    plain, objects = hashes(root), hashes(root, 'linear,instances')
    assert plain['train'] == plain['validation']  # wherever they lie
    path = root / 'train' / 'scene2' / 'instance.npy'
    np.save(path, np.load(path) + 1)
    assert hashes(root) == plain
    changed = hashes(root, 'linear,instances')
    assert changed['train'] == objects['train'] != changed['validation'] != objects['validation']
    split = root / 'splits' / judged.name
    split.write_text(json.dumps(dict(list(json.loads(split.read_text()).items())[::-1])))
    assert hashes(root)['validation'] != plain['validation']


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'encoder.name': 'magic:large'}, 'encoder.name must be concerto:CHECKPOINT'),
        ({'sampling.levels': 'last;7'}, 'has the levels 0 to 4, but a set is "7"'),
        ({'run.seeds': '0,0'}, 'be different whole numbers from 0 to 2147483648 by commas, got'),
        ({'run.seeds': '0,x'}, r'"run\.seeds" must be different whole numbers from 0'),
        ({'run.seeds': ' '}, r'"run\.seeds" must name a seed'),
        ({'probes': 'linear,magic'}, '"probes" must be some of linear, knn, instances'),
        ({'regimes.scene_shares': '0.5,2'}, 'be different numbers from 0.0001 to 1 by commas'),
        ({'regimes.scene_shares': ''}, 'name nothing to learn from: set regimes'),
        ({'regimes.scene_shares': '0.5', 'regimes.scene_list': 'no.txt'}, 'no.txt cannot be read'),
        ({'regimes.points_per_scene': '5', 'regimes.point_list': 'no'}, 'no cannot be read'),
        ({'probes': 'instances', 'regimes.scene_shares': '', 'regimes.points_per_scene': '5'},
         'instances, which need the labels of all points'),
        ({'data.train': ''}, '"data.train" must name a split'),
        ({'data.segment': 'segment200'}, r"labels of this scene are \['segment20'\]"),
        ({'encoder.name': f'python:{__name__}:Broken'}, 'feat is not finite in 1 of'),
        ({'encoder.name': f'python:{__name__}:Large'}, 'set sampling.normalize=level'),
        ({'encoder.name': f'python:{__name__}:Broken', 'linear.features': 'augmented',
          'probes': 'linear', 'linear.epochs': '1'}, 'not finite'),
        ({'probes': 'instances'}, 'has no instance.npy'),
        ({'encoder.name': f'python:{__name__}:Faulty'}, 'facts cannot be written as JSON'),
        ({'encoder.as_released': 'true'}, '"encoder.as_released" is for msm:FILE alone'),
        ({'encoder.family': 'both'}, '"encoder.family" is for U-Nets'),
        ({'encoder.name': 'concerto:large', 'encoder.family': 'encoder'}, '"encoder.family" is'),
        ({'encoder.name': 'concerto:last.pth#teacher'}, '#teacher has no meaning there'),
        ({'encoder.name': f'python:{__name__}:Counting#big'}, '#big has no meaning there'),
        ({'regimes.scene_list': 'no.txt'}, r'"regimes\.scene_list" has no effect'),
        ({'regimes.point_list': 'no'}, r'"regimes\.point_list" has no effect'),
        ({'linear.warmup_epochs': '10'}, r'"linear\.warmup_epochs" must be less'),
        ({'probes': 'instances', 'instances.excluded': 'left wal'}, 'names left wal, and data'),
        ({'run.published': 's3dis'}, 's3dis has 13 classes, and data.vocabulary custom has 2'),
        ({'run.output': '/dev/null/x'}, '"run.output" /dev/null/x cannot be made'),
    ],
)  # fmt: skip
def test_errors_are_told_in_one_sentence(tiny_split, judged, tmp_path, capsys, changes, sentence):
    config = tmp_path / 'empty.yaml'
    config.write_text('')
    values = {**settings(tiny_split, tmp_path / 'out', judged), **changes}
    status = main([str(config), *(f'{name}={value}' for name, value in values.items())])
    message = capsys.readouterr().err
    assert status == 2
    assert message.count('\n') == 1
    assert message.startswith('training.evaluate: ')
    assert re.search(sentence, message), message


@pytest.mark.parametrize('part', ['train', 'validation'])
def test_scenes_without_any_label_are_told(tiny_split, judged, tmp_path, capsys, part):
    shutil.copytree(tiny_split.parents[1], tmp_path / 'other')
    for path in (tmp_path / 'other').rglob('segment20.npy'):
        np.save(path, np.full_like(np.load(path), -1))
    split = tmp_path / 'other' / 'splits' / tiny_split.name
    config = tmp_path / 'empty.yaml'
    config.write_text('')
    values = {**settings(tiny_split, tmp_path / 'out', judged), f'data.{part}': str(split)}
    assert main([str(config), *(f'{name}={value}' for name, value in values.items())]) == 2
    scenes = {'train': 'training', 'validation': 'validation'}[part]
    assert f'no point of the {scenes} scenes has a label' in capsys.readouterr().err


def test_a_list_of_other_scenes_is_told(tiny_split, judged, tmp_path, capsys):
    (tmp_path / '50.txt').write_text('scene0707_00\n')
    points = {f'scene{i}': np.arange(5) for i in range(4)}
    points['scene2'][-1] = 700
    torch.save(points, tmp_path / 'points')
    config = tmp_path / 'empty.yaml'
    config.write_text('')
    for changes, sentence in (
        ({'regimes.scene_shares': '0.5', 'regimes.scene_list': f'{tmp_path}/{{percent}}.txt'},
         '0 of 1 listed scenes are in data.train: scene0707_00 is not, choose the list'),
        ({'regimes.points_per_scene': '5', 'regimes.point_list': f'{tmp_path}/points'},
         'names point 700, and this scene has 600: choose'),
    ):  # fmt: skip
        values = {**settings(tiny_split, tmp_path / 'out', judged), **changes}
        assert main([str(config), *(f'{n}={value}' for n, value in values.items())]) == 2
        assert sentence in capsys.readouterr().err


def test_commands_of_the_readme_can_be_read_and_have_folders_of_their_own(root):
    text = (root / 'training' / 'protocol' / 'README.md').read_text().replace('\\\n', ' ')
    settings_file = re.search(r'^C=(\S+)', text, re.MULTILINE)[1]
    commands = re.findall(r'-m training.evaluate (config/.*|\$C .*)', text)
    argvs = [shlex.split(c.replace('$C', settings_file), comments=True) for c in commands]
    outputs = [read_settings(ProtocolConfig, argv, 'readme').run.output for argv in argvs]
    assert len(outputs) == len(set(outputs)) == 8
    assert all(output.startswith('runs/judged/') for output in outputs)


@pytest.mark.parametrize('name', ['rooms', 'scannet', 'scannet200', 's3dis'])
def test_the_settings_that_are_shipped_can_be_read(root, name):
    values = read_plain_yaml(root / 'config' / 'training' / f'evaluate_{name}.yaml')
    config = build(ProtocolConfig, values)
    assert config.run.published == ('none' if name == 'rooms' else name)
    config = build(ProtocolConfig, {'probes': 'linear,knn,instances'}, config)
    assert config.linear.epochs == {'rooms': 12, 's3dis': 100}.get(name, 200)
    excluded = {name for name in config.instances.excluded.split(', ') if name}
    assert excluded == (set() if name == 's3dis' else {'wall', 'floor'})
    assert excluded <= set(class_list(config.data.vocabulary).names)
    beside = deviations(config).keys() - {'cache.voxels_per_scene', 'knn.bank_per_class'}
    assert (beside == set()) == (name != 'rooms')
