import json
import math
import re
import statistics
from dataclasses import replace

import pytest

from concerto_ros.config.tree import build
from concerto_ros.errors import ConfigError
from training.evaluation.class_lists import class_list
from training.interval import interval
from training.protocol.config import ProtocolConfig
from training.protocol.deviations import deviations
from training.protocol.reference import (
    END_TO_END,
    FULL,
    OBJECTS_END_TO_END,
    check_classes,
    published,
)
from training.protocol.regimes import Regime
from training.protocol.report import EncoderReport, Entry, ProtocolReport

FEW = Regime(0.01, 0)


def entry(seed, miou, probe='linear', regime=FULL, **scores):
    names = ('miou', 'miou_of_present', 'macc', 'allacc')
    return Entry(
        seed=seed, probe=probe, levels='all', regime=regime, num_channels=7, num_scenes=2,
        num_rows=40, scores=scores or dict.fromkeys(names, miou), classes={'chair': {'iou': miou}},
        seconds=1.5,
    )  # fmt: skip


def report(entries, data_set='none', weights='same'):
    encoders = [
        EncoderReport(
            seed=seed, name='mine', facts={'parameters': 3, 'weights': weights.format(seed)},
            levels=[('a', 3), ('b', 4)], last=1, seconds={'features': 2.0},
        )
        for seed in dict.fromkeys(e.seed for e in entries)
    ]  # fmt: skip
    return ProtocolReport(
        entries=entries, encoders=encoders, published=data_set, num_scenes=(2, 1),
        settings={'run.seeds': '0,1,2'}, data_hash={'train': 'ab'}, code={'git': 'cd'},
        lists={'0': {'scenes': {}, 'points': {}}},
    )  # fmt: skip


def test_a_row_is_the_mean_over_seeds_with_its_spread():
    table = report([entry(seed, miou) for seed, miou in enumerate((0.5, 0.6, 0.7))]).table()
    assert table.startswith('mine: 7 channels of all levels; mean of 3 seeds')
    # standard deviation 10, interval 60 -+ 4.303 * 10 / sqrt(3)
    assert '| linear | all | 100 % | all | 60.00 ± 10.00 (35.16 .. 84.84) |' in table


def test_numbers_of_levels_scenes_and_absent_classes_are_explained():
    made = report([entry(0, 0.5)])
    assert 'Levels: 0 = a, 1 = b; last is 1. Scenes: 2 for training, 1 for val' in made.table()
    told = 'Classes that do not occur in validation count 0 in mIoU and mAcc; "mIoU of present" le'
    assert told in made.table()
    geometry = {'voxel_size': 0.02, 'strides': [2, None]}
    seen = replace(made, encoders=[replace(made.encoders[0], geometry=geometry)])
    assert 'Levels: 0 = a (4 cm), 1 = b (places); last is 1.' in seen.table()
    objects = entry(0, 0, 'instances', map=0.1, map50=0.2, map25=0.3)
    assert 'Classes' not in report([objects]).table()


def test_two_seeds_have_no_interval():
    table = report([entry(seed, miou) for seed, miou in enumerate((0.5, 0.6))]).table()
    assert 'mean of 2 seeds ± standard deviation over probes' in table
    assert '| linear | all | 100 % | all | 55.00 ± 7.07 | 55.00' in table


@pytest.mark.parametrize(('weights', 'sentence'), [
    ('same', 'over probes and draws, encoder fixed, in percent'),
    ('of {}', 'over encoders, probes and draws, in percent'),
])  # fmt: skip
def test_it_is_told_what_the_spread_is_of(weights, sentence):
    table = report([entry(seed, 0.5) for seed in range(3)], weights=weights).table()
    assert f'± standard deviation (95 % interval of the mean) {sentence}' in table


def test_an_interval_knows_many_seeds():
    values = [0.0, 1.0] * 8
    low, high = interval(values)
    assert high - low == pytest.approx(2 * 2.131 * statistics.stdev(values) / 4)


def test_where_no_objects_were_looked_for_is_told():
    objects = entry(0, 0, 'instances', map=0.1, map50=0.2, map25=0.3)
    few = entry(0, 0.5, regime=Regime(1.0, 20))
    assert 'instances are left out where few' in report([entry(0, 0.5), few, objects]).table()
    assert 'left out' not in report([entry(0, 0.5), objects]).table()
    assert 'left out' not in report([entry(0, 0.5), few]).table()


def test_a_single_seed_has_no_spread():
    table = report([entry(0, 0.5, regime=Regime(1.0, 20))]).table()
    assert table.startswith('mine: 7 channels of all levels; one seed, in percent')
    assert '| linear | all | 100 % | 20 | 50.00 | 50.00 | 50.00 | 50.00 |' in table


def test_a_thinned_bank_is_told():
    full, thinned = entry(0, 0.5, 'knn'), replace(entry(1, 0.5, 'knn'), num_left_out=360)
    assert 'bank' not in report([full]).table()
    assert 'knn compares with 10 % of the cached voxels' in report([full, thinned]).table()


def test_what_is_not_as_published_is_told_below():
    deviations = {'linear.epochs': {'run': 9, 'published': 200},
                  'linear.bias': {'run': False, 'published': True}}  # fmt: skip
    told = replace(report([entry(0, 0.5)]), deviations=deviations).table()
    last = (
        'differs from the published settings in: linear.epochs 9 (200), linear.bias false (true)\n'
    )
    assert told.endswith(f'\n\n{last}')
    assert 'differs' not in report([entry(0, 0.5)]).table()


