from dataclasses import replace

import numpy as np
import pytest

from concerto_ros.errors import SourceError
from training.config import AugmentationConfig, DataConfig, TrainingConfig, ViewsConfig
from training.structures import Links, SceneSample
from training.views.links import common_center, linked_images, view_links, voxel_links
from training.views.multi_view import make_views

PLAIN = AugmentationConfig(
    image=False, drop_color=0.0, drop_normal=0.0, drop_share_chance=0.0, color=False, spatial=False
)


def rng(seed=0):
    return np.random.default_rng(seed)


def links_of(*rows):
    """Links from (point, image, row, column)."""
    point, image, *patch = np.array(rows, dtype=np.float64).reshape(-1, 4).T
    return Links(
        point=point.astype(np.int64), image=image.astype(np.int64),
        patch=np.stack(patch, axis=1).astype(np.float32),
    )  # fmt: skip


def rows_of(links):
    return [
        (int(point), int(image), *patch.tolist())
        for point, image, patch in zip(links.point, links.image, links.patch, strict=True)
    ]


def make_sample(coord, links=(), num_images=0, tokens=False):
    """Each token tells the number of its image, each colour the row of its point."""
    coord = np.asarray(coord, dtype=np.float32).reshape(-1, 3)
    number = np.arange(len(coord))
    token = np.zeros((num_images, 4, 2), np.float16) + np.arange(num_images)[:, None, None]
    image = np.zeros((num_images, 8, 8, 3), np.uint8)
    image += np.arange(num_images, dtype=np.uint8)[:, None, None, None]
    return SceneSample(
        name='room',
        coord=coord,
        color=np.stack([number // 256, number % 256, number * 0 + 1], 1).astype(np.float32),
        normal=np.tile(np.float32([0, 0, 1]), (len(coord), 1)),
        images=image[:0] if tokens else image,
        tokens=token if tokens else np.zeros((0, 0, 0), np.float16),
        links=links_of(*links),
    )


def config_of(augmentation=PLAIN, **views):
    return TrainingConfig(
        data=DataConfig(voxel_size=0.1), views=ViewsConfig(**views), augmentation=augmentation
    )


def lattice(*shape):
    return np.array([*np.ndindex(shape)]) * 0.1 + 0.05


def points_of(view):
    """Rows of the sample that a view shows."""
    high, low, _ = np.rint(view.color.T * 255).astype(int)
    return high * 256 + low


def all_arrays(views):
    for view in (*views.global_views, *views.local_views):
        yield from (view.coord, view.origin_coord, view.color, view.normal)
    yield from (views.images, views.tokens, views.links.point, views.links.image)
    yield views.links.patch


# Links


def test_a_voxel_takes_the_mean_of_its_points():
    links = links_of((0, 1, 2, 4), (2, 1, 4, 8), (2, 0, 1, 1), (1, 1, 9, 9))
    found = voxel_links(links, np.array([1, 0, 1]), 2, 2)
    assert rows_of(found) == [(0, 1, 9, 9), (1, 0, 1, 1), (1, 1, 3, 6)]
    assert found.patch.dtype == np.float32


def test_links_follow_the_chosen_points():
    links = links_of((0, 0, 1, 1), (2, 0, 2, 2), (3, 1, 3, 3))
    assert rows_of(view_links(links, np.array([2, 3]), 5)) == [(0, 0, 2, 2), (1, 1, 3, 3)]


def test_images_are_numbered_anew():
    seen, links = linked_images(links_of((0, 1, 0, 0), (1, 3, 0, 0), (2, 1, 0, 0)))
    assert seen.tolist() == [1, 3]
    assert links.image.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ('links', 'center'),
    [
        ([(0, 0), (1, 0), (1, 1), (2, 0), (2, 1)], 1.5),  # points 1 and 2 in both images
        ([(0, 0), (0, 2), (1, 1), (3, 1), (3, 2)], 1.5),  # points 0 and 3 in two of three
        ([(0, 0), (1, 1)], 0.5),
    ],
)
def test_the_center_is_what_most_images_see(links, center):
    coord = np.float32([[0, 1, 2, 3], [0] * 4, [0] * 4])
    links = links_of(*[(*pair, 0, 0) for pair in links])
    assert common_center(coord, links, rng()).tolist() == [center, 0, 0]


def test_without_links_any_point_is_the_center():
    coord = np.float32([[0, 1, 2, 3], [0] * 4, [0] * 4])
    drawn = {int(common_center(coord, links_of(), rng(seed))[0]) for seed in range(40)}
    assert drawn == {0, 1, 2, 3}


# Views


def test_the_number_and_size_of_views():
    views = make_views(
        make_sample(lattice(20, 20, 5)), config_of(max_points=1000, num_local=3), rng()
    )
    first, second = (len(view) for view in views.global_views)
    assert first == 1000
    assert 400 <= second <= 1000
    assert len(views.local_views) == 3
    assert all(100 <= len(view) <= 400 for view in views.local_views)


def test_the_same_seed_gives_the_same_views():
    sample = make_sample(
        lattice(10, 10, 5), [(i, i % 3, i % 7, 1) for i in range(500)], num_images=3
    )
    config = TrainingConfig(views=ViewsConfig(max_points=300))
    first, again, other = (make_views(sample, config, rng(seed)) for seed in (5, 5, 6))
    for a, b in zip(all_arrays(first), all_arrays(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.global_views[0].coord, other.global_views[0].coord)


def test_the_sample_is_not_touched():
    sample = make_sample(lattice(6, 6, 6), [(i, 0, 1, 1) for i in range(216)], num_images=1)
    for array in (sample.coord, sample.color, sample.normal, sample.images, sample.links.patch):
        array.setflags(write=False)
    make_views(sample, TrainingConfig(), rng())


def test_plain_views_show_the_scene():
    sample = make_sample(lattice(9, 9, 9) - 3)
    views = make_views(sample, config_of(max_points=300), rng())
    for view in (*views.global_views, *views.local_views):
        rows = points_of(view)
        np.testing.assert_array_equal(view.origin_coord, sample.coord[rows])
        np.testing.assert_array_equal(view.normal, sample.normal[rows])
        shift = view.origin_coord - view.coord
        np.testing.assert_allclose(shift, np.tile(shift[:1], (len(view), 1)), atol=1e-5)
        assert view.coord[:, 2].min() == pytest.approx(0, abs=1e-6)
        np.testing.assert_allclose(
            view.coord[:, :2].min(axis=0), -view.coord[:, :2].max(axis=0), atol=1e-6
        )
        assert all(array.dtype == np.float32 for array in (view.coord, view.color, view.normal))


def test_links_lead_to_the_same_points():
    """The patch of each link tells the row of its point."""
    sample = make_sample(
        lattice(8, 8, 8), [(i, i % 2, i // 32, i % 32) for i in range(0, 512, 3)], num_images=2
    )
    views = make_views(sample, config_of(max_points=200), rng())
    row, column = views.links.patch.T.astype(int)
    number = 32 * row + column
    assert len(number) > 40
    np.testing.assert_array_equal(points_of(views.global_views[0])[views.links.point], number)
    np.testing.assert_array_equal(views.links.image, number % 2)


def test_the_principal_view_surrounds_what_all_images_see():
    sample = make_sample(lattice(100, 1, 1), [(80, 0, 1, 1), (80, 1, 1, 1), (3, 0, 1, 1)], 2)
    principal = make_views(sample, config_of(max_points=11), rng()).global_views[0]
    assert points_of(principal).tolist() == [*range(75, 86)]


@pytest.mark.parametrize('tokens', [False, True])
def test_images_that_see_nothing_of_it_are_left_out(tokens):
    links = [(80, 1, 1, 1), (81, 3, 2, 2), (80, 3, 3, 3), (3, 0, 1, 1), (96, 2, 1, 1)]
    sample = make_sample(lattice(100, 1, 1), links, num_images=4, tokens=tokens)
    views = make_views(sample, config_of(max_points=11), rng())
    assert rows_of(views.links) == [(5, 0, 1, 1), (5, 1, 3, 3), (6, 1, 2, 2)]
    if tokens:
        assert views.tokens[:, 0, 0].tolist() == [1, 3]
        assert views.images.shape == (0, 8, 8, 3)
    else:
        assert (views.images[:, 0, 0, 0] * 255).tolist() == pytest.approx([1, 3])
        assert views.tokens.shape == (0, 0, 0)


def test_images_without_links_are_left_out():
    views = make_views(make_sample(lattice(5, 5, 5), num_images=2), TrainingConfig(), rng())
    assert views.images.shape == (0, 8, 8, 3)
    assert len(views.links) == 0


def test_local_views_do_not_repeat_what_is_covered():
    far = [[0, 0, 0], [100, 0, 0], [0, 100, 0]]
    sample = make_sample(np.concatenate([lattice(5, 5, 1) + corner for corner in far]))
    config = config_of(num_local=6, local_low=0.334, local_high=0.334)
    for seed in range(5):
        local = make_views(sample, config, rng(seed)).local_views
        parts = [points_of(view)[0] // 25 for view in local]
        assert sorted(parts[:3]) == [0, 1, 2]
        assert sorted(parts[3:]) == [0, 1, 2]  # all is covered, so it starts again


def test_global_views_share_their_colors_and_local_ones_do_not():
    augmentation = replace(PLAIN, color=True)
    sample = make_sample(lattice(7, 7, 7) * 10)
    config = config_of(augmentation, second_low=1.0, local_low=1.0, local_high=1.0)
    views = make_views(sample, config, rng())
    first, second = views.global_views
    np.testing.assert_array_equal(first.color, second.color)
    assert not any(np.array_equal(view.color, first.color) for view in views.local_views)


def test_lost_values_are_zero_whatever_follows():
    augmentation = AugmentationConfig(drop_color=1.0, drop_normal=1.0)
    views = make_views(make_sample(lattice(6, 6, 6)), config_of(augmentation), rng())
    for view in (*views.global_views, *views.local_views):
        assert not view.color.any()
        assert not view.normal.any()


def test_one_point_is_enough():
    views = make_views(make_sample([[1, 2, 3]], [(0, 0, 1, 1)], 1), TrainingConfig(), rng())
    sizes = [len(view) for view in (*views.global_views, *views.local_views)]
    assert sizes == [1] * 6
    assert views.links.point.tolist() == [0]


def test_no_point_is_refused():
    with pytest.raises(SourceError, match=r'room: .* at least one point'):
        make_views(make_sample(np.zeros((0, 3))), TrainingConfig(), rng())
