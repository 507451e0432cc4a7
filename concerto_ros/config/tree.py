"""A configuration tree of frozen dataclasses, flattened to dotted names and built back from them.

    @dataclass(frozen=True, kw_only=True)
    class MapConfig:
        voxel_size: float = param(0.02, 'Edge length of a voxel.', unit='m', gt=0.0)

    config = build(ConcertoConfig, {'map.voxel_size': 0.05})

The dotted path is the name of a value everywhere: in Python, YAML, ROS and every error message.
"""

import dataclasses
import difflib
import math
import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml

from concerto_ros.errors import ConfigError

Value = bool | int | float | str
T = TypeVar('T')
_ALIKE = 1.0  # likeness of names that one may have meant


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ParamInfo:
    """What is known of one value besides its default.

    Attributes:
        sentence: What the value does, for people.
        unit: Unit of a number; empty if it has none.
        ge: Smallest allowed number, or None.
        gt: Allowed numbers are larger than this, or None.
        le: Largest allowed number, or None.
        live: May be changed while the node runs.
        choices: The allowed strings; empty if any is.
    """

    sentence: str
    unit: str = ''
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    live: bool = False
    choices: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """One value of a tree: its dotted name, its type, its current value and its `ParamInfo`."""

    name: str
    type: type
    value: Value
    info: ParamInfo


def param(default: Value, sentence: str, **info: Any) -> Any:
    """Declare a value of a configuration dataclass; `info` are the other fields of `ParamInfo`."""
    return dataclasses.field(
        default=default, metadata={'info': ParamInfo(sentence=sentence, **info)}
    )


def section(cls: type[T]) -> T:
    """Declare a nested configuration dataclass."""
    return dataclasses.field(default_factory=cls)


def flatten(config: Any, prefix: str = '') -> Iterator[Param]:
    """Yield every value of a tree, depth first, in order of declaration."""
    types = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        name = prefix + field.name
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from flatten(value, name + '.')
        else:
            annotation = types[field.name]
            info: ParamInfo = field.metadata['info']
            if get_origin(annotation) is typing.Literal:
                info = dataclasses.replace(info, choices=get_args(annotation))
                annotation = str
            yield Param(name=name, type=annotation, value=value, info=info)


def build(cls: type[T], values: Mapping[str, Value], base: T | None = None) -> T:
    """Build a checked tree from dotted names.

    Args:
        cls: Root dataclass of the tree.
        values: New values by dotted name; the rest comes from `base`. For a float, an int will do.
        base: Tree to start from; None: the defaults.

    Raises:
        ConfigError: A name is unknown, or a value has the wrong type or range.
    """
    tree = cls() if base is None else base
    params = {p.name: p for p in flatten(tree)}
    checked = {}
    for name, value in values.items():
        checked[name] = _checked(find_param(params, name), value)
    return typing.cast(T, _replace(tree, checked, ''))


def _replace(tree: Any, values: Mapping[str, Value], prefix: str) -> Any:
    changes = {}
    for field in dataclasses.fields(tree):
        name = prefix + field.name
        value = getattr(tree, field.name)
        if dataclasses.is_dataclass(value):
            changes[field.name] = _replace(value, values, name + '.')
        elif name in values:
            changes[field.name] = values[name]
    return dataclasses.replace(tree, **changes)


def find_param(params: Mapping[str, Param], name: str) -> Param:
    """Return the parameter of a name.

    Raises:
        ConfigError: There is none; the message tells what may have been meant.
    """
    if name in params:
        return params[name]
    nearest = max(params, key=lambda known: _likeness(name, known))
    if _likeness(name, nearest) > _ALIKE:
        raise ConfigError(f'unknown parameter "{name}"; did you mean "{nearest}"?')
    section_of_it = f'{name.partition(".")[0]}.'
    inside = [known for known in params if known.startswith(section_of_it)]
    sections = dict.fromkeys(re.sub(r'\..*', '.*', known) for known in params)
    raise ConfigError(f'unknown parameter "{name}"; known are {", ".join(inside or sections)}')


def _likeness(name: str, known: str) -> float:
    """Return 0..2: how similar dotted names are, the last part once more by itself."""
    pairs = (name, known), (name.rpartition('.')[2], known.rpartition('.')[2])
    return sum(difflib.SequenceMatcher(None, a, b).ratio() for a, b in pairs)


def _checked(p: Param, value: Value) -> Value:
    """Return a value that a parameter may have, of its type."""
    if p.type is float and type(value) is int:  # nobody writes 3.0 m
        value = float(value)
    if type(value) is not p.type:  # a bool is an int for Python, but not for ROS
        raise ConfigError(
            f'parameter "{p.name}" must be {_in_words(p.type)}, '
            f'got {value!r}, {_in_words(type(value))}'
        )
    if p.info.choices and value not in p.info.choices:
        raise ConfigError(
            f'parameter "{p.name}" must be one of {", ".join(p.info.choices)}, got "{value}"'
        )
    if isinstance(value, (int, float)) and not _in_range(p.info, value):
        raise ConfigError(f'parameter "{p.name}" must be {range_text(p.info)}, got {value}')
    return value


