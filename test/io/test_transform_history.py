import numpy as np
import pytest

from concerto_ros.errors import TransformUnavailable
from concerto_ros.geometry.transforms import from_quaternion, invert
from concerto_ros.io.transform_history import TransformHistory

UNTURNED = (0.0, 0.0, 0.0, 1.0)
QUARTER = (0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5))
EIGHTH = (0.0, 0.0, np.sin(np.pi / 8), np.cos(np.pi / 8))
SECOND = 1_000_000_000


@pytest.fixture
def history() -> TransformHistory:
    """map -> odom (2 s, 4 s), odom -> base (1 s, 3 s), base -> camera, base -> arm (static)."""
    history = TransformHistory()
    history.insert('map', 'odom', 2 * SECOND, (10, 0, 0), UNTURNED)
    history.insert('map', 'odom', 4 * SECOND, (12, 0, 0), UNTURNED)
    history.insert('odom', 'base', 1 * SECOND, (1, 0, 0), UNTURNED)
    history.insert('odom', 'base', 3 * SECOND, (3, 0, 0), QUARTER)
    history.insert('base', 'camera', 0, (0, 0, 0.5), UNTURNED, static=True)
    history.insert('base', 'arm', 0, (0, 0, 0.2), UNTURNED, static=True)
    return history


def test_between_samples_is_linear_and_slerp(history):
    T = history.lookup('odom', 'base', 2 * SECOND)
    np.testing.assert_allclose(T, from_quaternion((2, 0, 0), EIGHTH), atol=1e-12)


def test_at_samples_is_exact(history):
    T = history.lookup('odom', 'base', 3 * SECOND)
    np.testing.assert_allclose(T, from_quaternion((3, 0, 0), QUARTER), atol=1e-12)


def test_chains_go_up_and_down(history):
    T = history.lookup('map', 'camera', 2 * SECOND)
    np.testing.assert_allclose(T, from_quaternion((12, 0, 0.5), EIGHTH), atol=1e-12)
    np.testing.assert_allclose(history.lookup('camera', 'map', 2 * SECOND), invert(T), atol=1e-12)


def test_only_links_between_the_frames_must_be_known(history):
    np.testing.assert_allclose(
        history.lookup('arm', 'camera', 99 * SECOND)[:3, 3], (0, 0, 0.3), atol=1e-12
    )
    np.testing.assert_allclose(
        history.lookup('odom', 'camera', SECOND)[:3, 3], (1, 0, 0.5), atol=1e-12
    )


@pytest.mark.parametrize('stamp_ns', [1 * SECOND - 1, 3 * SECOND + 1])
def test_never_extrapolates(history, stamp_ns):
    with pytest.raises(
        TransformUnavailable,
        match=r"no transform from 'camera' to 'odom'.*'base' is placed only from 1.000 s to 3.000",
    ):
        history.lookup('odom', 'camera', stamp_ns)


def test_single_sample_holds_only_at_its_stamp(history):
    history.insert('map', 'door', 5 * SECOND, (0, 1, 0), UNTURNED)
    assert history.lookup('map', 'door', 5 * SECOND)[1, 3] == 1
    with pytest.raises(TransformUnavailable, match=r"'door' is placed only at 5.000 s"):
        history.lookup('map', 'door', 6 * SECOND)


def test_unknown_and_unconnected_frames_are_named(history):
    with pytest.raises(TransformUnavailable, match=r"'lidar' never occurs; frames are arm, base"):
        history.lookup('odom', 'lidar', SECOND)
    history.insert('world', 'tag', 0, (0, 0, 0), UNTURNED, static=True)
    with pytest.raises(TransformUnavailable, match=r"two trees, below 'world' and 'map'"):
        history.lookup('tag', 'camera', 2 * SECOND)
    with pytest.raises(TransformUnavailable, match='frames are none'):
        TransformHistory().lookup('map', 'odom', 0)


def test_equal_names_are_the_identity_even_if_unknown():
    np.testing.assert_array_equal(TransformHistory().lookup('x', 'x', 7), np.eye(4))


