"""`concerto map` on small recordings of an empty room, and on everything that can go wrong."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from concerto_ros import __version__
from concerto_ros.cli import main
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.geometry.transforms import from_quaternion, level
from concerto_ros.io.bag_writer import T_LINK_OPTICAL, write_bag
from concerto_ros.map_saver import MapSaver
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.storage import MapFolder
from concerto_ros.visualization.ply import read_ply

ROOM_LOW, ROOM_HIGH = np.array([-1.5, -1.2, 0.0]), np.array([1.5, 1.2, 2.0])
CAMERA = PinholeCamera(width=80, height=60, fx=60.0, fy=60.0, cx=39.5, cy=29.5)
COARSE = ('map.voxel_size=0.05', 'depth.stride=1', 'semantics.checkpoint=')  # and no weights


def room_frame(index, depth=None):
    """Return what a camera in an empty room sees that has turned by 20 degrees per frame."""
    yaw = np.deg2rad(20 * index)
    T = from_quaternion((0.1, 0.0, 1.0), (0, 0, np.sin(yaw / 2), np.cos(yaw / 2))) @ T_LINK_OPTICAL
    ray = CAMERA.rays() @ T[:3, :3].T
    with np.errstate(divide='ignore'):
        exits = np.where(ray > 0, ROOM_HIGH - T[:3, 3], ROOM_LOW - T[:3, 3]) / ray
    return RGBDFrame(
        stamp_ns=(1000 + index) * 1_000_000_000,
        color=np.full((60, 80, 3), (200, 100, 50), np.uint8),
        depth=exits.min(axis=2).astype(np.float32) if depth is None else depth,
        color_camera=CAMERA,
        depth_camera=CAMERA,
        T_map_depth=T,
    )


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp('recorded') / 'bag'
    write_bag(path, [room_frame(i) for i in range(6)])
    return path


@pytest.fixture
def frame_folder(tmp_path):
    """Write six numbered frames, as a camera that writes files would."""
    folder = tmp_path / 'frames'
    for name in ('color', 'depth', 'pose'):
        (folder / name).mkdir(parents=True)
    for i in range(6):
        frame = room_frame(i)
        Image.fromarray(frame.color).save(folder / f'color/{i:06}.png')
        millimetres = np.rint(frame.depth * 1000).astype(np.uint16)
        Image.fromarray(millimetres).save(folder / f'depth/{i:06}.png')
        np.savetxt(folder / f'pose/{i:06}.txt', frame.T_map_depth)
    camera = {name: getattr(CAMERA, name) for name in ('fx', 'fy', 'cx', 'cy')}
    (folder / 'camera.json').write_text(json.dumps(camera))
    return folder


@pytest.fixture
def map_to(tmp_path):
    """Return map_to(source, ...): run the command, return exit code and output folder."""

    def run(source, *options, name='out'):
        folder = tmp_path / name
        return main(['map', str(source), '-o', str(folder), *COARSE, *options]), folder

    return run


def summary_of(folder):
    return json.loads((folder / 'summary.json').read_text())


def content_of(folder):
    return {file: file.read_bytes() for file in folder.rglob('*') if file.is_file()}


def distance_to_room(coord):
    """Return how far points are from the nearest wall, floor or ceiling."""
    return np.abs(np.stack([coord - ROOM_LOW, coord - ROOM_HIGH])).min(axis=(0, 2))


def assert_one_line(capsys, *parts):
    """Check that stderr is one line, no traceback, that holds all parts."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith('concerto: ')
    for part in parts:
        assert part in lines[0]


