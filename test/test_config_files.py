"""The files of config/ and the schema agree, and nothing in the schema is dead."""

import re
from pathlib import Path

import pytest

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build, dump_table, dump_yaml, flatten, read_yaml

ROOT = Path(__file__).resolve().parents[1]


def test_default_file_is_the_schema():
    """Write it anew with: python -m concerto_ros.config > config/concerto.yaml."""
    assert (ROOT / 'config' / 'concerto.yaml').read_text() == dump_yaml(ConcertoConfig())


def test_the_readme_lists_every_parameter():
    """Write it anew with: python -m concerto_ros.config --table."""
    assert dump_table(ConcertoConfig()) in (ROOT / 'README.md').read_text()


@pytest.mark.parametrize('path', sorted((ROOT / 'config').glob('concerto*.yaml')), ids=str)
def test_files_build(path):
    build(ConcertoConfig, read_yaml(path))


@pytest.mark.parametrize('param', list(flatten(ConcertoConfig())), ids=lambda p: p.name)
def test_every_value_has_a_sentence_and_is_read(param):
    assert param.info.sentence.endswith('.')
    section, name = param.name.split('.')
    read = re.compile(rf'(config|{section})\.{name}\b')  # a part often gets only its section
    sources = [
        path.read_text()
        for path in (ROOT / 'concerto_ros').rglob('*.py')
        if path.parent.name != 'config'
    ]
    assert any(read.search(text) for text in sources), f'{param.name} is never read'
