import numpy as np
import pytest

from concerto_ros.errors import CalibrationError
from concerto_ros.io.calibration import (
    Calibration,
    camera_from_info,
    distortion_shift,
    stereo_warning,
)

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


def numbers(camera):
    return camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy


@pytest.mark.parametrize('p', [UNSET_P, (500.0, 0, 320, 0, 0, 510, 240, 0, 0, 0, 1, 0)])
def test_a_region_of_interest_moves_the_principal_point(p):
    found = camera_from_info(info(p=p, roi=(100, 60, 400, 300)), 400, 300)
    assert numbers(found) == (400, 300, 500, 510, 220, 180)


@pytest.mark.parametrize('roi', [(0, 0, 0, 0), (0, 0, 640, 480)])
def test_a_region_of_nothing_or_everything_is_the_whole_image(roi):
    found = camera_from_info(info(roi=roi, binning=(0, 0)), 640, 480)
    assert numbers(found) == (640, 480, 500, 510, 320, 240)


def test_binned_pixels_lie_in_the_middle_of_those_they_are_made_of():
    found = camera_from_info(info(binning=(2, 2)), 320, 240)
    assert numbers(found) == (320, 240, 250, 255, 159.75, 119.75)
    assert found == camera_from_info(info(), 320, 240)
    found = camera_from_info(info(binning=(4, 1)), 160, 480)
    assert numbers(found) == (160, 480, 125, 510, (320 - 1.5) / 4, 240)


def test_a_region_is_cut_out_before_it_is_binned():
    found = camera_from_info(info(roi=(100, 60, 400, 300), binning=(2, 2)), 200, 150)
    assert numbers(found) == (200, 150, 250, 255, (220 - 0.5) / 2, (180 - 0.5) / 2)


def test_a_region_of_another_shape_than_the_image_is_refused():
    with pytest.raises(CalibrationError, match='image is 640x480 but its camera_info says 400x40'):
        camera_from_info(info(roi=(0, 0, 400, 40)), 640, 480)


def test_the_second_camera_of_a_stereo_pair_is_told():
    right = (450.0, 0, 310, -54.0, 0, 460, 230, 0, 0, 0, 1, 0)
    assert 'Tx = -54' in stereo_warning(info(p=right))
    assert 'off by 0.120 m' in stereo_warning(info(p=right))
    assert stereo_warning(info(p=P)) == stereo_warning(info()) == stereo_warning(info(p=())) == ''


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
