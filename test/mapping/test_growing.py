import os

import torch

from concerto_ros.mapping.growing import GrowingTensor


def test_rows_stay_in_order_while_it_grows(device):
    column = GrowingTensor((2,), torch.int32, device)
    parts = [torch.arange(2 * n, device=device).view(n, 2) for n in (0, 3, 2000, 1, 5000)]
    for part in parts:
        column.append(part)
    assert torch.equal(column.all().long(), torch.cat(parts))
    assert len(column) == 7004


def test_memory_is_that_of_the_rows_however_many_are_expected():
    column = GrowingTensor((2,), torch.float32, 'cpu', reserve=10**9)
    for _ in range(100):
        column.append(torch.ones(997, 2))
    assert column.num_bytes == 8 * 99_700


def test_no_row_moves_up_to_the_reserve_and_all_stay_beyond_it():
    column = GrowingTensor((), torch.int64, 'cpu', reserve=100)
    column.append(torch.arange(10))
    first = column.all()
    column.grow(100, 7)
    assert column.all().data_ptr() == first.data_ptr()
    column.append(torch.arange(1000))
    assert column.all()[:10].tolist() == list(range(10))
    assert (column.all()[10:100] == 7).all()
    assert column.all()[100:].tolist() == list(range(1000))


def test_what_is_reserved_does_not_keep_a_process_from_forking():
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    columns = [GrowingTensor((), torch.uint8, 'cpu', reserve=memory) for _ in range(3)]
    columns[0].append(torch.ones(5, dtype=torch.uint8))
    child = os.fork()
    if child == 0:
        os._exit(int(columns[0].all().sum()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5


def test_what_was_put_last_comes_first():
    column = GrowingTensor((), torch.int64, 'cpu')
    column.append(torch.arange(5))
    assert column.pop(2).tolist() == [3, 4]
    assert column.all().tolist() == [0, 1, 2]


def test_one_row_is_repeated_by_a_broadcast():
    column = GrowingTensor((3,), torch.int16, 'cpu')
    column.append(torch.tensor([[7]]).expand(4, 3))
    assert column.all().tolist() == [[7, 7, 7]] * 4
