"""Parts of windows, which a CPU computes one after the other."""

import pytest
import torch

from concerto_ros.model.attention import SerializedAttention
from concerto_ros.model.attention_backend import attend_sdpa
from concerto_ros.model.windows import make_windows

COUNTS = [[0], [3], [4], [8], [10], [70], [10, 3, 0, 9, 8, 2], [37, 41]]


@pytest.mark.parametrize('counts', COUNTS)
def test_parts_hold_all_slots_in_order(counts):
    windows = make_windows(counts, 4, 'cpu')
    parts = list(windows.parts())
    gathered = torch.cat([windows.gather[:0], *(part.gather for part in parts)])
    assert torch.equal(gathered, windows.gather)
    assert sum(part.num_full for part in parts) == windows.num_full
    for part in parts:
        assert part.starts[0] == 0
        assert part.starts[-1] == len(part.gather)
        assert part.num_full <= 8
        assert len(set(part.spare)) <= 1
        assert bool(part.num_full) != bool(part.short_size)


@pytest.mark.parametrize('counts', COUNTS)
def test_exactly_the_spare_slots_are_not_read(counts):
    windows = make_windows(counts, 4, 'cpu')
    is_read = torch.zeros(len(windows.gather), dtype=torch.bool)
    is_read[windows.slot] = True
    for window, spare in enumerate(windows.spare):
        found = is_read[4 * window : 4 * (window + 1)]
        assert found.tolist() == [False] * spare + [True] * (4 - spare)


@pytest.mark.parametrize('counts', COUNTS)
def test_parts_and_whole_give_the_same(counts):
    """In one piece no slot is spared, as on a GPU."""
    windows = make_windows(counts, 4, 'cpu')
    layer = SerializedAttention(8, 2)
    x = torch.randn(sum(counts), 8)
    qkv = layer.qkv(x[windows.gather]).view(-1, 3, 2, 4)
    whole = layer.proj(attend_sdpa(qkv, windows, None).flatten(1)[windows.slot])
    torch.testing.assert_close(layer(x, windows, torch.zeros(len(x), 3)), whole)
