import pytest
import torch

from concerto_ros.model.attention import SerializedAttention
from concerto_ros.model.windows import make_windows


def attended_rows(windows, num_rows):
    """For each row the rows that it attends to, from the layout alone."""
    rows, first = [], 0
    for _ in range(windows.num_full):
        rows.append(windows.gather[first : first + windows.size].tolist())
        first += windows.size
    num_short = (len(windows.gather) - first) // windows.short_size if windows.short_size else 0
    for i in range(num_short):
        keys = windows.gather[first : first + windows.short_size]
        if windows.short_mask is not None:
            keys = keys[windows.short_mask[i, 0, 0]]
        rows.append(keys.tolist())
        first += windows.short_size
    slots = windows.slot.tolist()
    assert windows.gather[slots].tolist() == list(range(num_rows))
    num_full_slots = windows.num_full * windows.size
    return [
        rows[slot // windows.size]
        if slot < num_full_slots
        else rows[windows.num_full + (slot - num_full_slots) // windows.short_size]
        for slot in slots
    ]


@pytest.mark.parametrize(
    ('count', 'size', 'windows'),
    [
        (10, 4, [[0, 1, 2, 3]] * 4 + [[4, 5, 6, 7]] * 4 + [[6, 7, 8, 9]] * 2),
        (7, 3, [[0, 1, 2]] * 3 + [[3, 4, 5]] * 3 + [[4, 5, 6]]),
        (3, 4, [[0, 1, 2]] * 3),
        (4, 4, [[0, 1, 2, 3]] * 4),
        (1, 4, [[0]]),
        (0, 4, []),
    ],
)
def test_last_window_holds_the_last_rows(count, size, windows):
    assert attended_rows(make_windows([count], size, 'cpu'), count) == windows


def test_windows_do_not_cross_clouds():
    found = attended_rows(make_windows([2, 5, 0, 3, 1], 4, 'cpu'), 11)
    assert found[:2] == [[0, 1]] * 2
    assert found[2:7] == [[2, 3, 4, 5]] * 4 + [[3, 4, 5, 6]]
    assert found[7:10] == [[7, 8, 9]] * 3
    assert found[10:] == [[10]]


@pytest.mark.parametrize('counts', [[10], [2, 5, 0, 3, 1], [0], [4, 4]])
def test_attention_equals_softmax_over_the_rows_of_the_window(counts):
    torch.manual_seed(0)
    layer = SerializedAttention(channels=12, num_heads=3)
    x = torch.randn(sum(counts), 12)
    order = torch.cat(
        [torch.randperm(n) + sum(counts[:i]) for i, n in enumerate(counts)]
        or [torch.zeros(0, dtype=torch.int64)]
    )
    windows = make_windows(counts, 4, 'cpu')
    found = layer(x, windows.along(order), torch.zeros(len(x), 3))
    q, k, v = layer.qkv(x[order]).view(-1, 3, 3, 4).unbind(1)
    expected = torch.zeros_like(x)
    for place, keys in enumerate(attended_rows(windows, sum(counts))):
        score = torch.einsum('hd,khd->hk', q[place], k[keys]) / 2
        expected[order[place]] = torch.einsum('hk,khd->hd', score.softmax(1), v[keys]).flatten()
    torch.testing.assert_close(found, layer.proj(expected))


def test_autocast_keeps_scores_in_single_precision():
    torch.manual_seed(0)
    layer = SerializedAttention(channels=32, num_heads=2)
    x, windows = torch.randn(40, 32), make_windows([40], 16, 'cpu')
    cells = torch.zeros(40, 3)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        half = layer(x, windows, cells)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), layer(x, windows, cells), atol=0.02, rtol=0.05)
