"""The launch files, executed against recording modules and, where ROS has it, the real launch."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAUNCH_FILE = ROOT / 'launch' / 'perception.launch.py'
LAUNCH_MODULES = (
    'launch',
    'launch.actions',
    'launch.substitutions',
    'launch_ros',
    'launch_ros.actions',
    'launch_ros.parameter_descriptions',
    'launch_ros.substitutions',
)


class RecordingModule(ModuleType):
    """A module whose every class only remembers how it was called."""

    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        return lambda *args, **kwargs: SimpleNamespace(kind=name, args=args, kwargs=kwargs)


@pytest.fixture
def entities(monkeypatch):
    """Execute the launch file; return what it describes."""
    for name in LAUNCH_MODULES:
        monkeypatch.setitem(sys.modules, name, RecordingModule(name))
    spec = importlib.util.spec_from_file_location('perception_launch', LAUNCH_FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description().args[0]


@pytest.fixture
def node(entities):
    return next(entity for entity in entities if entity.kind == 'Node').kwargs


@pytest.fixture
def arguments(entities):
    return {e.args[0]: e.kwargs for e in entities if e.kind == 'DeclareLaunchArgument'}


def configurations(value):
    """Yield the names of all LaunchConfigurations inside a value."""
    if isinstance(value, SimpleNamespace):
        if value.kind == 'LaunchConfiguration':
            yield value.args[0]
        yield from configurations([*value.args, *value.kwargs.values()])
    elif isinstance(value, dict):
        yield from configurations([*value, *value.values()])
    elif isinstance(value, list | tuple):
        for item in value:
            yield from configurations(item)


def config_files(value):
    """Yield the names of the files of config/ that are pointed at."""
    if isinstance(value, SimpleNamespace):
        if value.kind == 'PathJoinSubstitution':
            share, folder, name = value.args[0]
            assert (share.kind, share.args[0], folder) == (
                'FindPackageShare',
                'concerto_ros',
                'config',
            )
            yield name
        yield from config_files([*value.args, *value.kwargs.values()])
    elif isinstance(value, dict):
        yield from config_files(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from config_files(item)


def test_every_argument_is_described_and_used(arguments, node):
    assert {'params_file', 'namespace', 'use_sim_time', 'log_level'} < set(arguments)
    assert set(configurations(node)) == set(arguments)
    for name, declared in arguments.items():
        assert declared['description'], name
        assert 'default_value' in declared, name


def test_a_robot_is_not_in_simulated_time_by_default(arguments):
    assert arguments['use_sim_time']['default_value'] == 'false'


def test_the_executable_is_installed(node):
    assert node['package'] == 'concerto_ros'
    assert f"'{node['executable']} = concerto_ros.ros." in (ROOT / 'setup.py').read_text()


def test_tf_follows_the_namespace(node):
    assert {('/tf', 'tf'), ('/tf_static', 'tf_static')} == {
        pair for pair in node['remappings'] if isinstance(pair[1], str)
    }


def test_inputs_can_be_remapped_and_keep_their_names_by_default(arguments, node):
    renamed = {
        topic: arguments[new.args[0]]['default_value']
        for topic, new in node['remappings']
        if isinstance(new, SimpleNamespace)
    }
    images = {'color/image', 'color/camera_info', 'depth/image', 'depth/camera_info'}
    assert set(renamed) == images | {'pose_graph'}
    assert all(topic == default for topic, default in renamed.items())


def test_the_environment_is_kept_where_it_is_set(node):
    assert set(node['additional_env']) == {
        'FASTRTPS_DEFAULT_PROFILES_FILE',
        'MALLOC_MMAP_THRESHOLD_',
        'MALLOC_TRIM_THRESHOLD_',
    }
    for name, value in node['additional_env'].items():
        assert (value.kind, value.args) == ('EnvironmentVariable', (name,))


def test_files_it_points_at_are_installed(entities):
    assert {'concerto.yaml', 'fastdds_shm.xml'} == set(config_files(entities))
    assert (ROOT / 'config' / 'fastdds_shm.xml').is_file()


def test_the_dds_profile_holds_a_large_image():
    text = (ROOT / 'config' / 'fastdds_shm.xml').read_text()
    profile = ElementTree.fromstring(re.sub(r' xmlns="[^"]*"', '', text))
    shm = next(
        descriptor
        for descriptor in profile.iter('transport_descriptor')
        if descriptor.findtext('type') == 'SHM'
    )
    full_hd_rgb = 1920 * 1080 * 3
    assert int(shm.findtext('segment_size')) >= 2 * full_hd_rgb
    declared = {element.text for element in profile.iter('transport_id')}
    assert {element.text for element in profile.find('.//userTransports')} == declared


def test_the_real_launch_accepts_it(monkeypatch):
    pytest.importorskip('launch_ros', reason='the wheels of PyPI have no launch')
    sources = importlib.import_module('launch.launch_description_sources')
    context = importlib.import_module('launch').LaunchContext()
    description = sources.get_launch_description_from_python_launch_file(str(LAUNCH_FILE))
    names = [argument.name for argument in description.get_launch_arguments()]
    assert names[:4] == ['params_file', 'namespace', 'use_sim_time', 'log_level']
    monkeypatch.setenv('MALLOC_TRIM_THRESHOLD_', '7')
    node = description.entities[-1]
    env = {perform(context, name): value for name, value in node.additional_env}
    assert perform(context, env['MALLOC_TRIM_THRESHOLD_']) == '7'


def perform(context, substitutions):
    return ''.join(part.perform(context) for part in substitutions)
