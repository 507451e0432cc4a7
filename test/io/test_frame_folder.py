import json

import numpy as np
import pytest
from PIL import Image

from concerto_ros.errors import ConfigError, SourceError
from concerto_ros.io.frame_source import open_source

INTRINSICS = {'fx': 8.0, 'fy': 8.0, 'cx': 3.5, 'cy': 2.5}
T_ZUP = [[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]]


def save_images(color_file, depth_file, value):
    color_file.parent.mkdir(exist_ok=True)
    depth_file.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((6, 8, 3), value, np.uint8)).save(color_file)
    Image.fromarray(np.full((6, 8), 1000 * value, np.uint16)).save(depth_file)


@pytest.fixture
def numbered(tmp_path):
    """Frames 0, 5, 10, 15 with depth 1, 2, 3, 4 m; the camera is at x = 0, 1, 2, 3."""
    folder = tmp_path / 'kitchen'
    (folder / 'pose').mkdir(parents=True)
    for i in range(4):
        name = f'{5 * i:06d}'
        save_images(folder / 'color' / f'{name}.png', folder / 'depth' / f'{name}.png', i + 1)
        pose = np.eye(4)
        pose[0, 3] = i
        np.savetxt(folder / 'pose' / f'{name}.txt', pose)
    (folder / 'camera.json').write_text(json.dumps(INTRINSICS))
    return folder


@pytest.fixture
def tum(tmp_path):
    """Pairs at 10.0, 10.1, 10.2 s, depth 10 ms later; the camera is at x = t - 10."""
    folder = tmp_path / 'desk'
    folder.mkdir()
    lists = {'rgb.txt': ['# color'], 'depth.txt': ['# depth'], 'groundtruth.txt': ['# poses', '']}
    for i in range(3):
        t, d = f'10.{i}00000', f'10.{i}10000'
        save_images(folder / 'rgb' / f'{t}.png', folder / 'depth' / f'{d}.png', i + 1)
        lists['rgb.txt'].append(f'{t} rgb/{t}.png')
        lists['depth.txt'].append(f'{d} depth/{d}.png')
    for x in (-0.5, 0.0, 0.15, 0.5):
        lists['groundtruth.txt'].append(f'{10 + x:.4f} {x} 0 0 0 0 0 1')
    for name, lines in lists.items():
        (folder / name).write_text('\n'.join(lines))
    return folder


def read(path, **options):
    with open_source(path, **options) as source:
        return list(source), source


def test_numbered_frames(numbered):
    frames, source = read(numbered)
    assert source.num_frames_hint == len(frames) == 4
    assert not source.dropped
    assert [f.stamp_ns for f in frames] == [33333333, 200000000, 366666667, 533333333]
    assert [f.T_map_depth[0, 3] for f in frames] == [0, 1, 2, 3]
    assert [f.depth[0, 0] for f in frames] == [1, 2, 3, 4]
    assert [f.color[0, 0, 0] for f in frames] == [1, 2, 3, 4]
    camera = frames[0].color_camera
    assert (camera.width, camera.height, camera.fx, camera.cx) == (8, 6, 8.0, 3.5)
    assert frames[0].depth_camera == camera
    np.testing.assert_array_equal(source.T_map_fusion, np.eye(4))


def test_camera_file_tells_depth_unit_rate_and_up(numbered):
    settings = INTRINSICS | {
        'depth_unit_m': 0.002, 'depth_invalid': 2000, 'nominal_fps_original': 10,
        'T_zup_from_world': T_ZUP, 'width': 16, 'height': 12,
    }  # fmt: skip
    (numbered / 'camera.json').write_text(json.dumps(settings))
    frames, _ = read(numbered)
    assert [f.depth[0, 0] for f in frames] == [2, 0, 6, 8]
    assert frames[1].stamp_ns == 600_000_000
    assert frames[0].color_camera.fx == 4.0
    np.testing.assert_allclose(frames[1].T_map_depth[:3, 3], (1, 0, 1.5))
    np.testing.assert_allclose(read(numbered, up='none')[0][1].T_map_depth[:3, 3], (1, 0, 0))


def test_unusable_frames_are_counted(numbered):
    (numbered / 'color' / '000000.png').unlink()
    (numbered / 'pose' / '000005.txt').write_text('1 0 0 nan ' * 4)
    (numbered / 'depth' / '000010.png').write_bytes(b'\x89PNG')
    frames, source = read(numbered)
    assert [f.depth[0, 0] for f in frames] == [4]
    assert sorted(source.dropped.values()) == [1, 1, 1]
    reasons = ' '.join(source.dropped)
    assert 'no color file' in reasons
    assert 'the pose is not finite or not rigid' in reasons
    assert "damaged file in 'the depth files'" in reasons


@pytest.mark.parametrize('text', ['', '1 2 3', 'a b c d ' * 4, '-inf ' * 16])
def test_unusable_poses_are_counted(numbered, text):
    (numbered / 'pose' / '000005.txt').write_text(text)
    frames, source = read(numbered)
    assert len(frames) == 3
    assert source.dropped == {'the pose is not finite or not rigid': 1}


def test_frame_of_another_size_is_counted(numbered):
    Image.fromarray(np.ones((6, 6), np.uint16)).save(numbered / 'depth' / '000005.png')
    frames, source = read(numbered)
    assert len(frames) == 3
    assert 'aspect ratio' in next(iter(source.dropped))


