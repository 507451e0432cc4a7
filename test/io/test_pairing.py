import pytest

from concerto_ros.io.pairing import ApproximatePairing

MS = 1_000_000


def feed(pairing: ApproximatePairing, *events: tuple[int, int]) -> list[tuple[int, ...]]:
    """Add (input, stamp [ms]) in turn; return the sets as stamps [ms]."""
    sets = [pairing.add(i, stamp * MS, stamp) for i, stamp in events]
    return [s for s in sets if s is not None]


def test_nearest_is_chosen_and_the_other_stays():
    pairing = ApproximatePairing(2, 10, 0.05)
    assert feed(pairing, (0, 100), (0, 130), (1, 135)) == [(130, 135)]
    assert feed(pairing, (1, 101)) == [(100, 101)]  # older than the set before


@pytest.mark.parametrize(('spread', 'fires'), [(49, True), (50, False), (51, False)])
def test_spread_must_stay_below_slop(spread, fires):
    pairing = ApproximatePairing(2, 10, 0.05)
    assert bool(feed(pairing, (0, 100), (1, 100 + spread))) is fires


def test_zero_slop_never_matches():
    assert not feed(ApproximatePairing(2, 10, 0.0), (0, 100), (1, 100))


def test_spread_counts_over_all_inputs():
    pairing = ApproximatePairing(3, 10, 0.05)
    # 70 and 130 are each within 50 of 100 but 60 apart; 90 is the farther candidate that fits
    assert feed(pairing, (0, 60), (0, 130), (1, 70), (1, 90), (2, 100)) == [(130, 90, 100)]


def test_items_are_used_once():
    pairing = ApproximatePairing(2, 10, 0.05)
    assert feed(pairing, (0, 100), (1, 101), (1, 102)) == [(100, 101)]


def test_full_queue_gives_up_its_smallest_stamp():
    pairing = ApproximatePairing(2, 2, 0.05)
    assert not feed(pairing, (0, 100), (0, 300), (0, 500), (1, 100))
    assert feed(pairing, (1, 300)) == [(300, 300)]


def test_item_older_than_a_full_queue_is_lost_at_once():
    pairing = ApproximatePairing(2, 2, 0.05)
    assert not feed(pairing, (0, 300), (0, 500), (1, 100), (0, 100))


def test_same_stamp_replaces():
    pairing = ApproximatePairing(2, 10, 0.05)
    pairing.add(0, 100, 'old')
    pairing.add(0, 100, 'new')
    assert pairing.add(1, 100, 'depth') == ('new', 'depth')


def test_single_input_passes_through():
    assert feed(ApproximatePairing(1, 10, 0.05), (0, 1), (0, 2)) == [(1,), (2,)]


def test_clear_forgets():
    pairing = ApproximatePairing(2, 10, 0.05)
    feed(pairing, (0, 100))
    pairing.clear()
    assert not feed(pairing, (1, 100))
