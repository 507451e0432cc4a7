"""Tiny frames, and bags with any messages, for the tests of recordings."""

from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.geometry.transforms import from_quaternion

SECOND = 1_000_000_000
START = 1000 * SECOND


@pytest.fixture
def make_frames():
    """Return make_frames(num): 8x6 frames, 10 Hz, that move along x by 0.1 m each."""

    def make(num: int, T_color_depth: np.ndarray | None = None) -> list[RGBDFrame]:
        rng = np.random.default_rng(0)
        camera = PinholeCamera(width=8, height=6, fx=8.0, fy=8.0, cx=3.5, cy=2.5)
        frames = []
        for i in range(num):
            depth = rng.integers(500, 4000, (6, 8)).astype(np.float32) / 1000
            depth[0, 0] = 0.0
            frames.append(
                RGBDFrame(
                    stamp_ns=START + i * SECOND // 10,
                    color=rng.integers(0, 256, (6, 8, 3)).astype(np.uint8),
                    depth=depth,
                    color_camera=camera,
                    depth_camera=camera,
                    T_map_depth=from_quaternion((0.1 * i, 1.0, 2.0), (0.1, 0.2, 0.3, 0.9)),
                    T_color_depth=np.eye(4) if T_color_depth is None else T_color_depth,
                )
            )
        return frames

    return make


class BagBuilder:
    """Collects messages of any kind, then writes them as a bag in the order they were added."""

    def __init__(self) -> None:
        self.store = get_typestore(Stores.ROS2_JAZZY)
        self.messages = []

    def make(self, msgtype, **fields):
        return self.store.types[msgtype](**fields)

    def header(self, frame_id, stamp_ns):
        stamp = self.make(
            'builtin_interfaces/msg/Time', sec=stamp_ns // SECOND, nanosec=stamp_ns % SECOND
        )
        return self.make('std_msgs/msg/Header', stamp=stamp, frame_id=frame_id)

    def add(self, topic, stamp_ns, message):
        self.messages.append((topic, stamp_ns, message))

    def tf(self, parent, child, stamp_ns, xyz=(0.0, 0.0, 0.0), static=False):
        transform = self.make(
            'geometry_msgs/msg/TransformStamped',
            header=self.header(parent, stamp_ns),
            child_frame_id=child,
            transform=self.make(
                'geometry_msgs/msg/Transform',
                translation=self.make(
                    'geometry_msgs/msg/Vector3', **dict(zip('xyz', map(float, xyz), strict=True))
                ),
                rotation=self.make('geometry_msgs/msg/Quaternion', x=0.0, y=0.0, z=0.0, w=1.0),
            ),
        )
        message = self.make('tf2_msgs/msg/TFMessage', transforms=[transform])
        self.add('/tf_static' if static else '/tf', stamp_ns, message)

    def image(self, topic, frame_id, stamp_ns, encoding, pixels):
        data = np.frombuffer(np.ascontiguousarray(pixels).tobytes(), dtype=np.uint8)
        message = self.make(
            'sensor_msgs/msg/Image',
            header=self.header(frame_id, stamp_ns),
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding=encoding,
            is_bigendian=0,
            step=data.size // pixels.shape[0],
            data=data,
        )
        self.add(topic, stamp_ns, message)

    def info(self, topic, frame_id, stamp_ns, width=8, height=6, f=8.0):
        roi = self.make(
            'sensor_msgs/msg/RegionOfInterest',
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False,
        )  # fmt: skip
        k = np.array([f, 0, (width - 1) / 2, 0, f, (height - 1) / 2, 0, 0, 1], dtype=float)
        message = self.make(
            'sensor_msgs/msg/CameraInfo',
            header=self.header(frame_id, stamp_ns),
            height=height, width=width, distortion_model='plumb_bob', d=np.zeros(5), k=k,
            r=np.eye(3).ravel(), p=np.zeros(12), binning_x=0, binning_y=0, roi=roi,
        )  # fmt: skip
        self.add(topic, stamp_ns, message)

    def rgbd(self, stamp_ns, frame_id='camera', depth_frame_id='camera', depth_stamp_ns=None):
        """Add one set of colour, camera_info and depth of 8x6."""
        self.image('/color/image', frame_id, stamp_ns, 'rgb8', np.full((6, 8, 3), 7, np.uint8))
        self.info('/color/camera_info', frame_id, stamp_ns)
        depth = np.full((6, 8), 1500, np.uint16)
        depth_ns = stamp_ns if depth_stamp_ns is None else depth_stamp_ns
        self.image('/depth/image', depth_frame_id, depth_ns, '16UC1', depth)

    def write(self, path: Path, storage=StoragePlugin.MCAP) -> Path:
        with Writer(path, version=8, storage_plugin=storage) as writer:
            connections = {}
            for time_ns, (topic, _, message) in enumerate(self.messages, start=START):
                msgtype = message.__msgtype__
                if topic not in connections:
                    connections[topic] = writer.add_connection(
                        topic, msgtype, typestore=self.store
                    )
                data = self.store.serialize_cdr(message, msgtype)
                writer.write(connections[topic], time_ns, data)
        return path


@pytest.fixture
def bag() -> BagBuilder:
    return BagBuilder()


@pytest.fixture
def seconds():
    """Return seconds(s): the stamp [ns] that many seconds after the first of all tests."""
    return lambda s: START + round(s * SECOND)


@pytest.fixture
def recordings(shared_data) -> Path:
    """Return the folder of real recordings beside the checkout, or skip."""
    if not (shared_data / 'sevenscenes').is_dir():
        pytest.skip('the real recordings (../shared/data) are not on this machine')
    return shared_data
