import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from training_scenes import labelled_scene

from concerto_ros.errors import SourceError
from training.protocol.instances.average_precision import (
    Matches,
    Overlaps,
    average_precision,
    match,
)
from training.protocol.instances.cluster import Proposals
from training.protocol.instances.scores import InstanceScores

NAMES = ('wall', 'chair', 'table', 'sofa')
OBJECTS = np.array([False, True, True, True])
SIZE = 200  # points of an object
# Two chairs, a table, a wall, and points without a label, in this order.
CHAIR, OTHER, TABLE, WALL, UNKNOWN = (slice(SIZE * i, SIZE * (i + 1)) for i in range(5))
NUM_POINTS = 5 * SIZE


def scene(segment=(1, 1, 2, 0, -1), instance=(4, 5, 4, 7, 9)):
    """Two chairs and a table, one of which has the number of a chair."""
    num_points = len(segment) * SIZE
    zeros = np.zeros((num_points, 3), np.float32)
    return labelled_scene(
        zeros, np.repeat(segment, SIZE), name='room', instance=np.repeat(instance, SIZE)
    )


def proposals(*found):
    """Return proposals from (slice or slices, class, score)."""
    mask = np.zeros((len(found), NUM_POINTS), dtype=bool)
    for row, (parts, _, _) in zip(mask, found, strict=True):
        for part in parts if isinstance(parts, tuple) else (parts,):
            row[part] = True
    return Proposals(
        mask=mask,
        label=np.array([label for _, label, _ in found], dtype=np.int64),
        score=np.array([score for _, _, score in found], dtype=float),
    )


def scored(*found, truth=None):
    scores = InstanceScores(NAMES, OBJECTS)
    scores.add(proposals(*found), torch.arange(NUM_POINTS), truth or scene())
    return scores.result()


PERFECT = ((CHAIR, 1, 0.9), (OTHER, 1, 0.8), (TABLE, 2, 0.7))


def test_all_objects_found_is_one():
    result = scored(*PERFECT)
    assert result.names == NAMES[1:]
    assert result.num_objects.tolist() == [2, 1, 0]
    for values in (result.ap, result.ap50, result.ap25):
        assert values[:2].tolist() == pytest.approx([1, 1])
        assert math.isnan(values[2])
    assert result.map == result.map50 == result.map25 == pytest.approx(1)


def test_an_object_that_is_missed_costs_its_recall():
    # The curve falls from (recall 0, precision 1) level to (1/2, 1) and ends there.
    assert scored(*PERFECT[1:]).ap50.tolist()[:2] == pytest.approx([0.5, 1])


def test_objects_without_any_proposal_are_zero():
    assert scored().ap50.tolist()[:2] == [0, 0]
    assert scored().map50 == 0


def test_a_duplicate_of_lower_score_costs_nothing_that_is_still_to_be_found():
    # hit .9, duplicate .85, hit .8: corners (1/2, 1), (1/2, 1/2), (1, 2/3).
    result = scored(*PERFECT, (CHAIR, 1, 0.85))
    assert result.ap50[0] == pytest.approx(0.5 + 0.5 * (1 / 2 + 2 / 3) / 2)


def test_a_duplicate_after_all_objects_were_found_costs_nothing():
    assert scored(*PERFECT, (CHAIR, 1, 0.1)).ap50[0] == pytest.approx(1)


def test_scores_that_are_equal_are_one_corner():
    # Three proposals at once: recall 1 with precision 2/3, straight from (0, 1).
    result = scored((CHAIR, 1, 0.5), (OTHER, 1, 0.5), (CHAIR, 1, 0.5), PERFECT[2])
    assert result.ap50[0] == pytest.approx((1 + 2 / 3) / 2)


def test_the_object_goes_to_the_higher_score_though_another_fits_better():
    half = slice(CHAIR.start, CHAIR.start + 120)  # IoU 0.6
    result = scored((half, 1, 0.9), (CHAIR, 1, 0.8), (OTHER, 1, 0.7))
    with_duplicate = 0.5 + 0.5 * (1 / 2 + 2 / 3) / 2
    assert result.ap50[0] == pytest.approx(with_duplicate)
    # From 0.6 on the whole chair is the hit: miss .9, hit .8, hit .7.
    strict = 0.5 * (0 + 1 / 2) / 2 + 0.5 * (1 / 2 + 2 / 3) / 2
    assert result.ap[0] == pytest.approx((2 * with_duplicate + 8 * strict) / 10)


