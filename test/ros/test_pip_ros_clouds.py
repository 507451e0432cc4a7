import numpy as np
import pytest
from sensor_msgs.msg import PointCloud2, PointField
from sensor_msgs_py.point_cloud2 import (
    create_cloud,
    create_cloud_xyz32,
    dtype_from_fields,
    read_points,
    read_points_numpy,
)
from std_msgs.msg import Header

pytestmark = pytest.mark.ros

F32, U16, U8 = PointField.FLOAT32, PointField.UINT16, PointField.UINT8
XYZ_LABEL = [
    PointField(name='x', offset=0, datatype=F32, count=1),
    PointField(name='y', offset=4, datatype=F32, count=1),
    PointField(name='z', offset=8, datatype=F32, count=1),
    PointField(name='label', offset=12, datatype=U16, count=1),
]


def labelled_points():
    points = np.zeros(3, dtype_from_fields(XYZ_LABEL, point_step=16))
    points['x'] = [0, 1, np.nan]
    points['label'] = [7, 8, 9]
    return points


def test_points_survive_a_round_trip_at_their_offsets():
    cloud = create_cloud(Header(frame_id='map'), XYZ_LABEL, labelled_points(), point_step=16)
    assert (cloud.width, cloud.height, cloud.point_step, cloud.row_step) == (3, 1, 16, 48)
    assert (cloud.header.frame_id, cloud.is_dense, cloud.data.typecode) == ('map', False, 'B')
    points = read_points(cloud)
    assert points.dtype.itemsize == 16
    for name in ('x', 'y', 'z', 'label'):
        np.testing.assert_array_equal(points[name], labelled_points()[name])


def test_read_points_is_a_view_on_the_message():
    cloud = create_cloud(Header(), XYZ_LABEL, labelled_points(), point_step=16)
    read_points(cloud)['label'][0] = 70
    assert read_points(cloud, ['label'])['label'].tolist() == [70, 8, 9]


def test_fields_are_chosen_and_nans_left_out():
    cloud = create_cloud(Header(), XYZ_LABEL, labelled_points(), point_step=16)
    chosen = read_points(cloud, field_names=['x', 'label'], skip_nans=True)
    assert chosen.dtype.names == ('x', 'label')
    assert chosen['label'].tolist() == [7, 8]
    assert len(read_points(cloud, ['label'], skip_nans=True)) == 3
    cloud.is_dense = True
    assert len(read_points(cloud, skip_nans=True)) == 3


def test_an_unknown_field_is_refused():
    cloud = create_cloud(Header(), XYZ_LABEL, labelled_points(), point_step=16)
    with pytest.raises(AssertionError, match='not in the fields'):
        read_points(cloud, ['intensity'])


def test_points_are_picked_by_index():
    cloud = create_cloud(Header(), XYZ_LABEL, labelled_points(), point_step=16)
    assert read_points(cloud, uvs=[2, 0])['label'].tolist() == [9, 7]


def test_an_organized_cloud_has_width_first():
    cloud = create_cloud_xyz32(Header(), np.arange(18, dtype=np.float32).reshape(2, 3, 3))
    assert (cloud.width, cloud.height) == (2, 3)
    assert read_points(cloud, reshape_organized_cloud=True).shape == (2, 3)


def test_plain_arrays_of_positions():
    positions = np.arange(6, dtype=np.float64).reshape(2, 3)
    cloud = create_cloud_xyz32(Header(), positions)
    assert cloud.point_step == 12
    read = read_points_numpy(cloud)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, positions)
    np.testing.assert_array_equal(read_points_numpy(cloud, ['z', 'x']), positions[:, [2, 0]])


def test_tuples_become_points():
    cloud = create_cloud_xyz32(Header(), [(1, 2, 3), (4, 5, 6)])
    np.testing.assert_array_equal(read_points_numpy(cloud), [[1, 2, 3], [4, 5, 6]])


def test_no_points_at_all():
    cloud = create_cloud_xyz32(Header(), np.zeros((0, 3), np.float32))
    assert (cloud.width, cloud.height, len(cloud.data)) == (0, 1, 0)
    assert read_points_numpy(cloud).shape == (0, 3)


def test_mixed_types_need_a_structured_array():
    cloud = create_cloud(Header(), XYZ_LABEL, labelled_points(), point_step=16)
    with pytest.raises(AssertionError, match='same datatype'):
        read_points_numpy(cloud)
    with pytest.raises(AssertionError, match='same datatype'):
        create_cloud(Header(), XYZ_LABEL, np.zeros((2, 4)))
    with pytest.raises(AssertionError, match='do not match'):
        create_cloud(Header(), XYZ_LABEL, labelled_points())  # a point has 16 bytes, not 14


def test_fields_of_several_elements_and_without_a_name():
    fields = [
        PointField(name='normal', offset=0, datatype=F32, count=3),
        PointField(name='', offset=12, datatype=U8, count=1),
    ]
    dtype = dtype_from_fields(fields)
    assert dtype.names == ('normal_0', 'normal_1', 'normal_2', 'unnamed_field_1')
    assert dtype.itemsize == 13


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ([PointField(name='x', datatype=F32, count=0)], 'count = 0'),
        ([PointField(name='x', datatype=F32, count=1)] * 2, 'Duplicate'),
    ],
)
def test_fields_that_describe_no_point_are_refused(fields, message):
    with pytest.raises(AssertionError, match=message):
        dtype_from_fields(fields)


def test_big_endian_numbers_are_swapped():
    fields = [PointField(name='label', offset=0, datatype=U16, count=1)]
    cloud = PointCloud2(width=2, height=1, fields=fields, point_step=2, row_step=4)
    cloud.data = [1, 0, 0, 2]
    cloud.is_bigendian = True
    assert read_points(cloud)['label'].tolist() == [256, 2]
