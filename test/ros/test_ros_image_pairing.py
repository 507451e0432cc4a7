import pytest
from sensor_msgs.msg import Image

from concerto_ros.ros.image_pairing import ImagePairing

pytestmark = pytest.mark.ros

COLOR, DEPTH = 0, 1


def stamped(stamp_ms):
    message = Image()
    message.header.stamp.sec, milliseconds = divmod(stamp_ms, 1000)
    message.header.stamp.nanosec = milliseconds * 1_000_000
    return message


def pairs_of(arrivals, queue_size=10, slop=0.05):
    """Feed (input, stamp [ms]); return the stamps of colour of all pairs, and jumps."""
    jumps, pairs = [], []
    pairing = ImagePairing(2, queue_size, slop, jumps.append)
    for index, stamp_ms in arrivals:
        completed = pairing.add(index, stamped(stamp_ms))
        if completed is not None:
            stamp = completed[0].header.stamp
            pairs.append(stamp.sec * 1000 + stamp.nanosec // 1_000_000)
    return pairs, [jump // 1_000_000 for jump in jumps]


def both(stamps):
    return [(index, stamp) for stamp in stamps for index in (COLOR, DEPTH)]


def test_images_pair_within_the_slop():
    pairs, jumps = pairs_of([(COLOR, 1000), (DEPTH, 1049), (COLOR, 2000), (DEPTH, 2050)])
    assert pairs == [1000]
    assert jumps == []


def test_every_loop_gives_the_same_pairs():
    loop = both(range(1000, 11000, 33))
    pairs, jumps = pairs_of(loop * 3, queue_size=2)
    assert pairs == list(range(1000, 11000, 33)) * 3
    assert jumps == [1000, 1000]


def test_inputs_may_jump_one_after_the_other():
    first = both(range(1000, 2000, 100))
    last_depth = first.pop()
    second = both(range(1000, 2000, 100))
    pairs, jumps = pairs_of([*first, second[0], last_depth, *second[1:]])
    assert pairs == [*range(1000, 2000, 100)] * 2
    assert jumps == [1000]


def test_images_out_of_order_are_no_jump():
    pairs, jumps = pairs_of([*both([1000, 1200]), *both([1100, 1300])])
    assert sorted(pairs) == [1000, 1100, 1200, 1300]
    assert jumps == []


def test_an_input_far_behind_the_other_is_no_jump():
    color = [(COLOR, stamp) for stamp in range(1000, 3000, 100)]
    depth = [(DEPTH, stamp) for stamp in range(1000, 3000, 100)]
    pairs, jumps = pairs_of(color + depth, queue_size=100)
    assert len(pairs) == 20
    assert jumps == []


def test_an_input_that_comes_back_loops_later_joins_in():
    loop = range(1000, 3000, 100)
    arrivals = both(loop) + [(COLOR, stamp) for stamp in [*loop] * 2] + both(loop)
    pairs, jumps = pairs_of(arrivals)
    assert pairs == [*loop] * 2
    assert jumps == [1000, 1000, 1000]


def pairing_of(arrivals, queue_size=3):
    pairing = ImagePairing(2, queue_size, 0.05, lambda _: None)
    for index, stamp_ms in arrivals:
        pairing.add(index, stamped(stamp_ms))
    return pairing


def test_images_that_a_full_queue_pushes_out_are_counted():
    pairing = pairing_of([(DEPTH, stamp) for stamp in range(1000, 1800, 100)])
    assert (pairing.num_pairs, pairing.num_received, pairing.num_unpaired) == (0, [0, 8], [0, 5])
    pairing.add(COLOR, stamped(1700))
    pairing.add(COLOR, stamped(1650))
    assert (pairing.num_pairs, pairing.num_received, pairing.num_unpaired) == (1, [2, 8], [0, 5])
    assert list(pairing.recent[COLOR]) == [1_700_000_000, 1_650_000_000]


def test_nothing_is_unpaired_where_everything_pairs():
    pairing = pairing_of(both(range(1000, 5000, 100)) * 2)
    assert (pairing.num_pairs, pairing.num_received, pairing.num_unpaired) == (
        80,
        [80] * 2,
        [0] * 2,
    )
    assert [len(stamps) for stamps in pairing.recent] == [40, 40]  # of the run since the jump