def test_a_bag_becomes_a_map_a_picture_and_a_summary(bag, map_to, capsys):
    code, folder = map_to(bag)
    assert code == 0
    cloud, summary = read_ply(folder / 'map.ply'), summary_of(folder)
    assert sorted(f.name for f in folder.iterdir()) == [
        'map', 'map.ply', 'map.png', 'summary.json'
    ]  # fmt: skip
    assert distance_to_room(cloud.coord).max() < 0.01
    assert (cloud.color == (200, 100, 50)).all()
    assert (cloud.label == 0).all()
    assert summary['frames'] == {'used': 6, 'dropped': {}}
    size = summary['map']
    assert 1000 < size['points'] == len(cloud) <= size['voxels']
    assert {'voxels', 'index'} <= set(size['bytes']) == set(size['bytes_per_surface_voxel'])
    assert size['bytes_per_surface_voxel']['voxels'] * len(cloud) == pytest.approx(
        size['bytes']['voxels'], rel=0.01
    )
    assert size['paged_bytes'] == 0
    assert {'reading', 'points', 'fusion', 'semantics', 'writing'} <= set(summary['seconds'])
    assert summary['settings']['map.voxel_size'] == 0.05
    assert summary['versions']['concerto_ros'] == __version__
    with Image.open(folder / 'map.png') as picture:
        assert picture.size == (1600, 800)
    printed = capsys.readouterr().out
    assert '6 used, 0 dropped' in printed
    assert 'unknown 100%' in printed
    assert any('weights' in notice for notice in summary['notices'])
    assert all(notice in printed for notice in summary['notices'])
    assert str(folder / 'map.ply') in printed


def test_the_map_is_in_the_map_frame_though_it_is_fused_in_odom(tmp_path, map_to):
    T_map_odom = from_quaternion((3.0, 0.0, 0.0), (0, 0, np.sin(0.4), np.cos(0.4)))
    write_bag(tmp_path / 'b', [room_frame(i) for i in range(3)], T_map_odom=T_map_odom)
    _, folder = map_to(tmp_path / 'b')
    assert summary_of(folder)['source']['frame_id'] == 'odom'
    assert MapFolder.open(folder / 'map').info.frame_id == 'map'
    assert distance_to_room(read_ply(folder / 'map.ply').coord).max() < 0.01


def test_a_map_goes_on_from_a_folder_with_its_settings(tmp_path, map_to, capsys):
    write_bag(tmp_path / 'a', [room_frame(i) for i in range(4)])
    write_bag(tmp_path / 'b', [room_frame(i) for i in range(3, 6)])
    _, folder = map_to(tmp_path / 'a', 'map.max_weight=7', 'map.voxel_size=0.1')
    before = len(read_ply(folder / 'map.ply').coord)
    chunks = content_of(folder / 'map/chunks')
    command = ['map', str(tmp_path / 'b'), '--continue', str(folder), '-o', str(folder)]
    assert main(command) == 0
    cloud, summary = read_ply(folder / 'map.ply'), summary_of(folder)
    assert distance_to_room(cloud.coord).max() < 0.01
    assert len(cloud) > 1.1 * before
    assert summary['settings']['map.max_weight'] == 7
    assert len(MapFolder.open(folder / 'map').info.submaps) == 1
    assert chunks.items() & content_of(folder / 'map/chunks').items(), 'some stayed as they were'
    capsys.readouterr()
    assert main([*command, 'map.voxel_size=0.2']) == 2
    assert_one_line(capsys, 'was made with voxels of 0.1 m, and map.voxel_size is 0.2')
    assert main([*command[:3], str(tmp_path / 'absent'), *command[4:]]) == 2
    assert_one_line(capsys, 'absent: there is no such map')


def test_a_map_that_goes_on_in_another_frame_is_told(tmp_path, map_to):
    for name, frame_id in (('a', 'map'), ('b', 'odom')):
        write_bag(tmp_path / name, [room_frame(i) for i in range(3)], map_frame=frame_id)
    for source, names in (('a', ()), ('b', ('frame "map"', 'in "odom"'))):
        more = ['--continue', str(tmp_path / 'out')] if names else []
        code, folder = map_to(tmp_path / source, *more)
        assert code == 0
        told = [text for text in summary_of(folder)['notices'] if 'is in the frame' in text]
        assert len(told) == bool(names)
        assert all(name in text for name in names for text in told)


def test_a_map_that_cannot_be_replaced_is_told_before_the_work(bag, tmp_path, map_to, capsys):
    (tmp_path / 'out/map').mkdir(parents=True)
    (tmp_path / 'out/map/manifest.json').write_text('{"format": "concerto map", "version": 99}')
    assert map_to(bag)[0] == 2
    assert_one_line(capsys, 'is of version 99', 'update concerto_ros')


