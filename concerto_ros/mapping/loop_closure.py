"""How the correction that a loop closure gives to the newest pose bends the path behind it."""

import numpy as np
from numpy.typing import NDArray

from concerto_ros.geometry.transforms import Matrix, from_quaternion, slerp, to_quaternion

_IDENTITY = (0.0, 0.0, 0.0, 1.0)


def bend(
    T_new_old: Matrix, position: NDArray[np.float64], travelled: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Share a correction among the places of a path, so that nothing tears.

    The rotation grows linearly with the length of the path, as the heading of wheels and of visual
    odometry drifts. It turns the steps of the path, one after the other; what is then missing to
    the corrected end is shared linearly too. So each place turns about where the robot was, not
    about the origin of the world, which may be far away. It is exact where the heading drifts
    evenly, up to the bend within one step.

    Args:
        T_new_old: (4, 4) takes the end of the path from where it was to where it is.
        position: (K, 3) places along the path [m]; the first is known to be right.
        travelled: (K,) length of the path up to them [m], ascending.

    Returns:
        (K, 4, 4) T_new_old of each place: the identity for the first, that of the end for the
        last, and that of the end for all if nothing was travelled.
    """
    length = travelled[-1] - travelled[0]
    if length <= 0:
        return np.repeat(T_new_old[None], len(position), axis=0)
    fraction = (travelled - travelled[0]) / length
    quaternion = to_quaternion(T_new_old)

    def turn(share: float) -> Matrix:
        return from_quaternion(np.zeros(3), slerp(_IDENTITY, quaternion, share))

    halfway = (fraction[:-1] + fraction[1:]) / 2
    steps = [
        turn(f)[:3, :3] @ step for f, step in zip(halfway, np.diff(position, axis=0), strict=True)
    ]
    bent = position[0] + np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)])
    end = T_new_old[:3, :3] @ position[-1] + T_new_old[:3, 3]
    bent += fraction[:, None] * (end - bent[-1])
    corrections = np.stack([turn(share) for share in fraction])
    corrections[:, :3, 3] = bent - np.einsum('kij,kj->ki', corrections[:, :3, :3], position)
    return corrections
