import torch

from concerto_ros.mapping.growing import GrowingTensor


def test_rows_stay_in_order_while_it_grows(device):
    column = GrowingTensor((2,), torch.int32, device)
    parts = [torch.arange(2 * n, device=device).view(n, 2) for n in (0, 3, 2000, 1, 5000)]
    for part in parts:
        column.append(part)
    assert torch.equal(column.all().long(), torch.cat(parts))
    assert len(column) == 7004


def test_room_is_bounded():
    column = GrowingTensor((), torch.float32, 'cpu')
    for _ in range(100):
        column.append(torch.ones(997))
    assert 4 * 99_700 <= column.num_bytes <= 1.5 * 4 * 99_700


def test_one_row_is_repeated_by_a_broadcast():
    column = GrowingTensor((3,), torch.int16, 'cpu')
    column.append(torch.tensor([[7]]).expand(4, 3))
    assert column.all().tolist() == [[7, 7, 7]] * 4