def test_a_folder_that_another_writes_is_told_before_the_work(
    bag, tmp_path, map_to, capsys, monkeypatch
):
    monkeypatch.setattr(PerceptionPipeline, 'integrate', lambda *_: pytest.fail('worked'))
    with MapSaver(tmp_path / 'out/map'):
        assert map_to(bag)[0] == 2
    assert_one_line(capsys, 'is being written by another process')


def test_the_map_is_saved_before_its_picture(bag, map_to, capsys, monkeypatch):
    def interrupted(*_, **__):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr('concerto_ros.cli.map_command.write_ply', interrupted)
    code, folder = map_to(bag)
    assert code == 130
    assert_one_line(capsys, 'interrupted; the map is saved, and nothing else')
    assert MapFolder.open(folder / 'map').chunks


def test_the_same_bag_gives_the_same_bytes(bag, map_to):
    folders = [map_to(bag, name=name)[1] for name in ('first', 'second')]
    first, second = ((folder / 'map.ply').read_bytes() for folder in folders)
    assert first == second


def test_a_truncated_bag_gives_the_map_up_to_there(bag, tmp_path, map_to, capsys):
    cut = Path(shutil.copytree(bag, tmp_path / 'cut'))
    (file,) = cut.glob('*.mcap')
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * 0.6)])
    code, folder = map_to(cut)
    frames = summary_of(folder)['frames']
    assert code == 0
    assert 1 <= frames['used'] < 6
    assert any('damaged' in reason for reason in frames['dropped'])
    assert 'damaged' in capsys.readouterr().out


def test_a_folder_with_missing_frames_is_mapped_without_them(frame_folder, map_to):
    (frame_folder / 'depth/000001.png').unlink()
    (frame_folder / 'pose/000003.txt').write_text('nan ' * 16)
    (frame_folder / 'color/000004.png').write_bytes(b'')
    code, folder = map_to(frame_folder)
    frames = summary_of(folder)['frames']
    assert code == 0
    assert frames['used'] == 3
    assert sorted(frames['dropped'].values()) == [1, 1, 1]
    assert frames['dropped']['no depth file'] == 1


def test_a_frame_without_valid_depth_is_counted_and_adds_nothing(tmp_path, map_to):
    blind = room_frame(6, np.full((60, 80), np.nan, np.float32))
    write_bag(tmp_path / 'b', [*(room_frame(i) for i in range(3)), blind])
    write_bag(tmp_path / 'c', [room_frame(i) for i in range(3)])
    _, with_it = map_to(tmp_path / 'b', name='with')
    _, without = map_to(tmp_path / 'c', name='without')
    assert summary_of(with_it)['frames']['used'] == 3
    (reason,) = summary_of(with_it)['frames']['dropped']
    assert 'no usable depth' in reason
    assert (with_it / 'map.ply').read_bytes() == (without / 'map.ply').read_bytes()


def test_no_usable_frame_ends_with_the_reasons(tmp_path, map_to, capsys):
    write_bag(tmp_path / 'b', [room_frame(i, np.zeros((60, 80), np.float32)) for i in range(2)])
    code, folder = map_to(tmp_path / 'b')
    assert code == 2
    assert_one_line(capsys, 'no usable frame', '2 x', 'no usable depth')
    assert [file.name for file in folder.rglob('*') if file.is_file()] == ['lock']


def test_up_turns_the_map(tmp_path, map_to):
    tilt = level((0.0, 0.6, 0.8)).T  # of the world: up is (0, 0.6, 0.8) in it
    frame = room_frame(2)
    tilted = RGBDFrame(
        stamp_ns=frame.stamp_ns, color=frame.color, depth=frame.depth, color_camera=CAMERA,
        depth_camera=CAMERA, T_map_depth=tilt @ frame.T_map_depth,
    )  # fmt: skip
    write_bag(tmp_path / 'b', [tilted])
    _, turned = map_to(tmp_path / 'b', '--up', '0,0.6,0.8', name='turned')
    _, plain = map_to(tmp_path / 'b', name='plain')
    assert distance_to_room(read_ply(turned / 'map.ply').coord).max() < 0.01
    assert distance_to_room(read_ply(plain / 'map.ply').coord).max() > 0.1


def test_every_thins_the_frames(bag, map_to):
    assert summary_of(map_to(bag, '--every', '4')[1])['frames']['used'] == 2


