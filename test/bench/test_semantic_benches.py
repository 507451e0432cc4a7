"""The benchmarks of windows and of the time to a label, on tiny rooms and the shipped network."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from bench import semantic_latency, windows
from bench.floor_plan import draw_plans
from bench.window_scene import Scene, nearest
from concerto_ros.rooms.building import Building
from concerto_ros.rooms.room import DEFAULT_CAMERA
from concerto_ros.semantics import make_labels

TINY = DEFAULT_CAMERA.scaled(80, 60)


@pytest.fixture(autouse=True)
def tiny_building(monkeypatch):
    def make(num_rooms, **values):
        return Building(num_rooms, **{**values, 'camera': TINY, 'frames_per_visit': 6})

    monkeypatch.setattr(windows, 'Building', make)
    monkeypatch.setattr(semantic_latency, 'Building', make)


@pytest.fixture(scope='module')
def scene():
    building = Building(1, num_models=1, camera=TINY, frames_per_visit=6)
    return Scene(building.tour(), building.cloud(0))


def test_windows_are_compared_with_whole_rooms(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(windows, 'NUM_ROOMS', 2)
    monkeypatch.setattr(windows, 'HALOS', (0, 4))
    monkeypatch.setattr(windows, 'has_kitchen', lambda: True)
    monkeypatch.setattr(windows, 'kitchen_frames', lambda _: windows.Building(1).tour())
    monkeypatch.setenv('WINDOWS_PICTURE', str(tmp_path / 'new' / 'seams.png'))
    windows.main()
    headline, _, whole, *rest = capsys.readouterr().out.splitlines()
    assert re.match(
        r'windows: \S+ x the labels of whole rooms in windows of 2x2 columns', headline
    )
    assert 'agree 100.0 / 100.0 %' in whole
    assert 'cosine 1.000, work 1.0' in whole
    assert any('in one map, a window every 10 frames' in line for line in rest)
    assert any('looked at anew in the end: agree' in line for line in rest)
    [recorded] = [line for line in rest if 'the kitchen recording' in line]
    assert 'agree' in recorded
    assert 'right' not in recorded  # there is no truth
    assert (tmp_path / 'new' / 'seams.png').exists()


def test_a_window_of_all_chunks_is_repeated_exactly(scene):
    one, again = scene.look((1000,) * 3, 0), scene.look((1000,) * 3, 0)
    np.testing.assert_array_equal(one.label, again.label)
    torch.testing.assert_close(one.feature, again.feature, rtol=0, atol=0)
    assert one.num_cells == again.num_cells == scene.num_cells
    by_chunks = scene.look((1, 1, 1), 1)
    assert by_chunks.num_cells > scene.num_cells
    assert (by_chunks.label > 0).all()


def test_most_voxels_have_a_true_label(scene):
    assert (scene.truth > 0).mean() > 0.7


def test_the_nearest_point_within_reach_tells():
    values = np.array([[7, 8], [5, 6]])
    others = np.array([[0.0, 0, 0], [1, 0, 0]])
    found = nearest(np.array([[0.9, 0, 0], [0.1, 0, 0], [0.5, 0, 0]]), others, values, 0.2)
    np.testing.assert_array_equal(found, [[5, 6], [7, 8], [0, 0]])


def test_differences_are_black_in_a_floor_plan(tmp_path):
    coord = np.zeros((2500, 3))
    pixels = np.stack(np.meshgrid(np.arange(50), np.arange(50)), -1).reshape(-1, 2)
    coord[:, :2] = (pixels + 0.5) * 0.02
    first, other = np.full(2500, 1), np.full(2500, 1)
    other[coord[:, 0] > 0.5] = 2
    path = tmp_path / 'plans.png'
    labels = make_labels('two', ('wall', 'floor'))
    draw_plans(path, [coord], {'one': [first], 'two': [other]}, labels)
    image = np.asarray(Image.open(path))
    is_black = (image < 40).all(2)
    assert not is_black[: len(image) // 2].any()
    assert is_black[len(image) // 2 :].sum() == pytest.approx(25 * 50, rel=0.1)
    is_first = (abs(image.astype(int) - labels.colors[1]) < 40).all(2)
    assert is_first.sum() == pytest.approx(75 * 50, rel=0.1)


def test_the_time_to_a_label_is_told(monkeypatch, capsys):
    monkeypatch.setattr(semantic_latency, 'NUM_ROOMS', 1)
    monkeypatch.setattr(semantic_latency, 'FRAMES_PER_ROOM', 6)
    monkeypatch.setattr(semantic_latency, 'NUM_PARKED', 30)
    monkeypatch.setattr(semantic_latency, 'RATE', 10.0)
    semantic_latency.main()
    headline, voxels, frame, windows_, parked = capsys.readouterr().out.splitlines()
    assert re.match(
        r'semantic_latency: \S+ x the frames per second of a map alone .* p50 \S+ s, p95', headline
    )
    share = float(re.search(r'voxels: (\S+) % have a label', voxels)[1])
    assert share > 70
    assert 'of a map alone p50' in frame
    assert re.search(r'windows: begin p50 .*; run p50 .*; finish p50 .* ms', windows_)
    assert re.search(r'before the parked camera in each 1 s: \d+, \d+, \d+', parked)
