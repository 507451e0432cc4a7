"""A map that is saved, loaded and continued is the map that was made in one go."""

import dataclasses

import numpy as np
import pytest

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build
from concerto_ros.errors import MapFileError
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.map_saver import MapSaver
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.rooms.room import SyntheticRoom
from concerto_ros.semantic_map.header import MapHeader
from concerto_ros.storage import MapFolder
from concerto_ros.visualization.ply import read_ply, write_ply

CAMERA = PinholeCamera(width=160, height=120, fx=145.0, fy=145.0, cx=79.5, cy=59.5)
SMALL = {
    'map.device': 'cpu',
    'map.voxel_size': 0.04,
    'depth.stride': 2,
    'search.min_size': 0.04,
}
BARE = {'semantics.checkpoint': ''}
QUERY = 'blue chair'


@pytest.fixture(scope='module')
def frames():
    return list(SyntheticRoom(3).frames(8, camera=CAMERA))


@pytest.fixture(scope='module')
def weights(tiny_weights):
    return tiny_weights()


def begun(values):
    return PerceptionPipeline(build(ConcertoConfig, {**SMALL, **values}))


def mapped(frames, values):
    pipeline = begun(values)
    for frame in frames:
        pipeline.integrate(frame)
    pipeline.update_semantics()
    return pipeline


def save(pipeline, path):
    with MapSaver(path) as saver:
        return saver.save(pipeline, 'map')


def loaded(path, values):
    pipeline = begun(values)
    assert pipeline.load(path) == ''
    return pipeline


def in_order(cloud):
    """Return the fields of a cloud, sorted by place: rows have no order that means anything."""
    order = np.lexsort(cloud.coord.T)
    return {f.name: getattr(cloud, f.name)[order] for f in dataclasses.fields(cloud)}


def assert_same_cloud(ours, other):
    for name, values in in_order(other).items():
        np.testing.assert_array_equal(in_order(ours)[name], values, err_msg=name)


def assert_same_answer(ours, other):
    assert (ours.verdict, ours.observed_share) == (other.verdict, other.observed_share)
    assert len(ours.objects) == len(other.objects) > 0
    for a, b in zip(ours.objects, other.objects, strict=True):
        assert (a.label, a.score, a.num_points) == (b.label, b.score, b.num_points)
        assert (a.first_seen_ns, a.last_seen_ns) == (b.first_seen_ns, b.last_seen_ns)
        np.testing.assert_allclose(a.center, b.center, atol=1e-6)
        np.testing.assert_allclose(a.box.size, b.box.size, atol=1e-6)


def test_a_loaded_map_says_and_answers_what_the_saved_one_does(frames, weights, tmp_path):
    pipeline = mapped(frames, weights)
    written = save(pipeline, tmp_path / 'map')
    assert written.num_chunks == len(MapFolder.open(tmp_path / 'map').chunks) > 3
    again = loaded(tmp_path / 'map', weights)
    assert_same_cloud(again.cloud(), pipeline.cloud())
    assert_same_answer(again.search(QUERY), pipeline.search(QUERY))
    assert again.num_voxels == pipeline.num_voxels
    assert again.update_semantics() == 0, 'the network has seen all of it'
    assert again.newest_stamp_ns == frames[-1].stamp_ns
    assert again.revision > pipeline.revision


def test_a_map_goes_on_where_it_was_saved(frames, weights, tmp_path):
    half = mapped(frames[:4], weights)
    save(half, tmp_path / 'map')
    again = loaded(tmp_path / 'map', weights)
    for pipeline in (half, again):
        pipeline._num_frames = 0  # which pixels are used goes by the number of the frame
        for frame in frames[3:]:  # where it ended, so that it is known where it is
            pipeline.integrate(frame)
        pipeline.update_semantics()
    assert len(again._submaps) == 1
    assert_same_cloud(again.cloud(), half.cloud())
    assert_same_answer(again.search(QUERY), half.search(QUERY))
    for name, pipeline in (('half', half), ('again', again)):
        write_ply(tmp_path / f'{name}.ply', pipeline.cloud())
    assert_same_cloud(read_ply(tmp_path / 'again.ply'), read_ply(tmp_path / 'half.ply'))


def page_out(pipeline):
    """Send all chunks but one to the disk."""
    for key in pipeline._map.chunks().key[1:].tolist():
        pipeline._paging.put(key)


