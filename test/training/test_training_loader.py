"""Batches that other processes make, and what goes wrong there."""

import pytest

from concerto_ros.errors import ConfigError, SourceError
from training.datasets.loader import make_loader

ERRORS = {3: SourceError('a/coord.npy cannot be read; copy it again'), 5: ConfigError('no token')}


class Numbers:
    """Items that are their numbers, as far as there are any."""

    def __getitem__(self, index):
        if index in ERRORS:
            raise ERRORS[index]
        return index

    def collate(self, items):
        return tuple(items)


@pytest.mark.parametrize('num_workers', [0, 2])
@pytest.mark.parametrize('number', [3, 5])
def test_an_error_of_an_item_arrives_as_it_was_raised(number, num_workers):
    batches = make_loader(Numbers(), [[0, 1], [2, number], [8, 9]], num_workers)
    assert next(batches) == (0, 1)
    with pytest.raises(type(ERRORS[number])) as raised:
        next(batches)
    assert str(raised.value) == str(ERRORS[number])
