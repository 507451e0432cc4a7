from dataclasses import replace

import numpy as np
import pytest

from concerto_ros.config.schema import DepthConfig, MapConfig
from concerto_ros.errors import SourceError
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.io.bag_writer import write_bag
from concerto_ros.rooms.room import DEFAULT_CAMERA, SyntheticRoom
from training.datasets.layout import SceneWriter, read_split
from training.prepare.command import main
from training.prepare.fusion import FusionSettings
from training.prepare.motion import ChosenFrames, Spacing
from training.prepare.recordings import RecordingJob

NO_CAMERA = PinholeCamera(width=1, height=1, fx=1.0, fy=1.0, cx=0.0, cy=0.0)


def frame_at(x, turn_deg=0.0):
    T = np.eye(4)
    c, s = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    T[:2, :2] = [[c, -s], [s, c]]
    T[0, 3] = x
    return RGBDFrame(
        stamp_ns=1,
        color=np.zeros((1, 1, 3), np.uint8),
        depth=np.ones((1, 1), np.float32),
        color_camera=NO_CAMERA,
        depth_camera=NO_CAMERA,
        T_map_depth=T,
    )


def chosen(frames, **spacing):
    frames_chosen = ChosenFrames(Spacing(**spacing))
    for frame in frames:
        frames_chosen.offer(frame)
    return [int(name) for name in frames_chosen.named()]


def test_frames_are_chosen_by_how_far_the_camera_moved():
    frames = [frame_at(x) for x in (0.0, 0.2, 0.31, 0.5, 0.62)]
    assert chosen(frames, translation=0.3) == [0, 2, 4]


def test_a_turn_on_the_spot_counts():
    frames = [frame_at(0.0, turn) for turn in (0, 15, 25, 30, 45, -20)]
    assert chosen(frames, rotation_deg=19.9) == [0, 2, 4, 5]


def test_a_camera_at_rest_is_kept_once():
    assert chosen([frame_at(1.0)] * 5) == [0]


def test_long_recordings_keep_no_more_than_asked_over_their_whole_length():
    kept = chosen([frame_at(0.3001 * k) for k in range(1000)], max_images=20)
    assert 10 <= len(kept) <= 20
    assert kept[0] == 0
    assert kept[-1] > 900
    assert len(set(np.diff(kept))) == 1


def test_no_images_may_be_wanted():
    assert chosen([frame_at(k) for k in range(5)], max_images=0) == []


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    folder = tmp_path_factory.mktemp('bags') / 'bathroom'
    walk = SyntheticRoom(3).frames(6, DEFAULT_CAMERA.scaled(160, 120))
    T_map_odom = np.eye(4)
    T_map_odom[:3, 3] = 10, 0, 0
    frames = [replace(f, T_map_depth=T_map_odom @ f.T_map_depth) for f in walk]
    write_bag(folder, frames, T_map_odom=T_map_odom)
    return folder


def test_a_bag_becomes_a_scene_in_the_map_frame(bag, tmp_path):
    options = '--max-depth 3 --voxel-size 0.03 --translation 0.1 --workers 1'
    assert main(['bag', str(bag), '-o', str(tmp_path), *options.split()]) == 0
    scene = tmp_path / 'train' / 'bathroom'
    coord = np.load(scene / 'coord.npy')
    assert len(coord) > 1000
    assert 5 < coord[:, 0].mean() < 15  # not odom, in which it was fused
    assert np.abs(np.quantile(coord[:, 2], 0.01)) < 0.1  # the floor
    pose = np.load(next((tmp_path / 'images/train/bathroom/pose').iterdir()))
    assert 5 < pose[0, 3] < 15
    (sample, *_) = read_split(tmp_path / 'splits' / 'train.json')
    assert len(sample.images) > 1
    for path in sample.correspondences:
        x, y, point = np.load(path).T
        assert len(point) > 200
        assert (x < 160).all()
        assert (y < 120).all()
        assert point.max() < len(coord)


def test_depth_and_voxels_are_as_asked(bag, tmp_path):
    def num_points(**options):
        job = RecordingJob(source=bag, **options)
        with SceneWriter(tmp_path, 'train', 'bathroom') as writer:
            return job.write(writer).num_points

    normal = num_points()
    assert num_points(settings=settings(max=1.5)) < 0.9 * normal
    assert num_points(settings=settings(voxel_size=0.04)) < 0.6 * normal
    assert num_points(every=3) < 0.9 * normal


def settings(voxel_size=0.02, **depth):
    return FusionSettings(depth=DepthConfig(**depth), map=MapConfig(voxel_size=voxel_size))


def test_a_recording_without_usable_depth_tells_why(bag, tmp_path):
    job = RecordingJob(source=bag, settings=settings(min=30.0, max=40.0))
    with (
        pytest.raises(SourceError, match=r'no usable frame: .*between 30.0 and 40.0 m'),
        SceneWriter(tmp_path, 'train', 'bathroom') as writer,
    ):
        job.write(writer)
    assert not (tmp_path / 'train').exists()


def test_the_name_is_that_of_the_recording(tmp_path):
    file = tmp_path / 'morning.run.mcap'
    file.touch()
    assert RecordingJob(source=file).name == 'morning.run'
    folder = tmp_path / 'evening.2'
    folder.mkdir()
    assert RecordingJob(source=folder).name == 'evening.2'


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        ('--voxel-size -1', 'map.voxel_size'),
        ('--every 0', '--every must be at least 1'),
        ('--rotation 0', '--rotation must be above 0'),
        ('--up sideways', 'up must be'),
        ('--intrinsics 1,2,3,4', 'no option intrinsics'),
        ('--color /nowhere', '/nowhere'),
    ],
)
def test_bad_options_are_told(bag, options, match, tmp_path, caplog):
    command = ['bag', str(bag), '-o', str(tmp_path), '--workers', '1', *options.split()]
    assert main(command) == 2
    assert match in caplog.text


def test_topics_of_a_folder_of_frames_are_refused(bag, tmp_path, caplog):
    folder = tmp_path / 'frames'
    for name in ('color', 'depth'):
        (folder / name).mkdir(parents=True)
    options = ['--color', '/a', '--camera-info', '/b', '-o', str(tmp_path / 'data')]
    assert main(['bag', str(bag), str(folder), *options]) == 2
    assert 'frames without topics; leave out --color, --camera-info' in caplog.text
    assert not (tmp_path / 'data').exists()


def test_recordings_of_one_name_are_refused(bag, tmp_path, caplog):
    assert main(['bag', str(bag), str(bag), '-o', str(tmp_path)]) == 2
    assert 'several called bathroom' in caplog.text


def test_a_frame_folder_is_levelled_and_linked(shared_data, tmp_path):
    options = '--every 20 --stride 8 --workers 1'
    source = shared_data / 'sevenscenes'
    assert main(['bag', str(source), '-o', str(tmp_path), *options.split()]) == 0
    scene = tmp_path / 'train' / 'sevenscenes'
    coord, normal = np.load(scene / 'coord.npy'), np.load(scene / 'normal.npy')
    floor = np.abs(coord[:, 2]) < 0.04  # the annotated floor is z = 0
    assert floor.sum() > 100
    assert np.median(normal[floor & (normal != 0).any(axis=1), 2]) > 0.9
    links = sorted((tmp_path / 'images/train/sevenscenes/correspondence').iterdir())
    assert len(links) >= 5
    assert all(len(np.load(path)) > 200 for path in links)