def test_settings_of_probes_that_nobody_asked_for_do_not_differ():
    config = build(ProtocolConfig, {'probes': 'linear', 'knn.k': 3, 'linear.epochs': 9})
    assert list(deviations(config)) == ['linear.epochs']


def test_published_results_are_those_of_the_same_classes():
    for data_set, vocabulary in (('scannet', 'scannet20'), ('s3dis', 's3dis13')):
        check_classes(data_set, class_list(vocabulary))
    check_classes('none', class_list('rooms55'))
    with pytest.raises(ConfigError, match='scannet has 20 classes, and data'):
        check_classes('scannet', class_list('s3dis13'))


def test_objects_have_a_table_of_their_own():
    scores = {'map': 0.1, 'map50': 0.2, 'map25': math.nan}
    table = report([entry(0, 0.5), entry(0, 0, 'instances', **scores)]).table()
    assert '| probe | levels | scenes | points | AP50 | AP25 | AP |' in table
    assert '| instances | all | 100 % | all | 20.00 | - | 10.00 |' in table


def test_published_rows_stand_below_those_they_can_be_compared_with():
    table = report([entry(0, 0.5, regime=FEW)], 'scannet').table()
    assert 'instances' not in table
    assert '| published: linear, MSM (HUNet) | all | 1 % | all | 35.1 |  |  |  |' in table
    assert '| published: trained end to end, HUNet | - | 1 % | all | 19.7 |  |  |  |' in table
    assert 'knn' not in table
    assert '100 %' not in table
    assert 'published' not in report([entry(0, 0.5)]).table()
    objects = entry(0, 0, 'instances', map=0.1, map50=0.2, map25=0.3)
    table = report([objects], 'scannet').table()
    assert '| published: instances, MSM (HUNet) | all | 100 % | all | 44.4 |  |  |' in table
    assert '| published: objects, trained end to end, HUNet | - | 100 % | all | 65.5 |' in table
    assert 'published: trained end to end' not in table


def test_published_rows_stand_directly_below_ours_of_their_probe_and_regime():
    made = [
        replace(entry(seed, 0.5, probe, regime), levels=levels)
        for seed in (0, 1) for regime in (FULL, FEW, Regime(1.0, 7))
        for probe in ('linear', 'knn') for levels in ('last', 'all')
    ]  # fmt: skip
    lines = report(made, 'scannet').table().splitlines()
    rows = [line.split(' | ')[:3] for line in lines if re.match(r'\| \w', line)][1:]
    found = []
    for probe, levels, scenes in rows:
        one = ' '.join([probe.split(',')[0][2:], levels, scenes])
        found += [one] * (found[-1:] != [one])
    of_regime = [
        'linear last {}', 'linear all {}', 'published: linear all {}',
        'knn last {}', 'knn all {}', 'published: knn all {}', 'published: trained end to end - {}',
    ]  # fmt: skip
    few_points = [row for row in of_regime if 'published' not in row]  # of 7 nothing is known
    assert found == [
        *(row.format('100 %') for row in of_regime),
        *(row.format('1 %') for row in of_regime),
        *(row.format('100 %') for row in few_points),
    ]


@pytest.mark.parametrize(('data_set', 'probe', 'name', 'regime', 'percent'), [
    ('scannet', 'linear', 'MSM (HUNet)', FULL, 68.7),
    ('scannet200', 'linear', 'MSM (HUNet)', FULL, 26.8),
    ('s3dis', 'knn', 'MSC (HUNet)', FULL, 39.7),
    ('scannet', 'knn', 'OESSL (SR-UNet)', Regime(0.1, 0), 23.7),
    ('scannet', 'linear', 'CSC (SR-UNet)', Regime(1.0, 200), 26.5),
    ('scannet', END_TO_END, 'SR-UNet', Regime(1.0, 50), 53.9),
    ('scannet200', 'instances', 'MSM (HUNet)', FULL, 8.8),
    ('s3dis', OBJECTS_END_TO_END, 'SR-UNet', FULL, 59.3),
    ('scannet', OBJECTS_END_TO_END, 'HUNet', FULL, 65.5),
])  # fmt: skip
def test_published_numbers_are_those_of_the_paper(data_set, probe, name, regime, percent):
    [found] = [p for p in published(data_set) if (p.probe, p.name, p.regime) ==
               (probe, name, regime)]  # fmt: skip
    assert found.percent == percent


def test_everything_is_written(tmp_path):
    made = report([entry(0, 0.5), entry(0, 0, 'instances', map=math.nan, map50=0.2, map25=0.3)])
    made.write(tmp_path)
    assert (tmp_path / 'table.md').read_text() == made.table()
    content = json.loads((tmp_path / 'results.json').read_text())
    first, second = content['entries']
    assert (first['seed'], first['scene_share'], first['points_per_scene']) == (0, 1.0, 0)
    assert first['scores']['miou'] == first['classes']['chair']['iou'] == 0.5
    assert second['scores'] == {'map': None, 'map50': 0.2, 'map25': 0.3}
    assert content['encoders'][0]['facts'] == {'parameters': 3, 'weights': 'same'}
    assert content['settings'] == {'run.seeds': '0,1,2'}
    assert 'lists' not in content
    assert json.loads((tmp_path / 'lists.json').read_text()) == made.lists
