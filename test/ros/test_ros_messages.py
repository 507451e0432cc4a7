import re

import numpy as np
import pytest
from sensor_msgs.msg import PointField
from sensor_msgs_py.point_cloud2 import create_cloud, read_points
from visualization_msgs.msg import Marker

from concerto_msgs.action import SearchObjects
from concerto_msgs.msg import Region
from concerto_msgs.srv import FindObjects
from concerto_ros.ros.conversions import make_header, pose_matrix
from concerto_ros.ros.map_messages import label_info, map_update, point_cloud
from concerto_ros.ros.search_messages import fill_response, object_markers
from concerto_ros.semantics import make_labels, palette
from concerto_ros.structures import Box, MapChanges, MapCloud, ObjectHit, SearchResult

pytestmark = pytest.mark.ros

STAMP_NS = 12_000_000_345
FIELDS = [
    ('x', 0, PointField.FLOAT32),
    ('y', 4, PointField.FLOAT32),
    ('z', 8, PointField.FLOAT32),
    ('rgb', 12, PointField.FLOAT32),
    ('label', 16, PointField.UINT16),
    ('language_label', 18, PointField.UINT16),
    ('confidence', 20, PointField.FLOAT32),
    ('language_confidence', 24, PointField.FLOAT32),
]


def random_cloud(num_points, seed=0):
    generator = np.random.default_rng(seed)
    return MapCloud(
        coord=generator.normal(size=(num_points, 3)).astype(np.float32),
        color=generator.integers(0, 256, (num_points, 3)).astype(np.uint8),
        normal=np.zeros((num_points, 3), np.float32),
        label=generator.integers(0, 65536, num_points).astype(np.uint16),
        confidence=generator.random(num_points).astype(np.float32),
        language_label=generator.integers(0, 65536, num_points).astype(np.uint16),
        language_confidence=generator.random(num_points).astype(np.float32),
    )


def assert_same_points(message, cloud):
    points = read_points(message)
    assert points.dtype.itemsize == 32
    np.testing.assert_array_equal(np.stack([points[axis] for axis in 'xyz'], 1), cloud.coord)
    rgb = points['rgb'].copy().view(np.uint32)
    channels = [rgb >> 16, rgb >> 8 & 255, rgb & 255]
    np.testing.assert_array_equal(np.stack(channels, 1), cloud.color)
    for name in ('label', 'language_label', 'confidence', 'language_confidence'):
        np.testing.assert_array_equal(points[name], getattr(cloud, name), err_msg=name)


def hit(label='chair', yaw=0.0):
    return ObjectHit(
        id=f'{label}_3f2a',
        label=label,
        score=0.75,
        center=np.array([1.0, 2.0, 3.0]),
        box=Box(center=np.array([1.5, 2.5, 3.5]), size=np.array([0.4, 0.6, 0.8]), yaw=yaw),
        num_points=42,
        num_views=7,
        first_seen_ns=1_000_000_002,
        last_seen_ns=3_000_000_004,
    )


@pytest.mark.parametrize('num_points', [0, 1, 5, 16384, 40000])  # several slices
def test_a_cloud_is_read_back_as_it_was(num_points):
    cloud = random_cloud(num_points)
    message = point_cloud(make_header('map', STAMP_NS), cloud)
    assert_same_points(message, cloud)
    assert (message.width, message.height) == (num_points, 1)
    assert message.row_step == len(message.data) == 32 * num_points
    assert message.is_dense
    assert not message.is_bigendian
    assert message.header.frame_id == 'map'
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (12, 345)


def test_the_layout_of_a_point_is_the_documented_one():
    message = point_cloud(make_header('map', 0), random_cloud(1))
    found = [(field.name, field.offset, field.datatype) for field in message.fields]
    assert found == FIELDS
    assert {field.count for field in message.fields} == {1}
    assert message.data.typecode == 'B'
    assert bytes(message.data[28:]) == bytes(4)


def test_the_cloud_is_the_one_that_ros_builds_from_the_same_points():
    message = point_cloud(make_header('map', 5), random_cloud(100))
    same = create_cloud(message.header, message.fields, read_points(message), point_step=32)
    same.is_dense = True  # create_cloud does not know
    assert same == message


def test_a_cloud_of_views_on_other_arrays():
    cloud = random_cloud(10)
    halves = {name: getattr(cloud, name)[::2] for name in MapCloud.__slots__}
    message = point_cloud(make_header('map', 0), MapCloud(**halves))
    assert_same_points(message, MapCloud(**halves))


def test_an_update_lists_its_groups_in_the_order_of_the_points():
    quarter = np.array([[0, -1, 0, 1], [1, 0, 0, -2], [0, 0, 1, 3], [0, 0, 0, 1]], float)
    changes = MapChanges(
        epoch=3,
        revision=9,
        stamp_ns=STAMP_NS,
        group_size=0.32,
        voxel_size=0.02,
        T_world_submap=np.stack([np.eye(4), quarter]),
        submap=np.array([1, 0], np.uint16),
        key=np.array([[-1, 0, 2], [5, 6, -7]], np.int32),
        sequence=np.array([8, 2**40], np.uint64),
        num_points=np.array([0, 4], np.uint32),
        cloud=random_cloud(4),
    )
    message = map_update(make_header('odom', STAMP_NS), changes)
    assert message.epoch == 3
    assert message.group_size == pytest.approx(0.32)
    assert message.voxel_size == pytest.approx(0.02)
    found = [(g.submap, g.x, g.y, g.z, g.sequence, g.num_points) for g in message.groups]
    assert found == [(1, -1, 0, 2, 8, 0), (0, 5, 6, -7, 2**40, 4)]
    np.testing.assert_array_equal(pose_matrix(message.submaps[0]), np.eye(4))
    np.testing.assert_allclose(pose_matrix(message.submaps[1]), quarter, atol=1e-12)
    assert_same_points(message.points, changes.cloud)
    assert message.header.frame_id == message.points.header.frame_id == 'odom'


