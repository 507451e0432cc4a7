"""A record of what made a result is there whole or not at all."""

import pytest

from training.made_by import difference, has_record, write_made_by


def test_a_record_tells_what_is_another_now(tmp_path):
    record = tmp_path / 'folder' / 'a.json'
    write_made_by(record, {'seed': '1', 'size': '2'})
    assert has_record(record)
    assert difference(record, {'seed': '1', 'size': '2'}) == ''
    assert difference(record, {'seed': '3'}) == (
        'seed was 1 and is now 3, size was 2 and is now not there'
    )


def test_nothing_is_left_of_a_record_that_cannot_be_written(tmp_path):
    (tmp_path / 'a.json').mkdir()
    with pytest.raises(OSError, match='Is a directory'):
        write_made_by(tmp_path / 'a.json', {'seed': '1'})
    assert [path.name for path in tmp_path.iterdir()] == ['a.json']
