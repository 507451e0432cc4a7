"""Maps, their changes and their labels as messages."""

from array import array

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField
from sensor_msgs_py.point_cloud2 import dtype_from_fields
from std_msgs.msg import ColorRGBA, Header

from concerto_msgs.msg import LabelInfo, MapGroup, MapUpdate
from concerto_ros.ros.conversions import pose_message
from concerto_ros.structures import Labels, MapChanges, MapCloud

_POINT_STEP = 32  # bytes; the last four are padding
_FIELDS = tuple(
    PointField(name=name, offset=offset, datatype=datatype, count=1)
    for name, offset, datatype in (
        ('x', 0, PointField.FLOAT32),
        ('y', 4, PointField.FLOAT32),
        ('z', 8, PointField.FLOAT32),
        ('rgb', 12, PointField.FLOAT32),  # its bits are 0x00RRGGBB
        ('label', 16, PointField.UINT16),
        ('language_label', 18, PointField.UINT16),
        ('confidence', 20, PointField.FLOAT32),
        ('language_confidence', 24, PointField.FLOAT32),
    )
)
_POINT = dtype_from_fields(_FIELDS, _POINT_STEP)
_SLICE = 16384  # points interleaved at a time: their 512 kB stay in the cache


def point_cloud(header: Header, cloud: MapCloud) -> PointCloud2:
    """Make an unordered cloud of 32-byte points: x y z rgb, both labels, both confidences."""
    num_points = len(cloud)
    data = array('B', [0]) * (num_points * _POINT_STEP)
    points = np.frombuffer(data, _POINT)
    for start in range(0, num_points, _SLICE):
        part = slice(start, start + _SLICE)
        out = points[part]
        out['x'], out['y'], out['z'] = cloud.coord[part].T
        red, green, blue = cloud.color[part].T
        rgb = red.astype(np.uint32) << 16 | green.astype(np.uint32) << 8 | blue
        out['rgb'] = rgb.view(np.float32)
        for name in ('label', 'language_label', 'confidence', 'language_confidence'):
            out[name] = getattr(cloud, name)[part]
    message = PointCloud2(
        header=header,
        height=1,
        width=num_points,
        fields=list(_FIELDS),
        is_bigendian=False,
        point_step=_POINT_STEP,
        row_step=num_points * _POINT_STEP,
        is_dense=True,
    )
    message._data = data  # already of the right type; the setter of `data` would copy it
    return message


def map_update(header: Header, changes: MapChanges) -> MapUpdate:
    """Make the message of changed groups; `header` names the frame of the poses of the submaps."""
    groups = zip(
        changes.key.tolist(),
        changes.sequence.tolist(),
        changes.num_points.tolist(),
        changes.submap.tolist(),
        strict=True,
    )
    return MapUpdate(
        header=header,
        epoch=changes.epoch,
        group_size=changes.group_size,
        voxel_size=changes.voxel_size,
        groups=[
            MapGroup(x=x, y=y, z=z, sequence=sequence, num_points=num_points, submap=submap)
            for (x, y, z), sequence, num_points, submap in groups
        ],
        points=point_cloud(header, changes.cloud),
        submaps=[pose_message(T) for T in changes.T_world_submap],
    )


def label_info(header: Header, labels: Labels) -> LabelInfo:
    """Make the table of a label field; `header` holds the time since when it is valid."""
    return LabelInfo(
        header=header,
        vocabulary=labels.vocabulary,
        ids=list(range(len(labels.names))),
        names=list(labels.names),
        colors=[rgba_message(color) for color in labels.colors.tolist()],
    )


def rgba_message(rgb: tuple[int, int, int] | list[int], alpha: float = 1.0) -> ColorRGBA:
    """Make a colour of red, green and blue in 0..255."""
    r, g, b = (channel / 255 for channel in rgb)
    return ColorRGBA(r=r, g=g, b=b, a=alpha)
