"""Bags that are broken, each in one way: what can be read is read, and nothing goes unsaid."""

from __future__ import annotations

from pathlib import Path
import shutil
import sys

from mcap.writer import CompressionType
import numpy as np
import pytest
import yaml

from ros_ood_monitor.bags import BagReader, BagWriter, TopicInfo
from ros_ood_monitor.errors import BagError
from tests.bag_tools import (
    frames_bag,
    IMAGE,
    image_bytes,
    picture,
    STORE,
    STRING,
    TOPIC,
    write_bag,
    write_mcap,
)


def refusal(path: Path) -> str:
    with pytest.raises(BagError) as error, BagReader(path) as bag:
        list(bag.frames())
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize('kind', ['foxglove.CompressedImage', '', 'a/b/c/d', 'Image'])
@pytest.mark.parametrize('has_index', [True, False])
def test_a_schema_of_any_name_is_told_and_not_an_image(
    tmp_path: Path, kind: str, has_index: bool
) -> None:
    path = write_mcap(
        tmp_path / 'a.mcap', [('/x', 1.0, b'{}')], kind=kind, encoding='json', profile='',
        use_chunking=has_index,
    )  # fmt: skip
    assert f'got /x ({kind} (json))' in refusal(path)


def test_what_a_library_stumbles_over_ends_a_file_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_mcap(tmp_path / 'a.mcap', [(TOPIC, 1.0, image_bytes(0))], profile='')

    def stumble(*_: object) -> None:
        raise KeyError

    monkeypatch.setattr('mcap.stream_reader.StreamReader.__init__', stumble)
    assert "(Profile is not ros2.); 'mcap recover' may save some" in refusal(path)


def test_a_bag_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert 'does not exist' in refusal(tmp_path / 'nothing')


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'', 'is empty'),
        (b'%PDF-1.7 and so on', 'expected mcap or sqlite3, got bytes 25 50 44 46'),
        (b'#ROSBAG V2.0\n', 'rosbags-convert'),
        (b'SQLite format 3\0' + bytes(200), 'sqlite3 file, it is damaged'),
        (b'\x89MCAP0\r\n', 'no message in it is whole'),
        (b'\x89MCAP0\r\n' + bytes(range(256)), 'no message in it is whole'),
        (b'\x28\xb5\x2f\xfd' + bytes(50), 'compressed file is truncated or holds no bag'),
        (b'\x28\xb5\x2f\xfd' + b'\xff' * 50, 'cannot decompress'),
    ],
)
@pytest.mark.parametrize('suffix', ['.mcap', '.db3', '.bag'])
def test_a_foreign_file_is_refused_with_what_it_is(
    tmp_path: Path, suffix: str, content: bytes, words: str
) -> None:
    path = tmp_path / f'some{suffix}'
    path.write_bytes(content)
    assert words in refusal(path)


def test_a_sqlite_database_of_something_else_is_refused(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / 'mail.db3'
    database = sqlite3.connect(path)
    database.execute('CREATE TABLE mail (text)')
    database.commit()
    database.close()
    assert 'missing tables' in refusal(path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / 'notes.txt').write_text('nothing')
    assert 'expected a metadata.yaml or files that end in .mcap, .db3' in refusal(tmp_path)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('{', 'cannot read the metadata'),
        ('just text', 'cannot read the metadata'),
        ('rosbag2_bagfile_information: {}', "'relative_file_paths'"),
        ('rosbag2_bagfile_information: {relative_file_paths: [a], date: 2026-13-45}', 'month'),
        ('rosbag2_bagfile_information: {relative_file_paths: []}', 'is empty'),
        (
            'rosbag2_bagfile_information: {relative_file_paths: [a], compression_format: lz4}',
            "expected 'zstd', got 'lz4'",
        ),
        ('rosbag2_bagfile_information: {relative_file_paths: [a.mcap, b.mcap]}', 'a.mcap, b.mcap'),
    ],
)
def test_bad_metadata_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / 'metadata.yaml').write_text(text)
    assert words in refusal(tmp_path)


def test_a_bag_without_an_image_topic_lists_its_topics(tmp_path: Path) -> None:
    text = bytes(STORE.serialize_cdr(STORE.types[STRING](data='hello'), STRING))
    path = write_bag(
        tmp_path / 'bag', [('/chatter', STRING, 1.0, text), ('/b', STRING, 2.0, text)]
    )
    message = refusal(path)
    assert 'no image topic' in message
    assert '/b (std_msgs/msg/String), /chatter (std_msgs/msg/String)' in message


