"""Choose the topics of an RGB-D camera from the names and types in a recording."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from concerto_ros.errors import SourceError

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
TF_TYPES = ('tf2_msgs/msg/TFMessage', 'tf/msg/tfMessage')

_TRANSPORTS = ('/compressed', '/compressedDepth', '/theora', '/zstd')
_OTHER_IMAGES = ('infra', 'theora', 'label', 'mask', 'confidence', 'zstd')


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicNames:
    """Names of the topics to read; an empty one is chosen by name and type.

    Attributes:
        color: Image or CompressedImage.
        depth: Image, or CompressedImage of a compressedDepth topic.
        camera_info: Calibration of `color`.
        depth_camera_info: Calibration of `depth`; stays empty where there is none.
    """

    color: str = ''
    depth: str = ''
    camera_info: str = ''
    depth_camera_info: str = ''


def choose_topics(topics: Mapping[str, str], given: TopicNames) -> TopicNames:
    """Complete `given` from the topics there are.

    Args:
        topics: Message type of each topic name.
        given: Names that are asked for.

    Raises:
        SourceError: A topic is missing, has another type, or several are equally good; the
            message lists the topics there are.
    """
    images, infos = (IMAGE, COMPRESSED_IMAGE), (CAMERA_INFO,)
    for name, types in (
        (given.color, images), (given.depth, images),
        (given.camera_info, infos), (given.depth_camera_info, infos),
    ):  # fmt: skip
        if name and topics.get(name) not in types:
            raise SourceError(f'no topic {name!r} of type {_either(types)}; {_listing(topics)}')
    color = given.color or _best(topics, 'color', _color_rank)
    depth = given.depth or _best(topics, 'depth', _depth_rank)
    chosen = replace(given, color=color, depth=depth)
    return replace(
        chosen,
        camera_info=given.camera_info or _color_info(topics, color),
        depth_camera_info=given.depth_camera_info or _info_beside(topics, depth),
    )


def _best(
    topics: Mapping[str, str], kind: str, rank: Callable[[str, str], tuple[bool, ...] | None]
) -> str:
    ranked = [(r, name) for name, msgtype in topics.items() if (r := rank(name, msgtype))]
    if not ranked:
        raise SourceError(
            f'no {kind} image topic (an Image whose name contains '
            f'{"color or rgb" if kind == "color" else "depth"}); {_listing(topics)}'
        )
    highest = max(r for r, _ in ranked)
    best = sorted(name for r, name in ranked if r == highest)
    if len(best) > 1:
        raise SourceError(
            f'several {kind} image topics, name the one to use: {", ".join(best)}; '
            f'{_listing(topics)}'
        )
    return best[0]


def _color_rank(name: str, msgtype: str) -> tuple[bool, ...] | None:
    """Return how well a topic suits as colour, larger is better; None if it does not."""
    lower = name.lower()
    named = any(word in lower for word in ('color', 'colour', 'rgb'))
    if not _is_image(lower, msgtype) or not named or 'depth' in lower:
        return None
    return (msgtype == IMAGE, 'rect' in lower)


def _depth_rank(name: str, msgtype: str) -> tuple[bool, ...] | None:
    """Return how well a topic suits as depth, larger is better; None if it does not."""
    lower = name.lower()
    if not _is_image(lower, msgtype) or 'depth' not in lower:
        return None
    registered = any(word in lower for word in ('aligned', 'registered'))
    return (registered, msgtype == IMAGE, name.endswith('compressedDepth'), 'rect' in lower)


def _is_image(lower: str, msgtype: str) -> bool:
    return msgtype in (IMAGE, COMPRESSED_IMAGE) and not any(w in lower for w in _OTHER_IMAGES)


def _color_info(topics: Mapping[str, str], color: str) -> str:
    infos = sorted(name for name, msgtype in topics.items() if msgtype == CAMERA_INFO)
    if found := _info_beside(topics, color):
        return found
    if len(infos) == 1:
        return infos[0]
    raise SourceError(f'no camera_info topic beside {color!r}; {_listing(topics)}')


def _info_beside(topics: Mapping[str, str], image: str) -> str:
    for transport in _TRANSPORTS:
        image = image.removesuffix(transport)
    name = image.rpartition('/')[0] + '/camera_info'
    return name if topics.get(name) == CAMERA_INFO else ''


def _either(types: tuple[str, ...]) -> str:
    return ' or '.join(types)


def _listing(topics: Mapping[str, str]) -> str:
    lines = ', '.join(f'{name} ({msgtype})' for name, msgtype in sorted(topics.items()))
    return f'the recording has {lines or "no topics"}'