def _in_words(kind: type) -> str:
    return 'a whole number' if kind is int else f'a {kind.__name__}'


def _in_range(info: ParamInfo, value: float) -> bool:
    return (
        not math.isnan(value)
        and (info.ge is None or value >= info.ge)
        and (info.gt is None or value > info.gt)
        and (info.le is None or value <= info.le)
    )


def range_text(info: ParamInfo) -> str:
    """Return the allowed range in words, such as "> 0.0 and <= 1.0 m"; empty if there is none."""
    bounds = [('>=', info.ge), ('>', info.gt), ('<=', info.le)]
    text = ' and '.join(f'{sign} {bound}' for sign, bound in bounds if bound is not None)
    return f'{text} {info.unit}'.strip() if text else ''


class _Loader(yaml.SafeLoader):
    """Takes 1e-3 for a number, as YAML 1.2 and ROS do, not only 1.0e-3."""


_Loader.add_implicit_resolver(
    'tag:yaml.org,2002:float', re.compile(r'[-+]?\d+(\.\d*)?[eE][-+]?\d+$'), list('-+0123456789')
)


def read_yaml(path: Path | str) -> dict[str, Value]:
    """Read a ROS parameter file (`/**: ros__parameters:`) as values by dotted name.

    Raises:
        ConfigError: The file is missing or is not a ROS parameter file.
    """
    document = _load(path)
    values: dict[str, Value] = {}
    for node in document.values() if isinstance(document, dict) else [None]:
        if not isinstance(node, dict) or not isinstance(node.get('ros__parameters'), dict):
            raise ConfigError(
                f'{path} is no ROS parameter file; it must look like "/**: ros__parameters: ..."'
            )
        values.update(_dotted(node['ros__parameters'], ''))
    return values


def read_plain_yaml(path: Path | str) -> dict[str, Value]:
    """Read nested YAML without the header of ROS as values by dotted name.

    Raises:
        ConfigError: The file is missing or does not hold names with values.
    """
    document = _load(path)
    if not isinstance(document, dict) or '/**' in document:
        raise ConfigError(f'{path} must hold nested names with values, such as "run: {{seed: 1}}"')
    return dict(_dotted(document, ''))


def _load(path: Path | str) -> Any:
    """Return what a YAML file holds; an empty one holds no names."""
    try:
        return yaml.load(Path(path).read_text(), _Loader) or {}
    except OSError as err:
        raise ConfigError(f'cannot read the parameter file {path}: {err.strerror}') from err
    except yaml.YAMLError as err:
        raise ConfigError(f'{path} is not YAML: {err}') from err


def _dotted(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Value]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _dotted(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}', value


def dump_yaml(config: Any) -> str:
    """Return a ROS parameter file with every value of a tree, each under its sentence."""
    lines = ['/**:', '  ros__parameters:', *_yaml_lines(config, depth=2)]
    return '\n'.join(lines) + '\n'


def dump_plain_yaml(config: Any) -> str:
    """Return what `read_plain_yaml` reads: every value of a tree, each under its sentence."""
    return '\n'.join(_yaml_lines(config, depth=0)) + '\n'


def _yaml_lines(config: Any, depth: int) -> Iterator[str]:
    opened: list[str] = []
    for p in flatten(config):
        *sections, leaf = p.name.split('.')
        while opened != sections[: len(opened)]:
            opened.pop()
        for name in sections[len(opened) :]:
            yield '  ' * (len(opened) + depth) + f'{name}:'
            opened.append(name)
        indent = '  ' * (len(opened) + depth)
        yield f'{indent}# {describe(p.info)}'
        yield f'{indent}{leaf}: {_yaml_scalar(p.value)}'


def dump_table(config: Any) -> str:
    """Return a Markdown table with every value of a tree."""
    rows = ['| parameter | default | meaning |', '|---|---|---|']
    for p in flatten(config):
        meaning = describe(p.info).replace('|', 'or')
        rows.append(f'| `{p.name}` | `{_yaml_scalar(p.value)}` | {meaning} |')
    return '\n'.join(rows) + '\n'


def describe(info: ParamInfo) -> str:
    """Return a sentence with unit, range or choices, as `ros2 param describe` shows it."""
    notes = [' | '.join(info.choices) or range_text(info) or info.unit]
    notes.append('may change at run time' if info.live else '')
    extra = ', '.join(note for note in notes if note)
    return f'{info.sentence} [{extra}]' if extra else info.sentence


def _yaml_scalar(value: Value) -> str:
    return yaml.safe_dump(value, default_flow_style=True).splitlines()[0]


def parse_value(text: str, p: Param) -> Value:
    """Turn the text of a `name=value` option into the type of a parameter.

    Raises:
        ConfigError: The text does not read as that type.
    """
    try:
        value = text if p.type is str else yaml.load(text, _Loader)
    except yaml.YAMLError:
        value = text  # refused below, as any text that is no number
    return _checked(p, value)
