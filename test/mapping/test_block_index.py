import torch

from concerto_ros.mapping.block_index import BlockIndex
from concerto_ros.mapping.voxel_keys import PLACE_BITS, pack_blocks, pack_voxels


def keys(grid):
    return torch.unique(pack_voxels(torch.as_tensor(grid, dtype=torch.int64).view(-1, 3)))


def test_rows_equal_those_of_a_dictionary(device):
    index, expected = BlockIndex(device), {}
    for seed in range(6):
        grid = torch.randint(-30, 30, (400, 3), generator=torch.Generator().manual_seed(seed))
        key = keys(grid)
        row, is_new, block = index.add_voxels(key.to(device), len(expected))
        assert is_new.tolist() == [k not in expected for k in key.tolist()]
        for k in key.tolist():
            expected.setdefault(k, len(expected))
        assert row.tolist() == [expected[k] for k in key.tolist()]
        assert torch.equal(index.keys[block].cpu(), (key >> PLACE_BITS).unique())
        assert torch.equal(index.rows(key.to(device)), row)
    strangers = pack_voxels(torch.tensor([[99, 0, 0], [31, 31, 31]]))
    assert index.rows(strangers.to(device)).tolist() == [-1, -1]


def test_blocks_are_found_by_key_and_strangers_are_not():
    index = BlockIndex('cpu')
    stranger = pack_blocks(torch.tensor([[5, 5, 5]]))
    assert index.blocks(stranger).tolist() == [-1]
    _, _, block = index.add_voxels(keys([[0, 0, 0], [20, 0, 0]]), 0)
    assert torch.equal(index.blocks(index.keys[block]), block)
    assert index.blocks(stranger).tolist() == [-1]


def test_rows_of_blocks_come_block_after_block():
    index = BlockIndex('cpu')
    index.add_voxels(keys([[0, 0, 0], [0, 0, 1], [8, 0, 0]]), 0)
    index.add_voxels(keys([[1, 0, 0]]), 3)
    rows, counts = index.rows_of_blocks(torch.tensor([1, 0]))
    assert rows.tolist() == [2, 0, 1, 3]
    assert counts.tolist() == [1, 3]


def test_nothing_added_is_nothing_held():
    index = BlockIndex('cpu')
    row, is_new, block = index.add_voxels(torch.empty(0, dtype=torch.int64), 0)
    assert len(row) == len(is_new) == len(block) == len(index) == 0
    rows, counts = index.rows_of_blocks(block)
    assert len(rows) == len(counts) == 0
