import torch

from concerto_ros.mapping.chunk_index import ChunkIndex
from concerto_ros.mapping.slots import Slots
from concerto_ros.mapping.voxel_keys import PLACE_BITS, pack_blocks, pack_chunks, pack_voxels


def keys(grid):
    return torch.unique(pack_voxels(torch.as_tensor(grid, dtype=torch.int64).view(-1, 3)))


def index_of(*grids):
    index, slots = ChunkIndex('cpu'), Slots('cpu')
    for grid in grids:
        index.add_voxels(keys(grid), slots)
    return index


def test_rows_equal_those_of_a_dictionary(device):
    index, slots, expected = ChunkIndex(device), Slots(device), {}
    for seed in range(6):
        grid = torch.randint(-90, 90, (400, 3), generator=torch.Generator().manual_seed(seed))
        key = keys(grid)
        row, is_new, block = index.add_voxels(key.to(device), slots)
        assert is_new.tolist() == [k not in expected for k in key.tolist()]
        for k in key.tolist():
            expected.setdefault(k, len(expected))
        assert row.tolist() == [expected[k] for k in key.tolist()]
        assert torch.equal(index.block_keys[block].cpu(), (key >> PLACE_BITS).unique())
        assert torch.equal(index.rows(key.to(device)), row)
    strangers = pack_voxels(torch.tensor([[999, 0, 0], [31, 31, 331]]))
    assert index.rows(strangers.to(device)).tolist() == [-1, -1]


def test_nothing_is_found_in_nothing():
    index = ChunkIndex('cpu')
    some = keys([[0, 0, 0]])
    assert index.rows(some).tolist() == [-1]
    row, is_new, block = index.add_voxels(some[:0], Slots('cpu'))
    assert len(row) == len(is_new) == len(block) == index.num_blocks == 0
    rows, counts = index.rows_of_blocks(block)
    assert len(rows) == len(counts) == 0


def test_rows_of_blocks_come_block_after_block():
    index = index_of([[0, 0, 0], [0, 0, 1], [8, 0, 0]], [[1, 0, 0]])
    number = index.blocks(pack_blocks(torch.tensor([[1, 0, 0], [0, 0, 0]])))
    rows, counts = index.rows_of_blocks(number)
    assert rows.tolist() == [2, 0, 1, 3]
    assert counts.tolist() == [1, 3]


def test_forgotten_voxels_have_no_row():
    index = index_of([[0, 0, 0], [0, 0, 1], [70, 0, 0]])
    block = index.forget_voxels(keys([[0, 0, 1], [70, 0, 0]]))
    assert index.rows(keys([[0, 0, 0], [0, 0, 1], [70, 0, 0]])).tolist() == [0, -1, -1]
    assert torch.equal(block, index.blocks(pack_blocks(torch.tensor([[0, 0, 0], [8, 0, 0]]))))


def test_a_removed_chunk_leaves_its_numbers_to_the_next():
    index = index_of([[0, 0, 0], [8, 0, 0], [64, 0, 0]])
    size = index.num_bytes
    index.remove_chunk(int(pack_chunks(torch.tensor([[0, 0, 0]]))))
    assert index.rows(keys([[0, 0, 0], [8, 0, 0], [64, 0, 0]])).tolist() == [-1, -1, 2]
    slots = Slots('cpu')
    slots.take(9)
    row, is_new, _ = index.add_voxels(keys([[200, 0, 0], [210, 0, 0]]), slots)
    assert is_new.all()
    assert torch.equal(index.rows(keys([[200, 0, 0], [210, 0, 0]])), row)
    assert index.num_bytes == size