def test_parameters_come_from_a_robots_file_and_the_command_line_wins(bag, tmp_path):
    file, folder = tmp_path / 'robot.yaml', tmp_path / 'out'
    file.write_text(
        '/**:\n  ros__parameters:\n    use_sim_time: true\n'
        '    map: {voxel_size: 0.2}\n    depth: {max: 1.6}\n'
    )
    command = ['map', 'map.voxel_size=0.1', '--params', str(file), '-o', str(folder)]
    assert main([command[0], str(bag), *command[1:]]) == 0
    settings = summary_of(folder)['settings']
    assert (settings['map.voxel_size'], settings['depth.max']) == (0.1, 1.6)


@pytest.mark.parametrize(
    ('options', 'parts'),
    [
        (['map.voxelsize=0.1'], ['"map.voxelsize"', 'did you mean "map.voxel_size"']),
        (['map.voxel_size=-1'], ['"map.voxel_size"', '>= 0.002']),
        (['depth.stride=two'], ['"depth.stride" must be a whole number']),
        (['second_bag'], ['NAME=VALUE', '"second_bag"']),
        (['--every', '0'], ['--every', 'at least 1']),
        (['--up', 'sideways'], ['up must be', "'sideways'"]),
        (['--params', 'absent.yaml'], ['absent.yaml']),
        (['--color', '/nowhere'], ["'/nowhere'", '/camera/color/image_raw']),
        (['map.voxel_size={'], ['"map.voxel_size" must be a float']),
        (['--intrinsics', '1,1,0,0'], ['bag', 'intrinsics']),
        (['semantics.checkpoint=absent.pth'], ['absent.pth']),
        (['map.load=x'], ['map.load is for the node alone', '--continue MAP']),
        (['map.autosave_path=x'], ['map.autosave_path is for the node alone', '--output']),
    ],
)
def test_a_wrong_option_ends_in_one_sentence(bag, map_to, capsys, options, parts):
    code, folder = map_to(bag, *options)
    assert code == 2
    assert_one_line(capsys, *parts)
    assert not folder.exists()


def test_an_unknown_flag_is_named(bag, capsys):
    with pytest.raises(SystemExit, match='2'):
        main(['map', str(bag), '-o', 'out', '--fast'])
    assert 'unknown option --fast' in capsys.readouterr().err


@pytest.mark.parametrize('name', ['absent.mcap', 'empty', 'text.txt'])
def test_an_unknown_source_ends_in_one_sentence(tmp_path, map_to, capsys, name):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'text.txt').write_text('no bag')
    assert map_to(tmp_path / name)[0] == 2
    assert_one_line(capsys, str(tmp_path / name), 'expected a rosbag2 folder')


def test_an_output_that_is_a_file_is_refused(bag, tmp_path, map_to, capsys):
    (tmp_path / 'out').write_text('mine')
    assert map_to(bag)[0] == 2
    assert_one_line(capsys, 'cannot make the folder', 'out')
    assert (tmp_path / 'out').read_text() == 'mine'


def test_ctrl_c_ends_cleanly_and_leaves_the_last_map(bag, map_to, capsys, monkeypatch):
    _, folder = map_to(bag)
    before = content_of(folder)
    integrate = PerceptionPipeline.integrate

    def interrupted(pipeline, frame):
        signal.raise_signal(signal.SIGINT)
        return integrate(pipeline, frame)

    monkeypatch.setattr(PerceptionPipeline, 'integrate', interrupted)
    capsys.readouterr()
    assert map_to(bag)[0] == 130
    assert_one_line(capsys, 'interrupted')
    assert content_of(folder) == before


def test_version_and_help_are_printed(capsys):
    for option, text in (('--version', f'concerto {__version__}'), ('--help', 'map a recording')):
        with pytest.raises(SystemExit, match='0'):
            main([option])
        assert text in capsys.readouterr().out


def test_as_a_process_it_exits_with_2_and_no_traceback():
    command = [sys.executable, '-m', 'concerto_ros.cli', 'map', 'absent.mcap', '-o', 'out']
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith('concerto: absent.mcap is no recording')
    assert len(result.stderr.splitlines()) == 1


def test_torch_is_loaded_only_when_it_is_needed():
    """Help is quick then, and what the command sets for torch's threads comes in time."""
    code = "import sys, concerto_ros.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
