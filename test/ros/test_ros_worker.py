import gc
import logging
import threading
import weakref

import pytest
from rclpy.callback_groups import ReentrantCallbackGroup
from std_srvs.srv import Trigger

from concerto_ros.errors import ConcertoError, MapFileError, SearchError
from concerto_ros.ros.log_forwarding import forward_logging
from concerto_ros.ros.pace import Pace
from concerto_ros.ros.worker import LatestWorker

pytestmark = pytest.mark.ros

DEADLINE = 10.0  # seconds


class Recorder:
    """Handles frames; the first of them waits until it is let go."""

    def __init__(self):
        self.done = []
        self.started, self.go_on = threading.Event(), threading.Event()

    def handle(self, frame):
        self.started.set()
        assert self.go_on.wait(DEADLINE)
        self.done.append(frame)


class LogLines:
    """Stands where the logger of a node does."""

    def __init__(self):
        self.lines = []

    def __getattr__(self, severity):
        return lambda message: self.lines.append((severity, message))


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def make_worker(graph):
    """Return make_worker(...), workers on one node that are closed after the test."""
    node, workers = graph.node('worker_test'), []

    def make(*arguments, **options):
        workers.append(LatestWorker(node, *arguments, **options))
        return workers[-1]

    yield make
    for worker in workers:
        assert worker.close(DEADLINE)


def finish(graph, worker):
    """Wait until all that was handed over before is done."""
    future = worker.run(lambda: None)
    graph.until(future.done)


def test_the_newest_frame_wins_and_who_replaces_one_is_told(graph, make_worker, recorder):
    worker = make_worker(recorder.handle)
    assert not worker.submit_frame(0)
    assert recorder.started.wait(DEADLINE)
    assert [worker.submit_frame(frame) for frame in (1, 2, 3)] == [False, True, True]
    recorder.go_on.set()
    graph.until(lambda: len(recorder.done) == 2)
    assert recorder.done == [0, 3]


def test_a_fast_camera_does_not_starve_a_slow_one(graph, make_worker, recorder):
    def handle(frame):
        recorder.handle(frame)
        for number in range(2):  # while a frame is handled, two more come from the fast camera
            if len(recorder.done) < 5:
                worker.submit_frame(f'fast {len(recorder.done)}.{number}', 'fast')

    worker = make_worker(handle)
    worker.submit_frame('first', 'fast')
    assert recorder.started.wait(DEADLINE)
    worker.submit_frame('waits', 'fast')
    worker.submit_frame('slow', 'slow')
    assert worker.submit_frame('newest', 'fast')  # in the place of the one that waited
    worker.submit_frame('third', 'third')
    recorder.go_on.set()
    graph.until(lambda: len(recorder.done) == 5)
    assert recorder.done == ['first', 'fast 1.1', 'slow', 'third', 'fast 4.1']


def test_jobs_keep_their_order_and_a_frame_waits_for_one_of_them(graph, make_worker, recorder):
    worker = make_worker(recorder.handle)
    worker.submit_frame('first')
    assert recorder.started.wait(DEADLINE)
    worker.submit_frame('newest')
    for job in ('a', 'b', 'c'):
        worker.run(lambda job=job: recorder.done.append(job))
    recorder.go_on.set()
    graph.until(lambda: len(recorder.done) == 5)
    assert recorder.done == ['first', 'a', 'newest', 'b', 'c']


def test_a_discarded_frame_is_neither_handled_nor_replaced(graph, make_worker, recorder):
    worker = make_worker(recorder.handle)
    worker.submit_frame(0)
    assert recorder.started.wait(DEADLINE)
    worker.submit_frame(1)
    worker.discard_frames()
    recorder.go_on.set()
    finish(graph, worker)
    assert recorder.done == [0]
    assert not worker.submit_frame(2)


def test_a_handled_frame_is_not_kept(graph, make_worker):
    class Frame:
        pass

    worker, frame = make_worker(lambda _: None), Frame()
    known = weakref.ref(frame)
    worker.submit_frame(frame)
    finish(graph, worker)
    del frame
    graph.until(lambda: gc.collect() >= 0 and known() is None)


def test_a_service_awaits_the_worker_while_the_executor_goes_on(graph, make_worker, recorder):
    worker = make_worker(recorder.handle)
    node, ticks = graph.nodes[0], []
    recorder.go_on.clear()

    async def serve(_, response):
        response.message = await worker.run(lambda: recorder.go_on.wait(DEADLINE) and 'answer')
        response.success = True
        return response

    group = ReentrantCallbackGroup()
    node.create_service(Trigger, 'slow', serve, callback_group=group)
    client = graph.node('client').create_client(Trigger, 'slow')
    graph.until(client.service_is_ready)
    futures = [client.call_async(Trigger.Request()) for _ in range(3)]
    node.create_timer(0.02, lambda: ticks.append(0))
    graph.until(lambda: len(ticks) >= 5)
    assert not any(future.done() for future in futures)
    recorder.go_on.set()
    graph.until(lambda: all(future.done() for future in futures))
    assert [future.result().message for future in futures] == ['answer'] * 3


