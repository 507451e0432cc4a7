"""A saved map answers without the network as the pipeline that made it."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build
from concerto_ros.errors import CheckpointError, MapFileError, SearchError
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.transforms import from_quaternion
from concerto_ros.map_saver import MapSaver
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.rooms.room import SyntheticRoom
from concerto_ros.semantic_map.reader import MapReader
from concerto_ros.semantics import QueryScores, Rivals, Translator
from concerto_ros.storage import MapFolder

CAMERA = PinholeCamera(width=64, height=48, fx=58.0, fy=58.0, cx=31.5, cy=23.5)
SMALL = {'map.device': 'cpu', 'depth.stride': 2, 'search.min_size': 0.04}
QUERY = 'blue chair'


@pytest.fixture(scope='module')
def frames():
    return list(SyntheticRoom(3).frames(6, camera=CAMERA))


@pytest.fixture(scope='module')
def weights(tiny_weights):
    return tiny_weights()


@pytest.fixture(scope='module')
def pipeline(frames, weights):
    """Return a map of two submaps, all of it seen, but for the last frame."""
    pipeline = PerceptionPipeline(build(ConcertoConfig, {**SMALL, **weights}))
    for frame in frames[:3]:
        pipeline.integrate(frame)
    pipeline.correct(from_quaternion((5, 1, 0.3), (0, 0, 0.3, 1)))
    pipeline.correct(from_quaternion((2, 1, 0.3), (0, 0, 0.4, 1)))
    for frame in frames[3:5]:
        pipeline.integrate(frame)
    pipeline.update_semantics()
    pipeline.integrate(frames[5])
    return pipeline


@pytest.fixture(scope='module')
def folder(pipeline, tmp_path_factory):
    path = tmp_path_factory.mktemp('saved') / 'map'
    with MapSaver(path) as saver:
        saver.save(pipeline, 'map')
    return path


def in_order(cloud):
    order = np.lexsort(cloud.coord.T)
    return {f.name: getattr(cloud, f.name)[order] for f in dataclasses.fields(cloud)}


def assert_same(found, expected):
    assert (found.verdict, found.observed_share) == (expected.verdict, expected.observed_share)
    assert found.text_encoder == expected.text_encoder
    for ours, other in zip(found.objects, expected.objects, strict=True):
        assert (ours.label, ours.num_points) == (other.label, other.num_points)
        assert ours.score == pytest.approx(other.score, abs=1e-6)
        np.testing.assert_allclose(ours.center, other.center, atol=1e-5)


@pytest.mark.parametrize('text', [QUERY, 'lamp'])
def test_it_answers_as_the_pipeline(pipeline, folder, text):
    reader, expected = MapReader.open(folder), pipeline.search(text)
    assert (len(expected.objects) > 0) == (text == QUERY)
    assert_same(reader.search(text), expected)
    assert reader.min_score == pipeline._search.min_score


def test_it_answers_about_a_region(pipeline, folder):
    coord = pipeline.cloud().coord
    region = coord.min(0), coord.mean(0)
    expected = pipeline.search(QUERY, region=region)
    assert_same(MapReader.open(folder).search(QUERY, region=region), expected)
    assert 0 < expected.observed_share < 1


def test_its_cloud_is_that_of_the_pipeline(pipeline, folder):
    ours, other = in_order(MapReader(MapFolder.open(folder)).cloud()), in_order(pipeline.cloud())
    for name, values in other.items():
        np.testing.assert_array_equal(ours[name], values, err_msg=name)


def test_labels_of_another_vocabulary_are_named_anew_or_unknown(frames, weights, tmp_path):
    pipeline = PerceptionPipeline(build(ConcertoConfig, {**SMALL, **weights}))
    pipeline.integrate(frames[0])
    pipeline.update_semantics()
    for key in pipeline._map.chunks().key.tolist():
        pipeline._paging.put(key)
    pipeline.relabel(['lamp'])
    with MapSaver(tmp_path / 'map') as saver:
        saver.save(pipeline, 'map')
    folder = MapFolder.open(tmp_path / 'map')
    assert set(MapReader.open(folder.path).cloud().language_label) == {1}
    bare = MapReader(folder).cloud()
    assert set(bare.language_label) == {0}
    np.testing.assert_array_equal(np.sort(bare.label), np.sort(pipeline.cloud().label))


def test_heat_is_the_score_of_each_point(pipeline, folder):
    heat = MapReader.open(folder).heat(QUERY)
    rows = pipeline._map.surface_rows()
    cell = pipeline._map.cell(rows)
    expected = pipeline._labeler.scores(QUERY)[cell]
    expected[cell < 0] = float('nan')
    assert expected.isnan().any()
    np.testing.assert_allclose(np.sort(heat.probability), expected.sort().values, atol=1e-6)
    assert len(heat.coord) == len(heat.color) == len(heat.normal) == len(rows)


def test_another_translator_measures_anew(pipeline, folder, weights, tmp_path):
    own = Translator.load(weights['semantics.translator'])
    weight = own.weight * torch.linspace(0.5, 2, 8)[:, None]
    other = dataclasses.replace(own, weight=weight)
    other.save(tmp_path / 'other.pth')
    found = MapReader.open(folder, translator=str(tmp_path / 'other.pth')).heat(QUERY)
    assert not np.allclose(found.probability, MapReader.open(folder).heat(QUERY).probability)
    again = PerceptionPipeline(pipeline.config)
    again.load(folder)
    store = again._labeler.store
    norms = other.norms(store.stored())
    query = scores_by(other, store, norms, pipeline)
    rows = again._map.surface_rows()
    cell = again._map.cell(rows)
    expected = query[cell]
    expected[cell < 0] = float('nan')
    np.testing.assert_allclose(np.sort(found.probability), expected.sort().values, atol=1e-5)


def scores_by(translator, store, norms, pipeline):
    encoder = pipeline._labeler.language.encoder
    rivals = Rivals.build(translator, encoder, pipeline._labeler.vocabulary)
    scores = QueryScores(translator, store.stored(), norms)
    return scores.probability(QUERY, translator.encode(encoder, [QUERY]), rivals)


def test_what_cannot_be_searched_is_told(frames, folder, weights, tmp_path):
    bare = PerceptionPipeline(build(ConcertoConfig, {**SMALL, 'semantics.checkpoint': ''}))
    bare.integrate(frames[0])
    with MapSaver(tmp_path / 'bare') as saver:
        saver.save(bare, 'map')
    with pytest.raises(SearchError, match='has no features'):
        MapReader.open(tmp_path / 'bare')
    assert len(MapReader(MapFolder.open(tmp_path / 'bare')).cloud()) == len(bare.cloud())
    with pytest.raises(MapFileError, match='there is no such map'):
        MapReader.open(tmp_path / 'absent')
    own = Translator.load(weights['semantics.translator'])
    dataclasses.replace(own, backbone='0' * 16).save(tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match='searched with that translator'):
        MapReader.open(folder, translator=str(tmp_path / 'other.pth'))


def test_an_empty_map_is_unobserved(weights, tmp_path):
    empty = PerceptionPipeline(build(ConcertoConfig, {**SMALL, **weights}))
    with MapSaver(tmp_path / 'map') as saver:
        saver.save(empty, 'map')
    reader = MapReader.open(tmp_path / 'map')
    assert reader.search(QUERY).verdict == 'unobserved'
    assert len(reader.heat(QUERY).coord) == len(reader.cloud()) == 0
    empty.load(tmp_path / 'map')
    assert empty.num_voxels == 0


def test_the_files_can_be_read_without_us(pipeline, folder):
    """The lines of the README give the points of the surface."""
    manifest, points = json.loads((folder / 'manifest.json').read_text()), []
    for key, chunk in manifest['chunks'].items():
        arrays, number = load((folder / chunk['file']).read_bytes()), int(key, 16)
        place = arrays['place'].astype(np.int64)
        shifts = ((20, 15, 6), (10, 12, 3), (0, 9, 0))
        voxel = np.stack(
            [
                ((number >> of_chunk & 1023) - 512) * 64
                + ((place >> of_block & 7) << 3)
                + (place >> of_voxel & 7)
                for of_chunk, of_block, of_voxel in shifts
            ],
            axis=1,
        )
        T = np.array(manifest['submaps'][str(number >> 30)])
        point = manifest['voxel_size'] * (voxel + 0.5 + arrays['state'][:, :3].astype(float))
        points.append((point @ T[:3, :3].T + T[:3, 3])[arrays['is_surface']])
    ours, expected = np.concatenate(points), MapReader.open(folder).heat(QUERY).coord
    assert len(ours) == len(expected)
    distance = np.linalg.norm(ours[:, None] - expected, axis=2)
    assert distance.min(axis=0).max() < 1e-5
    assert distance.min(axis=1).max() < 1e-5
