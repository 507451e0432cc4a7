"""Write frames as a rosbag2 recording, as a robot would have recorded them."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.errors import WriterError
from rosbags.typesys import Stores, get_typestore

from concerto_ros.errors import SourceError
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.geometry.transforms import invert, to_quaternion

_STORE = get_typestore(Stores.ROS2_JAZZY)

LINK_FRAME = 'camera_link'
COLOR_FRAME = 'camera_color_optical_frame'
DEPTH_FRAME = 'camera_depth_optical_frame'

# REP 103: the link looks along x with z up, the optical frame along z with y down.
T_LINK_OPTICAL = np.array(
    [[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], dtype=np.float64
)

_FOREVER = QosTime(9223372036, 854775807)
_LATCHED = Qos(
    QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL,
    _FOREVER, _FOREVER, QosLiveliness.AUTOMATIC, _FOREVER, False,
)  # fmt: skip


def write_bag(
    path: Path | str,
    frames: Iterable[RGBDFrame],
    *,
    compressed: bool = False,
    depth_encoding: Literal['16UC1', '32FC1'] = '16UC1',
    map_frame: str = 'map',
    T_map_odom: NDArray[np.float64] | None = None,
) -> int:
    """Write a folder with one MCAP file: images, camera_info, /tf and /tf_static.

    Frames are map -> camera_link (moving) -> camera_color_optical_frame (static), and where
    `T_color_depth` of the first frame is not the identity, camera_depth_optical_frame.

    Args:
        path: Folder to make.
        frames: In order of time.
        compressed: JPEG colour and PNG depth (16UC1 only) instead of raw images.
        depth_encoding: 16UC1 rounds to mm; no measurement is written as 0 or NaN.
        map_frame: Name of the frame of `T_map_depth`.
        T_map_odom: (4, 4); with it, odom is put between map and camera_link.

    Returns:
        The number of frames written.

    Raises:
        ValueError: `compressed` with 32FC1.
        SourceError: The folder exists already, or cannot be written.
    """
    if compressed and depth_encoding != '16UC1':
        raise ValueError(f'compressed depth must be 16UC1, got {depth_encoding!r}')
    world = _World(map_frame=map_frame, T_map_odom=T_map_odom)
    num_frames = 0
    try:
        with Writer(Path(path), version=8, storage_plugin=StoragePlugin.MCAP) as writer:
            output = _Output(writer)
            for frame in frames:
                if num_frames == 0:
                    output.write('/tf_static', frame.stamp_ns, world.static_transforms(frame))
                output.write('/tf', frame.stamp_ns, world.moving_transforms(frame))
                for topic, message in _camera_messages(frame, compressed, depth_encoding):
                    output.write(topic, frame.stamp_ns, message)
                num_frames += 1
    except (WriterError, OSError) as err:
        raise SourceError(f'the bag {path} cannot be written: {err}') from err
    return num_frames


class _Output:
    """A bag being written; a topic is added with its first message."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._connections: dict[str, Any] = {}

    def write(self, topic: str, stamp_ns: int, message: Any) -> None:
        msgtype = message.__msgtype__
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic,
                msgtype,
                typestore=_STORE,
                offered_qos_profiles=[_LATCHED] if topic == '/tf_static' else [],
            )
        data = _STORE.serialize_cdr(message, msgtype)
        self._writer.write(self._connections[topic], stamp_ns, data)


@dataclass(frozen=True, slots=True, kw_only=True)
class _World:
    """The frames above the camera."""

    map_frame: str
    T_map_odom: NDArray[np.float64] | None

    def static_transforms(self, frame: RGBDFrame) -> Any:
        links = [_transform(LINK_FRAME, COLOR_FRAME, frame.stamp_ns, T_LINK_OPTICAL)]
        if not _is_registered(frame):
            T_link_depth = T_LINK_OPTICAL @ frame.T_color_depth
            links.append(_transform(LINK_FRAME, DEPTH_FRAME, frame.stamp_ns, T_link_depth))
        return _message('tf2_msgs/msg/TFMessage', transforms=links)

    def moving_transforms(self, frame: RGBDFrame) -> Any:
        T_map_link = frame.T_map_depth @ invert(T_LINK_OPTICAL @ frame.T_color_depth)
        if self.T_map_odom is None:
            links = [_transform(self.map_frame, LINK_FRAME, frame.stamp_ns, T_map_link)]
        else:
            T_odom_link = invert(self.T_map_odom) @ T_map_link
            links = [
                _transform(self.map_frame, 'odom', frame.stamp_ns, self.T_map_odom),
                _transform('odom', LINK_FRAME, frame.stamp_ns, T_odom_link),
            ]
        return _message('tf2_msgs/msg/TFMessage', transforms=links)


