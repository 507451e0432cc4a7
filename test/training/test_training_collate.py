import numpy as np
import pytest
import torch

from training.structures import Links, SceneViews, View
from training.views.collate import collate


def view_of(*coord, origin=0.0):
    coord = np.array(coord, dtype=np.float32)
    return View(
        coord=coord, origin_coord=coord + np.float32(origin), color=coord * 0 + 0.5,
        normal=np.tile(np.float32([0, 1, 0]), (len(coord), 1)),
    )  # fmt: skip


def scene_of(name, sizes, links, images=0, tokens=0):
    """Views of some numbers of points, two of them global; links are (point, image)."""
    views = [view_of(*[(i, k, 0) for i in range(size)], origin=k) for k, size in enumerate(sizes)]
    point, image = np.array(links, dtype=np.int64).reshape(-1, 2).T
    return SceneViews(
        name=name,
        global_views=tuple(views[:2]),
        local_views=tuple(views[2:]),
        images=np.arange(images * 12, dtype=np.float32).reshape(images, 2, 2, 3),
        tokens=np.ones((tokens, 4, 2) if tokens else (0, 0, 0), np.float16),
        links=Links(point=point, image=image, patch=np.float32([point, image]).T.reshape(-1, 2)),
    )


FIRST = scene_of('a', (4, 2, 1, 3), [(0, 0), (3, 1)], images=2)
SECOND = scene_of('b', (5, 1, 2, 2), [], images=0)
THIRD = scene_of('c', (3, 3, 1, 1), [(1, 0)], images=1)


def test_scenes_follow_each_other_view_by_view():
    batch = collate([(7, FIRST, ()), (8, SECOND, ('x is broken',)), (9, THIRD, ('y', 'z'))], 0.5)
    assert batch.names == ('a', 'b', 'c')
    assert batch.slots == (7, 8, 9)
    assert batch.skipped == ('x is broken', 'y', 'z')
    assert batch.global_points.offset.tolist() == [4, 6, 11, 12, 15, 18]
    assert batch.local_points.offset.tolist() == [1, 4, 6, 8, 9, 10]
    assert batch.num_points == 28


def test_links_and_images_are_numbered_over_the_batch():
    batch = collate([(0, FIRST, ()), (1, SECOND, ()), (2, THIRD, ())], 0.5)
    assert batch.link_point.tolist() == [0, 3, 6 + 6 + 1]
    assert batch.link_image.tolist() == [0, 1, 2]
    assert batch.link_patch.tolist() == [[0, 0], [3, 1], [1, 0]]
    assert batch.link_patch.dtype == torch.float32
    assert batch.num_images == 3


def test_images_have_their_channels_first():
    batch = collate([(0, FIRST, ()), (1, THIRD, ())], 0.5)
    assert batch.images.shape == (3, 3, 2, 2)
    assert batch.images.is_contiguous()
    assert batch.images[0, :, 0, 1].tolist() == [3, 4, 5]
    assert batch.images[2].equal(batch.images[0])
    assert batch.tokens.shape == (0, 0, 0)


def test_tokens_take_the_place_of_images():
    scenes = [
        scene_of('a', (2, 1, 1), [(0, 1)], tokens=2),
        scene_of('b', (2, 1, 1), [(1, 0)], tokens=1),
    ]
    batch = collate([(i, scene, ()) for i, scene in enumerate(scenes)], 0.5)
    assert batch.tokens.shape == (3, 4, 2)
    assert batch.tokens.dtype == torch.float32
    assert len(batch.images) == 0
    assert batch.link_image.tolist() == [1, 2]


def test_a_batch_without_images():
    batch = collate([(0, SECOND, ())], 0.5)
    assert batch.num_images == 0
    assert batch.images.shape == (0, 3, 2, 2)
    assert len(batch.link_point) == len(batch.link_patch) == 0


def test_features_are_place_color_and_normal():
    batch = collate([(0, FIRST, ())], 0.5)
    row = batch.global_points.feat[5]  # the last of the second view
    assert row.tolist() == [1, 1, 0, 0.5, 0.5, 0.5, 0, 1, 0]
    assert batch.global_points.coord.equal(batch.global_points.feat[:, :3])
    assert batch.global_origin[5].tolist() == [2, 2, 1]
    assert batch.local_origin[-1].tolist() == [5, 6, 3]


@pytest.mark.parametrize('shift', [0, -3.3])
def test_voxels_count_from_the_lowest_of_each_view(shift):
    views = (
        view_of((-0.03, 0.05, 1)),
        view_of((-0.03, 0.05, 1), (0.03, 0.03, 1.05), (-0.01, 0.09, 1)),
    )
    scene = SceneViews(
        name='a', global_views=views, local_views=views[:1], links=FIRST.links,
        images=FIRST.images, tokens=FIRST.tokens,
    )  # fmt: skip
    grid = collate([(0, scene, ())], 0.02).global_points.grid_coord
    assert grid.dtype == torch.int64
    assert grid[0].tolist() == [0, 0, 0]
    assert grid[1:, :2].tolist() == [[0, 1], [3, 0], [1, 3]]
    assert grid.min(dim=0).values.tolist() == [0, 0, 0]


def test_views_may_be_columns_in_memory():
    turned = [View(coord=v.coord.copy('F'), origin_coord=v.origin_coord.copy('F'),
                   color=v.color.copy('F'), normal=v.normal.copy('F'))
              for v in (*FIRST.global_views, *FIRST.local_views)]  # fmt: skip
    scene = SceneViews(
        name='a', global_views=tuple(turned[:2]), local_views=tuple(turned[2:]),
        images=FIRST.images, tokens=FIRST.tokens, links=FIRST.links,
    )  # fmt: skip
    batch, plain = collate([(0, scene, ())], 0.5), collate([(0, FIRST, ())], 0.5)
    assert batch.global_points.feat.is_contiguous()
    assert batch.global_points.feat.equal(plain.global_points.feat)
    assert batch.local_points.grid_coord.equal(plain.local_points.grid_coord)