def test_images_that_are_not_in_ros_2_serialisation_are_no_image_topic(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / 'j.mcap', [(TOPIC, 1.0, b'{}')], encoding='json', profile='')
    assert f'{TOPIC} ({IMAGE} (json))' in refusal(path)


def test_a_bag_without_messages_says_so(tmp_path: Path) -> None:
    assert 'got none at all' in refusal(write_bag(tmp_path / 'bag', []))


def test_an_image_topic_without_frames_is_an_error_and_not_an_empty_replay(tmp_path: Path) -> None:
    text = bytes(STORE.serialize_cdr(STORE.types[STRING](data='hello'), STRING))
    path = write_mcap(tmp_path / 'one.mcap', [('/chatter', 1.0, text)], kind=IMAGE)
    assert 'no frame to read on /chatter' in refusal(path)


@pytest.mark.parametrize('chunked', [True, False])
def test_a_truncated_mcap_gives_the_frames_before_the_cut_and_says_so(
    tmp_path: Path, chunked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    messages = [(TOPIC, 10.5 + 0.1 * i, image_bytes(i, 10.0 + 0.1 * i)) for i in range(20)]
    whole = write_mcap(tmp_path / 'w.mcap', messages, chunk_size=800, use_chunking=chunked)
    content = whole.read_bytes()
    last = content.index(image_bytes(13, 11.3)[40:]) if not chunked else len(content) // 2
    path = tmp_path / 'cut.mcap'
    path.write_bytes(content[: last + 7])
    with BagReader(path) as bag:
        frames = list(bag.frames())
        assert 'truncated' in bag.damaged_files['cut.mcap']
        assert f'{len(frames)} messages' in bag.damaged_files['cut.mcap']
        assert bag.topics()[0].count == len(frames)
    assert 5 < len(frames) < 18
    assert chunked or len(frames) == 13
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.rgb, picture(i))
    assert 'bag is damaged: cut.mcap' in caplog.text


def test_every_cut_of_an_mcap_is_read_in_part_or_refused(tmp_path: Path) -> None:
    messages = [(TOPIC, 1.0 + i, image_bytes(i, 1.0 + i)) for i in range(6)]
    content = write_mcap(tmp_path / 'w.mcap', messages, chunk_size=100).read_bytes()
    path = tmp_path / 'cut.mcap'
    counts = set()
    for cut in range(1, len(content), 41):
        path.write_bytes(content[:cut])
        try:
            with BagReader(path) as bag:
                counts.add(sum(1 for _ in bag.frames()))
                assert bag.damaged_files, f'cut at {cut} went unsaid'
        except BagError:
            counts.add(0)
    assert counts == set(range(7))


@pytest.mark.parametrize('compression', ['none', 'file'])
@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_truncated_bag_folder_is_read_in_part_or_refused(
    tmp_path: Path, storage: str, compression: str
) -> None:
    path = frames_bag(tmp_path / 'bag', 200, storage=storage, compression=compression)
    (file,) = (f for f in path.iterdir() if f.name != 'metadata.yaml')
    content = file.read_bytes()
    for share in (0.95, 0.5, 0.1):
        file.write_bytes(content[: int(share * len(content))])
        reasons: list[str] = []
        try:
            with BagReader(path) as bag:
                list(bag.frames())
                reasons += bag.damaged_files.values()
        except BagError as error:
            reasons.append(str(error))
        assert any(word in ' '.join(reasons) for word in ('truncated', 'damaged', 'whole'))


def test_a_damaged_split_is_left_out_and_the_others_are_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / 'bag'
    folder.mkdir()
    for k in range(3):
        one = frames_bag(tmp_path / f'part{k}', 2, start=2 * k)
        shutil.move(one / f'part{k}.mcap', folder)
    (folder / 'part1.mcap').write_bytes(b'something else')
    facts = {'relative_file_paths': [f'part{k}.mcap' for k in range(3)]}
    (folder / 'metadata.yaml').write_text(yaml.safe_dump({'rosbag2_bagfile_information': facts}))
    with BagReader(folder) as bag:
        assert [f.stamp for f in bag.frames()] == pytest.approx([10.0, 10.1, 10.4, 10.5])
        assert 'part1.mcap' in bag.damaged_files
    assert 'bag is damaged: part1.mcap' in caplog.text


