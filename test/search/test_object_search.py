import numpy as np
import pytest

from concerto_ros.config.schema import SearchConfig
from concerto_ros.errors import SearchError
from concerto_ros.search.object_search import ObjectSearch, SearchPoints, check_query
from concerto_ros.search.registry import ObjectRegistry

VOXEL = 0.02


def points_of(grid, label=None, names=(), **other):
    grid = np.asarray(grid).reshape(-1, 3)
    n = len(grid)
    fields = {
        'coord': ((grid + 0.5) * VOXEL).astype(np.float32),
        'grid_coord': grid,
        'num_views': np.ones(n, int),
        'first_seen_ns': np.zeros(n, np.int64),
        'last_seen_ns': np.zeros(n, np.int64),
        'label': np.zeros(n, np.uint16) if label is None else np.asarray(label, np.uint16),
        'names': names,
        'voxel_size': VOXEL,
    }
    return SearchPoints(**(fields | other))


def block(low, size):
    return np.argwhere(np.ones(size)) + low


def searcher(**changes):
    config = SearchConfig(**({'min_size': 0.034} | changes))  # 3 voxels
    return ObjectSearch(config, ObjectRegistry())


def two_chairs():
    """Seats of 20 x 20 voxels, 25 voxels (0.5 m) apart, on a floor that scores low."""
    grid = np.concatenate(
        [block((0, 0, 20), (20, 20, 2)), block((45, 0, 20), (20, 20, 2)),
         block((0, 0, 0), (65, 20, 1))]
    )  # fmt: skip
    scores = np.concatenate([np.full(800, 0.8), np.full(800, 0.9), np.full(1300, 0.1)])
    return grid, scores


def test_two_chairs_half_a_metre_apart_are_two_objects_best_first():
    grid, scores = two_chairs()
    result = searcher().search(points_of(grid), scores, 'chair')
    assert result.verdict == 'found'
    assert result.observed_share == 1
    assert [hit.num_points for hit in result.objects] == [800, 800]
    np.testing.assert_allclose([hit.score for hit in result.objects], [0.9, 0.8])
    right, left = (hit.box for hit in result.objects)
    np.testing.assert_allclose(right.center, (1.1, 0.2, 0.42), atol=1e-6)
    np.testing.assert_allclose(left.center, (0.2, 0.2, 0.42), atol=1e-6)
    np.testing.assert_allclose(left.size, (0.38, 0.38, 0.02), atol=1e-6)


def test_a_hole_of_one_voxel_does_not_split_a_chair():
    grid = np.concatenate([block((0, 0, 0), (5, 5, 1)), block((6, 0, 0), (5, 5, 1))])
    scores = np.ones(50)
    assert len(searcher().search(points_of(grid), scores, 'chair').objects) == 1
    assert len(searcher(gap=0.02).search(points_of(grid), scores, 'chair').objects) == 2


def test_the_objects_of_a_5x5_mask():
    mask = np.array(
        [[1, 1, 0, 0, 0],
         [1, 0, 0, 0, 1],
         [0, 0, 0, 1, 1],
         [0, 0, 0, 0, 1],
         [1, 0, 0, 0, 0]]
    )  # fmt: skip
    grid = np.pad(np.argwhere(np.ones((5, 5))), ((0, 0), (0, 1)))
    scores = np.where(mask.ravel(), 0.7, 0.2)
    objects = searcher(gap=VOXEL).search(points_of(grid), scores, 'cup').objects
    assert [hit.num_points for hit in objects] == [4, 3]  # the single voxel is too small
    np.testing.assert_allclose(objects[0].center, (0.05, 0.09, 0.01), atol=1e-6)  # row 2, column 4


def test_the_score_is_that_of_the_best_quarter():
    grid = block((0, 0, 0), (8, 1, 1))
    scores = np.array([0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.9, 0.7])
    (hit,) = searcher().search(points_of(grid), scores, 'cup').objects
    assert hit.score == pytest.approx(0.8)


def test_the_centre_is_a_voxel_of_the_surface():
    ring = np.array([(x, y, 0) for x in range(9) for y in range(9) if x in (0, 8) or y in (0, 8)])
    points = points_of(ring)
    (hit,) = searcher().search(points, np.ones(len(ring)), 'ring').objects
    assert (points.coord == hit.center.astype(np.float32)).all(axis=1).any()


