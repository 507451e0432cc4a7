import numpy as np

from concerto_ros.search.registry import ObjectRegistry, _new_name


def bounds(x, size=20):
    """Lowest and highest voxel of a cube around (x, 0, 25)."""
    low = np.array([x, 0, 25]) - size // 2
    return np.stack([low, low + size - 1])


def test_the_same_voxels_keep_their_id_under_another_name():
    registry = ObjectRegistry()
    (name,) = registry.identify([bounds(50)], ['Blue chair!'])
    assert name.startswith('blue_chair_')
    assert registry.identify([bounds(52)], ['armchair']) == [name]
    assert len(registry) == 1


def test_other_places_and_parts_are_other_objects():
    registry = ObjectRegistry()
    names = registry.identify([bounds(0), bounds(25), bounds(0, size=5)], ['chair'] * 3)
    assert len(set(names)) == 3


def test_ids_do_not_depend_on_when_an_object_was_found_first():
    one, other = ObjectRegistry(), ObjectRegistry()
    a, b = one.identify([bounds(0), bounds(50)], ['chair', 'chair'])
    assert other.identify([bounds(50)], ['chair']) == [b]
    assert other.identify([bounds(0)], ['chair']) == [a]


def test_an_id_is_given_once_per_answer():
    registry = ObjectRegistry()
    names = registry.identify([bounds(0), bounds(0)], ['cup', 'cup'])
    assert len(set(names)) == 2
    assert registry.identify([bounds(0), bounds(0)], ['cup', 'cup']) == names


def test_an_id_follows_an_object_that_grows():
    registry = ObjectRegistry()
    (name,) = registry.identify([bounds(0, size=16)], ['table'])
    for size in (18, 22, 28, 34, 40):
        assert registry.identify([bounds(0, size=size)], ['table']) == [name]


def test_an_id_follows_an_object_of_which_suddenly_all_is_seen():
    registry = ObjectRegistry()
    (name,) = registry.identify([bounds(0, size=10)], ['sofa'])
    assert registry.identify([bounds(0, size=40)], ['bookshelf']) != [name]  # that holds it
    assert registry.identify([bounds(4, size=20)], ['sofa']) == [name]


def test_flat_things_are_recognised_when_they_shift_by_a_voxel():
    flat, step = np.array([[0, 0, 0], [24, 14, 0]]), np.array([0, 0, 1])
    registry = ObjectRegistry()
    assert registry.identify([flat], ['poster']) == registry.identify([flat + step], ['poster'])


def test_a_text_without_letters_still_gives_an_id():
    (name,) = ObjectRegistry().identify([bounds(0)], ['?!'])
    assert name.startswith('object_')


def test_what_was_not_found_for_longest_is_forgotten():
    registry = ObjectRegistry(capacity=2)
    first, second = registry.identify([bounds(0), bounds(50)], ['chair', 'chair'])
    assert registry.identify([bounds(2)], ['chair']) == [first]  # and is the newest now
    registry.identify([bounds(100)], ['chair'])
    assert len(registry) == 2
    assert registry.identify([bounds(4)], ['chair']) == [first]
    assert registry.identify([bounds(52)], ['chair']) != [second]


def test_an_answer_larger_than_the_memory_has_an_id_for_every_object():
    registry = ObjectRegistry(capacity=2)
    assert len(set(registry.identify([bounds(0)] * 5, ['cup'] * 5))) == 5
    assert len(registry) == 2


def test_ids_get_longer_when_the_short_ones_are_taken():
    taken = {f'cup_{number:04x}' for number in range(2**16)}
    name = _new_name(bounds(0), 'cup', taken)
    assert name.startswith('cup_')
    assert len(name) == len('cup_') + 6
