"""Stand-in for `sensor_msgs_py.point_cloud2`: PointCloud2 messages to numpy arrays and back.

The real one: https://github.com/ros2/common_interfaces/tree/jazzy/sensor_msgs_py. Names, arguments
and results are those of the real module; `read_points_list` is left out.
"""

import array
import sys
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.lib.recfunctions import structured_to_unstructured, unstructured_to_structured
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

NUMPY_TYPES = {
    PointField.INT8: np.dtype(np.int8),
    PointField.UINT8: np.dtype(np.uint8),
    PointField.INT16: np.dtype(np.int16),
    PointField.UINT16: np.dtype(np.uint16),
    PointField.INT32: np.dtype(np.int32),
    PointField.UINT32: np.dtype(np.uint32),
    PointField.FLOAT32: np.dtype(np.float32),
    PointField.FLOAT64: np.dtype(np.float64),
}


def dtype_from_fields(fields: Iterable[PointField], point_step: int | None = None) -> np.dtype:
    """Describe one point as a structured numpy type.

    Args:
        fields: Fields of the cloud. One with `count` > 1 becomes `name_0`, `name_1`, ...; one
            without a name becomes `unnamed_field_<index>`.
        point_step: Bytes from one point to the next; None: they follow each other without a gap.

    Returns:
        The type, its fields at the offsets of the message.

    Raises:
        AssertionError: A field counts no element, or two have the same name.
    """
    names: list[str] = []
    formats: list[np.dtype] = []
    offsets: list[int] = []
    for index, field in enumerate(fields):
        assert field.count > 0, f"Can't process fields with count = {field.count}"
        name = field.name or f'unnamed_field_{index}'
        number_type = NUMPY_TYPES[field.datatype]
        for element in range(field.count):
            names.append(name if field.count == 1 else f'{name}_{element}')
            formats.append(number_type)
            offsets.append(field.offset + element * number_type.itemsize)
    assert len(names) == len(set(names)), f'Duplicate field names are not allowed: {names}'
    layout = {'names': names, 'formats': formats, 'offsets': offsets}
    if point_step is not None:
        layout['itemsize'] = point_step
    return np.dtype(layout)


def read_points(
    cloud: PointCloud2,
    field_names: Sequence[str] | None = None,
    skip_nans: bool = False,
    uvs: Iterable | None = None,
    reshape_organized_cloud: bool = False,
) -> np.ndarray:
    """View the points of a cloud as a structured array, without a copy.

    Args:
        cloud: The message; big-endian data on a little-endian machine is swapped in place.
        field_names: Fields to read; None reads all.
        skip_nans: Leave out points with a NaN in any field read, unless `cloud.is_dense`.
        uvs: Indices of the points to read; None reads all.
        reshape_organized_cloud: Return (width, height) instead of a flat array.

    Returns:
        (width * height,) structured array; writing to it writes to `cloud.data`, unless points
        were selected.

    Raises:
        AssertionError: A field is unknown.
    """
    points = np.ndarray(
        shape=(cloud.width * cloud.height,),
        dtype=dtype_from_fields(cloud.fields, point_step=cloud.point_step),
        buffer=cloud.data,
    )
    if bool(sys.byteorder != 'little') != bool(cloud.is_bigendian):
        points = points.byteswap(inplace=True)
    if field_names is not None:
        assert all(name in points.dtype.names for name in field_names), (
            'Requests field is not in the fields of the PointCloud!'
        )
        points = points[list(field_names)]
    if skip_nans and not cloud.is_dense:
        points = points[~_has_nan(points)]
    if uvs is not None:
        points = points[uvs if isinstance(uvs, np.ndarray) else np.fromiter(uvs, int)]
    if reshape_organized_cloud and cloud.height > 1:
        points = points.reshape(cloud.width, cloud.height)
    return points


def _has_nan(points: np.ndarray) -> np.ndarray:
    """Tell for each point whether one of its fields is NaN."""
    has_nan = np.zeros(len(points), dtype=bool)
    for name in points.dtype.names:
        has_nan |= np.isnan(points[name])
    return has_nan


def read_points_numpy(
    cloud: PointCloud2,
    field_names: Sequence[str] | None = None,
    skip_nans: bool = False,
    uvs: Iterable | None = None,
    reshape_organized_cloud: bool = False,
) -> np.ndarray:
    """Read the points of a cloud whose fields share one type as a plain (N, fields) array.

    Arguments are those of `read_points`.

    Raises:
        AssertionError: The fields chosen differ in type from the first field of the cloud.
    """
    assert all(
        field.datatype == cloud.fields[0].datatype
        for field in cloud.fields
        if field_names is None or field.name in field_names
    ), 'All fields need to have the same datatype. Use `read_points()` otherwise.'
    points = read_points(cloud, field_names, skip_nans, uvs, reshape_organized_cloud)
    return structured_to_unstructured(points)


def create_cloud(
    header: Header,
    fields: Sequence[PointField],
    points: np.ndarray | Iterable,
    point_step: int | None = None,
) -> PointCloud2:
    """Fill a PointCloud2.

    Args:
        header: Frame and stamp.
        fields: Layout of one point.
        points: Structured array of exactly the type `dtype_from_fields(fields, point_step)`, or a
            plain array (..., fields) where all fields share one type, or tuples (slow). One axis
            of points gives height 1; two axes (a, b) give width a and height b.
        point_step: Bytes from one point to the next; None: no gap.

    Returns:
        The message, with `is_dense` false, as the real function leaves it.

    Raises:
        AssertionError: Type or shape of `points` does not fit the fields.
    """
    points = _structured(points, fields, dtype_from_fields(fields, point_step))
    assert points.ndim <= 2, f'Too many dimensions: {points.ndim}'
    width, height = points.shape if points.ndim == 2 else (len(points), 1)
    data = array.array('B')
    data.frombytes(np.ascontiguousarray(points).reshape(-1).view(np.uint8))
    return PointCloud2(
        header=header,
        height=height,
        width=width,
        is_dense=False,
        is_bigendian=sys.byteorder != 'little',
        fields=fields,
        point_step=points.dtype.itemsize,
        row_step=points.dtype.itemsize * width,
        data=data,
    )


def _structured(points: np.ndarray | Iterable, fields: Sequence, dtype: np.dtype) -> np.ndarray:
    """Bring what `create_cloud` accepts into one structured array."""
    if not isinstance(points, np.ndarray):
        return np.array([tuple(point) for point in points], dtype=dtype)
    if points.dtype.names is None:
        assert all(field.datatype == fields[0].datatype for field in fields), (
            'All fields need to have the same datatype. Pass a structured NumPy array otherwise.'
        )
        return unstructured_to_structured(points, dtype=dtype)
    assert points.dtype == dtype, (
        'PointFields and structured NumPy array dtype do not match for all fields! '
        f'Check their field order, names and types: {dtype} and {points.dtype}'
    )
    return points


def create_cloud_xyz32(header: Header, points: np.ndarray | Iterable) -> PointCloud2:
    """Fill a PointCloud2 with positions: (N, 3) in metres becomes float32 fields x, y, z."""
    fields = [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate('xyz')
    ]
    return create_cloud(header, fields, points)