def test_keep_holds_frames_out(numbered, tum):
    frames, source = read(numbered, keep=lambda i: i != 1)
    assert source.num_frames_hint == 3
    assert [f.depth[0, 0] for f in frames] == [1, 3, 4]
    assert len(read(tum, keep=lambda i: i == 2, intrinsics='8,8,3.5,2.5')[0]) == 1


def test_folder_without_frames_or_camera_is_refused(tmp_path):
    for name in ('color', 'depth'):
        (tmp_path / name).mkdir()
    with pytest.raises(SourceError, match=r'camera.json cannot be read'):
        open_source(tmp_path)
    for text, sentence in (
        ('[]', 'must hold an object'),
        ('{"fx": 1}', "no calibration: expected numbers fx, fy, cx and cy; KeyError.'fy'"),
        ('{"fx": 0, "fy": 0, "cx": 0, "cy": 0}', 'uncalibrated'),
    ):
        (tmp_path / 'camera.json').write_text(text)
        (tmp_path / 'color' / '1.png').touch()
        with pytest.raises(SourceError, match=sentence):
            open_source(tmp_path)
    (tmp_path / 'camera.json').write_text(json.dumps(INTRINSICS))
    (tmp_path / 'color' / '1.png').unlink()
    with pytest.raises(SourceError, match='no numbered files'):
        open_source(tmp_path)


def test_tum_pairs_with_interpolated_poses(tum):
    frames, source = read(tum, intrinsics='8, 8, 3.5, 2.5')
    assert not source.dropped
    assert [f.stamp_ns for f in frames] == [10_010_000_000, 10_110_000_000, 10_210_000_000]
    np.testing.assert_allclose([f.T_map_depth[0, 3] for f in frames], [0.01, 0.11, 0.21])
    np.testing.assert_allclose([f.depth[0, 0] for f in frames], [0.2, 0.4, 0.6], rtol=1e-6)
    assert [f.color[0, 0, 0] for f in frames] == [1, 2, 3]


def test_tum_intrinsics_from_files(tum, tmp_path):
    (tum / 'camera.json').write_text(json.dumps(INTRINSICS | {'depth_unit_m': 0.001}))
    assert read(tum)[0][0].depth[0, 0] == 1.0
    other = tmp_path / 'other.json'
    other.write_text(json.dumps(INTRINSICS | {'fx': 4.0}))
    assert read(tum, intrinsics=str(other))[0][0].color_camera.fx == 4.0


def test_tum_depth_outside_of_the_poses_is_counted(tum):
    (tum / 'groundtruth.txt').write_text('10.05 0 0 0 0 0 0 1\n10.15 1 0 0 0 0 0 1\n')
    frames, source = read(tum, intrinsics='8,8,3.5,2.5')
    assert [f.T_map_depth[0, 3] for f in frames] == [pytest.approx(0.6)]
    assert source.dropped == {'groundtruth.txt has no pose at the stamp of the depth image': 2}


def test_tum_missing_image_is_counted(tum):
    (tum / 'rgb' / '10.100000.png').unlink()
    frames, source = read(tum, intrinsics='8,8,3.5,2.5')
    assert len(frames) == 2
    assert source.dropped == {'a color file is missing or cannot be read': 1}


def test_unusable_tum_folders_are_refused(tum):
    with pytest.raises(SourceError, match=r'camera of .* is unknown.*give intrinsics as fx'):
        open_source(tum)
    with pytest.raises(SourceError, match='expected 4 numbers in the option intrinsics, found 2'):
        open_source(tum, intrinsics='8,8')
    with pytest.raises(SourceError, match='no calibration'):
        open_source(tum, intrinsics='0,0,0,0')
    with pytest.raises(ConfigError, match='up must be'):
        open_source(tum, intrinsics='8,8,3.5,2.5', up='x')
    (tum / 'depth.txt').write_text('99.5 depth/late.png')
    with pytest.raises(SourceError, match=r'no color and depth images within 0.02 s'):
        open_source(tum, intrinsics='8,8,3.5,2.5')
    (tum / 'depth.txt').write_text('now depth/late.png')
    with pytest.raises(
        SourceError, match=r"expected a stamp in seconds in .*depth.txt, found 'now"
    ):
        open_source(tum, intrinsics='8,8,3.5,2.5')
    (tum / 'groundtruth.txt').write_text('10.0 1 2 3')
    (tum / 'depth.txt').write_text('')
    with pytest.raises(SourceError, match='expected 7 numbers'):
        open_source(tum, intrinsics='8,8,3.5,2.5')
    (tum / 'groundtruth.txt').unlink()
    with pytest.raises(SourceError, match=r'groundtruth.txt is missing'):
        open_source(tum, intrinsics='8,8,3.5,2.5')


def test_real_folder(recordings):
    frames, source = read(recordings / 'sevenscenes', keep=lambda i: i % 20 == 0)
    assert len(frames) == 10
    assert not source.dropped
    heights = [f.T_map_depth[2, 3] for f in frames]
    assert 1.0 < min(heights) < max(heights) < 2.0  # hand-held above the floor at z = 0
    assert all(0.5 < f.depth[f.depth > 0].mean() < 5.0 for f in frames)
