import numpy as np
import pytest

from concerto_ros.errors import CalibrationError
from concerto_ros.geometry.camera import PinholeCamera


def camera(**changes):
    values = {'width': 4, 'height': 3, 'fx': 2.0, 'fy': 3.0, 'cx': 1.5, 'cy': 1.0}
    return PinholeCamera(**{**values, **changes})


def test_projecting_undoes_back_projecting():
    cam = camera()
    pixel, depth = cam.project(cam.rays().reshape(-1, 3) * 2)
    v, u = np.divmod(np.arange(12), 4)
    np.testing.assert_allclose(pixel, np.stack([u, v], axis=1), atol=1e-6)
    np.testing.assert_allclose(depth, 2)


def test_points_behind_have_negative_depth_and_finite_pixels():
    pixel, depth = camera().project(np.array([[0.0, 0.0, -1.0], [1.0, 1.0, 0.0]]))
    assert depth.tolist() == [-1, 0]
    assert np.isfinite(pixel).all()


def test_scaling_keeps_the_rays():
    big = camera().scaled(8, 6)
    pixel, _ = big.project(np.array([[0.0, 0.0, 1.0]]))
    # the middle of the image stays the middle: (1.5, 1) of 4 x 3 is (3.5, 2.5) of 8 x 6
    np.testing.assert_allclose(pixel, [[3.5, 2.5]])
    assert (big.fx, big.fy) == (4, 6)
    assert camera().scaled(4, 3) == camera()


def test_another_aspect_ratio_is_another_image():
    with pytest.raises(CalibrationError, match='image is 8x3 but its camera_info says 4x3'):
        camera().scaled(8, 3)


@pytest.mark.parametrize(
    ('changes', 'match'),
    [
        ({'fx': 0.0}, 'uncalibrated: fx = 0.0'),
        ({'width': 0}, 'size must be positive, got 0x3'),
        ({'cx': float('nan')}, 'must be finite'),
    ],
)
def test_unusable_calibrations_are_refused(changes, match):
    with pytest.raises(CalibrationError, match=match):
        camera(**changes)
