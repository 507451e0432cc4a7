import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from concerto_ros.errors import SourceError
from training.datasets.layout import read_split
from training.prepare.command import main
from training.prepare.mesh import read_mesh, vertex_normals
from training.prepare.scannet import segment20
from training.prepare.sens_file import SensFile

CORNERS = np.array([[-1, -1, 2], [1, -1, 2], [1, 1, 2], [-1, 1, 2]], np.float32)
FACES = np.array([[0, 2, 1], [0, 3, 2]], np.int32)  # seen from the origin


def write_ply(path, coord=CORNERS, faces=FACES, label=None):
    """Write a mesh as ScanNet's files are: vertices with alpha, faces as lists, binary."""
    vertex_type = [('coord', '<f4', 3), ('color', 'u1', 4)]
    header = ['ply', 'format binary_little_endian 1.0', f'element vertex {len(coord)}']
    header += [f'property float {axis}' for axis in 'xyz']
    header += [f'property uchar {name}' for name in ('red', 'green', 'blue', 'alpha')]
    if label is not None:
        vertex_type.append(('label', '<u2'))
        header.append('property ushort label')
    header += [f'element face {len(faces)}', 'property list uchar int vertex_indices']
    vertex = np.zeros(len(coord), vertex_type)
    vertex['coord'], vertex['color'] = coord, (10, 20, 30, 255)
    if label is not None:
        vertex['label'] = label
    face = np.zeros(len(faces), [('count', 'u1'), ('vertices', '<i4', 3)])
    face['count'], face['vertices'] = 3, faces
    text = '\n'.join([*header, 'end_header', ''])
    path.write_bytes(text.encode() + vertex.tobytes() + face.tobytes())


def packed_frame(pose, color_size=(16, 12), depth_mm=2000, depth=None):
    image = io.BytesIO()
    Image.new('RGB', color_size, (200, 100, 50)).save(image, 'JPEG')
    depth = zlib.compress(np.full((6, 8), depth_mm, '<u2').tobytes()) if depth is None else depth
    sizes = struct.pack('<4Q', 33, 34, len(image.getvalue()), len(depth))
    return np.asarray(pose, '<f4').tobytes() + sizes + image.getvalue() + depth


def write_sens(path, frames, version=4, depth_code=1):
    def camera(f, cx, cy):
        return np.array([[f, 0, cx, 0], [0, f, cy, 0], [0, 0, 1, 0], [0, 0, 0, 1]], '<f4')

    name = b'StructureSensor'
    head = struct.pack('<IQ', version, len(name)) + name
    for matrix in (camera(8, 7.5, 5.5), np.eye(4), camera(4, 3.5, 2.5), np.eye(4)):
        head += np.asarray(matrix, '<f4').tobytes()
    head += struct.pack('<iiIIIIfQ', 2, depth_code, 16, 12, 8, 6, 1000.0, len(frames))
    path.write_bytes(head + b''.join(frames))


@pytest.fixture
def scene(tmp_path):
    folder = tmp_path / 'scans' / 'scene0000_00'
    folder.mkdir(parents=True)
    write_ply(folder / 'scene0000_00_vh_clean_2.ply')
    write_ply(folder / 'scene0000_00_vh_clean_2.labels.ply', label=[1, 39, 0, 40])
    moved = np.eye(4)
    moved[0, 3] = 0.3
    lost = np.full((4, 4), -np.inf)
    frames = [np.eye(4), np.eye(4), lost, np.eye(4), moved]
    write_sens(folder / 'scene0000_00.sens', [packed_frame(pose) for pose in frames])
    return folder


def test_an_official_scene_becomes_ours(scene, tmp_path, caplog):
    options = ['--every', '2', '--split', 'val', '--workers', '1']
    assert main(['scannet', str(scene), '-o', str(tmp_path), *options]) == 0
    folder = tmp_path / 'val' / 'scene0000_00'
    np.testing.assert_array_equal(np.load(folder / 'coord.npy'), CORNERS)
    np.testing.assert_array_equal(np.load(folder / 'color.npy'), [[10, 20, 30]] * 4)
    np.testing.assert_array_equal(np.load(folder / 'normal.npy'), [[0, 0, -1]] * 4)
    assert np.load(folder / 'segment20.npy').tolist() == [0, 19, -1, -1]
    (sample,) = read_split(tmp_path / 'splits' / 'val.json')
    assert [path.stem for path in sample.images] == ['000000', '000004']
    # x = 8 * +-1 / 2 + 7.5, y likewise with 5.5; from 30 cm to the right, x is 1.2 less.
    here, right = (np.load(path).tolist() for path in sample.correspondences)
    assert here == [[4, 2, 0], [12, 2, 1], [12, 10, 2], [4, 10, 3]]
    assert right == [[2, 2, 0], [10, 2, 1], [10, 10, 2], [2, 10, 3]]
    assert '1 frames left out: the pose is not finite' in caplog.text


def test_a_scene_without_images_and_labels_is_a_cloud(scene, tmp_path, caplog):
    (scene / 'scene0000_00.sens').unlink()
    (scene / 'scene0000_00_vh_clean_2.labels.ply').unlink()
    assert main(['scannet', str(scene), '-o', str(tmp_path), '--workers', '1']) == 0
    assert not (tmp_path / 'train' / 'scene0000_00' / 'segment20.npy').exists()
    (sample,) = read_split(tmp_path / 'splits' / 'train.json')
    assert len(sample.images) == 0
    assert 'scene0000_00.sens is missing' in caplog.text


