"""Packages that import torchvision work beside a torch without CUDA."""

import importlib.util
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
import safetensors

from concerto_ros.torchvision_beside_cpu import declare_operators, operators_load

HAS_TORCHVISION = importlib.util.find_spec('torchvision') is not None


def run(code):
    result = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout.split()


@pytest.mark.skipif(not HAS_TORCHVISION, reason='torchvision is not installed')
def test_torchvision_can_be_imported_afterwards():
    code = (
        'from concerto_ros.torchvision_beside_cpu import declare_operators, operators_load\n'
        'import importlib.util, pathlib\n'
        'spec = importlib.util.find_spec("torchvision")\n'
        'fits = operators_load(pathlib.Path(spec.origin).parent)\n'
        'declared, again = declare_operators(), declare_operators()\n'
        'from torchvision.transforms import functional\n'
        'print(fits, declared, again, declare_operators())\n'
    )
    fits, declared, *later = run(code)
    assert {fits, declared} == {'True', 'False'}  # declared exactly where they do not fit
    assert later == ['False', 'False']


def test_nothing_happens_where_torchvision_is_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torchvision', sys)
    assert not declare_operators()


def test_nothing_happens_where_torchvision_is_absent(monkeypatch):
    monkeypatch.delitem(sys.modules, 'torchvision', raising=False)
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    assert not declare_operators()


@pytest.mark.parametrize('suffix', EXTENSION_SUFFIXES)
def test_operators_that_can_be_loaded_fit(tmp_path, suffix):
    [library] = [*Path(safetensors.__file__).parent.glob('*.so')]
    shutil.copy(library, tmp_path / f'_C{suffix}')
    assert operators_load(tmp_path)


def test_absent_and_broken_operators_do_not_fit(tmp_path):
    assert not operators_load(tmp_path)
    (tmp_path / f'_C{EXTENSION_SUFFIXES[0]}').write_bytes(b'no library')
    assert not operators_load(tmp_path)