def _camera_messages(
    frame: RGBDFrame, compressed: bool, depth_encoding: str
) -> Iterator[tuple[str, Any]]:
    registered = _is_registered(frame)
    depth_topic = '/camera/aligned_depth_to_color' if registered else '/camera/depth'
    color_header = _header(COLOR_FRAME, frame.stamp_ns)
    depth_header = _header(COLOR_FRAME if registered else DEPTH_FRAME, frame.stamp_ns)
    yield '/camera/color/camera_info', _camera_info(color_header, frame.color_camera)
    yield f'{depth_topic}/camera_info', _camera_info(depth_header, frame.depth_camera)
    depth = _to_millimetres(frame.depth) if depth_encoding == '16UC1' else frame.depth
    if compressed:
        jpeg, png = _encode(frame.color, 'JPEG', quality=90), bytes(12) + _encode(depth, 'PNG')
        yield (
            '/camera/color/image_raw/compressed',
            _compressed(color_header, 'rgb8; jpeg compressed bgr8', jpeg),
        )
        yield (
            f'{depth_topic}/image_raw/compressedDepth',
            _compressed(depth_header, '16UC1; compressedDepth png', png),
        )
    else:
        yield '/camera/color/image_raw', _image(color_header, 'rgb8', frame.color)
        yield f'{depth_topic}/image_raw', _image(depth_header, depth_encoding, depth)


def _is_registered(frame: RGBDFrame) -> bool:
    return bool(np.allclose(frame.T_color_depth, np.eye(4), atol=1e-9))


def _to_millimetres(depth: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return (H, W) uint16 [mm]; 0 where there is no measurement or it does not fit."""
    with np.errstate(invalid='ignore'):
        millimetres = np.rint(depth * 1000.0)
        return np.where((millimetres > 0) & (millimetres < 65536), millimetres, 0).astype(
            np.uint16
        )


def _encode(image: NDArray, format: str, **options: Any) -> bytes:  # noqa: A002
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format=format, **options)
    return buffer.getvalue()


def _image(header: Any, encoding: str, pixels: NDArray) -> Any:
    data = np.frombuffer(np.ascontiguousarray(pixels).tobytes(), dtype=np.uint8)
    return _message(
        'sensor_msgs/msg/Image', header=header, height=pixels.shape[0], width=pixels.shape[1],
        encoding=encoding, is_bigendian=0, step=data.size // pixels.shape[0], data=data,
    )  # fmt: skip


def _compressed(header: Any, format: str, content: bytes) -> Any:  # noqa: A002
    data = np.frombuffer(content, dtype=np.uint8)
    return _message('sensor_msgs/msg/CompressedImage', header=header, format=format, data=data)


def _camera_info(header: Any, camera: PinholeCamera) -> Any:
    k = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    roi = _message(
        'sensor_msgs/msg/RegionOfInterest', x_offset=0, y_offset=0, height=0, width=0,
        do_rectify=False,
    )  # fmt: skip
    return _message(
        'sensor_msgs/msg/CameraInfo', header=header, height=camera.height, width=camera.width,
        distortion_model='plumb_bob', d=np.zeros(5), k=k.ravel(), r=np.eye(3).ravel(),
        p=np.column_stack([k, np.zeros(3)]).ravel(), binning_x=0, binning_y=0, roi=roi,
    )  # fmt: skip


def _transform(parent: str, child: str, stamp_ns: int, T_parent_child: NDArray) -> Any:
    x, y, z = map(float, T_parent_child[:3, 3])
    qx, qy, qz, qw = map(float, to_quaternion(T_parent_child))
    return _message(
        'geometry_msgs/msg/TransformStamped',
        header=_header(parent, stamp_ns),
        child_frame_id=child,
        transform=_message(
            'geometry_msgs/msg/Transform',
            translation=_message('geometry_msgs/msg/Vector3', x=x, y=y, z=z),
            rotation=_message('geometry_msgs/msg/Quaternion', x=qx, y=qy, z=qz, w=qw),
        ),
    )


def _header(frame_id: str, stamp_ns: int) -> Any:
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    stamp = _message('builtin_interfaces/msg/Time', sec=sec, nanosec=nanosec)
    return _message('std_msgs/msg/Header', stamp=stamp, frame_id=frame_id)


def _message(msgtype: str, **fields: Any) -> Any:
    return _STORE.types[msgtype](**fields)
