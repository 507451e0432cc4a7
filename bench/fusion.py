"""Fusing a frame into the map, against Open3D: time, and how well the surface is met."""

from collections import defaultdict

import numpy as np
import torch
from numpy.typing import NDArray

from bench.harness import paired
from bench.open3d_map import Open3DMap, open3d_frame
from bench.recordings import cpu_pipeline, kitchen_frames
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.visualization.render import render_depth

_NUM_FRAMES = 100
_HELD_OUT = 10  # every so many frames one is only used to measure the error
_DISC = 0.87 * 0.02  # metres


def main() -> None:
    """Print the comparison."""
    frames = list(kitchen_frames(_NUM_FRAMES))
    prepared = [open3d_frame(frame) for frame in frames]
    reference, ours = Open3DMap(), cpu_pipeline()
    stages: dict[str, list[float]] = defaultdict(list)

    def integrate(i: int) -> None:
        for stage, seconds in ours.integrate(frames[i]).seconds.items():
            stages[stage].append(1000 * seconds)

    result = paired(lambda i: reference.integrate(prepared[i]), integrate, len(frames))
    threads = torch.get_num_threads()
    print(
        f'fusion: {result.speedup:.2f} x as fast as Open3D VoxelBlockGrid '
        f'({result} of 640x480 frames, {threads} thread{"s" * (threads > 1)})'
    )
    print('  ' + ', '.join(f'{name} {np.median(ms):.2f} ms' for name, ms in stages.items()))
    print('  {:.1f} mm against {:.1f} mm median error of held-out depth'.format(*_errors(frames)))


def _errors(frames: list[RGBDFrame]) -> tuple[float, float]:
    """Return the median |rendered - measured depth| of ours and of Open3D [mm]."""
    reference, ours = Open3DMap(), cpu_pipeline()
    held_out = frames[_HELD_OUT // 2 :: _HELD_OUT]
    held_out_stamps = {frame.stamp_ns for frame in held_out}
    for frame in frames:
        if frame.stamp_ns not in held_out_stamps:
            ours.integrate(frame)
            reference.integrate(open3d_frame(frame))
    return _error(ours.cloud().coord, held_out), _error(reference.surface(), held_out)


def _error(surface: NDArray[np.float32], frames: list[RGBDFrame]) -> float:
    differences = []
    for frame in frames:
        rendered = render_depth(surface, _DISC, frame.depth_camera, frame.T_map_depth)
        measured = (frame.depth > 0) & (frame.depth < 4.0) & np.isfinite(rendered)
        differences.append(np.abs(rendered - frame.depth)[measured])
    return 1000 * float(np.median(np.concatenate(differences)))


if __name__ == '__main__':
    main()
