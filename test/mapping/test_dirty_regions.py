import torch

from concerto_ros.mapping.chunk_index import ChunkIndex
from concerto_ros.mapping.dirty_regions import Revisions
from concerto_ros.mapping.slots import Slots
from concerto_ros.mapping.voxel_keys import pack_voxels


def marked(*blocks_at):
    """Revisions of an index with blocks at x = 0, 8, 16 (one chunk) and 64."""
    index = ChunkIndex('cpu')
    grid = torch.tensor([[0, 0, 0], [8, 0, 0], [16, 0, 0], [64, 0, 0]])
    index.add_voxels(pack_voxels(grid), Slots('cpu'))
    revisions = Revisions(index, 'cpu')
    for revision, blocks in enumerate(blocks_at, start=1):
        revisions.mark(torch.tensor(blocks, dtype=torch.int64), revision)
    return revisions


def test_each_reader_learns_what_changed_since_its_own_mark():
    revisions = marked([0, 1, 2], [1], [3])
    assert revisions.changed_since(0).tolist() == [0, 1, 2, 3]
    assert revisions.changed_since(1).tolist() == [1, 3]
    assert revisions.changed_since(3).tolist() == []
    assert revisions.of(torch.tensor([3, 1])).tolist() == [3, 2]


def test_nothing_marked_is_nothing_changed():
    assert marked([]).changed_since(0).tolist() == []


def test_a_chunk_changes_without_its_blocks_but_not_the_other_way_round():
    revisions = marked([0, 1, 2, 3])
    revisions.mark_chunks(torch.tensor([0]), 5)
    assert revisions.changed_since(1).tolist() == []
    revisions.mark(torch.tensor([2]), 6)
    assert revisions.of_chunks(torch.tensor([0, 1])).tolist() == [6, 1]


def test_what_is_forgotten_has_never_changed():
    revisions = marked([0, 1, 2, 3])
    revisions.forget(torch.tensor([0]), torch.tensor([0, 1, 2]))
    assert revisions.changed_since(0).tolist() == [3]