def test_damage_inside_a_file_stops_it_with_a_warning_and_the_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    messages = [(TOPIC, 10.5 + 0.1 * i, image_bytes(i, 10.0 + 0.1 * i)) for i in range(10)]
    path = write_mcap(
        tmp_path / 'one.mcap', messages, chunk_size=150, compression=CompressionType.NONE
    )
    content = bytearray(path.read_bytes())
    content[content.index(image_bytes(4, 10.4)[60:80])] ^= 0xFF
    path.write_bytes(content)
    with BagReader(path) as bag:
        assert [f.stamp for f in bag.frames()] == pytest.approx([10.0, 10.1, 10.2, 10.3])
        assert 'checksum' in bag.damaged_files['one.mcap']
        assert 'reading stops 0.300 s after' in bag.damaged_files['one.mcap']
    assert 'checksum' in caplog.text


def corrupt(index: int) -> dict[str, bytes]:
    good = image_bytes(index, 10.0 + 0.1 * index)
    unknown = image_bytes(index, 10.0 + 0.1 * index, encoding='yuv9')
    packed = b'\x28\xb5\x2f\xfd' + bytes(10)
    return {
        'cut': good[: len(good) // 2],
        'nothing': b'',
        'rubbish': b'\0\1\0\0' + bytes(range(256)),
        'encoding': unknown,
        'zstd': packed,
    }


@pytest.mark.parametrize('how', sorted(corrupt(0)))
def test_a_corrupt_frame_among_good_ones_is_skipped_counted_and_named(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [(TOPIC, IMAGE, 10.5 + 0.1 * i, image_bytes(i, 10.0 + 0.1 * i)) for i in range(5)]
    rows[2] = (*rows[2][:3], corrupt(2)[how])
    with BagReader(write_bag(tmp_path / 'bag', rows)) as bag:
        assert [f.stamp for f in bag.frames()] == pytest.approx([10.0, 10.1, 10.3, 10.4])
        (skipped,) = bag.skipped
    assert skipped.topic == TOPIC
    assert skipped.log_time == pytest.approx(10.7)
    assert len(skipped.reason) > 10
    assert f'frame skipped: {TOPIC} at 10.7' in caplog.text


def test_a_bag_of_corrupt_frames_only_is_refused_and_does_not_flood_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [(TOPIC, IMAGE, 1.0 + i, corrupt(i)['encoding']) for i in range(30)]
    with BagReader(write_bag(tmp_path / 'bag', rows)) as bag:
        with pytest.raises(BagError, match=r"all 30 are damaged, first: unknown encoding.*'yuv9'"):
            list(bag.frames())
        assert len(bag.skipped) == 30
    assert len(caplog.records) == 5


def test_a_topic_of_two_types_is_told_and_read_as_that_of_most_messages(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with BagWriter(tmp_path / 'bag') as writer:
        for k in range(5):
            writer.write_image('/image', picture(k), 1.0 + k)
        for k in range(2):
            writer.write_jpeg('/image', picture(k), 6.0 + k)
    with BagReader(tmp_path / 'bag') as bag:
        assert bag.topics() == [TopicInfo('/image', IMAGE, 7)]
        assert len(list(bag.frames())) == 5
        assert len(bag.skipped) == 2
    told = f'({IMAGE}: 5, sensor_msgs/msg/CompressedImage: 2), of which the most are read: /image'
    assert f'topic has messages of 2 types {told}' in caplog.text


def test_random_damage_to_messages_only_ever_skips_frames(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    rows = [(TOPIC, IMAGE, 1.0, image_bytes(0, 1.0))]
    for i in range(300):
        data = np.frombuffer(image_bytes(i, 1.0 + i), np.uint8).copy()
        at = rng.integers(0, 60, 3)  # header, sizes, encoding
        data[at] = rng.integers(0, 256, 3)
        rows.append((TOPIC, IMAGE, 2.0 + i, data[: rng.integers(20, data.size + 1)].tobytes()))
    with BagReader(write_bag(tmp_path / 'bag', rows)) as bag:
        count = len(list(bag.frames()))
        assert count + len(bag.skipped) == 301
        assert len(bag.skipped) > 200


@pytest.mark.parametrize('package', ['rosbags', 'mcap', 'zstandard'])
def test_a_missing_library_is_named_with_the_way_to_install_it(
    tmp_path: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [m for m in sys.modules if m.split('.')[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BagError, match=f'run: pip install {package}$') as error:
        BagReader(tmp_path)
    assert package in str(error.value)


def test_importing_the_room_loads_no_bag_library() -> None:
    import subprocess

    code = (
        'import sys, ros_ood_monitor.bags;'
        "print({'rosbags', 'mcap', 'zstandard', 'rclpy', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == 'set()'
