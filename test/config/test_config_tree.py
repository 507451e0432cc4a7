"""The configuration tree refuses nonsense, and reads back what it writes."""

from dataclasses import dataclass

import pytest

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import (
    build,
    describe,
    dump_plain_yaml,
    dump_yaml,
    flatten,
    param,
    parse_value,
    read_plain_yaml,
    read_yaml,
)
from concerto_ros.errors import ConfigError


def params():
    return {p.name: p for p in flatten(ConcertoConfig())}


def test_names_are_dotted_and_typed():
    found = params()
    assert found['map.voxel_size'].value == 0.02
    assert found['map.voxel_size'].type is float
    assert found['input.qos'].info.choices == ('auto', 'reliable', 'best_effort')
    assert found['input.qos'].type is str


def test_build_changes_only_what_is_named():
    config = build(ConcertoConfig, {'map.voxel_size': 0.05})
    assert config.map.voxel_size == 0.05
    assert config.depth == ConcertoConfig().depth
    again = build(ConcertoConfig, {'depth.stride': 2}, config)
    assert (again.map.voxel_size, again.depth.stride) == (0.05, 2)


def test_a_whole_number_will_do_for_a_float_but_not_the_reverse():
    config = build(ConcertoConfig, {'depth.max': 3})
    assert type(config.depth.max) is float
    assert config.depth.max == 3.0
    with pytest.raises(ConfigError, match=r'must be a whole number, got 2\.0, a float'):
        build(ConcertoConfig, {'depth.stride': 2.0})


@pytest.mark.parametrize(
    ('values', 'match'),
    [
        ({'map.voxel_sise': 0.05}, 'unknown parameter "map.voxel_sise"; did you mean "map.vox'),
        ({'voxel_size': 0.05}, 'unknown parameter "voxel_size"; did you mean "map.voxel_size"?'),
        ({'search': 1}, r'unknown parameter "search"; known are search.max_results, search.min_s'),
        ({'robot.name': 'r'}, r'unknown parameter "robot.name"; known are input\.\*, frames\.\*,'),
        ({'map.voxel_size': True}, 'must be a float, got True, a bool'),
        ({'depth.max': 0}, r'"depth.max" must be .*, got 0.0'),
        ({'map.voxel_size': '0.05'}, "must be a float, got '0.05', a str"),
        ({'map.voxel_size': 0.0}, r'must be >= 0\.002 and <= 1\.0 m, got 0\.0'),
        ({'map.voxel_size': float('nan')}, 'and <= 1.0 m, got nan'),
        ({'depth.stride': True}, 'must be a whole number, got True, a bool'),
        ({'input.qos': 'best'}, 'must be one of auto, reliable, best_effort, got "best"'),
        ({'depth.min': 5.0}, r'"depth.min" \(5.0 m\) must be smaller than "depth.max"'),
        (
            {'semantics.head': 'head.pth', 'semantics.checkpoint': ''},
            'without "semantics.checkpoint"',
        ),
    ],
)
def test_nonsense_is_refused(values, match):
    with pytest.raises(ConfigError, match=match):
        build(ConcertoConfig, values)


def test_yaml_reads_back(tmp_path):
    config = build(ConcertoConfig, {'map.voxel_size': 0.05, 'frames.map': 'world'})
    path = tmp_path / 'config.yaml'
    path.write_text(dump_yaml(config))
    assert build(ConcertoConfig, read_yaml(path)) == config


@pytest.mark.parametrize(
    ('text', 'match'),
    [('a: [', 'is not YAML'), ('a: 1', 'no ROS parameter file'), ('- 1', 'no ROS parameter')],
)
def test_broken_yaml_is_named(tmp_path, text, match):
    path = tmp_path / 'config.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError, match=match):
        read_yaml(path)


def test_plain_yaml_reads_back(tmp_path):
    file = tmp_path / 'settings.yaml'
    config = build(ConcertoConfig, {'map.voxel_size': 0.05, 'frames.map': 'world'})
    file.write_text(dump_plain_yaml(config))
    assert build(ConcertoConfig, read_plain_yaml(file)) == config
    file.write_text('')
    assert read_plain_yaml(file) == {}


@pytest.mark.parametrize('text', ['- 1', '/**: {ros__parameters: {size: 1.0}}'])
def test_plain_yaml_holds_names(tmp_path, text):
    file = tmp_path / 'settings.yaml'
    file.write_text(text)
    with pytest.raises(ConfigError, match='nested names with values'):
        read_plain_yaml(file)


@pytest.mark.parametrize('text', ['1e-3', '1E-3', '+0.1e-2', '0.001'])
def test_all_ways_to_write_a_number_are_read(tmp_path, text):
    file = tmp_path / 'settings.yaml'
    file.write_text(f'size: {text}')
    assert read_plain_yaml(file) == {'size': 0.001}
    assert parse_value(text, params()['depth.min']) == 0.001


def test_missing_yaml_is_named(tmp_path):
    with pytest.raises(ConfigError, match='cannot read the parameter file'):
        read_yaml(tmp_path / 'none.yaml')


@pytest.mark.parametrize(
    ('name', 'text', 'value'),
    [
        ('map.voxel_size', '1', 1.0),
        ('depth.stride', '2', 2),
        ('input.reset_on_time_jump', 'true', True),
        ('frames.map', '1', '1'),
    ],
)
def test_options_take_the_type_of_their_parameter(name, text, value):
    assert parse_value(text, params()[name]) == value


def test_option_of_wrong_type_is_refused():
    with pytest.raises(ConfigError, match=r'"depth\.stride" must be a whole number'):
        parse_value('two', params()['depth.stride'])
    with pytest.raises(ConfigError, match=r'"map\.voxel_size" must be a float'):
        parse_value('{', params()['map.voxel_size'])


def test_description_holds_range_and_unit():
    @dataclass(frozen=True, kw_only=True)
    class Config:
        reach: float = param(1.0, 'How far.', unit='m', gt=0.0, le=9.0, live=True)

    (reach,) = flatten(Config())
    assert describe(reach.info) == 'How far. [> 0.0 and <= 9.0 m, may change at run time]'
