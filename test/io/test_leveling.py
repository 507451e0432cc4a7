import json

import numpy as np
import pytest

from concerto_ros.errors import ConfigError
from concerto_ros.geometry.transforms import from_quaternion
from concerto_ros.io.leveling import parse_leveling

TILT = from_quaternion((1, 2, 3), (0.5, 0.5, 0.5, 0.5))


def test_none_and_plain_auto_change_nothing():
    np.testing.assert_array_equal(parse_leveling('auto'), np.eye(4))
    np.testing.assert_array_equal(parse_leveling('none', TILT), np.eye(4))


def test_auto_is_what_the_recording_says():
    np.testing.assert_array_equal(parse_leveling('auto', TILT), TILT)


def test_direction_becomes_up():
    T = parse_leveling('0, -2, 0')
    np.testing.assert_allclose(T @ (0, -1, 0, 1), (0, 0, 1, 1), atol=1e-12)


def test_matrix_and_direction_from_a_file(tmp_path):
    file = tmp_path / 'c.json'
    file.write_text(json.dumps({'T': TILT.tolist(), 'up': [1, 0, 0]}))
    np.testing.assert_array_equal(parse_leveling(f'{file}:T'), TILT)
    np.testing.assert_allclose(
        parse_leveling(f'{file}:up') @ (1, 0, 0, 1), (0, 0, 1, 1), atol=1e-9
    )


@pytest.mark.parametrize('up', ['upwards', '', '1,2', '0,0,0', 'nan,0,1', '1,2,x'])
def test_malformed_options_are_refused(up):
    with pytest.raises(ConfigError, match="up must be 'auto', 'none', a direction"):
        parse_leveling(up)


def test_unusable_files_are_refused(tmp_path):
    file = tmp_path / 'c.json'
    with pytest.raises(ConfigError, match='cannot be read'):
        parse_leveling(f'{file}:T')
    file.write_text('{"T": [[2, 0], [0, 1]], "name": "x"}')
    with pytest.raises(ConfigError, match="names 'up', which is not a key"):
        parse_leveling(f'{file}:up')
    for key in ('T', 'name'):
        with pytest.raises(ConfigError, match='rigid 4x4'):
            parse_leveling(f'{file}:{key}')
    file.write_text('not json')
    with pytest.raises(ConfigError, match='cannot be read'):
        parse_leveling(f'{file}:T')
