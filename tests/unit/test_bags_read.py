"""Reading bags: every storage and compression, order, stamps, topics, cameras."""

from __future__ import annotations

import contextlib
from pathlib import Path
import shutil
import sqlite3
import struct
import tracemalloc

import cv2
from mcap.writer import CompressionType, IndexType
import numpy as np
import pytest
from rosbags.typesys import get_typestore, Stores
import yaml

from ros_ood_monitor.bags import BagReader
from ros_ood_monitor.camera_names import camera_name
from ros_ood_monitor.errors import BagError, ParameterError
from ros_ood_monitor.preprocess import Preprocessor
from tests.bag_tools import (
    frames_bag,
    IMAGE,
    image_bytes,
    image_message,
    picture,
    STORE,
    STRING,
    TOPIC,
    write_bag,
    write_mcap,
)

SHARED = Path(__file__).resolve().parents[2] / '../shared/data/bags/soccer_goal'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'


def assert_is_frames_bag(path: Path, count: int = 6) -> None:
    with BagReader(path) as bag:
        assert [(t.name, t.type, t.count) for t in bag.topics()] == [(TOPIC, IMAGE, count)]
        frames = list(bag.frames())
        assert not bag.skipped
        assert not bag.damaged_files
        assert not bag.missing_files
    assert [f.stamp for f in frames] == pytest.approx([10.0 + 0.1 * i for i in range(count)])
    assert {f.camera for f in frames} == {'front'}
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.rgb, picture(i))


@pytest.mark.parametrize('compression', ['none', 'message', 'file'])
@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_every_storage_and_compression_gives_the_same_frames(
    tmp_path: Path, storage: str, compression: str
) -> None:
    path = frames_bag(tmp_path / 'bag', storage=storage, compression=compression)
    assert_is_frames_bag(path)
    (file,) = (f for f in path.iterdir() if f.name != 'metadata.yaml')
    assert_is_frames_bag(file)  # alone, without its metadata


def test_compressed_chunks_of_an_mcap_give_the_same_frames(tmp_path: Path) -> None:
    assert_is_frames_bag(frames_bag(tmp_path / 'bag', compression='storage'))


@pytest.mark.parametrize('compression', list(CompressionType))
@pytest.mark.parametrize(
    'options',
    [
        {},
        {'use_chunking': False},
        {'use_summary_offsets': False, 'repeat_schemas': False},
        {'use_summary_offsets': False, 'use_statistics': False, 'repeat_channels': False},
        {'profile': ''},
        {'index_types': IndexType.CHUNK},
    ],
)
def test_mcaps_of_other_writers_give_the_same_frames(
    tmp_path: Path, compression: CompressionType, options: dict[str, object]
) -> None:
    messages = [(TOPIC, 10.5 + 0.1 * i, image_bytes(i, 10.0 + 0.1 * i)) for i in range(6)]
    path = write_mcap(
        tmp_path / 'one.mcap', messages, compression=compression, chunk_size=1000, **options
    )
    assert_is_frames_bag(path)


def test_an_mcap_without_an_index_is_put_in_order(tmp_path: Path) -> None:
    messages = [
        (TOPIC, 10.5 + 0.1 * i, image_bytes(i, 10.0 + 0.1 * i)) for i in (1, 0, 3, 2, 5, 4)
    ]
    assert_is_frames_bag(write_mcap(tmp_path / 'one.mcap', messages, use_chunking=False))


def test_schema_names_of_two_parts_are_the_same_types(tmp_path: Path) -> None:
    path = write_mcap(
        tmp_path / 'old.mcap', [(TOPIC, 1.0, image_bytes(0, 1.0))], kind='sensor_msgs/Image'
    )
    with BagReader(path) as bag:
        assert [t.type for t in bag.image_topics] == [IMAGE]
        assert len(list(bag.frames())) == 1