def test_views_and_stamps_are_those_of_the_whole_object():
    points = points_of(
        block((0, 0, 0), (3, 1, 1)),
        num_views=np.array([4, 9, 1]),
        first_seen_ns=np.array([30, 20, 40]),
        last_seen_ns=np.array([50, 60, 45]),
    )
    (hit,) = searcher().search(points, np.ones(3), 'cup').objects
    assert (hit.num_views, hit.first_seen_ns, hit.last_seen_ns) == (9, 20, 60)


def test_objects_are_named_by_the_vocabulary_else_by_the_query():
    grid = block((0, 0, 0), (5, 1, 1))
    named = points_of(grid, label=[0, 0, 0, 2, 1], names=('unknown', 'sofa', 'chair'))
    mostly = points_of(grid, label=[2, 2, 0, 2, 1], names=('unknown', 'sofa', 'chair'))
    unnamed = points_of(grid)
    foreign = points_of(grid, label=[7] * 5, names=('unknown', 'sofa'))
    labels = [
        searcher().search(points, np.ones(5), '  blue chair ').objects[0].label
        for points in (named, mostly, unnamed, foreign)
    ]
    assert labels == ['sofa', 'chair', 'blue chair', 'blue chair']


def test_the_order_of_rows_does_not_matter():
    rng = np.random.default_rng(0)
    grid = np.unique(rng.integers(-20, 20, (1500, 3)), axis=0)
    scores = rng.random(len(grid))
    label = rng.integers(0, 3, len(grid))
    names = ('unknown', 'a', 'b')
    order = rng.permutation(len(grid))
    first = searcher(gap=0.04).search(points_of(grid, label, names), scores, 'x')
    second = searcher(gap=0.04).search(
        points_of(grid[order], label[order], names), scores[order], 'x'
    )
    assert len(first.objects) > 1
    for a, b in zip(first.objects, second.objects, strict=True):
        assert (a.id, a.label, a.score, a.num_points) == (b.id, b.label, b.score, b.num_points)
        np.testing.assert_array_equal(a.center, b.center)
        np.testing.assert_array_equal(a.box.size, b.box.size)


def test_the_number_of_objects_and_the_score_can_be_limited():
    grid, scores = two_chairs()
    points = points_of(grid)
    assert len(searcher(max_results=1).search(points, scores, 'chair').objects) == 1
    assert len(searcher().search(points, scores, 'chair', max_results=1).objects) == 1
    assert len(searcher().search(points, scores, 'chair', min_score=0.85).objects) == 1
    assert len(searcher().search(points, scores, 'chair', min_score=0.05).objects) == 3
    assert len(searcher(min_size=0.57).search(points, scores, 'chair').objects) == 0


def test_a_lower_limit_adds_objects_and_loses_none():
    grid, scores = two_chairs()
    grid = np.concatenate([grid, block((0, 0, 1), (20, 20, 19)), block((90, 0, 0), (9, 9, 1))])
    scores = np.concatenate([scores, np.full(7600, 0.02), np.full(81, 0.3)])  # a chair's legs
    search, points = searcher(), points_of(grid)
    found = [
        [
            (hit.id, hit.num_points)
            for hit in search.search(points, scores, 'x', min_score=m).objects
        ]
        for m in (0.0, 0.2, 1e-6)
    ]
    assert [len(objects) for objects in found] == [2, 3, 4]
    assert found[0] == found[1][:2]
    assert found[1] == found[2][:3]


def test_only_the_region_is_searched():
    grid, scores = two_chairs()
    region = ((-0.1, -0.1, 0.3), (0.5, 0.5, 1.0))
    (hit,) = searcher().search(points_of(grid), scores, 'chair', region=region).objects
    assert hit.box.center[0] < 0.5


