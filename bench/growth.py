"""Whether a frame costs more in a large map: a walk of 1000 frames, each lap in new space."""

from dataclasses import replace

import numpy as np

from bench.harness import paired
from bench.recordings import cpu_pipeline, kitchen_frames
from concerto_ros.geometry.frame import RGBDFrame

_NUM_FRAMES = 100
_NUM_LAPS = 10
_LAP_SHIFT = 20.0  # metres


def main() -> None:
    """Print the comparison."""
    frames = list(kitchen_frames(_NUM_FRAMES))
    empty, grown = cpu_pipeline(), cpu_pipeline()
    for lap in range(_NUM_LAPS - 1):
        for frame in frames:
            grown.integrate(_moved(frame, lap))
    last_lap = [_moved(frame, _NUM_LAPS - 1) for frame in frames]
    result = paired(
        lambda i: empty.integrate(frames[i]), lambda i: grown.integrate(last_lap[i]), len(frames)
    )
    print(
        f'growth: {1 / result.speedup:.2f} x the time of a new map after '
        f'{_NUM_LAPS * _NUM_FRAMES} frames ({result}, worst {result.worst_ms:.1f} ms, '
        f'{grown.num_voxels:,} against {empty.num_voxels:,} voxels)'
    )


def _moved(frame: RGBDFrame, lap: int) -> RGBDFrame:
    T = np.eye(4)
    T[0, 3] = lap * _LAP_SHIFT
    return replace(frame, T_map_depth=T @ frame.T_map_depth)


if __name__ == '__main__':
    main()
