"""The tables of README.md name what the node really has."""

import re
from pathlib import Path

import pytest
import rclpy
from rclpy.action import get_action_server_names_and_types_by_node
from rclpy.context import Context

from concerto_ros.ros.perception_node import PerceptionNode

pytestmark = pytest.mark.ros
README = Path(__file__).resolve().parents[2] / 'README.md'
OF_EVERY_NODE = re.compile(r'/rosout|/parameter_events|.*(parameter|type_description).*')
OF_AN_ACTION = re.compile(r'.*/_action/.*')


@pytest.fixture(scope='module')
def node():
    context = Context()
    rclpy.init(context=context)
    node = PerceptionNode(context=context)
    yield node
    node.destroy_node()
    rclpy.try_shutdown(context=context)


def table(kind):
    """Return {name: type} of the table whose first column is headed `kind`."""
    text = README.read_text().split(f'| {kind} | type |')[1].split('\n\n')[0]
    rows = re.findall(r'^\| (`.*?`) \| `(.*?)` \|', text, re.MULTILINE)
    return {name: type_ for names, type_ in rows for name in re.findall('`(.*?)`', names)}


def own(names_and_types):
    """Return {name: type} as README writes it, without what every node has."""
    return {
        re.sub('^/perception_node/', '~/', name): types[0]
        for name, types in names_and_types
        if not OF_EVERY_NODE.fullmatch(name) and not OF_AN_ACTION.fullmatch(name)
    }


def test_subscriptions(node):
    found = node.get_subscriber_names_and_types_by_node('perception_node', '/')
    expected = {
        name if name[0] == '/' else f'/{name}': t for name, t in table('subscribed').items()
    }
    assert own(found) == expected


def test_publishers(node):
    found = node.get_publisher_names_and_types_by_node('perception_node', '/')
    assert own(found) == table('published')


def test_services(node):
    found = node.get_service_names_and_types_by_node('perception_node', '/')
    assert own(found) == table('service')


def test_actions(node):
    found = get_action_server_names_and_types_by_node(node, 'perception_node', '/')
    assert own(found) == table('action')
