"""What training needs is installed completely, and in the versions that are written down."""

import re
from importlib.metadata import distribution, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


def pins(path):
    found = re.findall(r'^([\w.-]+)==([^\s\\]+)', (ROOT / path).read_text(), re.MULTILINE)
    return {canonicalize_name(name): pinned for name, pinned in found}


TRAINING = pins('training/requirements.txt')


def test_no_package_is_pinned_twice():
    others = [pins(f'pip_ros/{name}.txt') for name in ('requirements', 'requirements-ros')]
    assert [name for name in TRAINING if any(name in other for other in others)] == []


@pytest.mark.parametrize('name', TRAINING)
def test_all_that_a_package_needs_is_pinned_and_fits(name):
    known = {**pins('pip_ros/requirements.txt'), **TRAINING, 'torch': version('torch')}
    assert version(name).partition('+')[0] == TRAINING[name]
    for text in distribution(name).requires or []:
        needed = Requirement(text)
        if needed.marker is None or needed.marker.evaluate({'extra': ''}):
            found = known.get(canonicalize_name(needed.name))
            assert found is not None, f'{name} needs {needed}'
            assert needed.specifier.contains(found, prereleases=True), f'{name} needs {needed}'


def test_the_extra_of_setup_py_names_what_is_pinned():
    text = (ROOT / 'setup.py').read_text()
    extra = re.search(r"'training': \[(.*?)\]", text, re.DOTALL)[1]
    names = [Requirement(item).name for item in re.findall(r"'([^']+)',", extra)]
    assert len(names) == 6
    assert all(canonicalize_name(name) in TRAINING for name in names)
