import torch

from concerto_ros.mapping.voxel_keys import (
    CHUNK_SHIFT,
    MAX_GRID,
    MAX_SUBMAPS,
    PLACE_BITS,
    corners,
    pack_blocks,
    pack_chunks,
    pack_voxels,
    submap_of,
    submap_of_chunk,
    unpack_blocks,
    unpack_chunks,
    unpack_voxels,
)


def test_voxels_come_back_also_negative_and_extreme_ones():
    grid = torch.cat(
        [
            torch.randint(-1000, 1000, (500, 3)),
            torch.tensor([[0, 0, 0], [-1, 7, 8], [-MAX_GRID] * 3, [MAX_GRID - 1] * 3]),
        ]
    )
    submap = torch.arange(len(grid)) % MAX_SUBMAPS
    submap[-1] = MAX_SUBMAPS - 1
    key = pack_voxels(grid, submap)
    assert torch.equal(unpack_voxels(key), grid)
    assert torch.equal(submap_of(key), submap)
    assert (key >= 0).all()
    assert len(key.unique()) == len(grid)


def test_a_key_holds_its_block_and_its_chunk():
    grid = torch.tensor([[-1, 0, 8], [-8, 7, 15], [-9, 0, 8], [64, -65, 63]])
    key = pack_voxels(grid, 3)
    block = unpack_blocks(key >> PLACE_BITS)
    assert block.tolist() == [[-1, 0, 1], [-1, 0, 1], [-2, 0, 1], [8, -9, 7]]
    assert torch.equal(pack_blocks(block, 3), key >> PLACE_BITS)
    chunk = unpack_chunks(key >> CHUNK_SHIFT)
    assert chunk.tolist() == [[-1, 0, 0], [-1, 0, 0], [-1, 0, 0], [1, -2, 0]]
    assert torch.equal(pack_chunks(chunk, 3), key >> CHUNK_SHIFT)
    assert submap_of_chunk(key >> CHUNK_SHIFT).tolist() == [3] * 4


def test_keys_of_a_chunk_follow_each_other():
    grid = torch.randint(-200, 200, (1000, 3))
    key = pack_voxels(grid).sort().values
    chunk = key >> CHUNK_SHIFT
    assert len(chunk.unique_consecutive()) == len(chunk.unique())


def test_corners_are_those_of_plain_division():
    grid = torch.randint(-300, 300, (500, 3))
    key = pack_voxels(grid, 7)
    for edge_bits in range(7):
        expected = pack_voxels(grid >> edge_bits << edge_bits, 7)
        assert torch.equal(corners(key, edge_bits), expected)


def test_nothing_has_no_keys():
    assert pack_voxels(torch.empty(0, 3, dtype=torch.int64)).shape == (0,)
    assert unpack_voxels(torch.empty(0, dtype=torch.int64)).shape == (0, 3)
