"""What a search found, as markers and as the answer of a service."""

from typing import TypeAlias

from builtin_interfaces.msg import Time as TimeMessage
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from numpy.typing import NDArray
from rclpy.time import Time
from std_msgs.msg import Header
from tf_transformations import quaternion_from_euler
from visualization_msgs.msg import Marker, MarkerArray

from concerto_msgs.action import SearchObjects
from concerto_msgs.msg import ObjectHit as ObjectHitMessage
from concerto_msgs.srv import FindObjects
from concerto_ros.ros.map_messages import rgba_message
from concerto_ros.semantics import clean_name, palette
from concerto_ros.structures import Box, Labels, ObjectHit, SearchResult

Question: TypeAlias = FindObjects.Request | SearchObjects.Goal
Answer: TypeAlias = FindObjects.Response | SearchObjects.Result

_VERDICTS = {
    'found': FindObjects.Response.FOUND,
    'absent': FindObjects.Response.ABSENT,
    'unobserved': FindObjects.Response.UNOBSERVED,
}
_TEXT_HEIGHT = 0.12  # [m]


def object_markers(header: Header, objects: tuple[ObjectHit, ...], labels: Labels) -> MarkerArray:
    """Make a cube and a name for every object; they replace all markers shown before.

    Args:
        header: Frame of the objects and time of the map.
        objects: May be empty.
        labels: Gives the colours; an object with another label has one made from its name.
    """
    colors = dict(zip(labels.names, labels.colors.tolist(), strict=True))
    markers = [Marker(header=header, action=Marker.DELETEALL)]
    for number, hit in enumerate(objects):
        color = colors.get(hit.label) or palette((hit.label,))[0].tolist()
        cube = Marker(header=header, ns='boxes', id=number, type=Marker.CUBE)
        cube.pose = _pose(hit.box)
        cube.scale = _vector(hit.box.size)
        cube.color = rgba_message(color, alpha=0.4)
        name = Marker(header=header, ns='names', id=number, type=Marker.TEXT_VIEW_FACING)
        name.pose.position = _point(hit.box.center)
        name.pose.position.z += hit.box.size[2] / 2 + _TEXT_HEIGHT
        name.scale.z = _TEXT_HEIGHT
        name.color = rgba_message(color)
        name.text = f'{hit.label} {hit.score:.2f}'
        markers += [cube, name]
    return MarkerArray(markers=markers)


def fill_response(
    response: Answer, header: Header, question: Question, result: SearchResult
) -> None:
    """Fill the answer to a question; `header` holds frame and time of the objects.

    Where the verdict is not found, objects are those that come near.
    """
    response.success = True
    response.message = _sentence(question, result)
    response.verdict = _VERDICTS[result.verdict]
    response.observed_share = result.observed_share
    response.calibrated = result.calibrated
    response.text_encoder = result.text_encoder
    response.objects = [_object_message(header, hit) for hit in result.objects]


def _sentence(question: Question, result: SearchResult) -> str:
    text = clean_name(question.text)
    best = ''
    if result.objects:
        best = f'; best is {result.objects[0].id} with score {result.objects[0].score:.2f}'
    if result.verdict == 'found':
        return f'{len(result.objects)} found for "{text}"{best}'
    is_absent = result.verdict == 'absent'
    share = f'{result.observed_share:.0%}'
    if not question.region:
        sentence = (
            f'nothing in the map fits "{text}" well enough'
            if is_absent
            else f'nothing fits "{text}" yet: the network has looked at {share} of the map'
        )
    elif is_absent:
        sentence = f'nothing fits "{text}" well enough, and {share} of the region has been seen'
    else:
        sentence = f'nothing fits "{text}" yet, but only {share} of the region has been seen'
    return sentence + best


def _object_message(header: Header, hit: ObjectHit) -> ObjectHitMessage:
    return ObjectHitMessage(
        id=hit.id,
        label=hit.label,
        score=hit.score,
        frame_id=header.frame_id,
        stamp=header.stamp,
        center=_point(hit.center),
        box_pose=_pose(hit.box),
        box_size=_vector(hit.box.size),
        num_points=hit.num_points,
        num_views=hit.num_views,
        first_seen=_time(hit.first_seen_ns),
        last_seen=_time(hit.last_seen_ns),
    )


def _point(xyz: NDArray) -> Point:
    x, y, z = xyz.tolist()
    return Point(x=x, y=y, z=z)


def _vector(xyz: NDArray) -> Vector3:
    x, y, z = xyz.tolist()
    return Vector3(x=x, y=y, z=z)


def _pose(box: Box) -> Pose:
    x, y, z, w = map(float, quaternion_from_euler(0.0, 0.0, box.yaw))
    return Pose(position=_point(box.center), orientation=Quaternion(x=x, y=y, z=z, w=w))


def _time(stamp_ns: int) -> TimeMessage:
    return Time(nanoseconds=stamp_ns).to_msg()
