import pytest
import torch

from concerto_ros.errors import ConfigError
from training.evaluation.class_lists import ClassList
from training.protocol.config import KnnSection, ProtocolConfig, RegimesSection, SamplingSection
from training.protocol.feature_rows import RowParts
from training.protocol.level_set import make_level_set
from training.protocol.probe_training import ProbeTrainer
from training.protocol.regimes import Regimes
from training.protocol.rows import CachedRows, LabelledRows

LEVELS = [make_level_set('all', [0], [2], is_unit=False)]


def labelled(row):
    return LabelledRows(row=row, label=row % 2, scene=torch.zeros_like(row))


def test_a_bank_of_few_points_is_not_thinned():
    regimes = RegimesSection(points_per_scene='6')
    config = ProtocolConfig(probes='knn', regimes=regimes, knn=KnnSection(bank_per_class=2))
    trainer = ProbeTrainer(
        config=config, classes=ClassList('custom', ('a', 'b')), source=None, level_sets=LEVELS,
        scenes=[], regimes=Regimes(regimes, ['scene0'], 0), seed=0, device=torch.device('cpu'),
    )  # fmt: skip
    rows = CachedRows(
        feat=RowParts([torch.ones(10, 2).half()]),
        labelled={0: labelled(torch.arange(10)), 6: labelled(torch.arange(6))},
        offset=torch.zeros(10, 3),
        has_offset=torch.zeros(10, dtype=torch.bool),
    )
    whole, few = trainer.train(rows)
    assert (whole.num_rows, whole.num_left_out) == (2 * 2, 10 - 4)
    assert (few.num_rows, few.num_left_out) == (6, 0)


def test_objects_are_not_looked_for_in_raw_points():
    with pytest.raises(ConfigError, match='instances, which are sized in voxels: set sampling'):
        ProtocolConfig(probes='knn,instances', sampling=SamplingSection(query='point'))