def split_bag(tmp_path: Path, parts: int = 12) -> Path:
    """One bag of many files, in an order that is neither alphabetical nor chronological."""
    folder = tmp_path / 'split'
    folder.mkdir()
    names = [f'split_{k}.mcap' for k in range(parts)]
    for k, name in enumerate(names):
        one = frames_bag(tmp_path / f'part{k}', 2, start=2 * k)
        shutil.move(one / f'part{k}.mcap', folder / name)
    facts = {'relative_file_paths': names, 'compression_format': '', 'version': 9}
    (folder / 'metadata.yaml').write_text(yaml.safe_dump({'rosbag2_bagfile_information': facts}))
    return folder


def test_splits_are_read_in_order_of_log_time(tmp_path: Path) -> None:
    folder = split_bag(tmp_path)
    assert_is_frames_bag(folder, 24)
    facts = yaml.safe_load((folder / 'metadata.yaml').read_text())
    facts['rosbag2_bagfile_information']['relative_file_paths'].reverse()
    (folder / 'metadata.yaml').write_text(yaml.safe_dump(facts))
    assert_is_frames_bag(folder, 24)
    (folder / 'metadata.yaml').unlink()
    assert_is_frames_bag(folder, 24)


def test_splits_that_overlap_in_time_are_interleaved(tmp_path: Path) -> None:
    folder = tmp_path / 'both'
    folder.mkdir()
    for k in (0, 1):
        times = [10.5 + 0.1 * i for i in range(k, 8, 2)]
        rows = [(TOPIC, IMAGE, t, image_bytes(round((t - 10.5) * 10), t - 0.5)) for t in times]
        write_bag(tmp_path / f'b{k}', rows, storage='sqlite3')
        shutil.move(tmp_path / f'b{k}/b{k}.db3', folder)
    assert_is_frames_bag(folder, 8)


def test_messages_are_those_of_the_topics_in_order_of_log_time(tmp_path: Path) -> None:
    with BagReader(split_bag(tmp_path)) as bag:
        (topic,) = (t.name for t in bag.image_topics)
        messages = list(bag.messages([topic]))
        assert list(bag.messages(['/no/such/topic'])) == []
        stamps = [frame.stamp for frame in bag.frames()]
    assert {message.topic for message in messages} == {topic}
    times = [message.log_time for message in messages]
    assert times == sorted(times)
    assert len(times) == len(stamps) > 1
    # serialised, little endian: the header's stamp follows the four bytes of encapsulation
    assert [struct.unpack_from('<iI', m.data, 4)[0] for m in messages] == [int(s) for s in stamps]


def test_old_metadata_with_the_folder_in_file_names_is_understood(tmp_path: Path) -> None:
    path = frames_bag(tmp_path / 'bag')
    text = (path / 'metadata.yaml').read_text()
    (path / 'metadata.yaml').write_text(text.replace('bag.mcap', 'elsewhere/bag.mcap'))
    assert_is_frames_bag(path)


def test_missing_splits_are_named_and_the_rest_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = split_bag(tmp_path, 3)
    (folder / 'split_1.mcap').unlink()
    with BagReader(folder) as bag:
        assert bag.missing_files == ['split_1.mcap']
        stamps = [f.stamp for f in bag.frames()]
    assert stamps == pytest.approx([10.0, 10.1, 10.4, 10.5])
    (warning,) = caplog.records
    assert warning.levelname == 'WARNING'
    assert '1 of 3 files' in warning.getMessage()
    assert 'split_1.mcap' in warning.getMessage()


