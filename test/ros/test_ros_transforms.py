import pytest

from concerto_ros.config.schema import FramesConfig
from concerto_ros.errors import TransformUnavailable
from concerto_ros.ros.transforms import Transforms

pytestmark = pytest.mark.ros

START = 1000 * 1_000_000_000
SECOND = 1_000_000_000


@pytest.fixture
def heard(graph, make_robot):
    """Return transforms, and a robot whose transforms they hear."""
    robot = make_robot()
    transforms = Transforms(graph.node('listener'), FramesConfig())
    robot.until_heard(robot.tf_topic)
    return transforms, robot


def available(transforms, *arguments):
    try:
        return transforms.lookup(*arguments) is not None
    except TransformUnavailable:
        return False


def test_lookup_is_at_the_stamp_and_latest_at_the_newest(graph, heard):
    transforms, robot = heard
    robot.tf('map', 'camera', START, (0, 0, 0))
    robot.tf('map', 'camera', START + SECOND, (1, 0, 0))
    graph.until(lambda: available(transforms, 'map', 'camera', START + SECOND))
    assert transforms.lookup('map', 'camera', START + SECOND // 4)[0, 3] == pytest.approx(0.25)
    assert transforms.latest('map', 'camera')[0, 3] == 1


def test_what_is_not_known_says_so(graph, heard):
    transforms, robot = heard
    with pytest.raises(TransformUnavailable, match=r"from 'camera' to 'map': .*does not exist"):
        transforms.lookup('map', 'camera', START)
    robot.tf('map', 'camera', START)
    graph.until(lambda: available(transforms, 'map', 'camera', START))
    with pytest.raises(TransformUnavailable, match='extrapolation'):
        transforms.lookup('map', 'camera', START + SECOND)
    with pytest.raises(TransformUnavailable, match=r"to 'odom'.*; no transform .* to 'map'"):
        transforms.fusion_frame('lidar', START)


@pytest.mark.parametrize('stamp', [0, -SECOND])
def test_what_has_no_time_is_nowhere(graph, heard, stamp):
    transforms, robot = heard
    robot.tf('map', 'camera', START)
    graph.until(lambda: available(transforms, 'map', 'camera', START))
    with pytest.raises(TransformUnavailable, match='is no time'):
        transforms.lookup('map', 'camera', stamp)


def test_an_infinite_transform_is_none(graph, heard):
    transforms, robot = heard
    robot.tf('map', 'camera', static=True, xyz=(float('inf'), 0, 0))
    robot.tf('map', 'base', static=True)
    graph.until(lambda: available(transforms, 'map', 'base', START))
    with pytest.raises(TransformUnavailable, match='finite'):
        transforms.lookup('map', 'camera', START)


def test_the_fusion_frame_is_odom_else_map(graph, heard):
    transforms, robot = heard
    robot.tf('map', 'camera', static=True)
    graph.until(lambda: available(transforms, 'map', 'camera', START))
    assert transforms.fusion_frame('camera', START) == 'map'
    robot.tf('odom', 'map', static=True)
    graph.until(lambda: available(transforms, 'odom', 'camera', START))
    assert transforms.fusion_frame('camera', START) == 'odom'


def test_a_jump_back_forgets_what_moved_and_keeps_what_is_static(graph, heard):
    transforms, robot = heard
    calls = []
    transforms.before_clear(lambda: calls.append(available(transforms, 'map', 'base', START)))
    robot.tf('base', 'camera', static=True)
    robot.tf('map', 'base', START)
    graph.until(lambda: available(transforms, 'map', 'camera', START))
    robot.tf('map', 'base', START - 60 * SECOND)
    graph.until(lambda: available(transforms, 'map', 'camera', START - 60 * SECOND))
    assert not available(transforms, 'map', 'base', START)
    assert calls == [True]


def test_start_over_spares_transforms_that_have_jumped_already(graph, heard):
    transforms, robot = heard
    robot.tf('map', 'camera', START)
    graph.until(lambda: available(transforms, 'map', 'camera', START))
    transforms.start_over(START)
    assert available(transforms, 'map', 'camera', START)
    transforms.start_over(START - SECOND)
    assert not available(transforms, 'map', 'camera', START)
