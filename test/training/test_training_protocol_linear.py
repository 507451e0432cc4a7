import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy, linear

from concerto_ros.errors import ConcertoError, ConfigError
from training.protocol.config import LinearSection
from training.protocol.feature_rows import RowParts
from training.protocol.level_set import make_level_set
from training.protocol.linear import LinearTraining, _Batches, learning_rate, train_on_cache
from training.protocol.rows import CachedRows, LabelledRows

CPU = torch.device('cpu')
COARSE = make_level_set('1', [1], [2, 3], is_unit=False)
ALL = make_level_set('all', [0, 1], [2, 3], is_unit=False)
QUICK = LinearSection(epochs=30, warmup_epochs=2, batch_size=2, lr=0.1)


def rows_of(num_rows=120, num_scenes=4, seed=0):
    """Rows whose class is the largest of the three channels of level 1; level 0 is noise."""
    generator = torch.Generator().manual_seed(seed)
    feat = torch.randn(num_rows, 5, generator=generator).half()
    labelled = LabelledRows(
        row=torch.arange(num_rows),
        label=feat[:, 2:].argmax(1),
        scene=torch.arange(num_rows) * num_scenes // num_rows,
    )
    nothing = torch.zeros(num_rows, 3), torch.zeros(num_rows, dtype=torch.bool)
    rows = CachedRows(
        feat=RowParts(feat.split(50)),
        labelled={0: labelled},
        offset=nothing[0],
        has_offset=nothing[1],
    )
    return rows, labelled


def share_found(levels, config=QUICK, seed=0):
    rows, labelled = rows_of()
    classifier = train_on_cache(rows, labelled, levels, 3, config, seed, CPU)
    other, truth = rows_of(seed=1)
    found = classifier(levels.take(other.feat.take(truth.row)))
    return float((found == truth.label).float().mean())


def test_what_only_one_level_knows_is_read_from_it():
    noise = make_level_set('0', [0], [2, 3], is_unit=False)
    assert share_found(COARSE) > 0.9
    assert share_found(ALL) > 0.85
    assert share_found(noise) < 0.5


def test_a_set_of_levels_has_their_channels_side_by_side():
    feat = torch.arange(12.0).reshape(2, 6)
    levels = make_level_set('0,2', [0, 2], [1, 3, 2], is_unit=False)
    assert levels.num_channels == 3
    assert levels.take(feat).tolist() == [[0, 4, 5], [6, 10, 11]]
    by_level = levels.normalize(torch.tensor([[2.0, 3, 4]]), 'level')
    torch.testing.assert_close(by_level, torch.tensor([[1, 0.6, 0.8]]))
    unit = replace(levels, is_unit=True).take(feat)
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(2))


def test_the_learning_rate_rises_straight_and_falls_on_half_a_cosine():
    config = LinearSection(lr=1.0, epochs=10, warmup_epochs=2)
    rates = [learning_rate(step, 5, config) for step in range(50)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == 1
    assert rates[30] == pytest.approx(0.5)
    assert rates[-1] == pytest.approx((1 - math.cos(math.pi / 40)) / 2)


def test_the_same_seed_gives_the_same_map_bit_for_bit():
    rows, labelled = rows_of()
    maps = [train_on_cache(rows, labelled, ALL, 3, QUICK, seed, CPU) for seed in (0, 0, 1)]
    weights = [found._weight for found in maps]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_step_is_the_same_in_parts():
    feat, label = torch.randn(10, 4), torch.arange(10) % 3
    whole, parts = (LinearTraining(4, 3, QUICK, 1, 0, CPU) for _ in range(2))
    whole.add(feat, label)
    parts.add(feat[:3], label[:3])
    parts.add(feat[3:], label[3:])
    for training in (whole, parts):
        training.step()
    torch.testing.assert_close(whole.classifier()._weight, parts.classifier()._weight)


def test_unlabelled_rows_take_no_part():
    feat = torch.randn(10, 4)
    label = torch.tensor([0, 1, 2, 0, 1, -1, -1, -1, -1, -1])
    with_, without = (LinearTraining(4, 3, QUICK, 1, 0, CPU) for _ in range(2))
    with_.add(feat, label)
    without.add(feat[:5], label[:5])
    for training in (with_, without):
        training.step()
    torch.testing.assert_close(with_.classifier()._weight, without.classifier()._weight)


def test_steps_are_those_of_adamw_on_the_mean_loss():
    config = replace(QUICK, lr=0.3, weight_decay=0.5, beta1=0.4, beta2=0.6)
    training = LinearTraining(4, 3, config, 2, 0, CPU)
    first = training.classifier()
    weight, bias = (p.clone().requires_grad_() for p in (first._weight, first._bias))
    adamw = torch.optim.AdamW([weight, bias], betas=(0.4, 0.6), weight_decay=0.5)
    for step, count in enumerate((10, 2, 7)):
        feat, label = torch.randn(count, 4), torch.arange(count) % 3
        training.add(feat, label)
        training.step()
        adamw.param_groups[0]['lr'] = learning_rate(step, 2, config)
        adamw.zero_grad()
        cross_entropy(linear(feat, weight, bias), label).backward()
        adamw.step()
    torch.testing.assert_close(training.classifier()._weight, weight.detach())


def test_a_step_sees_some_scenes_each_thinned_to_the_most_points():
    scene = torch.tensor([0] * 9 + [4] * 3 + [7] * 8)
    batches = _Batches(scene, 2, 5, torch.Generator().manual_seed(0))
    passes = [list(batches) for _ in range(2)]
    assert len(batches) == len(passes[0]) == 2
    for steps in passes:
        rows = torch.cat(steps)
        assert len(rows.unique()) == len(rows)
        assert torch.bincount(scene[rows]).tolist() == [5, 0, 0, 0, 3, 0, 0, 5]
    assert sorted(torch.cat(passes[0]).tolist()) != sorted(torch.cat(passes[1]).tolist())


def test_standardised_channels_may_have_any_scale():
    rows, labelled = rows_of()
    config = replace(QUICK, standardize=True)
    feat = rows.feat.take(labelled.row)
    scaled = replace(rows, feat=RowParts([feat * torch.tensor([1, 1, 256, 256, 256]).half()]))
    plain, large = (train_on_cache(r, labelled, ALL, 3, config, 0, CPU) for r in (rows, scaled))
    query = feat.float()
    assert torch.equal(plain(query), large(query * torch.tensor([1, 1, 256, 256, 256])))


def test_without_bias_zeros_have_no_class_of_their_own():
    rows, labelled = rows_of()
    classifier = train_on_cache(rows, labelled, ALL, 3, replace(QUICK, bias=False), 0, CPU)
    assert classifier._bias.tolist() == [0, 0, 0]


def test_a_loss_that_is_not_finite_is_told():
    training = LinearTraining(2, 2, QUICK, 1, 0, CPU)
    training.add(torch.tensor([[float('inf'), 0]]), torch.tensor([0]))
    with pytest.raises(ConcertoError, match=r'not finite at step 1: lower linear\.lr'):
        training.step()


def test_scenes_without_labels_are_told():
    _, labelled = rows_of()
    assert labelled.of_scenes([1, 3]).scene.unique().tolist() == [1, 3]
    with pytest.raises(ConcertoError, match='no point of the training scenes has a label'):
        labelled.of_scenes([9])


def test_augmented_scenes_cannot_be_standardised():
    with pytest.raises(ConfigError, match=r'set linear\.features=cached'):
        LinearSection(standardize=True, features='augmented')
