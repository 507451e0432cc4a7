import torch

from concerto_ros.mapping.voxel_keys import (
    MAX_GRID,
    PLACE_BITS,
    groups_of_blocks,
    pack_blocks,
    pack_voxels,
    unpack_blocks,
    unpack_voxels,
)


def test_voxels_come_back_also_negative_and_extreme_ones():
    grid = torch.cat(
        [
            torch.randint(-1000, 1000, (500, 3)),
            torch.tensor([[0, 0, 0], [-1, 7, 8], [-MAX_GRID] * 3, [MAX_GRID - 1] * 3]),
        ]
    )
    key = pack_voxels(grid)
    assert torch.equal(unpack_voxels(key), grid)
    assert (key >= 0).all()
    assert len(key.unique()) == len(grid.unique(dim=0))


def test_a_key_holds_its_block():
    grid = torch.tensor([[-1, 0, 8], [-8, 7, 15], [-9, 0, 8]])
    block = unpack_blocks(pack_voxels(grid) >> PLACE_BITS)
    assert block.tolist() == [[-1, 0, 1], [-1, 0, 1], [-2, 0, 1]]


def test_a_group_holds_two_blocks_per_edge():
    blocks = torch.tensor([[-2, -1, 0], [-3, 1, 2]])
    assert groups_of_blocks(pack_blocks(blocks)).tolist() == [[-1, -1, 0], [-2, 0, 1]]


def test_nothing_has_no_keys():
    assert pack_voxels(torch.empty(0, 3, dtype=torch.int64)).shape == (0,)
    assert unpack_voxels(torch.empty(0, dtype=torch.int64)).shape == (0, 3)
