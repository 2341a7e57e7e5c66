"""Writing bags: what comes out is what went in, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from ros_ood_monitor.bags import BagReader, BagWriter
from ros_ood_monitor.errors import BagError, DecodeError, ParameterError
from tests.bag_tools import image_bytes, picture

FLOAT = 'std_msgs/msg/Float32'
DIAGNOSTICS = 'diagnostic_msgs/msg/DiagnosticArray'
ALL_WAYS = [
    (storage, compression)
    for storage in ('mcap', 'sqlite3')
    for compression in ('none', 'message', 'file', 'chunk')
    if (storage, compression) != ('sqlite3', 'chunk')
]


def ramp(index: int) -> Any:
    """Return a picture that JPEG keeps, (24, 32, 3)."""
    y, x = np.mgrid[0:24, 0:32]
    return np.stack([40 + 4 * x, 220 - 6 * y, 30 * index + x + y], axis=-1).astype(np.uint8)


def fill(writer: BagWriter) -> None:
    for i in range(5):
        writer.write_image('/left/image_raw', picture(i), 2.0 + 0.1 * i, frame_id='left')
        writer.write_jpeg('/right/image_raw/compressed', ramp(i), 2.05 + 0.1 * i)


@pytest.mark.parametrize(('storage', 'compression'), ALL_WAYS)
def test_frames_come_back_as_they_were_written(
    tmp_path: Path, storage: str, compression: str
) -> None:
    path = tmp_path / 'evidence'
    with BagWriter(path, storage=storage, compression=compression) as writer:
        fill(writer)
        assert not path.exists(), 'the bag appeared before it was whole'
    assert [p.name for p in tmp_path.iterdir()] == ['evidence']
    with BagReader(path) as bag:
        frames = list(bag.frames())
    assert [(f.camera, f.stamp) for f in frames] == [
        (camera, pytest.approx(2.0 + 0.1 * i + late))
        for i in range(5)
        for camera, late in (('left', 0.0), ('right', 0.05))
    ]
    for i in range(5):
        np.testing.assert_array_equal(frames[2 * i].rgb, picture(i))
        assert np.abs(frames[2 * i + 1].rgb.astype(int) - ramp(i)).mean() < 3.0


def test_the_library_reads_any_standard_message_back(tmp_path: Path) -> None:
    path = tmp_path / 'bag'
    with BagWriter(path) as writer:
        writer.write('/score', FLOAT, writer.make(FLOAT, data=0.25), 3.5)
        value = writer.make('diagnostic_msgs/msg/KeyValue', key='state', value='ALERT')
        status = writer.make(
            'diagnostic_msgs/msg/DiagnosticStatus',
            level=2, name='ood_monitor', message='unlike', hardware_id='left', values=[value],
        )  # fmt: skip
        header = writer.make_header(3.5, 'left')
        writer.write(
            '/alert', DIAGNOSTICS, writer.make(DIAGNOSTICS, header=header, status=[status]), 3.5
        )
    with AnyReader([path]) as bag:
        rows = {
            connection.topic: (time, bag.deserialize(data, connection.msgtype))
            for connection, time, data in bag.messages()
        }
    time, score = rows['/score']
    assert (time, score.data) == (3_500_000_000, 0.25)  # type: ignore[attr-defined]
    alert: Any = rows['/alert'][1]
    assert alert.header.frame_id == 'left'
    assert (alert.header.stamp.sec, alert.header.stamp.nanosec) == (3, 500_000_000)
    assert alert.status[0].values[0].value == 'ALERT'


def test_serialised_messages_and_jpeg_files_are_stored_as_they_are(tmp_path: Path) -> None:
    jpeg = cv2.imencode('.jpg', picture(0))[1].tobytes()
    data = image_bytes(3, 1.5)
    with BagWriter(tmp_path / 'bag') as writer:
        writer.write('/a/image_raw', 'sensor_msgs/msg/Image', data, 1.5)
        writer.write_jpeg('/b/compressed', jpeg, 1.6, frame_id='b')
    with AnyReader([tmp_path / 'bag']) as bag:
        (_, _, first), (connection, _, second) = bag.messages()
        assert first == data
        message: Any = bag.deserialize(second, connection.msgtype)
    assert message.data.tobytes() == jpeg
    assert message.format == 'jpeg'


def test_stamps_of_our_time_come_back_to_the_last_bit(tmp_path: Path) -> None:
    stamps = 1.76e9 + np.random.default_rng(0).uniform(0, 1e6, 200)
    with BagWriter(tmp_path / 'bag') as writer:
        for stamp in sorted(stamps.tolist()):
            writer.write_image('/image', picture(0), stamp)
    with BagReader(tmp_path / 'bag') as bag:
        assert [f.stamp for f in bag.frames()] == sorted(stamps.tolist())


@pytest.mark.parametrize(('storage', 'compression'), ALL_WAYS)
def test_equal_input_gives_equal_bytes(tmp_path: Path, storage: str, compression: str) -> None:
    contents = []
    for folder in ('one', 'two'):
        with BagWriter(tmp_path / folder / 'bag', storage=storage, compression=compression) as w:
            fill(w)
        files = sorted((tmp_path / folder / 'bag').iterdir())
        contents.append([(f.name, f.read_bytes()) for f in files])
    assert contents[0] == contents[1]


def test_an_exception_in_the_block_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(writer: BagWriter) -> None:
        with writer:
            fill(writer)
            raise KeyboardInterrupt

    writer = BagWriter(tmp_path / 'bag')
    with pytest.raises(KeyboardInterrupt):
        interrupted(writer)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BagError, match='closed'):
        fill(writer)


def test_a_bag_that_exists_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / 'bag').mkdir()
    (tmp_path / 'bag' / 'dear.txt').write_text('keep')
    with pytest.raises(BagError, match='exists and is not overwritten'):
        BagWriter(tmp_path / 'bag')
    assert (tmp_path / 'bag' / 'dear.txt').read_text() == 'keep'


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(BagError, match='cannot write bag'):
        BagWriter(tmp_path / 'file' / 'bag')


@pytest.mark.parametrize('name', ['a b', 'a#b', 'a?b', 'a%20b', 'ä'])
@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_odd_characters_in_a_path_are_kept_or_refused(
    tmp_path: Path, name: str, storage: str
) -> None:
    path = tmp_path / name
    if storage == 'sqlite3' and set(name) & set('#?%'):
        with pytest.raises(BagError, match='choose mcap'):
            BagWriter(path, storage=storage)
        assert list(tmp_path.iterdir()) == []
        return
    with BagWriter(path, storage=storage) as writer:
        fill(writer)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    with BagReader(path) as bag:
        assert len(list(bag.frames())) == 10


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        ({'storage': 'bag'}, "one of mcap, sqlite3, got 'bag'"),
        ({'compression': 'gzip'}, "one of none, message, file, chunk, got 'gzip'"),
        ({'storage': 'sqlite3', 'compression': 'chunk'}, "none, message, file, got 'chunk'"),
    ],
)
def test_an_unknown_option_lists_the_known_ones(
    tmp_path: Path, options: dict[str, str], match: str
) -> None:
    with pytest.raises(ParameterError, match=match):
        BagWriter(tmp_path / 'bag', **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('msgtype', 'message'),
    [
        ('no_msgs/msg/Such', b''),
        ('std_msgs/msg/Float32', object()),
        ('std_msgs/msg/Float32', None),
    ],
)
def test_a_message_that_does_not_fit_its_type_is_refused(
    tmp_path: Path, msgtype: str, message: object
) -> None:
    with BagWriter(tmp_path / 'bag') as writer:
        with pytest.raises(BagError, match='nothing is left'):
            writer.write('/topic', msgtype, message, 1.0)
        with pytest.raises(BagError, match='closed'):
            writer.write('/topic', FLOAT, writer.make(FLOAT, data=1.0), 1.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('stamp', [float('nan'), float('inf'), 3e9])
def test_a_stamp_that_no_message_can_hold_is_refused(tmp_path: Path, stamp: float) -> None:
    def write(writer: BagWriter) -> None:
        with writer:
            writer.write_jpeg('/image', b'\xff\xd8', stamp)

    with pytest.raises(BagError):
        write(BagWriter(tmp_path / 'bag'))
    assert list(tmp_path.iterdir()) == []


def test_files_and_the_names_of_folders_are_on_the_disk_before_a_bag_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, synced = os.fsync, list[tuple[str, bool]]()

    def note(handle: int) -> None:
        fsync(handle)
        synced.append((Path(f'/proc/self/fd/{handle}').readlink().name, path.exists()))

    path = tmp_path / 'bag'
    monkeypatch.setattr(os, 'fsync', note)
    with BagWriter(path) as writer:
        fill(writer)
    assert set(synced[:-1]) == {('bag', False), ('bag.mcap', False), ('metadata.yaml', False)}
    assert synced[-1] == (tmp_path.name, True)


def test_unknown_types_and_fields_are_refused_when_a_message_is_built(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as writer:
        with pytest.raises(BagError, match='no_msgs/msg/Such'):
            writer.make('no_msgs/msg/Such')
        with pytest.raises(BagError, match='size'):
            writer.make(FLOAT, size=1.0)
        with pytest.raises(DecodeError, match='shape'):
            writer.write_jpeg('/image', np.zeros((4, 4), np.uint8), 1.0)
        fill(writer)
    assert (tmp_path / 'bag' / 'metadata.yaml').exists()


FULL_DISK = """
import itertools, pathlib, resource, sys
import numpy as np
from ros_ood_monitor.bags import BagWriter
from ros_ood_monitor.errors import BagError
rng = np.random.default_rng(0)
for way in sys.argv[2:]:
    storage, compression = way.split('+')
    for limit in (1_000_000, 2_000, 0):
        # a file cannot grow over this size: writes fail as they do on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        said = 'no error'
        try:
            with BagWriter(sys.argv[1], storage=storage, compression=compression) as writer:
                for i in range(12):
                    rgb = rng.integers(0, 256, (200, 300, 3), np.uint8)
                    writer.write_image('/image', rgb, 1.0 + i)
        except BagError as error:
            said = str(error)
        left = [p.name for p in pathlib.Path(sys.argv[1]).parent.iterdir()]
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        print(storage, compression, limit, left, said, sep='|')
"""


def test_a_full_disk_is_a_bag_error_and_leaves_nothing(tmp_path: Path) -> None:
    ways = [f'{storage}+{compression}' for storage, compression in ALL_WAYS]
    done = subprocess.run(
        [sys.executable, '-c', FULL_DISK, str(tmp_path / 'bag'), *ways],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ''
    lines = done.stdout.splitlines()
    assert len(lines) == 3 * len(ALL_WAYS)
    for line in lines:
        *_, left, said = line.split('|')
        assert left == '[]', line
        assert said.startswith('cannot write bag: '), line
        assert said.endswith(f'nothing is left of it: {tmp_path / "bag"}'), line
