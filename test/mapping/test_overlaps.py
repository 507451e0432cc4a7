import numpy as np
import pytest
import torch

from concerto_ros.geometry.transforms import from_quaternion
from concerto_ros.mapping.overlaps import overlapping_chunks, vote

VOXEL = 0.02
EDGE = 64 * VOXEL
UP = (0.0, 0.0, 1.0)


def turn(yaw, x=0.0, y=0.0, z=0.0):
    T = from_quaternion([x, y, z], [0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)])
    return torch.from_numpy(T)


def meeting(chunk, submap, *poses):
    pairs = overlapping_chunks(
        torch.tensor(chunk).view(-1, 3).long(),
        torch.tensor(submap).long(),
        torch.stack(poses),
        EDGE,
        2 * VOXEL,
    )
    return [tuple(pair) for pair in pairs.tolist()]


def floor(submap, T=None, weight=1.0, label=(1, 2), confidence=(0.5, 0.25), normal=UP, size=20):
    """Return a square of voxels on z = 0 as rows of a submap, turned by T about its place."""
    steps = torch.arange(-size // 2, size // 2, dtype=torch.float64)
    plane = torch.cartesian_prod(steps, steps, torch.zeros(1, dtype=torch.float64))
    coord = (plane + 0.5) * VOXEL
    coord[:, 2] = 0.0
    if T is not None:
        coord = coord @ T[:3, :3].T + T[:3, 3]
    n = len(coord)
    return {
        'coord': coord,
        'normal': torch.tensor(normal).expand(n, 3),
        'submap': torch.full((n,), submap),
        'weight': torch.full((n,), weight),
        'label': torch.tensor(label).expand(n, 2),
        'confidence': torch.tensor(confidence).expand(n, 2),
    }


def joined(*parts):
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def result(*parts):
    return vote(**joined(*parts), voxel_size=VOXEL)


def test_chunks_that_meet_are_found_both_ways_round():
    chunk = [[0, 0, 0], [5, 0, 0], [1, 0, 0], [5, 0, 0]]
    apart = turn(0.0, 10 * EDGE)
    assert meeting(chunk, [0, 0, 1, 1], turn(0.0), apart) == []
    assert meeting(chunk, [0, 0, 1, 1], turn(0.0), turn(0.0, -0.5 * EDGE)) == [
        (0, 2), (1, 3), (2, 0), (3, 1),
    ]  # fmt: skip


def test_chunks_that_only_touch_meet_but_not_those_one_farther():
    chunk = [[0, 0, 0], [1, 0, 0], [2, 0, 0]]
    assert meeting(chunk, [0, 1, 1], turn(0.0), turn(0.0)) == [(0, 1), (1, 0)]


def test_chunks_of_one_submap_never_meet():
    assert meeting([[0, 0, 0], [1, 0, 0], [0, 0, 0]], [1, 1, 1], turn(0.0), turn(0.0)) == []


def test_turned_chunks_meet_by_their_corners():
    corner = turn(np.pi / 4, 1.3 * EDGE, -0.2 * EDGE)
    assert meeting([[0, 0, 0], [0, 0, 0]], [0, 1], turn(0.0), corner) == [(0, 1), (1, 0)]
    assert meeting([[0, 0, 0], [0, 0, 0]], [0, 1], turn(0.0), corner + 2 * EDGE) == []


def test_no_chunks_do_not_meet():
    assert meeting([], [], turn(0.0)) == []


def test_of_two_equal_surfaces_one_stands():
    found = result(floor(0, weight=1.0), floor(1, weight=3.0))
    assert found.stands.tolist() == [False] * 400 + [True] * 400


@pytest.mark.parametrize('yaw', [0.02, 0.3, 0.8])
def test_turned_surfaces_become_one_without_holes(yaw):
    T = turn(yaw, 0.007, -0.009, 0.012)
    parts = joined(floor(0, weight=2.0, size=40), floor(1, T, size=40))
    found = vote(**parts, voxel_size=VOXEL)
    coord, stands = parts['coord'], found.stands
    assert torch.cdist(coord, coord[stands]).amin(1).max() <= 1.25 * VOXEL
    inside = coord[:, :2].norm(dim=1) < 12 * VOXEL
    assert torch.equal(stands[inside], parts['submap'][inside] == 0)


def test_where_regions_differ_no_row_is_left_without_one_that_stands():
    generator = torch.Generator().manual_seed(0)
    parts = joined(*(floor(i, turn(0.2 * i, 0.005 * i), size=40) for i in range(3)))
    parts['weight'] = torch.rand(len(parts['weight']), generator=generator) + 0.1
    found = vote(**parts, voxel_size=VOXEL)
    coord = parts['coord']
    assert torch.cdist(coord, coord[found.stands]).amin(1).max() <= 1.25 * VOXEL
    near = torch.cdist(coord[found.stands], coord[found.stands]) < 1.25 * VOXEL
    submap = parts['submap'][found.stands]
    assert not (near & (submap[:, None] != submap)).any()
    assert found.stands.sum() < 1.6 * 1600


def test_surfaces_that_face_apart_both_stand():
    assert result(floor(0), floor(1, normal=(0.0, 0.0, -1.0))).stands.all()


def test_what_has_no_normal_faces_any_way():
    assert result(floor(0, weight=2.0), floor(1, normal=(0.0, 0.0, 0.0))).stands.sum() == 400


def test_surfaces_two_voxels_apart_both_stand():
    assert result(floor(0), floor(1, turn(0.0, z=2 * VOXEL))).stands.all()


def test_rows_of_one_submap_do_not_exclude_each_other():
    assert result(floor(0), floor(0, turn(0.3))).stands.all()


def test_rows_that_stand_alone_stay_as_they_are():
    part = floor(0, label=(7, 0), confidence=(0.3, 0.9))
    found = result(part)
    assert found.stands.all()
    assert torch.equal(found.label, part['label'])
    assert torch.equal(found.confidence, part['confidence'])


def test_labels_are_voted_by_weight_times_confidence():
    found = result(
        floor(0, weight=4.0, label=(1, 5), confidence=(0.5, 0.6)),
        floor(1, weight=3.0, label=(2, 5), confidence=(0.9, 0.2)),
        floor(2, weight=1.0, label=(2, 6), confidence=(0.9, 0.4)),
    )
    assert found.stands.tolist() == [True] * 400 + [False] * 800
    assert found.label[:400].unique(dim=0).tolist() == [[2, 5]]
    torch.testing.assert_close(found.confidence[:400, 0], torch.full((400,), 3.6 / 8))
    torch.testing.assert_close(found.confidence[:400, 1], torch.full((400,), 3.0 / 8))


def test_unknown_has_no_vote():
    found = result(
        floor(0, weight=9.0, label=(0, 0), confidence=(0.9, 0.0)),
        floor(1, weight=1.0, label=(3, 0), confidence=(0.8, 0.0)),
    )
    assert found.label[:400].unique(dim=0).tolist() == [[3, 0]]
    torch.testing.assert_close(found.confidence[:400, 0], torch.full((400,), 0.8))


def test_the_order_of_rows_does_not_matter():
    parts = joined(floor(0, weight=2.0), floor(1, turn(0.3), label=(4, 2)), floor(2, turn(0.7)))
    order = torch.randperm(1200, generator=torch.Generator().manual_seed(0))
    found = vote(**parts, voxel_size=VOXEL)
    shuffled = vote(**{name: part[order] for name, part in parts.items()}, voxel_size=VOXEL)
    assert torch.equal(shuffled.stands, found.stands[order])
    torch.testing.assert_close(shuffled.confidence, found.confidence[order])


def test_far_from_the_origin_it_is_the_same():
    near = joined(floor(0, weight=2.0), floor(1, turn(0.3)))
    far = near | {'coord': near['coord'] + torch.tensor([-4000.0, 3000.0, -50.0]).double()}
    assert torch.equal(
        vote(**far, voxel_size=VOXEL).stands[:400], vote(**near, voxel_size=VOXEL).stands[:400]
    )


def test_nothing_is_voted_on_nothing():
    found = result({name: part[:0] for name, part in floor(0).items()})
    assert found.stands.shape == (0,)
    assert found.label.shape == found.confidence.shape == (0, 2)


def test_it_is_the_same_on_any_device(device):
    parts = joined(floor(0, weight=2.0), floor(1, turn(0.3), label=(4, 2)))
    found = vote(**parts, voxel_size=VOXEL)
    there = vote(**{name: part.to(device) for name, part in parts.items()}, voxel_size=VOXEL)
    assert torch.equal(there.stands.cpu(), found.stands)
    assert torch.equal(there.label.cpu(), found.label)
    torch.testing.assert_close(there.confidence.cpu(), found.confidence)
