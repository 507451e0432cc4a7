import threading

import pytest

from concerto_ros.ros.problems import Problems

pytestmark = pytest.mark.ros


@pytest.fixture
def told(graph, monkeypatch):
    """Return problems that are reported every 0.1 s, and the warnings."""
    node = graph.node('problems')
    warnings = []
    logger = node.get_logger()
    monkeypatch.setattr(logger, 'warning', warnings.append)
    monkeypatch.setattr(node, 'get_logger', lambda: logger)
    return Problems(node, lambda: 0.1), warnings


def test_many_problems_make_one_warning_with_counts(graph, told):
    problems, warnings = told
    for i in range(3):
        problems.add('image', f'color: bad image {i}; mend it')
    problems.add('transform', 'no transform; publish it')
    graph.until(lambda: warnings)
    assert warnings == ['color: bad image 2; mend it (3 times)\nno transform; publish it (once)']


def test_nothing_new_is_no_warning(graph, told):
    problems, warnings = told
    graph.spin_for(0.25)
    assert not warnings
    problems.add('image', 'bad')
    graph.until(lambda: warnings)
    graph.spin_for(0.25)
    assert warnings == ['bad (once)']
    assert problems.counts == {'image': 1}


def test_threads_may_add_at_once(told):
    problems, _ = told
    threads = [
        threading.Thread(target=lambda: [problems.add('x', 'y') for _ in range(1000)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems.counts['x'] == 4000


@pytest.mark.parametrize('period', [1e300, 1e12, float('inf'), 1e-12])
def test_no_period_is_too_long_or_too_short_for_a_timer(graph, period):
    periods = [period]
    problems = Problems(graph.node('problems'), lambda: periods[0])
    assert 0 < problems._timer.timer_period_ns <= 3600 * 10**9
    periods[0] = 0.05
    problems.report()
    assert problems._timer.timer_period_ns == 5 * 10**7


def test_what_a_callback_raises_is_counted(graph, told):
    problems, warnings = told
    call = problems.guarded(int)
    call('3')
    assert not problems.counts
    call('three')
    problems.before_report(lambda: problems.add('count', 'five lost', count=5))
    problems.before_report(lambda: 1 / 0)
    problems.report()
    assert problems.counts == {'internal': 2, 'count': 5}
    assert warnings[0].startswith('five lost (5 times)\ninternal error: Traceback')
    assert 'ZeroDivisionError' in warnings[0]