def test_the_error_of_a_job_reaches_who_awaits_it(graph, make_worker):
    worker = make_worker(print)

    def fail():
        raise SearchError('no language model')

    future = worker.run(fail)
    graph.until(future.done)
    with pytest.raises(SearchError, match='no language model'):
        future.result()
    assert worker.num_failures == 0


def test_other_threads_ask_and_wait(graph, make_worker):
    worker = make_worker(lambda frame: None)
    assert worker.ask(threading.current_thread) is worker._thread

    def fail():
        raise MapFileError('the disk is full')

    with pytest.raises(MapFileError, match='full'):
        worker.ask(fail)
    assert worker.close(10)
    with pytest.raises(ConcertoError, match='the node ends'):
        worker.ask(threading.current_thread)
    assert worker.num_failures == 0


def test_unforeseen_errors_are_counted_and_survived(graph, make_worker):
    handled, due = [], []

    def handle(frame):
        handled.append(frame)
        raise RuntimeError(f'frame {frame} is cursed')

    def upkeep():
        due.append(0)
        raise ZeroDivisionError

    worker = make_worker(handle, upkeep)
    worker.submit_frame(1)
    graph.until(lambda: due)
    worker.submit_frame(2)
    graph.until(lambda: len(due) >= 3)  # once after each frame, once more by itself
    assert handled == [1, 2]
    assert worker.num_failures >= 4
    future = worker.run(lambda: 1 / 0)
    graph.until(future.done)
    assert isinstance(future.exception(), ZeroDivisionError)


def test_upkeep_is_called_after_work_and_when_it_asked_to(graph, make_worker):
    pauses, calls = [0.05, 0.05, None, None], []

    def upkeep():
        calls.append(0)
        return pauses[len(calls) - 1]

    worker = make_worker(print, upkeep)
    graph.spin_for(0.1)
    assert not calls
    finish(graph, worker)
    graph.until(lambda: len(calls) == 3)
    graph.spin_for(0.15)
    assert len(calls) == 3
    worker.wake()
    graph.until(lambda: len(calls) == 4)


@pytest.mark.parametrize('pause', [1e10, 1e300, 'soon'])
def test_no_pause_ends_the_thread(graph, make_worker, pause):
    handled = []
    worker = make_worker(handled.append, lambda: pause)
    for frame in range(3):
        worker.submit_frame(frame)
        graph.until(lambda: len(handled) == frame + 1)  # noqa: B023
    assert handled == [0, 1, 2]


def test_closing_ends_the_thread_and_leaves_what_waits(make_worker, recorder):
    worker = make_worker(recorder.handle)
    worker.submit_frame('in work')
    assert recorder.started.wait(DEADLINE)
    worker.submit_frame('waiting')
    future = worker.run(lambda: recorder.done.append('job'))
    assert not worker.close(0.05)
    recorder.go_on.set()
    assert worker.close(DEADLINE)
    assert recorder.done == ['in work']
    assert not future.done()


def test_pace_keeps_a_period_and_a_share_of_the_time():
    pace = Pace(max_share=0.1)
    assert pace.wait(100.0) == 0
    with pace:
        pass
    assert 99 < pace.wait(100.0) <= 100
    assert pace.wait(0.0) < 0.1
    with pace:
        assert not threading.Event().wait(0.05)
    assert 0.3 < pace.wait(0.0) < 5.0  # nine times as long as the work took
    pace.hurry()
    assert pace.wait(100.0) == 0


def test_what_the_core_logs_comes_with_its_severity():
    logger, log = logging.getLogger('concerto_ros.some.part'), LogLines()
    end = forward_logging(log)
    logger.debug('looked at %d files', 3)
    logger.info('loaded')
    logger.warning('tilted by %.0f degrees', 4)
    try:
        raise ValueError('odd')
    except ValueError:
        logger.exception('failed')
    logger.critical('over')
    end()
    logger.warning('not any more')
    assert [severity for severity, _ in log.lines] == [
        'debug', 'info', 'warning', 'error', 'fatal',
    ]  # fmt: skip
    assert log.lines[0][1] == 'looked at 3 files'
    assert 'failed\nTraceback' in log.lines[3][1]
    assert log.lines[3][1].endswith('ValueError: odd')


def test_the_logger_of_a_node_takes_every_severity(graph):
    end = forward_logging(graph.node('log_test').get_logger())
    logger = logging.getLogger('concerto_ros.another')
    for level in (logging.WARNING, logging.INFO, logging.DEBUG, logging.ERROR, logging.WARNING):
        logger.log(level, 'said before')  # rclpy raises when a line changes its severity
    end()


def test_an_answer_whose_wake_up_was_lost_still_comes(graph, make_worker, monkeypatch):
    worker = make_worker(lambda frame: None)
    monkeypatch.setattr(worker._handover, '_guard', LogLines())  # which does not wake anyone
    future = worker.run(lambda: 7)
    graph.until(future.done)
    assert future.result() == 7
