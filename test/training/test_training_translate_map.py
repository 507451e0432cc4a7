"""The linear map, what it is trained for, and the calibration of its cosines."""

import pytest
import torch
from torch.nn.functional import normalize

from training.evaluation.config import HeadOptimizerSection
from training.translation.calibration import calibration_error, fit_scale
from training.translation.config import TranslatorSection
from training.translation.linear_map import FollowImages, NameClasses, train_map

QUICK = TranslatorSection(num_steps=60, batch_size=64)
CPU = torch.device('cpu')
SPACE = torch.eye(6)
TEXTS = (SPACE[[0, 1]], SPACE[[2]], SPACE[[3, 4]])  # of three classes; nothing is ever said of 5


@pytest.fixture
def rows():
    """Return features of three classes, of very different spread, and their labels."""
    label = torch.arange(3).repeat(40)
    feat = torch.eye(4)[label] * torch.tensor([100.0, 1.0, 0.01, 1.0]) + 7
    return (feat + 0.001 * torch.randn(len(label), 4)).half().float(), label


def trained(feat, objective, seed=0):
    optimizer = HeadOptimizerSection(lr=0.05)
    return train_map(feat, objective, QUICK, optimizer, seed, CPU)


def translate(linear, feat):
    return normalize(feat @ linear.weight.t() + linear.bias, dim=1)


def test_every_text_of_a_class_wins_against_those_of_others(rows):
    feat, label = rows
    objective = NameClasses(TEXTS, label)
    before = objective.logit_scale
    cosine = translate(trained(feat, objective), feat) @ SPACE.t()
    own, others = cosine[label == 0][:, [0, 1]], cosine[label == 0][:, [2, 3, 4]]
    assert own.amin() > others.amax() + 0.3
    assert (cosine[label == 1].argmax(1) == 2).all()
    assert objective.logit_scale != before


def test_the_map_stays_in_what_the_texts_span(rows):
    feat, label = rows
    linear = trained(feat, NameClasses(TEXTS, label))
    assert translate(linear, feat)[:, 5].abs().max() == 0


def test_the_same_seed_gives_the_same_map_bit_for_bit(rows):
    feat, label = rows
    first, again, other = (trained(feat, NameClasses(TEXTS, label), seed) for seed in (0, 0, 1))
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)


def test_points_get_the_direction_of_what_images_show(rows):
    feat, label = rows
    target = normalize(SPACE[label] + 0.3 * SPACE[5], dim=1)
    cosine = (translate(trained(feat, FollowImages(target.half())), feat) * target).sum(1)
    assert cosine.mean() > 0.99
    assert cosine.min() > 0.9


def test_calibration_error_is_what_probability_promises_too_much():
    logits = torch.tensor([[0.0, 2.0]]).repeat(10, 1)  # 0.88 for the second, every time
    label = torch.tensor([1] * 6 + [0] * 4)
    expected = torch.tensor(2.0).sigmoid().item() - 0.6
    assert calibration_error(logits, label) == pytest.approx(expected, abs=1e-6)
    assert calibration_error(torch.tensor([[0.0, 99.0]]), torch.tensor([1])) == pytest.approx(0)


def test_errors_of_different_probabilities_do_not_cancel():
    logits = torch.tensor([[0.0, 0.1], [0.0, 9.0]])  # half sure and right, quite sure and wrong
    assert calibration_error(logits, torch.tensor([1, 0])) > 0.7


def test_the_fitted_scale_makes_probabilities_true():
    generator = torch.Generator().manual_seed(0)
    cosine = torch.rand(4000, 3, generator=generator) * 0.2
    label = torch.multinomial((25 * cosine).softmax(1), 1, generator=generator)[:, 0]
    scale = fit_scale(cosine, label)
    assert scale == pytest.approx(25, rel=0.2)
    assert calibration_error(scale * cosine, label) < 0.03
    assert calibration_error(5 * scale * cosine, label) > 0.2
