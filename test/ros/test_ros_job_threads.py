import threading

import pytest

from concerto_ros.errors import SearchError
from concerto_ros.ros.job_threads import JobThreads

pytestmark = pytest.mark.ros

DEADLINE = 10.0  # seconds


@pytest.fixture
def make_threads(graph):
    """Return make_threads(num_threads) on one node; they are closed after the test."""
    node, made = graph.node('threads_test'), []

    def make(num_threads):
        made.append(JobThreads(node, 'test', num_threads))
        return made[-1]

    yield make
    for threads in made:
        assert threads.close(DEADLINE)


def test_one_thread_does_one_job_after_another(graph, make_threads):
    threads, done = make_threads(1), []
    futures = [threads.run(lambda n=n: done.append(n) or -n) for n in range(20)]
    graph.until(lambda: all(future.done() for future in futures))
    assert done == list(range(20))
    assert [future.result() for future in futures] == [-n for n in range(20)]


def test_two_threads_do_two_jobs_at_a_time(graph, make_threads):
    threads, both = make_threads(2), threading.Barrier(2)
    futures = [threads.run(lambda: both.wait(DEADLINE)) for _ in range(2)]
    graph.until(lambda: all(future.done() for future in futures))
    assert {future.result() for future in futures} == {0, 1}


def test_what_a_job_raises_is_raised_by_its_future_and_ends_nothing(graph, make_threads):
    threads = make_threads(1)

    def fail():
        raise SearchError('no such word')

    futures = [threads.run(fail), threads.run(lambda: 1 / 0), threads.run(lambda: 'fine')]
    graph.until(lambda: all(future.done() for future in futures))
    with pytest.raises(SearchError, match='no such word'):
        futures[0].result()
    with pytest.raises(ZeroDivisionError):
        futures[1].result()
    assert futures[2].result() == 'fine'


def test_closing_ends_the_threads_and_leaves_what_waits(make_threads):
    threads, started, go_on = make_threads(1), threading.Event(), threading.Event()
    threads.run(lambda: started.set() or go_on.wait(DEADLINE))
    waiting = threads.run(print)
    assert started.wait(DEADLINE)
    assert not threads.close(0.05)
    go_on.set()
    assert threads.close(DEADLINE)
    assert not waiting.done()
