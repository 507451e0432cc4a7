"""What becomes of a map when drift is taken back: surface and labels before and after.

A camera walks through the rooms of a synthetic building and comes back to where it began, with an
odometry that errs in yaw and scale. Then the loop is closed: once by a jump of map -> odom, once
by the path of a pose graph. The network looks at nothing again.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.geometry.pose_path import PosePath
from concerto_ros.geometry.transforms import to_quaternion
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.rooms.building import Building
from concerto_ros.rooms.building_drift import DriftingOdometry
from concerto_ros.rooms.building_tour import Tour
from concerto_ros.structures import MapCloud

_NUM_ROOMS = 6
_FRAMES_PER_VISIT = 30
_YAW_PER_METRE = np.radians(0.1)
_SCALE = 1.005
_LOOK_EVERY = 30  # frames
_NEAR = 0.05  # [m]; a point is where it should be


def main() -> None:
    """Print the errors of the surface and of the labels."""
    building = Building(_NUM_ROOMS, frames_per_visit=_FRAMES_PER_VISIT, num_models=3)
    tour = building.tour(2)
    end = _NUM_ROOMS * _FRAMES_PER_VISIT + _FRAMES_PER_VISIT // 2  # back in the first room
    odometry = DriftingOdometry(
        tour.poses[: end + 1], yaw_per_metre=_YAW_PER_METRE, scale=_SCALE, closures=[end]
    )
    truth = mapped(tour, tour.poses, end).cloud()
    drifted = mapped(tour, odometry.T_odom_camera, end)
    before = drifted.cloud()
    drifted.correct(odometry.T_map_odom[end])
    jumped = drifted.cloud()
    drifted.correct_path(path_of(tour, end), np.eye(4))
    graph = drifted.cloud()
    looked_at_again = drifted.begin_semantics() is not None
    errors = [surface_error(cloud, truth) for cloud in (before, jumped, graph)]
    print(
        f'drift: {errors[0][0] / errors[2][0]:.1f} x smaller surface error after the path of a '
        f'pose graph ({errors[2][0] * 100:.1f} cm against {errors[0][0] * 100:.1f} cm, medians), '
        f'{errors[0][0] / errors[1][0]:.1f} x after a jump of map -> odom '
        f'({errors[1][0] * 100:.1f} cm)'
    )
    for name, cloud, error in zip(
        ('before', 'after the jump', 'after the path'),
        (before, jumped, graph),
        errors,
        strict=True,
    ):
        print(
            f'  {name}: {error[0] * 100:.1f} cm, 95 % {error[1] * 100:.1f} cm, labels agree at '
            f'{agreement(cloud, truth):.1%} of the places, {len(cloud):,} points'
        )
    off = np.linalg.norm(odometry.T_odom_camera[end][:3, 3] - tour.poses[end][:3, 3])
    print(
        f'  {drifted.num_submaps} submaps; {end} frames; the odometry was {off:.2f} m off; '
        f'the network {"looks" if looked_at_again else "does not look"} again'
    )


def mapped(tour: Tour, poses: NDArray[np.float64], end: int) -> PerceptionPipeline:
    """Return the map of the frames before `end`, as an odometry sees them."""
    values = {'depth.stride': 2, 'map.submap_radius': 4.0, 'map.device': 'cpu'}
    pipeline = PerceptionPipeline(build(ConcertoConfig, values))
    pipeline.correct(np.eye(4))  # from the beginning, somebody says where odom is
    for index in range(end):
        frame = tour[index]
        pipeline.integrate(_with_pose(frame, poses[index]))
        if index % _LOOK_EVERY == _LOOK_EVERY - 1:
            pipeline.update_semantics()
    pipeline.update_semantics()
    return pipeline


def path_of(tour: Tour, end: int) -> PosePath:
    """Return what a pose graph would send: the true poses."""
    stamps = [tour[index].stamp_ns for index in range(end)]
    return PosePath(
        stamps_ns=np.array(stamps),
        translation=tour.poses[:end, :3, 3],
        quaternion=np.array([to_quaternion(T) for T in tour.poses[:end]]),
    )


def surface_error(cloud: MapCloud, truth: MapCloud) -> tuple[float, float]:
    """Return the median and the 95th percentile of the distance to the true map [m]."""
    distance, _ = cKDTree(truth.coord).query(cloud.coord)
    return float(np.median(distance)), float(np.percentile(distance, 95))


def agreement(cloud: MapCloud, truth: MapCloud) -> float:
    """Return the share of the true points beside which there is one of the same label."""
    distance, nearest = cKDTree(cloud.coord).query(truth.coord)
    return float(((distance < _NEAR) & (cloud.label[nearest] == truth.label)).mean())


def _with_pose(frame: RGBDFrame, T_odom_camera: NDArray[np.float64]) -> RGBDFrame:
    return replace(frame, T_map_depth=T_odom_camera)


if __name__ == '__main__':
    main()
