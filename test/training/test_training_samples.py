"""Samples as they are read: the cloud, square images, and sparse links in patches."""

import numpy as np
import pytest
from PIL import Image

from concerto_ros.errors import ConfigError, SourceError
from training.datasets.labelled import join_samples, read_labelled
from training.datasets.layout import SceneWriter, read_split, write_split
from training.datasets.patch_grid import PatchGrid
from training.datasets.samples import SceneDataset

COORD = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0.5], [1, 1, 1]], dtype=np.float32)
COLOR = np.array([[255, 0, 0], [0, 255, 0], [1, 2, 3], [9, 9, 9]], dtype=np.uint8)
NORMAL = np.array([[0, 0, 2], [np.nan, 0, 1], [0, 0, 0], [0, 1, 0]], dtype=np.float32)
GRID = PatchGrid(image_size=8, patch_size=2)  # 4 x 4 patches


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a scene of grey images and gives the files of its samples."""

    def write(images=(), size=(10, 8), segment=(0, 5, -1, -7), scene='a'):
        with SceneWriter(tmp_path, 'train', scene) as writer:
            writer.write_cloud(COORD, COLOR, NORMAL, {'segment20': np.array(segment)})
            for index, rows in enumerate(images):
                picture = np.full((size[1], size[0], 3), 50 * index, dtype=np.uint8)
                links = np.array(rows).reshape(-1, 3)
                writer.write_image(f'{index:03d}', picture, links, np.eye(3), np.eye(4))
        return read_split(write_split(tmp_path, 'train', [scene]))

    return write


def read(files, max_images=4, seed=0, grid=GRID, tokens=None):
    dataset = SceneDataset(files, grid, max_images, tokens)
    assert len(dataset) == len(files)
    return dataset.read(0, np.random.default_rng(seed))


class Tokens:
    """Knows the tokens of all images, or of none."""

    def __init__(self, tokens):
        self.tokens = tokens

    def get(self, file):
        assert file.is_file()
        return self.tokens


def test_the_cloud_is_read_with_unknown_normals_as_zero(write):
    sample = read(write())
    assert np.array_equal(sample.coord, COORD)
    assert np.array_equal(sample.color, COLOR)
    assert sample.normal.tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert {a.dtype for a in (sample.coord, sample.color, sample.normal)} == {np.dtype('f4')}
    assert sample.images.shape == (0, 8, 8, 3)
    assert sample.tokens.shape == (0, 0, 0)
    assert sample.links.patch.shape == (0, 2)


def test_links_are_in_patches_of_the_middle_square(write):
    # Of 10 x 8 pixels, the middle 8 x 8 are used: columns 1 to 8; 2 x 2 are a patch.
    rows = [(1, 0, 0), (8, 7, 1), (0, 1, 2), (9, 1, 2)]
    links = read(write([rows, [(5, 2, 3)]])).links
    assert links.point.tolist() == [0, 1, 3]
    assert links.image.tolist() == [0, 0, 1]
    assert links.patch.tolist() == [[0.25, 0.25], [3.75, 3.75], [1.25, 2.25]]  # (row, column)
    assert (links.point.dtype, links.patch.dtype) == (np.int64, np.float32)


def test_of_several_pixels_inside_the_crop_the_last_row_counts(write):
    links = read(write([[(3, 1, 2), (4, 1, 2), (0, 0, 2), (4, 5, 1)]])).links
    assert links.point.tolist() == [2, 1]
    assert links.patch.tolist() == [[0.75, 1.75], [2.75, 1.75]]


def test_fractions_of_pixels_stay_in_the_last_patch(write):
    files = write([[(3, 1, 0)]])
    rows = np.array([[8.4999, 7.4999, 0.0], [0.5, -0.5, 1.0], [8.5, 2.0, 2.0], [0.49, 2.0, 3.0]])
    np.save(files[0].correspondences[0], rows)
    links = read(files).links
    assert np.trunc(links.patch).tolist() == [[3, 3], [0, 0]]


@pytest.mark.parametrize('size', [(111, 120), (444, 444), (814, 900)])
def test_no_rounding_leads_behind_the_last_patch(size):
    grid = PatchGrid(image_size=518, patch_size=14)
    crop = grid.crop(*size)
    last = np.nextafter(np.float32(crop.left + crop.side - 0.5), np.float32(0))
    patch, inside = grid.patches(np.array([last]), np.array([crop.top]), crop)
    assert inside.tolist() == [0]
    assert np.trunc(patch).tolist() == [[0, 36]]


@pytest.mark.parametrize('mark', [np.full((1, 3), -1.0), np.zeros((0, 3))])
def test_an_image_may_see_nothing(write, mark):
    files = write([[(3, 1, 0)]])
    np.save(files[0].correspondences[0], mark)
    sample = read(files)
    assert len(sample.links) == 0
    assert len(sample.images) == 1


def test_each_image_is_cut_by_its_own_size(write):
    files = write([[(0, 0, 0)], [(0, 0, 1)]])
    picture = np.zeros((12, 8, 3), dtype=np.uint8)
    picture[2:10] = 200  # the middle 8 x 8 of 8 x 12
    Image.fromarray(picture).save(files[0].images[1], quality=100)
    sample = read(files)
    assert sample.images[1].min() > 190
    assert len(sample.links) == 0
    # Pixel (0, 2) is the first one of that square.
    np.save(files[0].correspondences[1], np.array([[0, 2, 1]]))
    assert read(files).links.patch.tolist() == [[0.25, 0.25]]


@pytest.mark.parametrize('mode', ['L', 'RGBA', 'P'])
def test_images_of_any_mode_become_rgb(write, mode):
    files = write([[(3, 1, 0)]])
    path = files[0].images[0]
    Image.new('RGB', (8, 8), (102, 102, 102)).convert(mode).save(path, format='png')
    assert np.abs(read(files).images.astype(int) - 102).max() <= 1


def test_large_jpegs_are_decoded_small_at_the_same_place(write):
    files = write([[(3, 1, 0)]])
    y, x = np.mgrid[:160, :203]
    picture = np.stack([x, y, 0 * x], axis=2).astype(np.uint8)
    Image.fromarray(picture).save(files[0].images[0], quality=100, subsampling=0)
    # The middle 160 x 160 begin at (21, 0); each of the 8 x 8 pixels is the mean of 20 x 20.
    image = read(files).images[0].astype(int)
    assert np.abs(image[:, :, 0] - (21 + 9.5 + 20 * np.arange(8))).max() <= 3
    assert np.abs(image[:, :, 1].T - (9.5 + 20 * np.arange(8))).max() <= 3


def test_as_many_images_are_drawn_as_allowed(write):
    files = write([[(3, 1, i)] for i in range(4)])
    drawn = [read(files, max_images=2, seed=seed) for seed in range(20)]
    pairs = {tuple(sample.images[:, 0, 0, 0].tolist()) for sample in drawn}
    assert len(pairs) > 3
    assert all(a < b for a, b in pairs)
    for sample in drawn:  # links follow their images
        brightness = sample.images[sample.links.image, 0, 0, 0]
        assert brightness.tolist() == (50 * sample.links.point).tolist()
    assert read(files, max_images=0).images.shape == (0, 8, 8, 3)


def test_images_that_samples_share_are_named_once(write):
    (files,) = write([[(3, 1, 0)], [(5, 2, 3)]])
    assert SceneDataset([files, files], GRID, 4).image_files() == list(files.images)


def test_known_tokens_replace_images(write):
    files = write([[(3, 1, 0)], [(5, 2, 3)]])
    data = files[0].images[0].read_bytes()
    start_of_scan = data.index(b'\xff\xda')
    files[0].images[0].write_bytes(data[: start_of_scan + 14])  # says its size, but no more
    sample = read(files, tokens=Tokens(np.ones((16, 5), dtype=np.float16)))
    assert sample.tokens.shape == (2, 16, 5)
    assert sample.images.shape == (0, 8, 8, 3)
    assert sample.links.patch.tolist() == [[0.75, 1.25], [1.25, 2.25]]


def test_tokens_that_are_not_known_stop_the_run_unless_the_image_is_damaged(write):
    files = write([[(3, 1, 0)]])
    with pytest.raises(ConfigError, match=r'000\.jpg are not in cross_modal\.token_cache.* share'):
        read(files, tokens=Tokens(None))
    data = files[0].images[0].read_bytes()
    files[0].images[0].write_bytes(data[: data.index(b'\xff\xda') + 14])
    with pytest.raises(SourceError, match=r'000\.jpg is no image'):
        read(files, tokens=Tokens(None))


def test_colours_and_normals_may_be_missing(write):
    files = write()
    for name in ('color', 'normal'):
        (files[0].cloud / f'{name}.npy').unlink()
    sample = read(files)
    assert not sample.color.any()
    assert not sample.normal.any()
    assert sample.normal.shape == COORD.shape


@pytest.mark.parametrize(
    ('name', 'array', 'message'),
    [
        ('coord', COORD[:0], 'has no point'),
        ('coord', COORD[:, :2], r'should hold \(N, 3\) numbers, found \(4, 2\)'),
        ('coord', np.where(COORD > 0.9, np.inf, COORD), r'found 3 rows that are not.* first is 1'),
        ('color', COLOR[:3], r'should hold \(4, 3\) numbers, found \(3, 3\) of uint8'),
        ('color', np.full((4, 3), np.nan), r'color\.npy should be finite'),
        ('normal', NORMAL[:3], r'normal\.npy should hold \(4, 3\)'),
        ('coord', np.full((4, 3), 'x'), r'of <U1; prepare this scene again'),
    ],
)
def test_clouds_that_would_spoil_a_batch_are_refused(write, name, array, message):
    files = write()
    np.save(files[0].cloud / f'{name}.npy', array)
    with pytest.raises(SourceError, match=message):
        read(files)


@pytest.mark.parametrize(
    ('rows', 'message'),
    [
        ([[1, 1, 4]], r'points 0 to 3, found 1 rows.* \[1, 1, 4\] in row 0'),
        ([[1, 1, 0], [1, 1, -2]], r'\[1, 1, -2\] in row 1'),
        ([[1.0, np.nan, 0.0]], 'found 1 rows'),
        ([[1, 1]], r'\(M, 3\) rows of x, y and point, found \(1, 2\)'),
    ],
)
def test_links_to_nowhere_are_refused(write, rows, message):
    files = write([[(3, 1, 0)]])
    np.save(files[0].correspondences[0], np.array(rows))
    with pytest.raises(SourceError, match=message):
        read(files)


@pytest.mark.parametrize('what', ['cloud', 'image', 'links'])
@pytest.mark.parametrize('content', [None, b'', b'garbage'])
def test_damaged_files_are_named(write, what, content):
    files = write([[(3, 1, 0)]])[0]
    paths = {
        'cloud': files.cloud / 'coord.npy',
        'image': files.images[0],
        'links': files.correspondences[0],
    }
    path = paths[what]
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(SourceError, match=f'{path} is no (array|image).*prepare this scene again'):
        read([files])


@pytest.mark.parametrize(
    ('place', 'content'),
    [(0, b'PK\x03\x04'), (8, b'\x01'), (21, b','), (26, b'B')],  # the header begins at 10
)
def test_a_damaged_header_of_an_array_is_told(write, place, content):
    (files,) = write()
    path = files.cloud / 'coord.npy'
    data = path.read_bytes()
    path.write_bytes(data[:place] + content + data[place + len(content) :])
    with pytest.raises(SourceError, match=r'coord\.npy is no array that can be read'):
        read_labelled(files, 'segment20')


@pytest.mark.parametrize('content', [b'<html>', np.array([{}])])
def test_no_advice_of_numpy_to_load_unsafely_is_passed_on(write, content):
    (files,) = write()
    path = files.cloud / 'coord.npy'
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(SourceError, match=r'can be read \(it holds no numbers\); prepare this'):
        read_labelled(files, 'segment20')


def test_a_cut_off_image_is_refused(write):
    files = write([[(3, 1, 0)]], size=(200, 200))
    data = files[0].images[0].read_bytes()
    files[0].images[0].write_bytes(data[: len(data) // 2])
    with pytest.raises(SourceError, match=r'000\.jpg is no image that can be read'):
        read(files)


def test_the_image_size_is_a_multiple_of_the_patches():
    with pytest.raises(ConfigError, match=r'image_size should be a multiple of 14.*got 224\d'):
        PatchGrid(image_size=2245, patch_size=14)


@pytest.mark.parametrize(
    ('size', 'crop'),
    [((10, 7), (1, 0, 7)), ((8, 8), (0, 0, 8)), ((7, 12), (0, 2, 7)), ((3, 5), (0, 1, 3))],
)
def test_crops_are_middle_squares_whatever_the_patches(size, crop):
    assert GRID.crop(*size) == crop
    assert PatchGrid(image_size=8, patch_size=8).crop(*size) == crop


def test_a_labelled_scene_has_all_images_of_its_samples(write):
    samples = write([[(3, 1, i % 4)] for i in range(6)])
    (scene,) = join_samples(samples)
    found = read_labelled(scene, 'segment20', GRID)
    assert scene.name.endswith('/train/a')
    assert found.segment.tolist() == [0, 5, -1, -1]
    assert found.segment.dtype == np.int64
    assert found.images.shape == (6, 8, 8, 3)
    assert found.links.image.tolist() == list(range(6))
    assert found.links.point.tolist() == [0, 1, 2, 3, 0, 1]
    assert len(read_labelled(scene, 'segment20').links) == 0


def test_labels_that_are_missing_or_do_not_fit_are_told(write):
    (files,) = write()
    with pytest.raises(SourceError, match=r"segment200\.npy does not exist.*\['segment20'\]"):
        read_labelled(files, 'segment200')
    (files.cloud / 'segment20.npy').unlink()
    with pytest.raises(SourceError, match=r'segment20\.npy does not exist; this scene has no lab'):
        read_labelled(files, 'segment20')
    np.save(files.cloud / 'segment20.npy', np.zeros(3, dtype=np.int16))
    with pytest.raises(SourceError, match=r'should hold 4 integers, found \(3,\) of int16'):
        read_labelled(files, 'segment20')
