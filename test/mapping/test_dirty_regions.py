import torch

from concerto_ros.mapping.dirty_regions import BlockRevisions


def test_each_reader_learns_what_changed_since_its_own_mark():
    revisions = BlockRevisions('cpu')
    revisions.mark(torch.tensor([0, 1, 2]), 1)
    revisions.mark(torch.tensor([1]), 2)
    revisions.mark(torch.tensor([3]), 3)
    assert revisions.changed_since(0).tolist() == [0, 1, 2, 3]
    assert revisions.changed_since(1).tolist() == [1, 3]
    assert revisions.changed_since(3).tolist() == []
    assert revisions.of(torch.tensor([3, 1])).tolist() == [3, 2]


def test_nothing_marked_is_nothing_changed():
    revisions = BlockRevisions('cpu')
    revisions.mark(torch.empty(0, dtype=torch.int64), 1)
    assert revisions.changed_since(0).tolist() == []
