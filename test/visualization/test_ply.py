import numpy as np
import pytest
from plyfile import PlyData

from concerto_ros.errors import MapFileError
from concerto_ros.structures import MapCloud
from concerto_ros.visualization.ply import read_ply, write_ply

FIELDS = MapCloud.__dataclass_fields__


def cloud_of(n):
    rng = np.random.default_rng(0)
    return MapCloud(
        coord=rng.normal(size=(n, 3)).astype(np.float32),
        color=rng.integers(0, 256, (n, 3)).astype(np.uint8),
        normal=rng.normal(size=(n, 3)).astype(np.float32),
        label=rng.integers(0, 65536, n).astype(np.uint16),
        confidence=rng.random(n).astype(np.float32),
        language_label=rng.integers(0, 65536, n).astype(np.uint16),
        language_confidence=rng.random(n).astype(np.float32),
    )


@pytest.mark.parametrize('n', [0, 1, 100])
def test_what_is_written_is_read_back(tmp_path, n):
    cloud = cloud_of(n)
    assert write_ply(tmp_path / 'a.ply', cloud) == n
    again = read_ply(tmp_path / 'a.ply')
    for name in FIELDS:
        expected, found = getattr(cloud, name), getattr(again, name)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected, err_msg=name)


def test_file_has_the_usual_properties_and_nothing_is_left_beside_it(tmp_path):
    write_ply(tmp_path / 'a.ply', cloud_of(2))
    header = (tmp_path / 'a.ply').read_bytes().split(b'end_header')[0].decode()
    assert 'format binary_little_endian 1.0' in header
    for line in ('float x', 'uchar red', 'ushort label', 'float confidence', 'float nx'):
        assert f'property {line}\n' in header
    assert [p.name for p in tmp_path.iterdir()] == ['a.ply']


def test_an_older_file_is_replaced(tmp_path):
    write_ply(tmp_path / 'a.ply', cloud_of(5))
    write_ply(tmp_path / 'a.ply', cloud_of(2))
    assert len(read_ply(tmp_path / 'a.ply')) == 2


def test_a_strided_cloud_is_written(tmp_path):
    cloud = cloud_of(10)
    half = MapCloud(**{name: getattr(cloud, name)[::2] for name in FIELDS})
    write_ply(tmp_path / 'a.ply', half)
    np.testing.assert_array_equal(read_ply(tmp_path / 'a.ply').coord, cloud.coord[::2])


def test_other_extension_is_refused(tmp_path):
    with pytest.raises(MapFileError, match=r'ending in \.ply'):
        write_ply(tmp_path / 'a.pcd', cloud_of(1))


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(MapFileError, match='create it'):
        write_ply(tmp_path / 'no' / 'a.ply', cloud_of(1))


def test_refusal_of_the_disk_leaves_no_half_file(tmp_path):
    (tmp_path / 'a.ply').mkdir()
    with pytest.raises(MapFileError, match='cannot write'):
        write_ply(tmp_path / 'a.ply', cloud_of(1))
    assert [p.name for p in tmp_path.iterdir()] == ['a.ply']


def test_reading_names_what_is_wrong(tmp_path):
    with pytest.raises(MapFileError, match='cannot read'):
        read_ply(tmp_path / 'missing.ply')
    (tmp_path / 'text.ply').write_text('hello')
    with pytest.raises(MapFileError, match='no PLY file'):
        read_ply(tmp_path / 'text.ply')


def test_reading_a_foreign_file_lists_the_missing_properties(tmp_path):
    path = tmp_path / 'a.ply'
    path.write_text('ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n')
    assert PlyData.read(str(path))['vertex'].count == 1
    with pytest.raises(MapFileError, match=r"lacks the properties .*'red'"):
        read_ply(path)
