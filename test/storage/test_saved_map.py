"""A saved map answers as the pipeline does that made it, and a bad file ends in one sentence."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build, flatten
from concerto_ros.errors import CheckpointError, MapFileError, SearchError
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.transforms import from_quaternion
from concerto_ros.model import load_checkpoint, save_checkpoint
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.rooms.room import SyntheticRoom
from concerto_ros.semantic_map.query import search_points
from concerto_ros.semantics import Translator
from concerto_ros.storage import MapFeatures, MapSearch, SavedMap

CAMERA = PinholeCamera(width=64, height=48, fx=58.0, fy=58.0, cx=31.5, cy=23.5)
SMALL = {'map.device': 'cpu', 'depth.stride': 2, 'search.min_size': 0.04}
T = from_quaternion((10, 0, 1), (0, 0, 1, 1))  # from the frame of the fusion to that of answers
TEXTS = ('blue chair', 'lamp', 'wall')


def saved_map(pipeline):
    """Return a map as `concerto map` wrote it before there were folders."""
    voxels, labeler, world = pipeline._map, pipeline._labeler, pipeline._world()
    rows = voxels.surface_rows()
    cloud, features = world.cloud(voxels, rows), None
    if labeler.language:
        known = labeler.store.is_known.nonzero()[:, 0]
        row = torch.full((len(labeler.store.is_known) + 1,), -1, dtype=torch.int32)
        row[known] = torch.arange(len(known), dtype=torch.int32)
        features = MapFeatures(
            stored=labeler.store.part(known),
            cell=row[voxels.cell(rows)].numpy(),
            backbone=labeler.weights.digest,
            translator=labeler.language.translator,
            vocabulary=labeler.vocabulary,
        )
    return SavedMap(
        points=search_points(pipeline._labelled, world, rows),
        color=cloud.color,
        normal=cloud.normal.astype(np.float16),
        frame_id='map',
        features=features,
        settings={p.name: p.value for p in flatten(pipeline.config)},
    )


def mapped(values):
    pipeline = PerceptionPipeline(build(ConcertoConfig, {**SMALL, **values}))
    frames = list(SyntheticRoom(3).frames(6, camera=CAMERA))
    for frame in frames[:5]:
        pipeline.integrate(frame)
    pipeline.update_semantics()
    pipeline.integrate(frames[5])  # so that the network has not seen all of the map
    pipeline.correct(T)
    return pipeline


@pytest.fixture(scope='module')
def weights(tiny_weights):
    return tiny_weights()


@pytest.fixture(scope='module', params=['a cell is a voxel', 'a cell is 2 x 2 x 2 voxels'])
def pipeline(request, weights, tmp_path_factory):
    if request.param == 'a cell is a voxel':
        return mapped(weights)
    path = tmp_path_factory.mktemp('coarse') / 'backbone.safetensors'
    backbone, _ = load_checkpoint(weights['semantics.checkpoint'])
    save_checkpoint(backbone, path, {'settings': {'data.voxel_size': 0.04}})
    return mapped({**weights, 'semantics.checkpoint': str(path)})


@pytest.fixture(scope='module')
def file(pipeline, tmp_path_factory):
    path = tmp_path_factory.mktemp('saved') / 'map.safetensors'
    saved_map(pipeline).save(path)
    return path


def assert_same(answer, expected):
    """Compare two answers number by number."""
    assert repr(answer) == repr(expected)


def test_a_saved_map_answers_as_the_pipeline_does(pipeline, file):
    search = MapSearch(SavedMap.load(file))
    region = (np.array([8.0, -2, 0]), np.array([11.0, 1, 2]))
    for text in TEXTS:
        for limits in ({}, {'region': region}, {'max_results': 500, 'min_score': 0.2}):
            answer = search.search(text, **limits)
            assert_same(answer, pipeline.search(text, **limits))
    probability = search.heat(text).probability
    assert len(probability) == len(pipeline.cloud())
    assert 0 < np.isnan(probability).mean() < 0.5
    assert len(answer.objects) > 1
    assert answer.text_encoder == 'test space'


def test_what_is_loaded_is_what_was_saved(pipeline, file):
    cloud, saved = pipeline.cloud(), SavedMap.load(file)
    ours, other = np.lexsort(saved.points.coord.T), np.lexsort(cloud.coord.T)
    np.testing.assert_array_equal(saved.points.coord[ours], cloud.coord[other])
    np.testing.assert_array_equal(saved.points.label[ours], cloud.language_label[other])
    np.testing.assert_array_equal(saved.color[ours], cloud.color[other])
    np.testing.assert_allclose(saved.normal[ours], cloud.normal[other], atol=1e-3)
    assert saved.frame_id == 'map'
    assert saved.points.names == ('unknown', 'wall', 'chair', 'lamp')
    assert saved.features.vocabulary == ('wall', 'chair', 'lamp')
    assert saved.search_config == pipeline.config.search
    assert [f.name for f in file.parent.iterdir()] == ['map.safetensors']


def test_the_file_can_be_read_without_us(pipeline, file):
    """The lines of the README give the features, so that the translator gives its scores."""
    with safe_open(file, 'np') as content:
        config = json.loads(content.metadata()['config'])
        row, parts = content.get_tensor('cell'), []
        for stage, scale in enumerate(config['scales']):
            row = content.get_tensor(f'parent.{stage}')[row] if stage else row
            parts.append(content.get_tensor(f'features.{stage}')[row].astype('f4') * scale)
        is_known = content.get_tensor('cell') >= 0
        weight, bias = (content.get_tensor(f'translator.{name}') for name in ('weight', 'bias'))
    assert (config['format'], config['version'], config['voxel_size']) == ('concerto map', 2, 0.02)
    assert config['translator']['text_encoder'] == 'test space'
    assert config['translator']['logit_scale'] == 5
    feature = np.concatenate(parts, axis=1)[is_known]
    features = SavedMap.load(file).features
    expected = features.stored.linear(torch.from_numpy(weight), torch.from_numpy(bias))
    np.testing.assert_allclose(
        feature @ weight.T + bias, expected[features.cell[is_known]], rtol=1e-4, atol=1e-4
    )


def test_a_map_can_be_searched_without_the_translator_that_it_was_made_with(file, tmp_path):
    saved = SavedMap.load(file)
    moved = {**saved.settings, 'semantics.translator': str(tmp_path / 'absent.safetensors')}
    dataclasses.replace(saved, settings=moved).save(tmp_path / 'map.safetensors')
    elsewhere = SavedMap.load(tmp_path)
    assert elsewhere.settings['semantics.translator'] == moved['semantics.translator']
    assert_same(MapSearch(elsewhere).search('lamp'), MapSearch(saved).search('lamp'))


def test_names_of_the_translator_compete_with_a_query(file):
    saved = SavedMap.load(file)
    own, vocabulary = saved.features, saved.features.vocabulary

    def probability(vocabulary, names):
        translator = dataclasses.replace(own.translator, names=names)
        features = dataclasses.replace(own, translator=translator, vocabulary=vocabulary)
        return MapSearch(dataclasses.replace(saved, features=features)).heat('lamp').probability

    among_names = probability(vocabulary, ('wall', 'blue chair'))
    np.testing.assert_array_equal(among_names, probability((*vocabulary, 'blue chair'), ()))
    known = np.isfinite(among_names)
    assert (among_names[known] < probability(vocabulary, ())[known]).all()


def test_all_of_the_translator_is_saved(file, tmp_path):
    saved = SavedMap.load(file)
    translator = dataclasses.replace(
        saved.features.translator,
        logit_scale=7.0,
        min_score=0.25,
        backbone=saved.features.backbone,
        names=('wall', 'blue chair'),
    )
    features = dataclasses.replace(saved.features, translator=translator)
    dataclasses.replace(saved, features=features).save(tmp_path / 'map.safetensors')
    loaded = SavedMap.load(tmp_path).features.translator
    assert loaded.config == translator.config
    assert torch.equal(loaded.weight, translator.weight)
    assert torch.equal(loaded.bias, translator.bias)
    assert MapSearch(SavedMap.load(tmp_path)).min_score == 0.25


def test_a_region_outside_of_the_map_is_unobserved(file):
    region = (np.array([100.0, 100, 0]), np.array([101.0, 101, 2]))
    answer = MapSearch(SavedMap.load(file)).search('wall', region=region)
    assert (answer.verdict, answer.objects, answer.observed_share) == ('unobserved', (), 0)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('', 'the query is empty'),
        ('\x00\x1b\t', 'has no word'),
        ('chair ' * 2000, 'has 12000 characters'),
        ('sofa', "'sofa' is not among the 4 words"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(file, text, words):
    with pytest.raises(SearchError, match=words):
        MapSearch(SavedMap.load(file)).search(text)


def test_a_map_without_features_says_what_is_missing(tmp_path):
    saved_map(mapped({'semantics.checkpoint': ''})).save(tmp_path / 'map.safetensors')
    saved = SavedMap.load(tmp_path)
    assert len(saved.points) > 1000
    assert saved.features is None
    with pytest.raises(SearchError, match=r'has no features.*semantics\.translator'):
        MapSearch(saved)


def test_an_empty_map_is_saved_too(weights, tmp_path):
    empty = PerceptionPipeline(build(ConcertoConfig, {**SMALL, **weights}))
    saved_map(empty).save(tmp_path / 'map.safetensors')
    assert len(SavedMap.load(tmp_path).points) == 0


def test_translators_and_encoders_that_do_not_fit_are_refused(weights, file, tmp_path):
    saved = SavedMap.load(file)
    own = Translator.load(weights['semantics.translator'])

    def variant(name, **changes):
        values = {f: getattr(own, f) for f in ('weight', 'bias', 'text_encoder')}
        Translator(**{**values, **changes}).save(tmp_path / name)
        return str(tmp_path / name)

    another = variant('a.pth', backbone='0123456789abcdef')
    with pytest.raises(CheckpointError, match='trained on the backbone of weights 0123456789abc'):
        MapSearch(saved, another)
    with pytest.raises(CheckpointError, match='expected a linear map from 192 channels'):
        MapSearch(saved, variant('b.pth', weight=torch.ones(8, 7)))
    with pytest.raises(CheckpointError, match='trained for the text encoder other space'):
        MapSearch(saved, variant('c.pth', text_encoder='other space'))
    with pytest.raises(CheckpointError, match='there is no such file'):
        MapSearch(saved, str(tmp_path / 'absent.pth'))
    same = variant('d.pth', backbone=saved.features.backbone, logit_scale=5.0)
    mine = MapSearch(saved, same, weights['semantics.text_encoder'])
    assert_same(mine.search('lamp'), MapSearch(saved).search('lamp'))


def rewritten(file, path, **changes):
    """Copy a map with other tensors (None: without) and, under `header`, another config."""
    with safe_open(file, 'pt') as content:
        metadata = content.metadata()
        tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    config = {**json.loads(metadata['config']), **changes.pop('header', {})}
    tensors = {k: v for k, v in {**tensors, **changes}.items() if v is not None}
    save_file(tensors, path, {**metadata, 'config': json.dumps(config)})


@pytest.mark.parametrize('share', [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_named(file, tmp_path, share):
    content = file.read_bytes()
    (tmp_path / 'map.safetensors').write_bytes(content[: int(share * len(content))])
    with pytest.raises(MapFileError, match=r'map\.safetensors is damaged \(.*map the recording'):
        SavedMap.load(tmp_path)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'coord': None}, r'damaged \(.*coord'),
        ({'grid_coord': torch.zeros(3, 3, dtype=torch.int32)}, 'grid_coord is int32 of shape'),
        ({'label': torch.zeros(7)}, 'label is float32 of shape'),
        ({'features.2': None}, r'damaged \(.*features\.2'),
        ({'cell': torch.zeros(7, dtype=torch.int32)}, 'cell names rows that are not there'),
        ({'parent.1': torch.full((1,), 9, dtype=torch.int32)}, r'parent\.1 names rows that'),
        ({'header': {'voxel_size': -1}}, 'a voxel size of -1'),
        ({'header': {'scales': [1, 1, 1, 1, 'x']}}, 'could not convert'),
        ({'header': {'names': None}}, 'damaged'),
        ({'header': {'version': 3}}, 'map of version 3, .* reads version 2: update it, or map'),
        ({'header': {'version': 1}}, 'map of version 1, .* reads version 2: map the recording'),
        ({'translator.bias': None}, r'damaged \(.*translator\.bias'),
        ({'translator.bias': torch.zeros(3)}, r'damaged \(a translator needs weight \(D, C\)'),
        ({'header': {'translator': None}}, 'damaged'),
        ({'header': {'format': 'other'}}, 'holds no map'),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_named(file, tmp_path, changes, words):
    rewritten(file, tmp_path / 'map.safetensors', **changes)
    with pytest.raises(MapFileError, match=words):
        SavedMap.load(tmp_path)


def test_other_files_are_no_maps(weights, tmp_path):
    with pytest.raises(MapFileError, match=r'no such map; write one with "concerto map"'):
        SavedMap.load(tmp_path)
    with pytest.raises(MapFileError, match='holds no map'):
        SavedMap.load(weights['semantics.translator'])
    (tmp_path / 'map.ply').write_text('ply')
    with pytest.raises(MapFileError, match=r'its folder; expected a name ending in \.safetensors'):
        SavedMap.load(tmp_path / 'map.ply')


def test_a_file_is_written_whole_or_not_at_all(file, tmp_path):
    saved = SavedMap.load(file)
    with pytest.raises(MapFileError, match=r'expected a name ending in \.safetensors'):
        saved.save(tmp_path / 'map.ply')
    with pytest.raises(MapFileError, match='cannot be written'):
        saved.save(tmp_path / 'no' / 'map.safetensors')
    assert list(tmp_path.iterdir()) == []
    saved.save(tmp_path / 'map.safetensors')
    assert [f.name for f in tmp_path.iterdir()] == ['map.safetensors']
    assert (tmp_path / 'map.safetensors').stat().st_size == file.stat().st_size