@pytest.mark.skipif(not SHARED.is_dir(), reason='the recorded bag is not beside the checkout')
def test_a_recorded_bag_with_missing_splits_and_old_names_gives_its_frames(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with BagReader(SHARED) as bag:
        assert bag.missing_files == [f'soccer_goal_{i}.mcap' for i in range(12)]
        frames = list(bag.frames())
        assert not bag.skipped
    assert [f.rgb.shape for f in frames] == [(480, 640, 3)] * 2
    assert [f.stamp for f in frames] == pytest.approx([8.297777777, 8.331088888], abs=1e-9)
    assert frames[0].camera == 'camera'
    # a green pitch: the channels are in RGB order
    assert frames[0].rgb[-100:].mean(axis=(0, 1)).argmax() == 1
    assert all(name in caplog.text for name in bag.missing_files)


def test_a_stamp_of_zero_becomes_the_log_time(tmp_path: Path) -> None:
    path = write_bag(tmp_path / 'bag', [(TOPIC, IMAGE, 7.25, image_bytes(0, 0.0))])
    with BagReader(path) as bag:
        assert [f.stamp for f in bag.frames()] == [7.25]


def compressed_bytes(rgb: np.ndarray, stamp: float) -> bytes:
    types = STORE.types
    sec, nanosec = divmod(round(stamp * 1e9), 10**9)
    header = types['std_msgs/msg/Header'](
        stamp=types['builtin_interfaces/msg/Time'](sec=sec, nanosec=nanosec), frame_id=''
    )
    data = cv2.imencode('.png', rgb[..., ::-1])[1].reshape(-1)
    message = types[COMPRESSED](header=header, format='png', data=data)
    return bytes(STORE.serialize_cdr(message, COMPRESSED))


def two_cameras(path: Path) -> Path:
    text = bytes(STORE.serialize_cdr(STORE.types[STRING](data='hello'), STRING))
    rows = [('/chatter', STRING, 1.0, text)]
    for i in range(4):
        rows.append(('/left/image_raw', IMAGE, 1.0 + 0.2 * i, image_bytes(i, 1.0 + 0.2 * i)))
        packed = compressed_bytes(picture(10 + i), 1.1 + 0.2 * i)
        rows.append(('/right/image_raw/compressed', COMPRESSED, 1.1 + 0.2 * i, packed))
    return write_bag(path, rows)


def test_all_image_topics_are_read_in_turn_or_those_asked_for(tmp_path: Path) -> None:
    with BagReader(two_cameras(tmp_path / 'bag')) as bag:
        names = [t.name for t in bag.image_topics]
        assert names == ['/left/image_raw', '/right/image_raw/compressed']
        frames = list(bag.frames())
        assert [f.camera for f in frames] == ['left', 'right'] * 4
        np.testing.assert_array_equal(frames[3].rgb, picture(11))
        right = list(bag.frames(['/right/image_raw/compressed']))
        assert [f.stamp for f in right] == pytest.approx([1.1, 1.3, 1.5, 1.7])


def test_depth_is_left_out_unless_it_is_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    forms = {
        '/cam/image_raw': 'rgb8', '/cam/depth/image': '16UC1', '/cam/registered': '32FC1',
        '/cam/depth_raw': 'mono16', '/thermal': 'mono16', '/depth_camera/color': 'rgb8',
    }  # fmt: skip
    rows = [
        (name, IMAGE, 1.0 + k, image_bytes(k, 5.0 + k, encoding=form))
        for k, (name, form) in enumerate(forms.items())
    ]
    broken = [(name, IMAGE, 0.5, b'\0\1\0\0 no') for name in ('/broken', '/cam/depth/image')]
    path = write_bag(tmp_path / 'bag', [*broken, *rows])
    with BagReader(path) as bag:
        cameras = [topic.name for topic in bag.choose()]
        assert cameras == ['/broken', '/cam/image_raw', '/depth_camera/color', '/thermal']
        assert set(bag.depth_topics) == forms.keys() - set(cameras)
        assert len(list(bag.pending())) == 4
        assert {one.topic for one in bag.pending(['/cam/depth/image'])} == {'/cam/depth/image'}
        assert bag.origin == 5.0
    assert caplog.text.count('/cam/depth/image (16UC1)') == 1
    only = write_bag(tmp_path / 'only', rows[1:2])
    with BagReader(only) as bag, pytest.raises(BagError, match=r'no camera topic: .*\(16UC1\)'):
        bag.pending()


def test_every_counts_frames_of_each_topic(tmp_path: Path) -> None:
    with BagReader(two_cameras(tmp_path / 'bag')) as bag:
        stamps = [(f.camera, round(f.stamp, 3)) for f in bag.frames(every=3)]
    assert stamps == [('left', 1.0), ('right', 1.1), ('left', 1.6), ('right', 1.7)]


@pytest.mark.parametrize('workers', [0, 2])
def test_network_inputs_made_ahead_are_those_of_their_frames(tmp_path: Path, workers: int) -> None:
    preprocess = Preprocessor(24, 32)
    with BagReader(frames_bag(tmp_path / 'bag')) as bag:
        frames = [
            frame for _, frame in bag.received_frames(workers=workers, prepare=preprocess.ahead)
        ]
    assert len(frames) == 6
    for i, frame in enumerate(frames):
        made = frame.network_input
        assert made is not None
        np.testing.assert_array_equal(made.image, preprocess(picture(i)))


def test_facts_of_the_bag_are_in_seconds(tmp_path: Path) -> None:
    with BagReader(frames_bag(tmp_path / 'bag')) as bag:
        assert bag.start == pytest.approx(10.5)
        assert bag.end == pytest.approx(11.0)
        assert bag.duration == pytest.approx(0.5)


def test_an_unknown_topic_and_a_bad_step_are_refused_before_reading(tmp_path: Path) -> None:
    with BagReader(two_cameras(tmp_path / 'bag')) as bag:
        with pytest.raises(
            ParameterError, match=r"one of /left/image_raw, /right.*got '/chatter'"
        ):
            bag.frames(['/chatter'])
        with pytest.raises(ParameterError, match='at least 1, got 0'):
            bag.frames(every=0)


@pytest.mark.parametrize(
    ('topic', 'camera'),
    [
        ('/camera/image_raw', 'camera'),
        ('/camera/image_raw/compressed', 'camera'),
        ('/front/left/image_rect_color', 'front_left'),
        ('/usb_cam/image', 'usb_cam'),
        ('/image', 'image'),
        ('/image/compressed', 'image'),
        ('/images/nav', 'images_nav'),
        ('camera', 'camera'),
    ],
)
def test_cameras_are_named_after_their_topic(topic: str, camera: str) -> None:
    assert camera_name(topic) == camera


def test_topics_that_would_share_a_camera_keep_their_whole_name(tmp_path: Path) -> None:
    rows = [
        (topic, IMAGE, 1.0 + i, image_bytes(0, 1.0 + i))
        for i, topic in enumerate(['/cam/image_raw', '/cam/image_rect', '/other/image_raw'])
    ]
    with BagReader(write_bag(tmp_path / 'bag', rows)) as bag:
        cameras = [f.camera for f in bag.frames()]
    assert cameras == ['cam_image_raw', 'cam_image_rect', 'other']


def test_no_two_topics_share_a_camera(tmp_path: Path) -> None:
    topics = ['/a/b/image_raw', '/a_b/image_raw', 'cam', '/cam']
    rows = [(topic, 1.0 + i, image_bytes(0, 1.0 + i)) for i, topic in enumerate(topics)]
    with BagReader(write_mcap(tmp_path / 'one.mcap', rows)) as bag:
        cameras = [f.camera for f in bag.frames()]
    assert cameras == ['a__b__image_raw', 'a_b__image_raw', 'cam', '/cam']


def test_memory_does_not_grow_with_the_bag(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        big = np.zeros((200, 300, 3), np.uint8)
        data = bytes(STORE.serialize_cdr(image_message(big, 1.0), IMAGE))
        rows = ((TOPIC, IMAGE, 1.0 + i, data) for i in range(count))
        path = write_bag(tmp_path / f'bag{count}', rows)
        tracemalloc.start()
        with BagReader(path) as bag:
            assert sum(1 for _ in bag.frames()) == count
        high = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return high

    peak(4)  # imports and caches
    assert peak(120) < peak(30) + 2_000_000  # 90 more frames are 16 MB


def test_an_unclosed_sqlite_bag_says_that_messages_wait_beside_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = frames_bag(tmp_path / 'bag', storage='sqlite3')
    database = sqlite3.connect(path / 'bag.db3')
    try:
        database.execute('PRAGMA journal_mode=WAL')
        database.execute('PRAGMA wal_autocheckpoint=0')
        database.execute('UPDATE messages SET timestamp = timestamp + 0')
        database.commit()
        with BagReader(path) as bag:
            assert len(list(bag.frames())) == 6
            assert 'bag.db3-wal' in bag.damaged_files['bag.db3']
        assert 'recorder was not closed' in caplog.text
    finally:
        database.close()


def test_the_stored_definition_of_image_has_not_changed_since_foxy() -> None:
    foxy, jazzy = get_typestore(Stores.ROS2_FOXY), get_typestore(Stores.ROS2_JAZZY)
    for kind in (IMAGE, COMPRESSED):
        assert foxy.hash_rihs01(kind) == jazzy.hash_rihs01(kind)


def test_a_reader_left_half_way_deletes_what_it_had_decompressed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / 'scratch'
    scratch.mkdir()
    path = frames_bag(tmp_path / 'bag', compression='file')
    monkeypatch.setattr('tempfile.tempdir', str(scratch))
    with BagReader(path) as bag:
        frames = bag.frames()
        next(frames)
        assert list(scratch.iterdir())
    assert not list(scratch.iterdir())


def open_below(folder: Path) -> list[Path]:
    """Return the files of a folder that this process holds open; it may hold others, too."""
    found = []
    for descriptor in Path('/proc/self/fd').iterdir():
        with contextlib.suppress(OSError):  # the one that listed them
            found.append(descriptor.readlink())
    return [path for path in found if path.is_relative_to(folder)]


def test_a_pass_that_is_left_half_way_holds_nothing_of_any_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / 'scratch'
    scratch.mkdir()
    folder = tmp_path / 'both'
    folder.mkdir()
    for k in (0, 1):
        one = frames_bag(tmp_path / f'part{k}', 2, start=2 * k, compression='file')
        shutil.move(one / f'part{k}.mcap.zstd', folder)
    monkeypatch.setattr('tempfile.tempdir', str(scratch))
    with BagReader(folder) as bag:
        for _ in range(3):
            frames = bag.frames()
            next(frames)
            assert len(list(scratch.iterdir())) == 1  # the second file is not due yet
            assert open_below(tmp_path)
            frames.close()
            assert not list(scratch.iterdir())
            assert not open_below(tmp_path)
        left = [bag.frames() for _ in range(2)]
        for frames in left:
            next(frames)
    assert not list(scratch.iterdir())


@pytest.mark.parametrize('name', ['a b', 'a#b', 'a?b', 'a%20b', 'ä'])
@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_paths_with_odd_characters_are_read(tmp_path: Path, name: str, storage: str) -> None:
    plain = frames_bag(tmp_path / 'plain', storage=storage)
    assert_is_frames_bag(plain.rename(tmp_path / name))


# ROS's message support imports the parser lark, which imports deprecated modules of Python's re
@pytest.mark.filterwarnings("ignore:module 'sre_.*' is deprecated:DeprecationWarning")
def test_a_node_and_a_bag_make_the_same_frame_of_the_same_bytes(tmp_path: Path) -> None:
    serialization = pytest.importorskip('rclpy.serialization')
    messages = pytest.importorskip('sensor_msgs.msg')
    from ros_ood_monitor.ros.messages.converters import frame_from_compressed, frame_from_image

    stamp = 1.76e9 + 0.123456789
    image, packed = image_bytes(0, stamp), compressed_bytes(picture(1), stamp)
    rows = [(TOPIC, IMAGE, stamp, image), ('/b/compressed', COMPRESSED, stamp + 1, packed)]
    with BagReader(write_bag(tmp_path / 'bag', rows)) as bag:
        from_bag = list(bag.frames())
    deserialize = serialization.deserialize_message
    from_node = [
        frame_from_image(deserialize(image, messages.Image)),
        frame_from_compressed(deserialize(packed, messages.CompressedImage)),
    ]
    for a, b in zip(from_bag, from_node, strict=True):
        assert a.stamp == b.stamp
        np.testing.assert_array_equal(a.rgb, b.rgb)
