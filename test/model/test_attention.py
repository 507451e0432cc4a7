import importlib.util
from itertools import pairwise

import pytest
import torch

from concerto_ros.errors import BackendUnavailable
from concerto_ros.model.attention import RelativePosition, SerializedAttention, use_attention
from concerto_ros.model.attention_backend import (
    AttentionBackend,
    attend_flash,
    attend_sdpa,
    select_attention,
)
from concerto_ros.model.windows import make_windows

HAS_FLASH = importlib.util.find_spec('flash_attn') is not None
# flash_attn is optional: without it there is nothing to test.
FLASH_DTYPES = [
    pytest.param(dtype, marks=pytest.mark.gpu)
    for dtype in (torch.float32, torch.float16, torch.bfloat16)
    if HAS_FLASH
]
COUNTS = [[10], [2, 5, 0, 3, 1], [0], [4, 4]]


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


@pytest.mark.parametrize('counts', COUNTS)
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


def test_relative_positions_add_what_the_table_says():
    rpe = RelativePosition(patch_size=48, num_heads=2)
    assert rpe.rpe_table.shape == (3 * 23, 2)
    with torch.no_grad():
        rpe.rpe_table.copy_(torch.arange(69.0)[:, None] * torch.tensor([1.0, 100.0]))
    score = rpe(torch.tensor([[[0, 0, 0], [1, 20, 3]]]))
    # Query minus key, not beyond 11 cells, from the middles 11, 34 and 57 of three tables.
    assert score[0, 0].tolist() == [[102.0, 102 - 1 - 11 - 3], [102 + 1 + 11 + 3, 102.0]]
    assert torch.equal(score[0, 1], 100 * score[0, 0])


@pytest.mark.parametrize('counts', COUNTS)
def test_runs_of_slots_see_each_other(counts):
    """The layout that flash attention gets, walked run by run."""
    windows = make_windows(counts, 4, 'cpu')
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(len(windows.gather), 3, 2, 4, generator=generator)
    ends = windows.starts.tolist()
    assert (ends[0], ends[-1]) == (0, len(qkv))
    found = [
        attend_sdpa(run, make_windows([len(run)], len(run), 'cpu'), None)
        for run in (qkv[a:b] for a, b in pairwise(ends) if b > a)
    ]
    found = torch.cat([qkv[:0, 0], *found])[windows.slot]
    torch.testing.assert_close(found, attend_sdpa(qkv, windows, None)[windows.slot])


@pytest.mark.parametrize('dtype', FLASH_DTYPES)
@pytest.mark.parametrize('counts', COUNTS)
def test_flash_equals_sdpa(counts, dtype):
    if not torch.cuda.is_available():
        pytest.skip('no CUDA device, or torch is built without CUDA')
    windows = make_windows(counts, 4, 'cuda')
    qkv = torch.randn(len(windows.gather), 3, 2, 16, device='cuda').to(dtype)
    backend = select_attention('flash', qkv.device, dtype)
    found = backend.attend(qkv, windows, None)
    assert found.dtype == dtype
    tolerance = 0.02 if dtype == torch.bfloat16 else 0.002  # one rounding of each number
    exact = attend_sdpa(qkv.float(), windows, None)[windows.slot]
    torch.testing.assert_close(found.float()[windows.slot], exact, atol=tolerance, rtol=tolerance)


def test_attention_is_chosen_and_said():
    cpu = torch.device('cpu')
    automatic = select_attention('auto', cpu, torch.bfloat16)
    assert automatic.name == 'sdpa'
    assert automatic.notice == (
        'attention by sdpa: flash_attn is for CUDA, the network runs on cpu: choose sdpa'
    )
    assert select_attention('sdpa', cpu, torch.float32).notice.endswith('sdpa: as configured')


@pytest.mark.skipif(HAS_FLASH, reason='flash_attn is installed')
def test_absent_flash_is_not_chosen():
    cuda = torch.device('cuda')
    assert select_attention('auto', cuda, torch.float16).name == 'sdpa'
    with pytest.raises(BackendUnavailable, match=r'not installed: pip install flash-attn'):
        select_attention('flash', cuda, torch.float16)


def test_flash_is_not_replaced_silently():
    with pytest.raises(BackendUnavailable, match=r'by flash is not possible: .* runs on cpu'):
        select_attention('flash', torch.device('cpu'), torch.float16)
    with pytest.raises(BackendUnavailable, match=r'one of auto, sdpa, flash, got "fast"'):
        select_attention('fast', torch.device('cpu'), torch.float16)


def test_flash_is_refused_where_positions_count(tiny_model):
    flash = AttentionBackend(name='flash', attend=attend_flash, notice='')
    with pytest.raises(BackendUnavailable, match='knows no relative positions'):
        use_attention(tiny_model(enable_rpe=True), flash)
    with pytest.raises(BackendUnavailable, match='knows no relative positions'):
        attend_flash(torch.zeros(4, 3, 2, 4), make_windows([4], 4, 'cpu'), lambda slots: slots)


def test_all_layers_use_the_chosen_attention(tiny_model):
    model, backend = tiny_model(), select_attention('sdpa', torch.device('cpu'), torch.float32)
    layers = [m for m in model.modules() if isinstance(m, SerializedAttention)]
    for layer in layers:
        layer.attend = attend_flash
    use_attention(model, backend)
    assert [layer.attend for layer in layers] == [attend_sdpa] * 5
