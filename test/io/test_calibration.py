import numpy as np
import pytest

from concerto_ros.errors import CalibrationError
from concerto_ros.io.calibration import Calibration, camera_from_info, distortion_shift

K = (500.0, 0, 320, 0, 510, 240, 0, 0, 1)
P = (450.0, 0, 310, 0, 0, 460, 230, 0, 0, 0, 1, 0)
UNSET_P = (0.0,) * 12


def info(**changes) -> Calibration:
    return Calibration(**{'width': 640, 'height': 480, 'k': K, 'p': UNSET_P, **changes})


def test_projection_is_preferred_to_raw_intrinsics():
    camera = camera_from_info(info(p=P), 640, 480)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (450, 460, 310, 230)


@pytest.mark.parametrize('p', [UNSET_P, ()])
def test_raw_intrinsics_where_projection_is_unset(p):
    camera = camera_from_info(info(p=p), 640, 480)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (500, 510, 320, 240)


def test_camera_follows_the_size_of_the_image():
    camera = camera_from_info(info(), 320, 240)
    assert (camera.width, camera.height, camera.fx) == (320, 240, 250)
    assert camera.cx == pytest.approx((320 + 0.5) / 2 - 0.5)


def test_missing_size_is_that_of_the_image():
    camera = camera_from_info(info(width=0, height=0), 848, 480)
    assert (camera.width, camera.height, camera.fx) == (848, 480, 500)


def test_unusable_calibrations_are_refused():
    with pytest.raises(CalibrationError, match='uncalibrated'):
        camera_from_info(info(k=(0.0,) * 9), 640, 480)
    with pytest.raises(CalibrationError, match='848x480 but its camera_info says 640x480'):
        camera_from_info(info(), 848, 480)
    with pytest.raises(CalibrationError, match='finite'):
        camera_from_info(info(k=(np.nan, *K[1:])), 640, 480)


@pytest.mark.parametrize('d', [(), (0.0,) * 5, (0.0,) * 8])
def test_no_distortion_moves_nothing(d):
    assert distortion_shift(info(d=d)) == 0.0


def test_distortion_without_intrinsics_moves_nothing():
    assert distortion_shift(info(d=(0.1,), k=(0.0,) * 9)) == 0.0


def test_radial_distortion_at_the_corner():
    square = (500.0, 0, 320, 0, 500, 240, 0, 0, 1)
    r = np.hypot(320, 240) / 500
    shift = distortion_shift(info(k=square, d=(0.1, 0, 0, 0, 0)))
    assert shift == pytest.approx(0.1 * r**3 * 500, rel=1e-6)


def test_rational_terms_divide():
    square = (500.0, 0, 320, 0, 500, 240, 0, 0, 1)
    same = distortion_shift(info(k=square, d=(0.2, 0, 0, 0, 0, 0.2, 0, 0)))
    assert same == pytest.approx(0.0, abs=1e-9)


def test_equidistant_lens_without_terms_still_bends():
    square = (500.0, 0, 320, 0, 500, 240, 0, 0, 1)
    r = np.hypot(320, 240) / 500
    shift = distortion_shift(info(k=square, d=(1e-12, 0, 0, 0), distortion_model='equidistant'))
    assert shift == pytest.approx((r - np.arctan(r)) * 500, rel=1e-6)
