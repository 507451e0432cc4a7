import numpy as np
import pytest

from concerto_ros.geometry.pose_path import PosePath
from concerto_ros.geometry.transforms import from_quaternion

HALF = np.sqrt(0.5)


def path(stamps=(10, 20), translation=None, quaternion=None):
    n = len(stamps)
    if translation is None:
        translation = np.arange(n)[:, None] * [2.0, 0.0, 0.0]
    if quaternion is None:
        quaternion = [[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, HALF, HALF]][:n]
    return PosePath(
        stamps_ns=np.array(stamps, dtype=np.int64),
        translation=np.array(translation, dtype=np.float64).reshape(-1, 3),
        quaternion=np.array(quaternion, dtype=np.float64).reshape(-1, 4),
    )


def test_between_two_poses_it_is_interpolated():
    eighth = np.pi / 8
    expected = from_quaternion([1.0, 0.0, 0.0], [0.0, 0.0, np.sin(eighth), np.cos(eighth)])
    np.testing.assert_allclose(path().at(15), expected, atol=1e-12)


@pytest.mark.parametrize('stamp', [10, 20])
def test_at_its_own_stamps_it_is_exact(stamp):
    assert path().at(stamp)[0, 3] == (stamp - 10) / 5


@pytest.mark.parametrize('stamp', [9, 21])
def test_outside_of_its_stamps_it_says_nothing(stamp):
    assert path().at(stamp) is None


def test_stamps_of_this_century_keep_their_nanoseconds():
    start = 1_700_000_000_000_000_000
    assert path((start, start + 4)).at(start + 1)[0, 3] == pytest.approx(0.5)


def test_one_pose_holds_at_its_stamp():
    assert path((10,)).at(10) is not None
    assert path((10,)).at(11) is None


@pytest.mark.parametrize(
    ('wrong', 'said'),
    [
        ({'stamps': ()}, 'no poses'),
        ({'stamps': (20, 10)}, 'do not ascend'),
        ({'stamps': (10, 10)}, 'do not ascend'),
        ({'translation': [[0, 0, 0], [np.nan, 0, 0]]}, 'not finite'),
        ({'quaternion': [[0, 0, 0, 1], [0, 0, 0, 2]]}, 'length is not 1'),
        ({'translation': [[0, 0, 0]]}, 'for each of 2 stamps'),
    ],
)
def test_a_path_that_cannot_be_right_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        path(**wrong)
