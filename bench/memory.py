"""Memory of the map of a room, against the blocks of Open3D."""

import resource

from bench.open3d_map import Open3DMap, open3d_frame
from bench.recordings import cpu_pipeline, kitchen_frames

_NUM_FRAMES = 200


def main() -> None:
    """Print the comparison."""
    ours = cpu_pipeline()
    start = _peak_megabytes()
    for frame in kitchen_frames(_NUM_FRAMES):
        ours.integrate(frame)
    growth, num_bytes = _peak_megabytes() - start, sum(ours.memory.values())
    reference = Open3DMap()
    for frame in kitchen_frames(_NUM_FRAMES):
        reference.integrate(open3d_frame(frame))
    print(
        f'memory: {reference.num_bytes / num_bytes:.2f} x less than the blocks of Open3D '
        f'({num_bytes / 1e6:.1f} MB against {reference.num_bytes / 1e6:.1f} MB)'
    )
    print(
        f'  {num_bytes / ours.num_voxels:.0f} bytes for each of {ours.num_voxels:,} '
        f'voxels; the peak of the process grew by {growth:.0f} MB while mapping'
    )


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == '__main__':
    main()