def test_a_save_writes_only_what_changed(frames, weights, tmp_path):
    pipeline = mapped(frames[:4], weights)
    with MapSaver(tmp_path / 'map') as saver:
        first = saver.save(pipeline, 'map')
        assert saver.save(pipeline, 'map') == (0, 0)
        pipeline.integrate(frames[3])
        some = saver.save(pipeline, 'map')
    assert 0 < some.num_chunks < first.num_chunks
    again = loaded(tmp_path / 'map', weights)
    assert_same_cloud(again.cloud(), pipeline.cloud())
    with MapSaver(tmp_path / 'map') as saver:
        assert saver.save(again, 'map') == (0, 0), 'the folder holds it'
        page_out(again)
        assert saver.save(again, 'map') == (0, 0)
        again.reset()
        assert saver.save(again, 'map').num_chunks == 0
    assert not MapFolder.open(tmp_path / 'map').chunks


def test_what_the_network_found_is_saved_though_no_label_changed(frames, weights, tmp_path):
    values = {**weights, 'semantics.head': '', 'semantics.vocabulary': ''}
    pipeline = begun(values)
    pipeline.integrate(frames[0])
    with MapSaver(tmp_path / 'map') as saver:
        window = pipeline.begin_semantics()
        saver.save(pipeline, 'map')
        pipeline.finish_semantics(window, pipeline.run_semantics(window))
        saver.save(pipeline, 'map')
    assert_same_answer(loaded(tmp_path / 'map', values).search(QUERY), pipeline.search(QUERY))


def test_what_the_network_looks_at_during_a_save_is_looked_at_again(
    frames, weights, tmp_path, monkeypatch
):
    pipeline = begun(weights)
    pipeline.integrate(frames[0])
    while (window := pipeline.begin_semantics()) is not None:
        save(pipeline, tmp_path / 'map')
        due = MapHeader.read(MapFolder.open(tmp_path / 'map').info).due
        assert set(window.chunk_key.tolist()) <= due
        pipeline.finish_semantics(window, pipeline.run_semantics(window))
    assert not MapHeader.read(pipeline.describe('map')[0]).due
    monkeypatch.setattr('concerto_ros.semantic_map.paging._PLENTY', -1)
    again = loaded(tmp_path / 'map', weights)
    assert again.update_semantics() > 0
    assert_same_answer(again.search(QUERY), pipeline.search(QUERY))


def test_chunks_on_the_disk_are_saved_and_load_onto_the_disk(
    frames, weights, tmp_path, monkeypatch
):
    pipeline = mapped(frames, weights)
    cloud, answer = pipeline.cloud(), pipeline.search(QUERY)
    page_out(pipeline)
    pipeline.relabel(['lamp', 'chair'])
    save(pipeline, tmp_path / 'map')
    monkeypatch.setattr('concerto_ros.semantic_map.paging._PLENTY', -1)
    again = loaded(tmp_path / 'map', weights)
    assert len(again._map) == 0
    assert again.num_voxels == pipeline.num_voxels
    assert_same_cloud(again.cloud(), cloud)
    assert_same_answer(again.search(QUERY), answer)
    assert again.update_semantics() == 0


def test_the_vocabulary_of_now_names_a_map_that_was_saved_with_another(frames, weights, tmp_path):
    pipeline = mapped(frames, weights)
    page_out(pipeline)
    save(pipeline, tmp_path / 'map')
    other = {**weights, 'semantics.vocabulary': 'lamp, blue chair'}
    pipeline.relabel(['lamp', 'blue chair'])
    again = loaded(tmp_path / 'map', other)
    assert again.language_labels.names == ('unknown', 'lamp', 'blue chair')
    assert_same_cloud(again.cloud(), pipeline.cloud())


def test_a_map_keeps_its_vocabulary_where_the_settings_name_none(frames, weights, tmp_path):
    values = {**weights, 'semantics.head': '', 'semantics.vocabulary': ''}
    pipeline = mapped(frames, values)
    pipeline.relabel(['lamp', 'blue chair'])
    save(pipeline, tmp_path / 'map')
    again = begun(values)
    assert 'language labels are the 2 names of' in again.load(tmp_path / 'map')
    assert again.language_labels.names == ('unknown', 'lamp', 'blue chair')
    assert_same_cloud(again.cloud(), pipeline.cloud())
    with MapSaver(tmp_path / 'map') as saver:
        assert saver.save(again, 'map') == (0, 0)


@pytest.mark.parametrize('is_paged', [False, True])
def test_a_map_that_no_network_has_seen_is_looked_at(frames, weights, tmp_path, is_paged):
    bare = mapped(frames, BARE)
    save(bare, tmp_path / 'map')
    pipeline = begun(weights)
    assert 'the network looks at all of it again' in pipeline.load(tmp_path / 'map')
    if is_paged:
        page_out(pipeline)
    pipeline.update_semantics()
    found = pipeline.search(QUERY)
    assert found.observed_share == 1
    if not is_paged:  # or chunks would be thinned by fewer neighbours
        assert_same_answer(found, mapped(frames, weights).search(QUERY))