def test_loop_ends():
    history = TransformHistory()
    history.insert('a', 'b', 0, (0, 0, 0), UNTURNED, static=True)
    history.insert('b', 'a', 0, (0, 0, 0), UNTURNED, static=True)
    history.insert('map', 'c', 0, (0, 0, 0), UNTURNED, static=True)
    with pytest.raises(TransformUnavailable, match='form a loop'):
        history.lookup('c', 'a', 0)
    assert history.root('a') == 'b'


def test_latest_is_at_the_newest_common_stamp(history):
    # odom -> base ends at 3 s, where map -> odom is at 11 m
    np.testing.assert_allclose(history.latest('map', 'camera')[:3, 3], (14, 0, 0.5), atol=1e-12)
    assert history.latest('map', 'odom')[0, 3] == 12
    np.testing.assert_allclose(history.latest('arm', 'camera')[:3, 3], (0, 0, 0.3), atol=1e-12)
    with pytest.raises(TransformUnavailable, match="'moon' never occurs"):
        history.latest('moon', 'camera')


def test_samples_may_come_late_and_twice():
    history = TransformHistory()
    for stamp, x in ((3, 3.0), (1, 1.0), (2, 9.0), (2, 2.0)):
        assert history.insert('map', 'base', stamp * SECOND, (x, 0, 0), UNTURNED)
    assert history.lookup('map', 'base', 2 * SECOND)[0, 3] == 2.0
    assert history.lookup('map', 'base', round(1.5 * SECOND))[0, 3] == pytest.approx(1.5)
    assert history.lookup('map', 'base', round(2.5 * SECOND))[0, 3] == pytest.approx(2.5)


def test_first_sample_decides_what_is_static_and_a_new_one_replaces():
    history = TransformHistory()
    history.insert('base', 'camera', 5 * SECOND, (1, 0, 0), UNTURNED, static=True)
    history.insert('base', 'camera', 3 * SECOND, (2, 0, 0), UNTURNED)
    assert history.lookup('base', 'camera', 99 * SECOND)[0, 3] == 2


def test_between_two_parents_the_older_sample_holds():
    history = TransformHistory()
    history.insert('table', 'cup', 1 * SECOND, (1, 0, 0), UNTURNED)
    history.insert('hand', 'cup', 3 * SECOND, (0, 0, 0), UNTURNED)
    assert history.lookup('table', 'cup', 2 * SECOND)[0, 3] == 1
    assert history.lookup('hand', 'cup', 3 * SECOND)[0, 3] == 0


@pytest.mark.parametrize(
    ('parent', 'child', 'xyz', 'q'),
    [
        ('a', 'a', (0, 0, 0), UNTURNED),
        ('', 'b', (0, 0, 0), UNTURNED),
        ('a', '/', (0, 0, 0), UNTURNED),
        ('a', 'b', (np.nan, 0, 0), UNTURNED),
        ('a', 'b', (0, 0, 0), (0, 0, 0, 0)),
        ('a', 'b', (0, 0, 0), (0, 0, 0, 1.01)),
    ],
)
def test_malformed_samples_are_not_taken(parent, child, xyz, q):
    history = TransformHistory()
    assert not history.insert(parent, child, 0, xyz, q)
    assert history.frame_names() == []


def test_leading_slashes_are_ignored(history):
    assert history.insert('/base', '/lamp', 0, (1, 0, 0), UNTURNED, static=True)
    assert history.lookup('base', 'lamp', 0)[0, 3] == 1


def test_questions_about_the_tree(history):
    history.insert('world', 'tag', 0, (0, 0, 0), UNTURNED, static=True)
    assert history.has_frame('map')
    assert not history.has_frame('/map')
    assert history.connects('map', 'camera')
    assert not history.connects('world', 'camera')
    assert history.root('camera') == 'map'
    assert history.moves('map', 'camera')
    assert not history.moves('base', 'camera')