def test_the_verdict_tells_absent_from_unobserved():
    grid, scores = two_chairs()
    points, low = points_of(grid), np.full(len(scores), 0.1)
    search = searcher().search
    assert search(points, low, 'chair').verdict == 'absent'
    seen = ((0, 0, 0), (1.3, 0.4, 1))
    assert search(points, low, 'chair', region=seen).verdict == 'absent'
    assert search(points, low, 'chair', region=seen).observed_share == 1
    mostly_unseen = ((0, 0, 0), (1.3, 4.0, 1))
    result = search(points, low, 'chair', region=mostly_unseen)
    assert result.verdict == 'unobserved'
    assert result.observed_share == pytest.approx(0.1)
    assert searcher(observed_share=0.05).search(
        points, low, 'chair', region=mostly_unseen
    ).verdict == 'absent'  # fmt: skip


def test_an_empty_map_is_unobserved():
    result = searcher().search(points_of([]), np.zeros(0), 'chair')
    assert (result.verdict, result.objects, result.observed_share) == ('unobserved', (), 0.0)
    away = searcher(observed_share=0.0).search(
        points_of([]), np.zeros(0), 'chair', region=((0, 0, 0), (1, 1, 1))
    )
    assert away.verdict == 'unobserved'


def test_voxels_without_a_score_are_not_observed():
    grid, _ = two_chairs()
    result = searcher().search(points_of(grid), np.full(len(grid), np.nan), 'chair')
    assert (result.verdict, result.observed_share) == ('unobserved', 0.0)


def test_an_object_has_one_id_for_repeated_and_synonymous_queries():
    grid, scores = two_chairs()
    search, points = searcher(), points_of(grid)
    ids = {hit.id for hit in search.search(points, scores, 'chair').objects}
    assert len(ids) == 2
    assert {hit.id for hit in search.search(points, scores, 'chair').objects} == ids
    other = scores.copy()
    other[:40] = 0.2  # the other word leaves out the edge of a seat
    assert {hit.id for hit in search.search(points, other, 'armchair').objects} == ids
    floor = search.search(points, 1 - scores, 'floor').objects
    assert len(floor) == 1
    assert floor[0].id not in ids


def test_ids_are_made_anew_with_a_new_registry():
    grid, scores = two_chairs()
    points = points_of(grid)
    first = searcher().search(points, scores, 'chair').objects[0].id
    assert searcher().search(points, scores, 'sofa').objects[0].id != first


@pytest.mark.parametrize(
    ('query', 'match'),
    [
        ('', 'the query is empty; ask for an object'),
        ('  \n\t', 'the query is empty; ask for an object'),
        ('x' * 10_000, 'the text has 10000 characters, at most 300 are read'),
        ('?!', 'has no word'),
        ('\x00\x1b\x7f', 'has no word'),
    ],
)
def test_queries_that_name_nothing_are_refused(query, match):
    with pytest.raises(SearchError, match=match):
        check_query(query)
    with pytest.raises(SearchError, match=match):
        searcher().search(points_of([]), np.zeros(0), query)


@pytest.mark.parametrize(
    ('query', 'label'),
    [
        ('\x1b[31m a  blue\x00\nchair', '[31m a blue chair'),
        ('蓝色的椅子', '蓝色的椅子'),
        ('كرسي أزرق', 'كرسي أزرق'),
        ('Küchenstuhl', 'Küchenstuhl'),
    ],
)
def test_other_languages_and_control_characters_do_no_harm(query, label):
    points = points_of(block((0, 0, 0), (5, 5, 1)))
    (hit,) = searcher().search(points, np.ones(25), query).objects
    assert hit.label == label
    assert hit.id.isprintable()


def test_five_hundred_results_are_as_many_as_there_are():
    grid, scores = two_chairs()
    assert len(searcher().search(points_of(grid), scores, 'chair', max_results=500).objects) == 2
    many = np.concatenate(
        [block((9 * i, 9 * j, 0), (3, 1, 1)) for i in range(30) for j in range(20)]
    )
    result = searcher().search(points_of(many), np.ones(len(many)), 'cup', max_results=500)
    assert len({hit.id for hit in result.objects}) == 500


def test_a_region_outside_the_map_is_unobserved():
    grid, scores = two_chairs()
    away = ((100, 100, 0), (101, 101, 1))
    result = searcher().search(points_of(grid), scores, 'chair', region=away)
    assert (result.verdict, result.objects, result.observed_share) == ('unobserved', (), 0.0)


