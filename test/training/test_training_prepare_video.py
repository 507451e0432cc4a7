import re

import numpy as np
import pytest
from PIL import Image

from concerto_ros.errors import ConfigError, SourceError
from training.datasets.layout import read_split
from training.prepare.command import main
from training.prepare.ground import upright
from training.prepare.point_maps import PointMaps, load_provider
from training.prepare.video import map_normals

# A provider in a module of its own, as users write it. It sees a floor, and a wall 4 m ahead of
# a camera 1.5 m above the floor that looks 20 degrees down; its world is the camera's, shrunk.
STUB = """
import numpy as np
from training.prepare.point_maps import PointMaps

H, W, F, SCALE = 48, 64, 56.0, 0.37
C, S = np.cos(np.radians(20)), np.sin(np.radians(20))
R = np.array([[1, 0, 0], [0, -S, C], [0, -C, -S]])  # from optical to x right, y ahead, z up
CAMERA = np.array([0.0, 0.0, 1.5])

def make():
    return lift

def lift(frames):
    v, u = np.mgrid[:H, :W]
    rays = np.stack([(u - 31.5) / F, (v - 23.5) / F, np.ones((H, W))], axis=-1)
    ahead = rays @ R.T
    to_floor = np.where(ahead[..., 2] < 0, -1.5 / ahead[..., 2], np.inf)
    to_wall = 4.0 / ahead[..., 1]
    points = (SCALE * rays * np.minimum(to_floor, to_wall)[..., None]).astype(np.float32)
    confidence = np.ones((len(frames), H, W), np.float32)
    confidence[:, :, 0] = 0  # unsure of the first column
    points[5, 7] = np.nan
    count = len(frames)
    return PointMaps(
        color=np.stack([np.asarray(f)[:H, :W] for f in frames]),
        points=np.stack([points] * count),
        confidence=confidence,
        T_world_camera=np.stack([np.eye(4)] * count),
        intrinsics=np.stack([np.diag([F, F, 1.0])] * count),
    )

def returns_nothing():
    pass

def forgets_a_frame():
    return lambda frames: lift(frames[1:])

def speaks():
    return lambda frames: 'a wall'

def blind():
    def nothing(frames):
        maps = lift(frames)
        return PointMaps(
            color=maps.color, points=maps.points, confidence=0 * maps.confidence,
            T_world_camera=maps.T_world_camera, intrinsics=maps.intrinsics,
        )
    return nothing
"""


@pytest.fixture
def clip(tmp_path, monkeypatch):
    load_provider.cache_clear()
    (tmp_path / 'stub_provider.py').write_text(STUB)
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / 'clips' / 'kitchen'
    folder.mkdir(parents=True)
    for k in range(6):
        Image.new('RGB', (64, 48), (40 * k, 0, 0)).save(folder / f'frame_{k}.png')
    return folder


def prepare(clip, root, provider='stub_provider:make', *options):
    command = ['video', str(clip), '--provider', provider, '-o', str(root), *options]
    return main(command)


def test_a_clip_becomes_an_upright_scene(clip, tmp_path):
    assert prepare(clip, tmp_path, 'stub_provider:make', '--images', '3') == 0
    scene = tmp_path / 'train' / 'kitchen'
    coord, normal = np.load(scene / 'coord.npy'), np.load(scene / 'normal.npy')
    assert len(coord) == 3 * (48 * 63 - 1)  # all but unsure and missing pixels
    pose = np.load(next((tmp_path / 'images/train/kitchen/pose').iterdir()))
    scale = pose[2, 3] / 1.5  # the camera stands 1.5 m above the floor
    assert 0.5 < scale < 3
    y_wall = coord[:, 1].max()
    is_floor, is_wall = coord[:, 2] < 0.01, coord[:, 1] > y_wall - 0.02
    assert coord[:, 2].min() > -0.01
    np.testing.assert_allclose(y_wall - pose[1, 3], 4 * scale, rtol=0.01)
    is_known = (normal != 0).any(axis=1)
    assert is_known.mean() > 0.7
    for part, expected in ((is_floor, [0, 0, 1]), (is_wall, [0, -1, 0])):
        found = np.median(normal[is_known & part], axis=0)  # round only where they meet
        np.testing.assert_allclose(found, expected, atol=0.02)


def test_every_valid_pixel_is_a_link_to_its_own_point(clip, tmp_path):
    prepare(clip, tmp_path)
    (sample,) = read_split(tmp_path / 'splits' / 'train.json')
    assert [path.stem for path in sample.images] == ['frame_0', 'frame_2', 'frame_3', 'frame_5']
    rows = [np.load(path) for path in sample.correspondences]
    assert np.concatenate(rows)[:, 2].tolist() == list(range(4 * (48 * 63 - 1)))
    assert rows[1][0].tolist() == [1, 0, 48 * 63 - 1]
    color = np.load(tmp_path / 'train' / 'kitchen' / 'color.npy')
    assert (color[rows[1][:, 2]] == (80, 0, 0)).all()  # of frame 2
    x, y, _ = rows[0].T
    assert not ((x == 7) & (y == 5)).any()


