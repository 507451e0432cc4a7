import math

import numpy as np
import pytest
import tf_transformations as tft

HALF = math.sqrt(0.5)
YAW_90 = (0.0, 0.0, HALF, HALF)


def test_euler_angles_give_the_quaternion_of_the_real_package():
    quaternion = tft.quaternion_from_euler(0.1, 0.2, 0.3)
    assert quaternion == pytest.approx((0.0342708, 0.1060205, 0.1435722, 0.9833474), abs=1e-7)


@pytest.mark.parametrize('angles', [(0.0, 0.0, 0.0), (0.1, -0.2, 3.0), (-3.0, 1.5, 0.4)])
def test_euler_angles_survive_a_round_trip(angles):
    quaternion = tft.quaternion_from_euler(*angles)
    assert tft.euler_from_quaternion(quaternion) == pytest.approx(angles)


def test_looking_straight_up_still_gives_the_same_rotation():
    quaternion = tft.quaternion_from_euler(0.3, math.pi / 2, 0.0)
    again = tft.quaternion_from_euler(*tft.euler_from_quaternion(quaternion))
    np.testing.assert_allclose(
        tft.quaternion_matrix(again), tft.quaternion_matrix(quaternion), atol=1e-7
    )


def test_other_axes_are_refused():
    with pytest.raises(ValueError, match=r"knows the axes 'sxyz' only, got 'rzyx'"):
        tft.quaternion_from_euler(0, 0, 0, axes='rzyx')


def test_a_quarter_turn_about_z_takes_x_to_y():
    matrix = tft.quaternion_matrix([2 * number for number in YAW_90])  # any length will do
    np.testing.assert_allclose(matrix @ [1, 0, 0, 1], [0, 1, 0, 1], atol=1e-12)


@pytest.mark.parametrize(
    'quaternion', [(0, 0, 0, 1), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0.5, -0.5, 0.5, 0.5)]
)
def test_matrices_give_back_their_quaternion(quaternion):
    found = np.array(tft.quaternion_from_matrix(tft.quaternion_matrix(quaternion)))
    assert abs(found @ quaternion) == pytest.approx(1.0)
    assert found[3] >= 0


def test_multiplication_turns_by_the_second_factor_first():
    roll = tft.quaternion_from_euler(0.7, 0, 0)
    both = tft.quaternion_matrix(tft.quaternion_multiply(YAW_90, roll))
    expected = tft.quaternion_matrix(YAW_90) @ tft.quaternion_matrix(roll)
    np.testing.assert_allclose(both, expected, atol=1e-12)
    undone = tft.quaternion_multiply(tft.quaternion_inverse(roll), roll)
    np.testing.assert_allclose(undone, [0, 0, 0, 1], atol=1e-12)


@pytest.mark.parametrize('end', [YAW_90, tuple(-number for number in YAW_90)])
def test_slerp_turns_steadily_the_short_way(end):
    third = tft.quaternion_slerp((0, 0, 0, 1), end, 1 / 3)
    assert tft.euler_from_quaternion(third)[2] == pytest.approx(math.pi / 6)


def test_slerp_between_equals_stays():
    np.testing.assert_allclose(tft.quaternion_slerp(YAW_90, YAW_90, 0.4), YAW_90)


def test_matrices_join_and_undo():
    T_a_b = tft.concatenate_matrices(
        tft.translation_matrix((1, 2, 3)), tft.quaternion_matrix(YAW_90)
    )
    np.testing.assert_allclose(tft.translation_from_matrix(T_a_b), (1, 2, 3))
    np.testing.assert_allclose(
        tft.concatenate_matrices(T_a_b, tft.inverse_matrix(T_a_b)), np.identity(4), atol=1e-12
    )
    np.testing.assert_array_equal(tft.concatenate_matrices(), tft.identity_matrix())