def test_an_overlap_must_be_above_the_least():
    half = slice(CHAIR.start, CHAIR.start + SIZE // 2)
    result = scored((half, 1, 0.9), (OTHER, 1, 0.8))
    assert result.ap50[0] == pytest.approx(0.5 * (0 + 1 / 2) / 2)
    assert result.ap25[0] == pytest.approx(1)


def test_another_class_is_a_false_alarm():
    result = scored((CHAIR, 1, 0.9), (OTHER, 2, 0.8), (TABLE, 2, 0.7))
    assert result.ap50.tolist()[:2] == pytest.approx([0.5, 0.5 * (0 + 1 / 2)])


@pytest.mark.parametrize('void', [WALL, UNKNOWN])
def test_proposals_on_void_do_not_count(void):
    assert scored(*PERFECT, (void, 1, 0.95)).ap50[0] == pytest.approx(1)
    # Half on void counts at IoU 0.5 as a false alarm, and does not at 0.25.
    mixed = (slice(TABLE.start, TABLE.stop), void)
    result = scored(*PERFECT, (mixed, 1, 0.95))
    assert result.ap50[0] < 1
    assert result.ap25[0] == pytest.approx(1)


def test_points_of_objects_without_a_number_are_void():
    truth = scene(instance=(4, -1, 4, 7, 9))
    result = scored(*PERFECT, truth=truth)
    assert result.num_objects.tolist() == [1, 1, 0]
    assert result.ap50[0] == pytest.approx(1)


def test_small_objects_and_small_proposals_do_not_count():
    truth = scene()
    truth.instance[CHAIR.start : CHAIR.start + 99] = 88
    small = slice(CHAIR.start, CHAIR.start + 99)
    rest = slice(CHAIR.start + 99, CHAIR.stop)
    kept = ((rest, 1, 0.9), (OTHER, 1, 0.8), (TABLE, 2, 0.7))
    result = scored(*kept, truth=truth)
    assert result.num_objects[0] == 2
    assert result.ap50[0] == pytest.approx(1)
    around = (small, slice(UNKNOWN.start, UNKNOWN.start + 40))  # finds the small one
    assert scored(*kept, (around, 1, 0.99), truth=truth).ap50[0] == pytest.approx(1)
    in_small = slice(OTHER.start, OTHER.start + 99)  # would find the other chair at IoU 0.25
    assert scored(*kept, (in_small, 1, 0.99), truth=truth).ap25[0] == pytest.approx(1)
    alone = slice(TABLE.start, TABLE.start + 99)  # would be a false alarm
    assert scored(*kept, (alone, 1, 0.99), truth=truth).ap50[0] == pytest.approx(1)


def test_a_proposal_holds_for_all_raw_points_of_its_voxels():
    scores = InstanceScores(NAMES, OBJECTS)
    # Voxel 0 holds both chairs, 1 the table, 2 the rest.
    inverse = torch.arange(5).repeat_interleave(SIZE).apply_(lambda i: (0, 0, 1, 2, 2)[i])
    found = Proposals(
        mask=np.eye(3, dtype=bool)[:2], label=np.array([1, 2]), score=np.array([0.9, 0.9])
    )
    scores.add(found, inverse, scene())
    assert scores.result().ap50.tolist()[:2] == pytest.approx([0, 1])  # IoU of a chair is 1/2


def test_scenes_are_one_curve():
    scores = InstanceScores(NAMES, OBJECTS)
    whole = torch.arange(NUM_POINTS)
    scores.add(proposals(*PERFECT), whole, scene())
    scores.add(proposals((TABLE, 1, 0.85), (CHAIR, 1, 0.5), (OTHER, 1, 0.4)), whole, scene())
    # hit .9, false .85, hit .8, hit .5, hit .4 of 4 chairs.
    corners = [(0, 1), (1 / 4, 1), (1 / 4, 1 / 2), (2 / 4, 2 / 3), (3 / 4, 3 / 4), (1, 4 / 5)]
    area = sum((r1 - r0) * (p0 + p1) / 2 for (r0, p0), (r1, p1) in pairwise(corners))
    result = scores.result()
    assert result.ap50[0] == pytest.approx(area)
    assert result.ap50[1] == pytest.approx(0.5)
    assert result.map50 == pytest.approx((area + 0.5) / 2)


def test_a_class_without_objects_has_no_precision():
    result = scored(*PERFECT[1:])
    assert result.map50 == pytest.approx(0.75)
    chair = {'ap': 0.5, 'ap50': 0.5, 'ap25': 0.5, 'num_objects': 2}
    assert result.of_classes()['chair'] == pytest.approx(chair)
    nothing = {'ap': None, 'ap50': None, 'ap25': None, 'num_objects': 0}
    assert result.of_classes()['sofa'] == nothing


def test_a_scene_without_numbers_of_objects_is_refused():
    with pytest.raises(SourceError, match=r'room has no instance\.npy'):
        scored(truth=replace(scene(), instance=None))


def test_a_proposal_takes_the_object_it_fits_best():
    found = Overlaps(
        common=np.array([[100, 200], [100, 0]]),
        void=np.zeros(2, int),
        size=np.array([300, 100]),
        true_size=np.array([100, 200]),
        score=np.array([0.9, 0.8]),
    )
    assert match(found, 0.25).is_hit.tolist() == [True, True]


def test_a_proposal_on_small_objects_does_not_count():
    found = Overlaps(
        common=np.array([[60, 80, 80]]),  # finds none at 0.5, and most of it is on small ones
        void=np.zeros(1, int),
        size=np.array([220]),
        true_size=np.array([200, 99, 99]),
        score=np.array([0.9]),
    )
    assert match(found, 0.5).is_hit.tolist() == []
    assert match(found, 0.8).is_hit.tolist() == [False]  # no more than 0.8 of it is


def test_no_object_has_no_precision():
    assert math.isnan(average_precision([Matches(np.ones(1), np.zeros(1, bool), 0)]))