def test_a_map_of_which_little_has_a_score_is_unobserved():
    grid, _ = two_chairs()
    scores = np.where(np.arange(len(grid)) < 0.3 * len(grid), 0.1, np.nan)
    result = searcher().search(points_of(grid), scores, 'chair')
    assert (result.verdict, result.observed_share) == ('unobserved', pytest.approx(0.3))
    scores[:400] = 0.9
    assert searcher().search(points_of(grid), scores, 'chair').verdict == 'found'


def test_one_threshold_parts_found_from_absent():
    grid, _ = two_chairs()
    points, scores = points_of(grid), np.full(len(grid), 0.6)
    for least, verdict in ((0.59, 'found'), (0.61, 'absent')):
        assert searcher(min_score=least).search(points, scores, 'chair').verdict == verdict


@pytest.mark.parametrize(
    ('configured', 'fitted', 'decides'), [(0.0, 0.0, 0.5), (0.0, 0.3, 0.3), (0.7, 0.3, 0.7)]
)
def test_the_fitted_threshold_decides_unless_another_is_configured(configured, fitted, decides):
    grid, _ = two_chairs()
    points = points_of(grid)
    search = ObjectSearch(SearchConfig(min_score=configured), ObjectRegistry(), fitted)
    for score, verdict in ((decides + 0.01, 'found'), (decides - 0.01, 'absent')):
        result = search.search(points, np.full(len(grid), score), 'chair')
        assert result.verdict == verdict
        assert result.calibrated == (fitted > 0)


def test_chairs_that_touch_are_two_objects():
    chair = np.concatenate([block((0, 0, 20), (20, 20, 2)), block((2, 18, 22), (16, 2, 20))])
    row = np.concatenate([chair, chair + np.array([20, 0, 0])])
    result = searcher().search(points_of(row), np.ones(len(row)), 'chair')
    np.testing.assert_allclose([hit.num_points for hit in result.objects], len(chair), rtol=0.1)
    assert len(result.objects) == 2
    middles = sorted(hit.box.center[0] for hit in result.objects)
    np.testing.assert_allclose(middles, [0.2, 0.6], atol=0.05)


def test_sizes_and_gaps_are_the_same_in_maps_of_other_voxels():
    for voxel_size in (0.02, 0.04):
        n = round(0.12 / voxel_size)
        plate = block((0, 0, 0), (n, n, 1))
        beside = plate + np.array([n + round(0.16 / voxel_size), 0, 0])
        points = points_of(np.concatenate([plate, beside]), voxel_size=voxel_size)
        for gap, least, count in ((0.1, 0.1, 2), (0.24, 0.1, 1), (0.1, 0.13, 0)):
            search = searcher(gap=gap, min_size=least).search
            assert len(search(points, np.ones(len(points)), 'plate').objects) == count


def test_ids_outlast_a_correction_of_the_position():
    grid, scores = two_chairs()
    points, search = points_of(grid), searcher()
    first = search.search(points, scores, 'chair').objects
    moved = points_of(grid, coord=points.coord + np.float32([3, 1, 0]))
    second = search.search(moved, scores, 'chair').objects
    assert [hit.id for hit in second] == [hit.id for hit in first]
    np.testing.assert_allclose(second[0].center - first[0].center, [3, 1, 0], atol=1e-5)


def test_useless_requests_are_refused():
    points = points_of([[0, 0, 0]])
    with pytest.raises(SearchError, match='expected 1 scores, got shape'):
        searcher().search(points, np.zeros(2), 'cup')
    with pytest.raises(SearchError, match='expected max_results of 0'):
        searcher().search(points, np.zeros(1), 'cup', max_results=-1)
    for min_score in (-0.1, 1.1, np.nan):
        with pytest.raises(SearchError, match='min_score between 0 and 1'):
            searcher().search(points, np.zeros(1), 'cup', min_score=min_score)
    with pytest.raises(SearchError, match='the region is empty'):
        searcher().search(points, np.zeros(1), 'cup', region=((0, 0, 0), (0, 0, 0)))
    with pytest.raises(SearchError, match='one value per point'):
        points_of([[0, 0, 0]], num_views=np.zeros(2, int))
