"""Turn the world of a recording so that up is +z."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from concerto_ros.errors import ConfigError
from concerto_ros.geometry.transforms import is_rigid, level

Matrix = NDArray[np.float64]

_SYNTAX = "'auto', 'none', a direction 'x,y,z', or 'FILE.json:KEY'"


def parse_leveling(up: str, default: Matrix | None = None) -> Matrix:
    """Return `T_level_world` (4, 4) of the option `up`.

    Args:
        up: 'auto': what the recording itself says; 'none': as it is; 'x,y,z': the direction in
            the recording's world that shall become +z; 'FILE.json:KEY': such a direction, or a
            whole rigid 4x4 matrix, read from a JSON file.
        default: (4, 4), what 'auto' stands for; None is the identity.

    Raises:
        ConfigError: It is none of these, the file has no such key, or the value is no direction
            and no rigid transform.
    """
    if up == 'none' or (up == 'auto' and default is None):
        return np.eye(4)
    if up == 'auto':
        return _to_matrix(default, 'auto')
    if '.json:' in up:
        return _to_matrix(_read_json(up), up)
    try:
        direction = [float(number) for number in up.split(',')]
    except ValueError as err:
        raise ConfigError(f'up must be {_SYNTAX}, got {up!r}') from err
    return _to_matrix(direction, up)


def _read_json(up: str) -> object:
    name, _, key = up.rpartition(':')
    try:
        return json.loads(Path(name).read_text(encoding='utf-8'))[key]
    except (OSError, ValueError) as err:
        raise ConfigError(f'up names {name!r}, which cannot be read: {err}') from err
    except (KeyError, TypeError) as err:
        raise ConfigError(f'up names {key!r}, which is not a key of {name!r}') from err


def _to_matrix(value: object, up: str) -> Matrix:
    try:
        array = np.asarray(value, dtype=np.float64)
        if is_rigid(array):
            return array
        return level(array)
    except (TypeError, ValueError) as err:
        raise ConfigError(
            f'up must be {_SYNTAX} that is three numbers, not all zero, or a rigid 4x4 matrix; '
            f'got {up!r}'
        ) from err
