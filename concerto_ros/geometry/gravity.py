"""GravityCheck: does the z axis of the map point up, as far as images can tell?"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_EVERY = 5  # frames between two looks at the normals
_EVERY_NORMAL = 8  # and of those, one in eight
_FRAMES = 30  # before anything is said
_BIN = 0.05  # of the histogram over x and y of normals, about 3 degrees
_SIDE = int(2 / _BIN)
_MAX_TILT = 5.0  # degrees between z and the surfaces that should be level
_MAX_CAMERA_TILT = 60.0  # degrees between z and the mean up direction of the images
_MIN_SHARE = 0.05  # of all normals must agree to count as a level surface


class GravityCheck:
    """Watches the normals of upward surfaces and the way the camera is held.

    The largest level surface of a room, floor or table, tells where up is to a degree or two;
    the network was trained with the floor at constant z and only a few degrees of tilt.
    """

    def __init__(self) -> None:
        self._num_frames = 0
        self._said = False
        self._camera_up = np.zeros(3)
        self._num_normals = 0
        # per bin: number of normals and their sum
        self._bins = torch.zeros(_SIDE * _SIDE, 4, dtype=torch.float64)

    def add(self, normal: Tensor, T_map_camera: NDArray[np.float64]) -> str:
        """Look at one frame.

        Args:
            normal: (M, 3) float32, map frame; zero where unknown.
            T_map_camera: (4, 4) float64.

        Returns:
            A warning, once, when enough has been seen and z is not up; otherwise ''.
        """
        self._num_frames += 1
        self._camera_up -= T_map_camera[:3, 1]  # the image's y axis points down
        if self._num_frames % _EVERY == 0:
            some = normal[::_EVERY_NORMAL]
            level = some[some[:, 2].abs() > 0.5].cpu()
            self._count(level * level[:, 2:].sign())  # ceilings tell as much as floors
        if self._said or self._num_frames < _FRAMES or self._num_frames % _EVERY:
            return ''
        warning = self._warning()
        self._said = bool(warning)
        return warning

    def _count(self, upward: Tensor) -> None:
        cell = ((upward[:, :2] + 1) / _BIN).long().clamp(0, _SIDE - 1)
        ones = torch.ones(len(upward), 1)
        rows = torch.cat([ones, upward], dim=1).double()
        self._bins.index_add_(0, cell[:, 0] * _SIDE + cell[:, 1], rows)
        self._num_normals += len(upward)

    def _warning(self) -> str:
        tilt = self._surface_tilt()
        if tilt is not None and tilt > _MAX_TILT:
            return (
                f'the largest level surface is tilted by {tilt:.0f} degrees against the z axis of '
                'the map: is z up? Labels suffer beyond a few degrees; level the map frame (or '
                'the recording, by its option up)'
            )
        camera_tilt = _angle_to_z(self._camera_up)
        if camera_tilt > _MAX_CAMERA_TILT:
            return (
                f'the images are held at {camera_tilt:.0f} degrees against the z axis of the map: '
                'is z up, and is the camera frame an optical one (z forward, x right, y down)?'
            )
        return ''

    def _surface_tilt(self) -> float | None:
        """Return the tilt of the fullest bin and those around [degrees]; None if all are low."""
        bins = self._bins.view(_SIDE, _SIDE, 4).permute(2, 0, 1)
        pooled = torch.nn.functional.avg_pool2d(bins, 3, stride=1, padding=1) * 9
        best = int(pooled[0].argmax())
        count, *total = pooled.flatten(1)[:, best].tolist()
        if count < max(1.0, _MIN_SHARE * self._num_normals):
            return None
        return _angle_to_z(np.array(total))


def _angle_to_z(vector: NDArray[np.float64]) -> float:
    norm = float(np.linalg.norm(vector))
    return math.degrees(math.acos(np.clip(vector[2] / norm, -1, 1))) if norm else 0.0
