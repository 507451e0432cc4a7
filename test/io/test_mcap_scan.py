import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import decompress
from rosbags.typesys import Stores, get_typestore

from concerto_ros.io.mcap_scan import scan_mcap

NUM_MESSAGES = 40


@pytest.fixture(params=['', 'zstd'])
def recording(request, tmp_path):
    """An MCAP file of 40 strings of 64 kB, in chunks of 1 MiB."""
    store, rng = get_typestore(Stores.ROS2_JAZZY), np.random.default_rng(0)
    writer = Writer(tmp_path / 'bag', version=8, storage_plugin=StoragePlugin.MCAP)
    if request.param:
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        msgtype = 'std_msgs/msg/String'
        connection = writer.add_connection('/text', msgtype, typestore=store)
        for i in range(NUM_MESSAGES):
            message = store.types[msgtype](data=f'{i:04d}' + rng.bytes(32768).hex())
            writer.write(connection, 1000 + i, store.serialize_cdr(message, msgtype))
    (file,) = (tmp_path / 'bag').glob('*.mcap')
    return file


def scan(file):
    """Return the messages and the sentence with which the scan ends; empty if it is complete."""
    messages = []
    try:
        for message in scan_mcap(file, decompress):
            messages.append(message)
    except ValueError as err:
        return messages, str(err)
    return messages, ''


def test_complete_file_is_read_to_its_end(recording):
    messages, end = scan(recording)
    assert end == ''
    assert [m.time_ns for m in messages] == list(range(1000, 1000 + NUM_MESSAGES))
    assert {(m.topic, m.msgtype) for m in messages} == {('/text', 'std_msgs/msg/String')}
    assert b'0039' in messages[-1].data


@pytest.mark.parametrize('share', [0.3, 0.5, 0.9])
def test_cut_file_is_read_to_the_cut(recording, share):
    content = recording.read_bytes()
    recording.write_bytes(content[: int(len(content) * share)])
    messages, end = scan(recording)
    assert end.startswith('the file ends within')
    assert [m.time_ns for m in messages] == [1000 + i for i in range(len(messages))]
    if len(content) > 2_000_000:  # uncompressed: also of the chunk that is cut
        assert len(messages) >= int(NUM_MESSAGES * share) - 2


def test_file_without_index_says_so(recording):
    content = recording.read_bytes()
    # the record that ends the data: its kind, a length of 4, a checksum of 0
    recording.write_bytes(content[: content.rindex(b'\x0f\x04' + bytes(11))])
    messages, end = scan(recording)
    assert len(messages) == NUM_MESSAGES
    assert end == 'the file ends without its index'


def test_other_files_are_refused(tmp_path):
    (tmp_path / 'a.mcap').write_bytes(b'GIF89a....')
    assert scan(tmp_path / 'a.mcap') == ([], 'it does not begin like an MCAP file')