def test_unwanted_frames_are_not_decoded(tmp_path):
    good, broken = packed_frame(np.eye(4)), packed_frame(np.eye(4), depth=b'no zlib')
    write_sens(tmp_path / 'a.sens', [good, broken, good])
    with SensFile(tmp_path / 'a.sens') as file:
        assert [number for number, _ in file.frames(2)] == [0, 2]
        assert file.dropped == {}


def test_frames_have_metres_and_both_cameras(tmp_path):
    write_sens(tmp_path / 'a.sens', [packed_frame(np.eye(4), depth_mm=1234)])
    with SensFile(tmp_path / 'a.sens') as file:
        ((_, frame),) = file.frames(1)
    np.testing.assert_allclose(frame.depth, 1.234)
    assert frame.color.shape == (12, 16, 3)
    assert (frame.depth_camera.width, frame.depth_camera.fx) == (8, 4)
    assert (frame.color_camera.width, frame.color_camera.fx) == (16, 8)
    assert frame.stamp_ns == 33_000


def test_depth_may_be_raw(tmp_path):
    raw = np.full((6, 8), 500, '<u2').tobytes()
    write_sens(tmp_path / 'a.sens', [packed_frame(np.eye(4), depth=raw)], depth_code=0)
    with SensFile(tmp_path / 'a.sens') as file:
        ((_, frame),) = file.frames(1)
    np.testing.assert_allclose(frame.depth, 0.5)


@pytest.mark.parametrize(
    ('frame', 'reason'),
    [
        (packed_frame(np.eye(4), depth=b'no zlib'), 'the depth image is damaged'),
        (packed_frame(np.eye(4), depth=zlib.compress(b'12')), 'the depth image is damaged'),
        (packed_frame(2 * np.eye(4)), 'the pose is not finite or not rigid'),
        (packed_frame(np.eye(4), color_size=(8, 6)), 'color is 8x6 but its camera is 16x12'),
    ],
)
def test_a_damaged_frame_is_counted(tmp_path, frame, reason):
    write_sens(tmp_path / 'a.sens', [frame, packed_frame(np.eye(4))])
    with SensFile(tmp_path / 'a.sens') as file:
        assert [number for number, _ in file.frames(1)] == [1]
        assert file.dropped == {reason: 1}


def test_a_file_that_is_cut_off_is_told(tmp_path):
    write_sens(tmp_path / 'a.sens', [packed_frame(np.eye(4))] * 2)
    whole = (tmp_path / 'a.sens').read_bytes()
    (tmp_path / 'a.sens').write_bytes(whole[:-10])
    with SensFile(tmp_path / 'a.sens') as file, pytest.raises(SourceError, match='is cut off'):
        list(file.frames(1))
    (tmp_path / 'a.sens').write_bytes(whole[:100])
    with pytest.raises(SourceError, match='is cut off'):
        SensFile(tmp_path / 'a.sens')


@pytest.mark.parametrize(
    ('changes', 'match'),
    [({'version': 3}, 'version 4, found 3'), ({'depth_code': 2}, 'found codes 2 and 2')],
)
def test_other_formats_are_refused(tmp_path, changes, match):
    write_sens(tmp_path / 'a.sens', [], **changes)
    with pytest.raises(SourceError, match=match):
        SensFile(tmp_path / 'a.sens')


def test_normals_are_weighted_by_area():
    coord = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 1], [5, 5, 5]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]])  # areas 2 and 1: normals +z and +x
    normal = vertex_normals(coord, faces)
    np.testing.assert_allclose(normal[0], np.array([1, 0, 2]) / 5**0.5, atol=1e-6)
    np.testing.assert_allclose(normal[1], [0, 0, 1])
    np.testing.assert_allclose(normal[3], [1, 0, 0])
    np.testing.assert_allclose(normal[4], 0)  # in no face


@pytest.mark.parametrize(
    ('name', 'match'),
    [
        ('missing.ply', 'cannot be read'),
        ('text.ply', 'is no PLY file of triangles'),
        ('faces.ply', 'vertices that are not there'),
        ('bare.ply', 'must have vertices with x, y, z'),
    ],
)
def test_bad_meshes_are_refused(tmp_path, name, match):
    (tmp_path / 'text.ply').write_text('this is no mesh')
    write_ply(tmp_path / 'faces.ply', faces=np.array([[0, 1, 9]]))
    head = 'ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n0\n'
    (tmp_path / 'bare.ply').write_text(head)
    with pytest.raises(SourceError, match=match):
        read_mesh(tmp_path / name)


def test_labels_follow_the_benchmark():
    nyu40 = np.array([1, 13, 14, 16, 24, 28, 33, 34, 36, 39, 40, 0])
    assert segment20(nyu40).tolist() == [0, -1, 12, 13, 14, 15, 16, 17, 18, 19, -1, -1]
    with pytest.raises(SourceError, match=r'NYU40 ids 0..40, found 1..41'):
        segment20(np.array([1, 41]))


def test_labels_of_another_mesh_fail(scene, tmp_path, caplog):
    labels = scene / 'scene0000_00_vh_clean_2.labels.ply'
    write_ply(labels, coord=CORNERS[:3], faces=FACES[:1], label=[1, 2, 3])
    assert main(['scannet', str(scene), '-o', str(tmp_path), '--workers', '1']) == 2
    assert 'scene0000_00: ' in caplog.text
    assert 'equally many points' in caplog.text
