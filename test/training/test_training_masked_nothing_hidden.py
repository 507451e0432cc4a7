"""Steps from which nothing can be learned."""

import pytest

from concerto_ros.errors import ConcertoError
from training.masked_scene.nothing_hidden import NothingHiddenWatch


def test_the_first_of_them_is_told_and_many_in_a_row_stop_the_run(caplog):
    watch = NothingHiddenWatch()
    for step in range(19):
        for _ in range(2):  # parts of a step count once
            watch.check(step, False)
    assert [r.getMessage() for r in caplog.records] == [
        'step 0 has no hidden cell at any level of loss.levels: nothing is learned from such steps'
    ]
    with pytest.raises(ConcertoError, match='nothing was hidden in 20 steps, up to step 19'):
        watch.check(19, False)


def test_a_few_of_them_are_allowed():
    watch = NothingHiddenWatch()
    for step in range(100):
        watch.check(step, step % 20 == 0)
