import pytest
from rcl_interfaces.msg import ParameterType
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import dump_yaml, flatten
from concerto_ros.errors import ConfigError
from concerto_ros.ros.parameters import NodeParameters

pytestmark = pytest.mark.ros


@pytest.fixture
def make(graph):
    """Return make(*ros_args): a node and its parameters."""

    def make(*arguments):
        node = graph.node('parameters', *arguments)
        return node, NodeParameters(node)

    return make


def test_every_value_is_declared_with_its_default(make):
    node, parameters = make()
    assert parameters.config == ConcertoConfig()
    for p in flatten(ConcertoConfig()):
        assert node.get_parameter(p.name).value == p.value


def test_yaml_and_command_line_are_taken(make, tmp_path):
    file = tmp_path / 'params.yaml'
    file.write_text(dump_yaml(ConcertoConfig()).replace('voxel_size: 0.02', 'voxel_size: 0.05'))
    node, parameters = make('--params-file', str(file), '-p', 'depth.max:=3.5')
    assert parameters.config.map.voxel_size == 0.05
    assert parameters.config.depth.max == 3.5
    assert node.get_parameter('depth.max').value == 3.5


@pytest.mark.parametrize(
    ('argument', 'message'),
    [
        ('map.voxel_sise:=0.1', r'unknown parameter "map.voxel_sise"; did you mean "map.voxel_si'),
        ('depth.max:=0', r'"depth.max" must be .*, got 0.0'),
        ('depth.max:=far', r'"depth.max" must be a float'),
        ('map.voxel_size:=0.0', r'"map.voxel_size" must be >= 0.002 and <= 1.0 m, got 0.0'),
        ('input.qos:=best', r'"input.qos" must be one of auto, reliable, best_effort'),
        ('depth.min:=5.0', r'"depth.min" \(5.0 m\) must be smaller'),
    ],
)
def test_a_wrong_start_is_refused(make, argument, message):
    with pytest.raises(ConfigError, match=message):
        make('-p', argument)


def test_whole_numbers_will_do_for_floats(graph, make, tmp_path):
    file = tmp_path / 'params.yaml'
    file.write_text('/**:\n  ros__parameters:\n    depth: {max: 3}\n')
    node, parameters = make('--params-file', str(file), '-p', 'map.max_weight:=32')
    assert parameters.config.map.max_weight == 32.0
    assert node.get_parameter('depth.max').type_ == Parameter.Type.DOUBLE
    client = AsyncParameterClient(graph.node('client'), 'parameters')
    graph.until(client.services_are_ready)
    for call in (client.set_parameters, client.set_parameters_atomically):
        future = call([Parameter('depth.max', value=2), Parameter('depth.stride', value=3)])
        graph.until(future.done)
        assert parameters.config.depth.max == node.get_parameter('depth.max').value == 2.0
        assert node.get_parameter('depth.max').type_ == Parameter.Type.DOUBLE
        assert parameters.config.depth.stride == 3
        node.set_parameters([Parameter('depth.max', value=4), Parameter('depth.stride', value=4)])


def test_parameters_of_rclpy_pass(make):
    node, _ = make('-p', 'use_sim_time:=true', '-p', 'qos_overrides./tf.subscription.depth:=5')
    assert node.get_parameter('use_sim_time').value is True


def test_live_values_change_and_are_told(make):
    node, parameters = make()
    told = []
    parameters.on_change(told.append)
    (result,) = node.set_parameters([Parameter('depth.max', value=2.5)])
    assert result.successful
    assert parameters.config.depth.max == 2.5
    assert told == [parameters.config]
    node.set_parameters([Parameter('depth.max', value=2.5)])
    assert len(told) == 1


@pytest.mark.parametrize(
    ('name', 'value', 'reason'),
    [
        ('map.voxel_size', 0.05, 'read-only'),
        ('depth.max', 0.1, r'"depth.min" (0.2 m) must be smaller'),
        ('depth.max', 0.0, '"depth.max" must be > 0.0 m, got 0.0'),
        ('depth.max', -1.0, 'out of range'),
        ('depth.max', '3', 'Wrong parameter type'),
        ('depth.max', -3, 'out of range'),
        ('depth.stride', 2.0, 'Wrong parameter type'),
        ('semantics.min_confidence', float('nan'), 'out of range'),
    ],
)
def test_a_wrong_change_is_refused_with_a_reason(make, name, value, reason):
    node, parameters = make()
    (result,) = node.set_parameters([Parameter(name, value=value)])
    assert not result.successful
    assert reason in result.reason
    assert parameters.config == ConcertoConfig()


def test_descriptors_tell_what_is_allowed(make):
    node, _ = make()
    edge = node.describe_parameter('semantics.min_confidence')
    assert edge.type == ParameterType.PARAMETER_DOUBLE
    assert edge.floating_point_range[0].from_value == 0.0
    assert edge.floating_point_range[0].to_value == 1.0
    assert not edge.read_only
    assert node.describe_parameter('depth.stride').integer_range[0].to_value == 16
    qos = node.describe_parameter('input.qos')
    assert qos.read_only
    assert qos.additional_constraints == 'one of auto, reliable, best_effort'
    assert 'Reliability of the image subscriptions' in qos.description
