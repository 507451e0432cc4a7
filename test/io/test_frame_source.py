import pytest

from concerto_ros.config.schema import FramesConfig
from concerto_ros.errors import ConfigError, SourceError
from concerto_ros.io.bag_topics import TopicNames
from concerto_ros.io.bag_writer import write_bag
from concerto_ros.io.frame_source import open_source


def test_bags_are_known_by_folder_and_by_file(make_frames, tmp_path):
    write_bag(tmp_path / 'bag', make_frames(2))
    (file,) = (tmp_path / 'bag').glob('*.mcap')
    for path in (tmp_path / 'bag', file, str(file)):
        with open_source(path, topics=TopicNames(), frames=FramesConfig(), up='none') as source:
            assert len(list(source)) == source.num_frames_hint == 2
            assert str(path) in source.description
            assert source.frame_id == 'map'


def test_folder_with_only_a_bag_file_is_a_bag(make_frames, tmp_path):
    write_bag(tmp_path / 'bag', make_frames(2))
    (tmp_path / 'bag' / 'metadata.yaml').unlink()
    with open_source(tmp_path / 'bag') as source:
        assert len(list(source)) == 2


def test_what_is_not_understood_is_described(tmp_path):
    with pytest.raises(SourceError, match=r'found a folder with nothing; expected a rosbag2'):
        open_source(tmp_path)
    for i in range(10):
        (tmp_path / f'{i}.pcd').touch()
    with pytest.raises(SourceError, match=r'found a folder with 0.pcd, .*7.pcd and 2 more;'):
        open_source(tmp_path)
    with pytest.raises(SourceError, match='found another kind of file'):
        open_source(tmp_path / '0.pcd')
    with pytest.raises(SourceError, match='found nothing of that name'):
        open_source(tmp_path / 'absent.mcap')


def test_options_of_another_kind_are_refused(make_frames, tmp_path):
    write_bag(tmp_path / 'bag', make_frames(1))
    with pytest.raises(
        ConfigError, match=r'is a bag, which has no option intrinsics; it has .*up'
    ):
        open_source(tmp_path / 'bag', intrinsics='1,1,1,1')
