import pytest
import torch

from training.protocol.config import KnnSection
from training.protocol.feature_rows import RowParts
from training.protocol.knn import KnnClassifier, thin_classes
from training.protocol.level_set import make_level_set
from training.protocol.rows import CachedRows, LabelledRows

CPU = torch.device('cpu')
BOTH = make_level_set('all', [0, 1], [2, 2], is_unit=False)
# Level 0 is a direction of length 10, level 1 one of length 1.
BANK = [[10, 0, 0, 1], [0, 10, 1, 0], [8, 6, 1, 0]]
LABELS = [0, 1, 2]


def found(query, levels=BOTH, device=CPU, labels=LABELS, **changes):
    feat = torch.tensor(BANK).half()
    count = len(labels)
    labelled = LabelledRows(
        row=torch.arange(count), label=torch.tensor(labels), scene=torch.zeros(count).long()
    )
    rows = CachedRows(
        feat=RowParts([feat]), labelled={0: labelled}, offset=torch.zeros(3, 3),
        has_offset=feat[:, 0] < 0,
    )  # fmt: skip
    classifier = KnnClassifier(rows, labelled, levels, 3, KnnSection(**changes), 0, device)
    return classifier(torch.tensor(query, dtype=torch.float32, device=device)).tolist()


@pytest.mark.parametrize(('normalization', 'nearest'), [
    ('whole', 2),  # the long level decides
    ('none', 2),
    ('level', 0),  # both count alike: 0.894 + 0.9 against 0.98 + 0.43
    ('both', 0),
])  # fmt: skip
def test_how_levels_are_normalised_decides_who_is_near(normalization, nearest):
    query = [[10 * 0.894, 10 * 0.447, 0.436, 0.9]]
    assert found(query, normalization=normalization) == [nearest]


def test_only_the_levels_of_the_set_are_compared():
    fine = make_level_set('0', [0], [2, 2], is_unit=False)
    coarse = make_level_set('1', [1], [2, 2], is_unit=False)
    assert found([[0, 1]], fine) == [1]
    assert found([[0, 1]], coarse) == [0]


def test_more_neighbours_vote_by_similarity():
    fine = make_level_set('0', [0], [2, 2], is_unit=False)
    query = [[0.99, 0.141]]  # nearest to the first, but two others agree
    assert found(query, fine, k=1, labels=[0, 1, 1]) == [0]
    assert found(query, fine, k=3, labels=[0, 1, 1], temperature=10.0) == [1]
    assert found(query, fine, k=3, labels=[0, 1, 1], temperature=0.05) == [0]  # 0.99 against 0.88


def test_a_class_is_thinned_to_its_share_of_the_bank():
    label = torch.tensor([0] * 10 + [1] * 3 + [0] * 10)
    rows = thin_classes(label, 4, torch.Generator().manual_seed(0))
    again = thin_classes(label, 4, torch.Generator().manual_seed(0))
    assert torch.bincount(label[rows]).tolist() == [4, 3]
    assert rows.tolist() == again.tolist() == sorted(rows.tolist())
    assert len(thin_classes(label, 0, torch.Generator())) == len(label)


def test_the_size_of_the_bank_is_told():
    rows = CachedRows(
        feat=RowParts([torch.ones(6, 4).half()]), labelled={}, offset=torch.zeros(6, 3),
        has_offset=torch.zeros(6, dtype=torch.bool),
    )  # fmt: skip
    labelled = LabelledRows(
        row=torch.arange(6), label=torch.tensor([0, 0, 0, 1, 1, 2]), scene=torch.zeros(6).long()
    )
    config = KnnSection(bank_per_class=2)
    assert KnnClassifier(rows, labelled, BOTH, 3, config, 0, CPU).bank_size == 5


@pytest.mark.gpu
def test_a_gpu_finds_what_the_cpu_finds():
    if not torch.cuda.is_available():
        pytest.skip('no CUDA device')
    query = [[10 * 0.894, 10 * 0.447, 0.436, 0.9], [0, 10, 1, 0]]
    assert found(query, device=torch.device('cuda')) == found(query)
