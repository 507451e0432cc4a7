import numpy as np

from concerto_ros.search.registry import ObjectRegistry
from concerto_ros.structures import Box


def box(x, size=0.4, yaw=0.0):
    return Box(center=np.array([x, 0.0, 0.5]), size=np.full(3, size), yaw=yaw)


def test_the_same_box_keeps_its_id_under_another_name():
    registry = ObjectRegistry(0.02)
    (name,) = registry.identify([box(1)], ['Blue chair!'])
    assert name.startswith('blue_chair_')
    assert registry.identify([box(1.03)], ['armchair']) == [name]
    assert len(registry) == 1


def test_other_places_and_parts_are_other_objects():
    registry = ObjectRegistry(0.02)
    names = registry.identify([box(0), box(0.5), box(0, size=0.1)], ['chair'] * 3)
    assert len(set(names)) == 3


def test_ids_do_not_depend_on_when_an_object_was_found_first():
    one, other = ObjectRegistry(0.02), ObjectRegistry(0.02)
    a, b = one.identify([box(0), box(1)], ['chair', 'chair'])
    assert other.identify([box(1)], ['chair']) == [b]
    assert other.identify([box(0)], ['chair']) == [a]


def test_an_id_is_given_once_per_answer():
    registry = ObjectRegistry(0.02)
    names = registry.identify([box(0), box(0)], ['cup', 'cup'])
    assert len(set(names)) == 2
    assert registry.identify([box(0), box(0)], ['cup', 'cup']) == names


def test_an_id_follows_an_object_that_grows():
    registry = ObjectRegistry(0.02)
    (name,) = registry.identify([box(0, size=0.3)], ['table'])
    for size in (0.36, 0.44, 0.54, 0.66, 0.8):
        assert registry.identify([box(0, size=size)], ['table']) == [name]


def test_flat_things_are_recognised_when_they_shift_by_a_voxel():
    registry = ObjectRegistry(0.02)
    flat = np.array([0.5, 0.3, 0.02])
    first = Box(center=np.zeros(3), size=flat)
    second = Box(center=np.array([0, 0, 0.02]), size=flat)
    assert registry.identify([first], ['poster']) == registry.identify([second], ['poster'])


def test_a_text_without_letters_still_gives_an_id():
    (name,) = ObjectRegistry(0.02).identify([box(0)], ['?!'])
    assert name.startswith('object_')
