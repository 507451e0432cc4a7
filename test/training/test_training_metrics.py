import numpy as np
import pytest
import torch

from concerto_ros.errors import ConfigError
from training.evaluation.class_lists import CLASS_LISTS, class_list
from training.evaluation.lovasz import lovasz_softmax, segmentation_loss
from training.evaluation.metrics import ConfusionMatrix


def scores_of(truth, predicted, num_classes=3):
    matrix = ConfusionMatrix(num_classes)
    matrix.add(np.array(truth, dtype=np.int64), np.array(predicted, dtype=np.int64))
    return matrix.scores()


def test_scores_are_those_counted_by_hand():
    scores = scores_of([0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 2])
    np.testing.assert_allclose(scores.iou, [3 / 4, 1 / 3, 0])
    np.testing.assert_allclose(scores.accuracy, [3 / 4, 1 / 2, 0])
    assert scores.allacc == pytest.approx(4 / 6)
    assert scores.num_points.tolist() == [4, 2, 0]


def test_absent_classes_count_in_the_published_mean_only():
    scores = scores_of([0, 0, 1, 1], [0, 0, 1, 0])
    assert scores.miou == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert scores.miou_of_present == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert scores.macc == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert scores.macc_of_present == pytest.approx(3 / 4)


def test_scenes_are_summed_before_dividing():
    matrix = ConfusionMatrix(2)
    matrix.add(np.array([0]), np.array([0]))
    matrix.add(np.array([0, 0, 0]), np.array([1, 1, 1]))
    assert matrix.scores().iou.tolist() == [1 / 4, 0]


def test_ignored_points_do_not_count():
    with_ignored = scores_of([0, -1, 1, -1], [0, 0, 1, 2])
    without = scores_of([0, 1], [0, 1])
    assert with_ignored.iou.tolist() == without.iou.tolist()
    assert with_ignored.allacc == 1


@pytest.mark.parametrize('truth', [[], [-1, -1]])
def test_nothing_known_scores_zero(truth):
    scores = scores_of(truth, [0] * len(truth))
    assert (scores.miou, scores.miou_of_present, scores.allacc) == (0, 0, 0)


def test_class_lists_have_the_published_places():
    scannet20, scannet200 = class_list('scannet20').names, class_list('scannet200').names
    assert [len(names) for names in CLASS_LISTS.values()] == [20, 200, 13, 55]
    assert all(len(set(names)) == len(names) for names in CLASS_LISTS.values())
    assert scannet20.index('shower curtain') == 15
    assert [scannet200[i] for i in (0, 9, 199)] == ['wall', 'office chair', 'mattress']
    assert class_list('s3dis13').names[-1] == 'clutter'


def test_a_vocabulary_may_be_given_by_names():
    assert class_list('wall, coffee  table') == ('custom', ('wall', 'coffee table'))


@pytest.mark.parametrize('vocabulary', ['', 'scannet', 'wall, wall', 'wall,'])
def test_other_vocabularies_are_refused(vocabulary):
    with pytest.raises(ConfigError, match='must be one of scannet20, scannet200, s3dis13'):
        class_list(vocabulary)


def test_lovasz_of_hard_predictions_is_one_minus_iou():
    label = torch.tensor([0, 0, 0, 1, 1, 2])
    predicted = torch.tensor([0, 0, 1, 1, 2, 2])
    probability = torch.nn.functional.one_hot(predicted, 4).float()
    iou = torch.tensor([2 / 3, 1 / 3, 1 / 2])  # the fourth class does not occur
    torch.testing.assert_close(lovasz_softmax(probability, label), (1 - iou).mean())


def test_lovasz_of_one_soft_prediction():
    # errors of the only class: 0.4 (a hit) and 0.1; the first costs 1/2, the second the rest
    probability = torch.tensor([[0.6, 0.4], [0.9, 0.1]])
    loss = lovasz_softmax(probability, torch.tensor([0, 0]))
    torch.testing.assert_close(loss, torch.tensor(0.4 / 2 + 0.1 / 2))


def test_ignored_rows_have_no_gradient():
    logits = torch.randn(5, 3, requires_grad=True)
    segmentation_loss(logits, torch.tensor([0, -1, 2, 1, -1])).backward()
    assert (logits.grad.abs().sum(1) > 0).tolist() == [True, False, True, True, False]


def test_without_labels_the_loss_is_zero_and_can_be_differentiated():
    logits = torch.randn(5, 3, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((5,), -1))
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()