def test_a_clip_in_which_nothing_is_found_fails(clip, tmp_path, caplog):
    assert prepare(clip, tmp_path, 'stub_provider:blind') == 2
    assert 'stub_provider:blind found no point' in caplog.text


def test_a_folder_without_images_fails(clip, tmp_path, caplog):
    (tmp_path / 'empty').mkdir()
    assert prepare(tmp_path / 'empty', tmp_path) == 2
    assert 'found none in' in caplog.text


@pytest.mark.parametrize('name', ['stub_provider', 'stub_provider:other', 'no_such:make', ''])
def test_a_provider_must_exist(clip, name):
    with pytest.raises(ConfigError, match='--provider must be module:attribute'):
        load_provider(name)


@pytest.mark.parametrize(
    ('attribute', 'match'),
    [
        ('lift', "lift is none: missing a required argument: 'frames'"),
        ('W', 'W is none: 64 is not a callable object'),
        ('returns_nothing', 'must return a function of frames .*, got a NoneType'),
    ],
)
def test_what_makes_no_provider_is_told(clip, tmp_path, caplog, attribute, match):
    assert prepare(clip, tmp_path, f'stub_provider:{attribute}') == 2
    assert re.search(match, caplog.text)
    assert 'is skipped' not in caplog.text


@pytest.mark.parametrize(
    ('attribute', 'reason'),
    [
        ('speaks', 'must return PointMaps, got a str'),
        ('forgets_a_frame', 'must return points of all 4 frames, got 3'),
    ],
)
def test_other_things_than_maps_are_told(clip, tmp_path, caplog, attribute, reason):
    assert prepare(clip, tmp_path, f'stub_provider:{attribute}') == 2
    assert f'kitchen is skipped: stub_provider:{attribute} {reason}' in caplog.text


def test_maps_of_other_shapes_are_refused():
    with pytest.raises(SourceError, match='expected point maps of shapes'):
        PointMaps(
            color=np.zeros((1, 4, 5, 3), np.uint8),
            points=np.zeros((1, 4, 4, 3), np.float32),
            confidence=np.zeros((1, 4, 5), np.float32),
            T_world_camera=np.zeros((1, 4, 4)),
            intrinsics=np.zeros((1, 3, 3)),
        )


def test_poses_and_points_stay_together():
    rng = np.random.default_rng(0)
    floor = np.stack([*rng.uniform(-1, 1, (2, 500)), np.zeros(500)], axis=1)
    things = rng.uniform((-1, -1, 0), (1, 1, 1), (500, 3))
    to_camera = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]).T  # z forward, y down
    points = (np.concatenate([floor, things]) - (0, 0, 0.7)) @ np.linalg.inv(to_camera).T
    move = upright(points, np.random.default_rng(1))
    np.testing.assert_allclose(move.points(points)[:500, 2], 0.0, atol=0.02)
    np.testing.assert_allclose(np.ptp(move.points(points)[:, 2]), 3.0, rtol=0.02)
    T = np.eye(4)
    T[:3, 3] = points[7]
    moved = move.pose(T)
    np.testing.assert_allclose(moved[:3, 3], move.points(points[7]))
    np.testing.assert_allclose(moved[:3, :3] @ moved[:3, :3].T, np.eye(3), atol=1e-12)


def test_a_clip_without_ground_is_left_out():
    rng = np.random.default_rng(0)
    wall = np.stack([np.zeros(900), *rng.uniform(-1, 1, (2, 900))], axis=1)
    with pytest.raises(SourceError, match='no ground within 40 degrees'):
        upright(wall, rng)


@pytest.mark.parametrize('num_points', [0, 5])
def test_points_without_height_are_refused(num_points):
    with pytest.raises(SourceError, match='different heights'):
        upright(np.zeros((num_points, 3)), np.random.default_rng(0))


def test_normals_stop_at_jumps_and_rims():
    v, u = np.mgrid[:9, :12].astype(float)
    points = np.stack([u / 100, v / 100, np.where(u < 6, 1.0, 2.0)], axis=-1)
    normal = map_normals(points, np.ones((9, 12), bool), np.zeros(3))
    is_known = (normal != 0).any(axis=-1)
    assert is_known[4].tolist() == [0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0]
    assert not is_known[[0, 1, 7, 8]].any()
    np.testing.assert_allclose(normal[is_known], [[0, 0, -1]] * is_known.sum(), atol=1e-6)
