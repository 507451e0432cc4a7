"""The configuration tree as ROS parameters: declared with all that is known, checked on change."""

import sys
from collections.abc import Callable
from typing import Generic, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import Param, ParamInfo, Value, build, describe, flatten, range_text
from concerto_ros.errors import ConfigError

T = TypeVar('T')

_LARGEST_INT = 2**63 - 1
_OF_RCLPY = ('use_sim_time', 'start_type_description_service', 'qos_overrides.')


class Parameters(Generic[T]):
    """Every value of a configuration tree as a parameter of a node.

    Args:
        node: The node; what its YAML file and command line set is checked here.
        schema: Root dataclass of the tree.

    Attributes:
        config: The values now; a new object after each change.

    Raises:
        ConfigError: A value given at the start is unknown, mistyped or out of range.
    """

    def __init__(self, node: Node, schema: type[T]) -> None:
        self._schema = schema
        self.config = build(schema, _given(node))
        self._callbacks: list[Callable[[T], None]] = []
        self._types: dict[str, type] = {}
        for parameter in flatten(self.config):
            self._types[parameter.name] = parameter.type
            node.declare_parameter(
                parameter.name, parameter.value, _descriptor(parameter), ignore_override=True
            )
        if hasattr(node, 'add_pre_set_parameters_callback'):  # Humble has none
            node.add_pre_set_parameters_callback(self._with_floats)
        node.add_on_set_parameters_callback(self._set)

    def on_change(self, callback: Callable[[T], None]) -> None:
        """Call back with the new configuration after every change, on the executor's thread."""
        self._callbacks.append(callback)

    def _with_floats(self, parameters: list[Parameter]) -> list[Parameter]:
        """Return what is to be set, whole numbers as floats where floats are declared."""
        return [
            Parameter(p.name, value=float(p.value))
            if p.type_ == Parameter.Type.INTEGER and self._types.get(p.name) is float
            else p
            for p in parameters
        ]

    def _set(self, parameters: list[Parameter]) -> SetParametersResult:
        """Take changes that the tree allows; what is read-only rclpy has refused already."""
        values = {p.name: p.value for p in parameters if p.name in self._types}
        try:
            config = build(self._schema, values, base=self.config)
        except ConfigError as err:
            return SetParametersResult(successful=False, reason=str(err))
        if config != self.config:
            self.config = config
            for callback in self._callbacks:
                callback(config)
        return SetParametersResult(successful=True)


class NodeParameters(Parameters[ConcertoConfig]):
    """Every value of `ConcertoConfig` as a parameter of a node."""

    def __init__(self, node: Node) -> None:
        super().__init__(node, ConcertoConfig)


def _given(node: Node) -> dict[str, Value]:
    """Return what YAML file and command line set.

    rclpy shows only what gets declared, so an unknown name would pass unnoticed; its own table
    of overrides has them all.
    """
    overrides = node._parameter_overrides
    return {n: p.value for n, p in overrides.items() if not n.startswith(_OF_RCLPY)}


def _descriptor(parameter: Param) -> ParameterDescriptor:
    info = parameter.info
    descriptor = ParameterDescriptor(description=describe(info), read_only=not info.live)
    if info.choices:
        descriptor.additional_constraints = f'one of {", ".join(info.choices)}'
    elif parameter.type in (int, float):
        descriptor.additional_constraints = range_text(info)
        _set_range(descriptor, parameter.type, info)
    return descriptor


def _set_range(descriptor: ParameterDescriptor, kind: type, info: ParamInfo) -> None:
    """Describe the range; that `gt` itself is not in it only the tree knows."""
    low = info.ge if info.gt is None else info.gt
    if low is None and info.le is None:
        return
    if kind is int:
        descriptor.integer_range = [
            IntegerRange(
                from_value=-_LARGEST_INT if low is None else int(low),
                to_value=_LARGEST_INT if info.le is None else int(info.le),
            )
        ]
    else:
        largest = sys.float_info.max
        descriptor.floating_point_range = [
            FloatingPointRange(
                from_value=-largest if low is None else float(low),
                to_value=largest if info.le is None else float(info.le),
            )
        ]