def test_other_weights_look_at_the_map_again(frames, weights, tiny_weights, tmp_path):
    saved = mapped(frames, weights)
    save(saved, tmp_path / 'map')
    other = {**weights, 'semantics.head': ''}
    pipeline = begun(other)
    assert 'was made with other weights' in pipeline.load(tmp_path / 'map')
    assert (pipeline.cloud().label == 0).all()
    with MapSaver(tmp_path / 'map') as saver:
        assert saver.save(pipeline, 'map').num_chunks > 0, 'nothing of the old weights is left'
    again = loaded(tmp_path / 'map', other)
    assert again.update_semantics() == len(saved.cloud())
    assert_same_cloud(again.cloud(), mapped(frames, other).cloud())


@pytest.mark.parametrize(
    ('values', 'sentence'),
    [
        ({'map.voxel_size': 0.02}, 'voxels of 0.04 m, and map.voxel_size is 0.02: set it to 0.04'),
        (
            {'semantics.checkpoint': '', 'semantics.head': '', 'semantics.translator': ''},
            'semantics.checkpoint is empty: set it to',
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_the_map_stays(
    frames, weights, tmp_path, values, sentence
):
    save(mapped(frames[:1], weights), tmp_path / 'map')
    pipeline = begun({**weights, **values})
    pipeline.integrate(frames[0])
    before = pipeline.num_voxels, pipeline.epoch
    with pytest.raises(MapFileError, match=sentence):
        pipeline.load(tmp_path / 'map')
    assert (pipeline.num_voxels, pipeline.epoch) == before


def test_a_damaged_chunk_is_named_and_the_map_stays(frames, tmp_path):
    pipeline = mapped(frames, BARE)
    save(pipeline, tmp_path / 'map')
    chunk = sorted((tmp_path / 'map/chunks').iterdir())[-1]
    content = bytearray(chunk.read_bytes())
    content[-1] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(MapFileError, match=f'{chunk.name} is missing or damaged'):
        pipeline.load(tmp_path / 'map')
    assert pipeline.num_voxels > 0


def test_a_damaged_header_is_told(frames, tmp_path):
    info, _ = mapped(frames[:1], BARE).describe('map')
    for name in info.header:
        header = {**info.header, name: {'no': 'such thing'}}
        if name in ('submaps', 'labelled_otherwise'):
            header[name] = [{}]
        with pytest.raises(MapFileError, match='header of the map is damaged'):
            MapHeader.read(dataclasses.replace(info, header=header))


def test_frames_go_on_while_a_map_is_saved(frames, weights, tmp_path):
    pipeline, more = mapped(frames[:4], weights), iter(frames[4:])

    def run(job):
        result = job()
        for frame in more:
            pipeline.integrate(frame)
            break
        return result

    with MapSaver(tmp_path / 'map') as saver:
        saver.save(pipeline, 'map', run)
        assert next(more, None) is None
        loaded(tmp_path / 'map', weights)
        saver.save(pipeline, 'map')
    assert_same_cloud(loaded(tmp_path / 'map', weights).cloud(), pipeline.cloud())


def test_a_save_begins_anew_where_a_submap_was_leveled_meanwhile(frames, weights, tmp_path):
    pipeline, calls = begun(weights), []
    for frame in frames:
        pipeline.integrate(frame)

    def run(job):
        calls.append(job)
        if len(calls) == 3:
            pipeline.update_semantics()
        return job()

    with MapSaver(tmp_path / 'map') as saver:
        saver.save(pipeline, 'map', run)
    assert_same_cloud(loaded(tmp_path / 'map', weights).cloud(), pipeline.cloud())


def test_a_reset_gives_up_the_save_and_leaves_the_old_map(frames, tmp_path):
    pipeline = mapped(frames[:2], BARE)
    save(pipeline, tmp_path / 'map')
    cloud = pipeline.cloud()
    pipeline.integrate(frames[2])
    calls = []

    def run(job):
        calls.append(job)
        if len(calls) == 2:
            pipeline.reset()
        return job()

    with MapSaver(tmp_path / 'map') as saver, pytest.raises(MapFileError, match='was reset or'):
        saver.save(pipeline, 'map', run)
    assert_same_cloud(loaded(tmp_path / 'map', BARE).cloud(), cloud)


def test_another_map_with_the_same_revisions_is_written_whole(frames, tmp_path):
    save(mapped(frames[:4], BARE), tmp_path / 'a')
    save(mapped(frames[4:], BARE), tmp_path / 'b')
    pipeline = loaded(tmp_path / 'a', BARE)
    with MapSaver(tmp_path / 'c') as saver:
        saver.save(pipeline, 'map')
        pipeline.load(tmp_path / 'b')
        saver.save(pipeline, 'map')
    assert_same_cloud(loaded(tmp_path / 'c', BARE).cloud(), pipeline.cloud())
