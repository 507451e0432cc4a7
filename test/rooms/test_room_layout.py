import math
from collections import Counter
from functools import cache

import numpy as np
import pytest

from concerto_ros.rooms.classes import SCANNET20
from concerto_ros.rooms.footprints import Footprint
from concerto_ros.rooms.kinds import KINDS
from concerto_ros.rooms.room import SyntheticRoom
from concerto_ros.rooms.sketch import FAMILIES
from concerto_ros.rooms.textures import COLORS
from concerto_ros.rooms.walking import WalkingGrid, flood

SHELL = ('wall', 'floor', 'ceiling')


@cache
def rooms(families):
    """Sixty rooms, ten of each kind; nothing is rendered."""
    kinds = tuple(KINDS)
    return tuple(SyntheticRoom(seed, kinds[seed % len(kinds)], families) for seed in range(60))


def box(x=0.0, y=0.0, size=(1.0, 1.0), yaw=0.0, z=(0.0, 1.0)):
    return Footprint(
        x=x, y=y, half_x=size[0] / 2, half_y=size[1] / 2, yaw=yaw, low=z[0], high=z[1]
    )


def test_boxes_overlap_only_if_they_share_more_than_contact():
    assert box().overlaps(box(x=0.9))
    assert not box().overlaps(box(x=1.0))
    assert not box().overlaps(box(z=(0.99, 2.0)))
    assert box().overlaps(box(z=(0.9, 2.0)))
    # a square turned by 45 degrees reaches 0.707 to its sides
    assert box().overlaps(box(x=1.2, yaw=math.pi / 4))
    assert not box().overlaps(box(x=1.22, yaw=math.pi / 4))


def test_distance_to_a_turned_box():
    turned = box(size=(2.0, 1.0), yaw=math.pi / 2)
    points = np.array([[0.0, 0.9], [1.0, 0.0], [0.8, 1.4]])
    np.testing.assert_allclose(turned.distance(points), [0.0, 0.5, 0.5], atol=1e-12)


def test_flood_stops_at_obstacles():
    grid = WalkingGrid(2.0, 1.0)
    grid.add(box(size=(0.3, 1.0)))
    left = flood(grid.distance > 0.1, grid.cell(np.array([-0.9 + 0.3, 0.0])))
    assert left[:8].any()
    assert not left[10:].any()
    assert not flood(grid.distance > 0.1, grid.cell(np.zeros(2))).any()
    np.testing.assert_allclose(grid.clearance(np.array([[0.5, 0.0]])), [0.35])


@pytest.mark.parametrize('families', ['all', 'train', 'test'])
def test_all_classes_of_scannet_and_most_of_ours_occur(families):
    found = {instance.class_name for room in rooms(families) for instance in room.instances}
    assert len(found) >= 45
    scannet = {instance.scannet20 for room in rooms(families) for instance in room.instances}
    assert set(SCANNET20) <= scannet


def test_unseen_families_are_disjoint():
    used = {
        split: {
            (instance.class_name, instance.family)
            for room in rooms(split)
            for instance in room.instances
            if instance.class_name not in SHELL
        }
        for split in ('train', 'test', 'all')
    }
    held_out = {(e.class_name, e.name) for es in FAMILIES.values() for e in es if e.held_out}
    assert not used['train'] & held_out
    assert used['test'] <= held_out
    assert used['all'] & held_out
    assert used['all'] - held_out


def test_color_tells_nothing_about_the_class():
    pairs = Counter(
        (instance.class_name, instance.color_name)
        for split in ('train', 'test')
        for room in rooms(split)
        for instance in room.instances
        if instance.class_name != 'wall'  # the walls of one room share their paint
    )
    classes = Counter()
    for (name, _), count in pairs.items():
        classes[name] += count
    frequent = [name for name, count in classes.items() if count >= 40]
    assert len(frequent) >= 15
    chi_square = 0.0
    for name in frequent:
        for color, (_, share) in COLORS.items():
            expected = classes[name] * share
            chi_square += (pairs[name, color] - expected) ** 2 / expected
    freedom = len(frequent) * (len(COLORS) - 1)
    # mean and standard deviation of chi-square are f and sqrt(2 f)
    assert abs(chi_square - freedom) < 4 * math.sqrt(2 * freedom)


def test_pattern_tells_nothing_about_the_class():
    plain = Counter()
    total = Counter()
    for room in rooms('all'):
        for placed in room.layout.objects:
            material = placed.parts[0].material
            total[placed.model.class_name] += 1
            plain[placed.model.class_name] += material.pattern == 'plain'
    for name in total:
        if total[name] >= 40 and name != 'wall':
            assert abs(plain[name] / total[name] - 0.34) < 4 * math.sqrt(0.25 / total[name]), name


def test_objects_do_not_interpenetrate():
    checked = 0
    for room in rooms('all'):
        objects = [o for o in room.layout.objects if o.model.class_name not in SHELL]
        for i, a in enumerate(objects):
            for b in objects[:i]:
                if not (a.model.supports or b.model.supports):
                    assert not a.footprint.overlaps(b.footprint), (a.model, b.model)
                    checked += 1
    assert checked > 5000


def test_objects_stand_on_the_floor_or_on_a_support_and_inside_the_room():
    for room in rooms('all'):
        half = np.array(room.size[:2]) / 2
        heights = {0.0} | {
            round(float(o.position[2]) + s.z, 6) for o in room.layout.objects
            for s in o.model.supports
        }  # fmt: skip
        for placed in room.layout.objects:
            if placed.model.mount in ('floor', 'top') and placed.model.class_name != 'ceiling':
                assert round(float(placed.position[2]), 6) in heights
            if placed.model.class_name not in (*SHELL, 'door', 'window'):
                assert (np.abs(placed.footprint.corners()) <= half + 1e-6).all()


def test_floor_before_the_door_is_free_and_one_can_walk_away_from_it():
    for room in rooms('all'):
        grid = room.layout.grid
        reached = flood(grid.distance > 0.27, grid.cell(room.layout.entrance))
        assert reached.sum() * 0.01 >= 0.5


def test_same_seed_gives_the_same_room_and_another_seed_another():
    a, b, c = SyntheticRoom(5), SyntheticRoom(5), SyntheticRoom(6)
    assert a.kind == b.kind
    assert [o.model.family for o in a.layout.objects] == [o.model.family for o in b.layout.objects]
    for mine, other in zip(a.instances, b.instances, strict=True):
        np.testing.assert_array_equal(mine.box.center, other.box.center)
        assert mine.color_name == other.color_name
    assert a.size != c.size


def test_drawn_kind_gives_the_same_room_as_that_kind_asked_for():
    drawn = SyntheticRoom(11)
    assert SyntheticRoom(11, drawn.kind).size == drawn.size
    assert {SyntheticRoom(seed).kind for seed in range(40)} == set(KINDS)
