import pytest
import torch

from concerto_ros.errors import CheckpointError
from concerto_ros.semantics import SCANNET20, ClassHead


def head(**changes):
    values = {
        'weight': torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]),
        'bias': torch.tensor([0.0, 0.0, 0.5]),
        'names': ('cup', 'pen', 'box'),
        'vocabulary': 'desk',
    }
    return ClassHead(**{**values, **changes})


def test_label_is_the_most_probable_class_plus_one(dense_features):
    label, confidence = head().predict(dense_features([[3.0, 0.0], [0.0, 4.0], [-5.0, -5.0]]))
    assert label.tolist() == [1, 2, 3]
    assert label.dtype == torch.uint16
    assert confidence.dtype == torch.float32
    # softmax of (3, 0, -2.5) at its largest
    assert confidence[0].item() == pytest.approx(0.949, abs=1e-3)


def test_no_points_have_no_labels(dense_features):
    label, confidence = head().predict(dense_features(torch.zeros(0, 2)))
    assert label.shape == confidence.shape == (0,)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_saved_head_comes_back(tmp_path, suffix):
    head().save(tmp_path / f'head{suffix}')
    loaded = ClassHead.load(tmp_path / f'head{suffix}')
    assert torch.equal(loaded.weight, head().weight)
    assert torch.equal(loaded.bias, head().bias)
    assert loaded.names == ('cup', 'pen', 'box')
    assert loaded.vocabulary == 'desk'
    assert loaded.labels.names == ('unknown', 'cup', 'pen', 'box')


@pytest.mark.parametrize(
    ('num_classes', 'names', 'vocabulary'),
    [
        (20, SCANNET20.names[1:], 'scannet20'),
        (2, ('class 0', 'class 1'), 'unnamed'),
    ],
)
def test_published_probe_loads(tmp_path, num_classes, names, vocabulary):
    state = {
        'seg_head.weight': torch.zeros(num_classes, 8),
        'seg_head.bias': torch.zeros(num_classes),
    }
    config = {'backbone_out_channels': 8, 'num_classes': num_classes}
    torch.save({'config': config, 'state_dict': state}, tmp_path / 'probe.pth')
    loaded = ClassHead.load(tmp_path / 'probe.pth')
    assert loaded.names == names
    assert loaded.vocabulary == vocabulary
    assert loaded.labels.names[0] == 'unknown'


def test_scannet_probe_has_scannet_colors():
    probe = head(
        weight=torch.zeros(20, 8),
        bias=torch.zeros(20),
        names=SCANNET20.names[1:],
        vocabulary='scannet20',
    )
    assert probe.labels is SCANNET20


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'weight': torch.zeros(2, 2)}, r'3 names needs weight \(3, C\) .* got \(2, 2\)'),
        ({'bias': torch.zeros(4)}, r'bias \(3,\), got .* \(4,\)'),
        ({'weight': torch.full((3, 2), float('nan'))}, 'not finite'),
    ],
)
def test_weights_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(CheckpointError, match=message):
        head(**changes)


@pytest.mark.parametrize(
    ('config', 'state', 'message'),
    [
        ({}, {'weight': torch.zeros(1)}, r'holds seg_head.weight and seg_head.bias, found'),
        (
            {'names': ['one']},
            {'seg_head.weight': torch.zeros(2, 2), 'seg_head.bias': torch.zeros(2)},
            'a head of 1 names',
        ),
        (
            {'names': None},
            {'seg_head.weight': torch.zeros(2, 2), 'seg_head.bias': torch.zeros(2)},
            'not iterable',
        ),
    ],
)
def test_files_that_are_no_heads_are_refused(tmp_path, config, state, message):
    torch.save({'config': config, 'state_dict': state}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'a\.pth: .*' + message):
        ClassHead.load(tmp_path / 'a.pth')


def test_missing_and_damaged_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match='there is no such file'):
        ClassHead.load(tmp_path / 'absent.pth')
    (tmp_path / 'a.pth').write_bytes(b'PK\x03\x04 and no more')
    with pytest.raises(CheckpointError, match='cannot be read'):
        ClassHead.load(tmp_path / 'a.pth')
