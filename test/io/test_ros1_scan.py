import bz2

import pytest
from rosbags.rosbag1 import Writer
from rosbags.rosbag1.reader import decompressors
from rosbags.typesys import Stores, get_typestore

from concerto_ros.io.ros1_scan import scan_ros1

NUM_MESSAGES = 40


@pytest.fixture(params=[None, 'BZ2', 'LZ4'])
def recording(request, tmp_path):
    """A bag of 40 strings."""
    store = get_typestore(Stores.ROS1_NOETIC)
    writer = Writer(tmp_path / 'a.bag')
    writer.chunk_threshold = 20_000
    if request.param:
        writer.set_compression(Writer.CompressionFormat[request.param])
    with writer:
        msgtype = 'std_msgs/msg/String'
        connection = writer.add_connection('/text', msgtype, typestore=store)
        for i in range(NUM_MESSAGES):
            message = store.types[msgtype](data=f'{i:04d}' * 1000)
            writer.write(connection, 1000 + i, store.serialize_ros1(message, msgtype))
    return tmp_path / 'a.bag'


def scan(file):
    """Return the messages and the sentence with which the scan ends; empty if it is complete."""
    messages = []
    try:
        for message in scan_ros1(file, decompressors):
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


def test_cut_file_is_read_to_the_cut(recording):
    content = recording.read_bytes()
    recording.write_bytes(content[: 4096 + (len(content) - 4096) // 2])
    messages, end = scan(recording)
    assert end == 'the file ends within a record'
    assert 0 < len(messages) < NUM_MESSAGES
    assert [m.time_ns for m in messages] == [1000 + i for i in range(len(messages))]


def test_file_without_index_says_so(recording):
    content = bytearray(recording.read_bytes())
    position = content.index(b'index_pos=') + len(b'index_pos=')
    content[position : position + 8] = bytes(8)
    recording.write_bytes(content)
    messages, end = scan(recording)
    assert len(messages) == NUM_MESSAGES
    assert end == 'the file ends without its index'


def test_other_files_are_refused(tmp_path):
    (tmp_path / 'a.bag').write_bytes(bz2.compress(b'x'))
    assert scan(tmp_path / 'a.bag') == ([], 'it does not begin like a ROS 1 bag')
