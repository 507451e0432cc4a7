"""Upright boxes on the floor plan: do two overlap, how far is a point from one."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONTACT = 0.012  # depth to which objects may touch or stand on a rug [m]


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """A box turned about the vertical.

    Attributes:
        x: Centre [m].
        y: Centre [m].
        half_x: Half the extent along the box's own x [m].
        half_y: Half the extent along the box's own y [m].
        yaw: Rotation about +z [rad].
        low: Lowest z [m].
        high: Highest z [m].
    """

    x: float
    y: float
    half_x: float
    half_y: float
    yaw: float
    low: float
    high: float

    def corners(self) -> list[tuple[float, float]]:
        """Return the four corners (x, y) [m]."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return [
            (self.x + c * u - s * v, self.y + s * u + c * v)
            for u in (-self.half_x, self.half_x)
            for v in (-self.half_y, self.half_y)
        ]

    def overlaps(self, other: 'Footprint') -> bool:
        """Tell whether the boxes share more than contact."""
        if min(self.high, other.high) - max(self.low, other.low) <= CONTACT:
            return False
        dx, dy = other.x - self.x, other.y - self.y
        reach = math.hypot(self.half_x, self.half_y) + math.hypot(other.half_x, other.half_y)
        if dx * dx + dy * dy >= reach * reach:
            return False
        return not any(
            _separated(dx, dy, yaw, self, other)
            for box in (self, other)
            for yaw in (box.yaw, box.yaw + math.pi / 2)
        )

    def distance(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the horizontal distance (N,) [m] of `points` (N, 2); zero inside."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        x, y = points[:, 0] - self.x, points[:, 1] - self.y
        u = np.maximum(np.abs(c * x + s * y) - self.half_x, 0.0)
        v = np.maximum(np.abs(c * y - s * x) - self.half_y, 0.0)
        distance: NDArray[np.float64] = np.sqrt(u * u + v * v)
        return distance


def _separated(dx: float, dy: float, yaw: float, a: Footprint, b: Footprint) -> bool:
    """Tell whether the projections on the direction `yaw` of two boxes share no more than 1 mm."""
    c, s = math.cos(yaw), math.sin(yaw)
    reach = -1e-3
    for box in (a, b):
        turn = yaw - box.yaw
        reach += box.half_x * abs(math.cos(turn)) + box.half_y * abs(math.sin(turn))
    return abs(dx * c + dy * s) >= reach
