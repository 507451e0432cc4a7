"""What the network looks at next: what changed most, near and lately, and nothing in vain."""

import dataclasses

import numpy as np
import pytest

from concerto_ros.semantic_map.window_scheduler import (
    ChunkTable,
    WindowScheduler,
    first_points,
    is_due,
    points_within,
    value_of,
)


def table(places, num_surface=1000, num_dirty=0, **columns):
    """Chunks whose keys are their numbers; a number stands for all of them."""
    place = np.array(places, dtype=np.int64).reshape(-1, 3)
    rows = len(place)
    values = {
        'key': np.arange(rows),
        'submap': 0,
        'num_surface': num_surface,
        'num_dirty': num_dirty,
        'last_seen': 0,
        'distance': 1.0,
    }
    values |= columns
    kinds = {'distance': np.float64}
    return ChunkTable(
        place=place,
        **{
            name: np.array(np.broadcast_to(value, rows), dtype=kinds.get(name, np.int64))
            for name, value in values.items()
        },
    )


def line(length):
    return [(x, 0, 0) for x in range(length)]


def scheduler(halo=0, cells_per_chunk=2):
    return WindowScheduler(halo=halo, cells_per_chunk=cells_per_chunk)


def touched(chunks, window, cells_per_chunk=2):
    """Return the rows of the chunks with a part in a window, by key."""
    place = chunks.place[window.interior]
    steps = np.abs(chunks.place[:, None] - place).max(2).min(1)
    rows = np.flatnonzero(
        (steps <= -(-window.halo // cells_per_chunk)) & (chunks.submap == window.submap)
    )
    return rows[np.argsort(chunks.key[rows])]


def with_dirty(chunks, num_dirty):
    return dataclasses.replace(chunks, num_dirty=np.array(num_dirty))


def test_nothing_is_looked_at_where_nothing_changed():
    assert scheduler().next(table(line(3)), 10_000) is None
    assert scheduler().next(table([]), 10_000) is None


def test_a_chunk_that_does_not_grow_between_looks_takes_ever_more_for_the_next():
    choose, num_dirty = scheduler(), []
    for _ in range(6):
        dirty = 1
        while choose.next(table(line(1), 1000, dirty), 10_000) is None:
            dirty += 1
        num_dirty.append(dirty)
    assert num_dirty == [66, 66, 116, 216, 416, 416]
    assert choose.next(table(line(1), 2000, 815), 10_000) is None
    assert choose.next(table(line(1), 2000, 816), 10_000) is not None
    assert choose.next(table(line(1), 2000, 116), 10_000) is not None  # because it had grown


@pytest.mark.parametrize(
    ('num_surface', 'num_dirty', 'due'),
    [
        (1000, 1000, True),  # never looked at
        (1000, 66, True),
        (1000, 65, False),  # a twentieth and 16
        (16, 16, True),  # however small
        (16, 15, False),
        (0, 50, False),  # all is gone: there is nothing to see
        (0, 0, False),
    ],
)
def test_a_chunk_is_due_when_enough_of_its_surface_changed(num_surface, num_dirty, due):
    chunks = table([(0, 0, 0)], num_surface, num_dirty)
    assert is_due(chunks.num_surface, chunks.num_dirty).tolist() == [due]
    assert (scheduler().next(chunks, 10_000) is not None) == due


def test_the_dirtiest_comes_first_and_ties_go_by_key():
    chunks = table([(0, 0, 0), (9, 0, 0), (18, 0, 0)], num_dirty=[400, 800, 800])
    assert scheduler().next(chunks, 10_000).interior.tolist() == [1]
    turned = dataclasses.replace(chunks, key=np.array([0, 2, 1]))
    assert scheduler().next(turned, 10_000).interior.tolist() == [2]


def test_what_is_near_or_seen_lately_is_worth_more():
    chunks = table(line(3), num_dirty=400, distance=[1.0, 20.0, 20.0], last_seen=[1000, 1000, 0])
    values = value_of(chunks)
    assert values[0] > values[1] > values[2] > 400
    assert values[0] < 3 * 400


def test_the_order_of_the_table_does_not_matter():
    rng = np.random.default_rng(0)
    places = np.unique(rng.integers(0, 6, (60, 3)), axis=0)
    columns = {
        'num_surface': rng.integers(500, 2000, len(places)),
        'num_dirty': rng.integers(0, 500, len(places)),
        'key': rng.permutation(len(places)),
    }
    chunks = table(places, **columns)
    order = rng.permutation(len(places))
    shuffled = table(places[order], **{name: value[order] for name, value in columns.items()})
    first = scheduler(halo=2).next(chunks, 20_000)
    second = scheduler(halo=2).next(shuffled, 20_000)
    assert chunks.key[first.interior].tolist() == shuffled.key[second.interior].tolist()
    assert (
        chunks.key[touched(chunks, first)].tolist()
        == shuffled.key[touched(shuffled, second)].tolist()
    )


def test_it_grows_by_dirty_neighbours_while_interior_and_halo_fit():
    chunks = table(line(6), num_dirty=[0, 500, 400, 300, 300, 0])
    one, most = scheduler(halo=2), scheduler(halo=2)
    window = one.next(chunks, 4_500)
    assert window.interior.tolist() == [1, 2]  # a third would touch five chunks
    assert touched(chunks, window).tolist() == [0, 1, 2, 3]
    assert window.halo == 2
    assert most.next(chunks, 6_000).interior.tolist() == [1, 2, 3, 4]


def test_it_does_not_jump_over_clean_chunks_or_into_another_submap():
    chunks = table(line(4), num_dirty=[500, 500, 0, 500])
    assert scheduler().next(chunks, 10_000).interior.tolist() == [0, 1]
    chunks = table(line(3), num_dirty=500, submap=[0, 1, 0])
    window = scheduler(halo=4).next(chunks, 10_000)
    assert window.interior.tolist() == [0]
    assert touched(chunks, window).tolist() == [0, 2]


def test_a_window_is_no_larger_than_a_room():
    window = scheduler().next(table(line(20), num_dirty=500), 10**6)
    assert len(window.interior) == 5


def test_the_halo_shrinks_before_the_window_becomes_too_large():
    chunks = table(line(5), num_dirty=[0, 0, 500, 0, 0])
    assert scheduler(halo=4).next(chunks, 5_000).halo == 4
    smaller = scheduler(halo=4).next(chunks, 4_999)
    assert smaller.halo == 2
    assert touched(chunks, smaller).tolist() == [1, 2, 3]
    alone = scheduler(halo=4).next(chunks, 10)  # more than fits, but never nothing
    assert (alone.halo, touched(chunks, alone).tolist()) == (0, [2])


def test_a_chunk_that_stays_due_has_its_turn():
    chunks = table([(0, 0, 0), (9, 0, 0)], 2000, [2000, 520], distance=[0.5, 30.0])
    ours = scheduler()
    turns = [ours.next(chunks, 10_000).interior.tolist() for _ in range(10)]
    assert [1] in turns  # though the other one is as dirty again each time
    assert turns.count([0]) > turns.count([1])


def test_waiting_ends_when_a_chunk_is_no_longer_due():
    chunks = table([(0, 0, 0), (9, 0, 0)], 2000, [2000, 1200])
    ours = scheduler()
    ours.next(chunks, 10_000)
    ours.next(with_dirty(chunks, [2000, 0]), 10_000)
    assert ours.next(chunks, 10_000).interior.tolist() == [0]  # it waits from the start


def test_after_all_was_looked_at_there_is_rest():
    rng = np.random.default_rng(1)
    places = np.unique(rng.integers(0, 12, (300, 3)) * [1, 1, 0], axis=0)
    chunks = table(places, num_dirty=1000)
    ours, looks = scheduler(halo=4), 0
    while (window := ours.next(chunks, 40_000)) is not None:
        assert chunks.num_surface[touched(chunks, window)].sum() <= 40_000
        left = chunks.num_dirty.copy()
        left[window.interior] = 0
        chunks, looks = with_dirty(chunks, left), looks + 1
    assert chunks.num_dirty.sum() == 0
    assert looks < len(places)


def test_of_too_many_points_the_nearest_come_first_and_of_these_the_dirty_ones():
    ring = np.array([1, 0, 0, 0, 2])
    is_dirty = np.array([True, False, True, True, True])
    assert first_points(ring, is_dirty, 2).tolist() == [False, False, True, True, False]
    assert first_points(ring, is_dirty, 4).tolist() == [True, True, True, True, False]
    assert first_points(ring, is_dirty, 9).all()


@pytest.mark.parametrize(
    ('seconds', 'rate', 'expected'),
    [
        (0.5, 100_000, 50_000),
        (0.5, 104_000, 50_000),
        (0.5, 98_000, 20_000),
        (10.0, 100_000, 200_000),  # no more than max_points
        (1e-9, 1.0, 1),
        (0.0, 0.0, 1),
    ],
)
def test_a_time_becomes_a_round_number_of_points(seconds, rate, expected):
    assert points_within(seconds, rate, 200_000) == expected