def test_a_label_table_names_and_colours_every_id():
    labels = make_labels('rooms', ('chair', 'table'))
    message = label_info(make_header('', STAMP_NS), labels)
    assert message.vocabulary == 'rooms'
    assert list(message.ids) == [0, 1, 2]
    assert message.names == ['unknown', 'chair', 'table']
    colors = [[color.r, color.g, color.b] for color in message.colors]
    np.testing.assert_allclose(np.array(colors) * 255, labels.colors, atol=1e-4)
    assert {color.a for color in message.colors} == {1.0}


def test_the_label_table_without_weights_knows_only_unknown():
    message = label_info(make_header('', 0), make_labels('', ()))
    assert (message.vocabulary, message.names, list(message.ids)) == ('', ['unknown'], [0])


def test_found_objects_become_a_coloured_cube_and_a_name():
    labels = make_labels('rooms', ('chair',))
    objects = (hit('chair', yaw=np.pi / 2), hit('teapot'))
    message = object_markers(make_header('map', STAMP_NS), objects, labels)
    clear, cube, name, _, other = message.markers
    assert clear.action == Marker.DELETEALL
    assert (cube.type, cube.ns, cube.id) == (Marker.CUBE, 'boxes', 0)
    assert cube.header.frame_id == 'map'
    position, turn = cube.pose.position, cube.pose.orientation
    assert (position.x, position.y, position.z) == (1.5, 2.5, 3.5)
    assert (turn.z, turn.w) == pytest.approx((0.5**0.5, 0.5**0.5))
    assert (cube.scale.x, cube.scale.y, cube.scale.z) == (0.4, 0.6, 0.8)
    color = np.array([cube.color.r, cube.color.g, cube.color.b])
    np.testing.assert_allclose(color * 255, labels.colors[1], atol=1e-4)
    assert 0 < cube.color.a < 1
    assert (name.type, name.text) == (Marker.TEXT_VIEW_FACING, 'chair 0.75')
    assert name.pose.position.z > 3.5 + 0.4
    unlisted = np.array([other.color.r, other.color.g, other.color.b])
    np.testing.assert_allclose(unlisted * 255, palette(('teapot',))[0], atol=1e-4)
    assert len({(marker.ns, marker.id) for marker in message.markers[1:]}) == 4


def test_nothing_found_removes_the_markers_shown_before():
    message = object_markers(make_header('map', 0), (), make_labels('', ()))
    assert [marker.action for marker in message.markers] == [Marker.DELETEALL]


def test_an_answer_tells_everything_about_an_object():
    result = SearchResult(
        verdict='found',
        objects=(hit(),),
        observed_share=0.5,
        calibrated=True,
        text_encoder='open_clip:A/b',
    )
    response = FindObjects.Response()
    request = FindObjects.Request(text=' blue chair ')
    fill_response(response, make_header('map', STAMP_NS), request, result)
    assert response.success
    assert response.message == '1 found for "blue chair"; best is chair_3f2a with score 0.75'
    assert response.verdict == FindObjects.Response.FOUND
    assert response.observed_share == 0.5
    assert response.calibrated
    assert response.text_encoder == 'open_clip:A/b'
    found = response.objects[0]
    assert (found.id, found.label, found.score) == ('chair_3f2a', 'chair', 0.75)
    assert (found.frame_id, found.stamp.sec, found.stamp.nanosec) == ('map', 12, 345)
    assert (found.center.x, found.center.y, found.center.z) == (1, 2, 3)
    assert found.box_pose.position.x == 1.5
    assert (found.box_size.x, found.box_size.y, found.box_size.z) == (0.4, 0.6, 0.8)
    assert (found.num_points, found.num_views) == (42, 7)
    assert (found.first_seen.sec, found.first_seen.nanosec) == (1, 2)
    assert (found.last_seen.sec, found.last_seen.nanosec) == (3, 4)


@pytest.mark.parametrize(
    ('verdict', 'region', 'number', 'message'),
    [
        ('absent', [Region()], FindObjects.Response.ABSENT, 'well enough, and 75%'),
        ('unobserved', [Region()], FindObjects.Response.UNOBSERVED, 'yet, but only 75%'),
        ('absent', [], FindObjects.Response.ABSENT, 'nothing in the map fits "chair"'),
        ('unobserved', [], FindObjects.Response.UNOBSERVED, 'looked at 75% of the map'),
    ],
)
def test_an_empty_answer_tells_why(verdict, region, number, message):
    response = FindObjects.Response()
    result = SearchResult(verdict=verdict, observed_share=0.75)
    request = FindObjects.Request(text='chair', region=region)
    fill_response(response, make_header('map', 0), request, result)
    assert response.success
    assert not response.calibrated
    assert response.verdict == number
    assert not response.objects
    assert pytest.approx(0.75) == response.observed_share
    assert re.search(message, response.message)


def test_an_answer_that_is_none_tells_what_comes_near():
    result = SearchResult(verdict='absent', objects=(hit(),), observed_share=1.0)
    answer = SearchObjects.Result()
    goal = SearchObjects.Goal(text='the\x1b_sofa', min_score=0.9)
    fill_response(answer, make_header('map', 0), goal, result)
    assert answer.verdict == SearchObjects.Result.ABSENT
    assert [found.id for found in answer.objects] == ['chair_3f2a']
    assert answer.message == (
        'nothing in the map fits "sofa" well enough; best is chair_3f2a with score 0.75'
    )
