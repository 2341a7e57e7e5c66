"""Recordings: what is in them, what they may take, and what they survive."""

from __future__ import annotations

from collections.abc import Iterator
import json
import os
from pathlib import Path
import shutil
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

from ros_ood_monitor.bags import BagReader
from ros_ood_monitor.recorder import (
    find_recordings,
    make_room,
    mark_recording,
    Message,
    Recording,
    size_of,
)
from ros_ood_monitor.records import State
from tests.bag_tools import IMAGE, image_bytes, picture
from tests.recorder_tools import NODE, Robot, STRING, text, wait_for

ALERT, SUSPECT = State.ALERT, State.SUSPECT
MIB = 2**20


def stamps(path: Path, camera: str = 'front') -> list[float]:
    """Return the stamps of a recording's frames, after a look at their pixels."""
    with BagReader(path) as bag:
        frames = list(bag.frames([f'/{camera}/image_raw']))
    for frame in frames:
        np.testing.assert_array_equal(frame.rgb, picture(round(10 * frame.stamp)))
    return [round(frame.stamp, 1) for frame in frames]


def tenths(start: float, end: float) -> list[float]:
    return [k / 10 for k in range(round(10 * start), round(10 * end))]


def test_recording_goes_from_before_the_first_to_behind_the_last_frame_in_alert(
    tmp_path: Path,
) -> None:
    robot = Robot(tmp_path / 'made' / 'when needed')
    robot.drive(1.0, 3.0)
    robot.see(3.0, SUSPECT)
    robot.drive(3.1, 4.0, ALERT)
    robot.drive(4.0, 7.0)
    (path,) = robot.stop()
    assert stamps(path) == tenths(2.6, 4.5)  # 0.5 s before 3.1, and after 3.9
    assert path.name.startswith('robot_ood_monitor_2')
    assert sorted(file.name for file in path.iterdir()) == [
        'metadata.yaml',
        'recording.json',
        f'{path.name}.mcap',
    ]
    with BagReader(path) as bag:
        assert [(t.name, t.type, t.count) for t in bag.topics()] == [
            ('/front/image_raw', IMAGE, 19),
            (f'{NODE}/observation', STRING, 19),
        ]
        # an answer has the log time of its frame
        times = [m.log_time for m in bag.messages([t.name for t in bag.topics()])]
        assert len(times) == 2 * len(set(times)) == 38
    facts = json.loads((path / 'recording.json').read_text(encoding='utf-8'))
    assert facts['trigger'] == {
        'camera': 'front', 'stamp': 3.1, 'raw_score': 41.0, 'threshold': 5.0, 'reason': 'ALERT',
    }  # fmt: skip
    (camera,) = facts['cameras']
    assert (camera['peak'], camera['peak_stamp'], camera['threshold']) == (49.0, 3.9, 5.0)
    assert [(s['stamp'], s['state']) for s in camera['states']] == [
        (2.6, 'NORMAL'),
        (3.0, 'SUSPECT'),
        (3.1, 'ALERT'),
        (4.0, 'NORMAL'),
    ]
    assert (camera['frames'], camera['first_stamp'], camera['last_stamp']) == (19, 2.6, 4.4)
    assert (facts['frames'], facts['dropped'], facts['mark']) == (19, 0, None)
    assert (facts['node'], facts['ended']) == (NODE, 'the alert is over')
    assert facts['bundle'] == {'name': 'tiny'}


def test_nothing_is_held_and_no_thread_runs_without_a_folder(tmp_path: Path) -> None:
    robot = Robot(None)
    robot.drive(1.0, 2.0, ALERT)
    assert robot.recorder.report().memory_bytes == 0
    assert 'record' not in {thread.name for thread in threading.enumerate()}
    robot.change(folder=tmp_path)  # live
    robot.drive(2.0, 2.3, ALERT)
    robot.drive(2.3, 2.6)
    robot.change(folder=None)
    robot.see(2.6)
    robot.change(folder=tmp_path)
    (path,) = robot.stop()
    assert Recording.load(path).facts['ended'] == 'recording was turned off'
    assert stamps(path) == tenths(2.0, 2.6)


def test_alert_within_the_time_after_another_extends_its_recording(tmp_path: Path) -> None:
    robot = Robot(tmp_path)
    for start in (1.0, 1.6, 4.0):  # 0.5 s after the first, 2 s after the second
        robot.drive(start, start + 0.2, ALERT)
        robot.drive(start + 0.2, start + 0.6 if start < 4.0 else 6.0)
        if start == 1.6:
            robot.drive(2.2, 4.0)
    first, second = robot.stop()
    assert stamps(first) == tenths(1.0, 2.3)
    assert stamps(second) == tenths(3.5, 4.7)
    assert not set(stamps(first)) & set(stamps(second))


def test_no_frame_is_in_two_recordings(tmp_path: Path) -> None:
    robot = Robot(tmp_path, before=5.0, after=0.0)
    for k in range(1, 9):
        robot.see(float(k), ALERT if k in (2, 4, 5, 7) else State.NORMAL)
    paths = robot.stop()
    assert [stamps(path) for path in paths] == [[1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0]]


def test_recording_holds_all_cameras_until_the_last_alert_is_over(tmp_path: Path) -> None:
    robot = Robot(tmp_path)
    robot.drive(1.0, 1.5, camera='dead')
    robot.now += 60.0  # nothing comes from it any more
    for k in range(20, 50):
        robot.state = State.NORMAL
        robot.see(k / 10, ALERT if 25 <= k < 30 else State.NORMAL, camera='front')
        robot.state = State.NORMAL
        robot.see(k / 10 + 100, ALERT if 28 <= k < 35 else State.NORMAL, camera='left')
    (path,) = robot.stop()
    assert stamps(path, 'front') == tenths(2.0, 4.1)
    assert stamps(path, 'left') == tenths(102.0, 104.0)  # by its own clock
    cameras = Recording.load(path).facts['cameras']
    assert [camera['camera'] for camera in cameras] == ['front', 'left']


def test_alert_longer_than_the_limit_is_cut_off_and_its_rest_not_recorded(tmp_path: Path) -> None:
    robot = Robot(tmp_path, max_duration=1.0)
    robot.drive(1.0, 2.0)
    robot.drive(2.0, 9.0, ALERT)
    robot.drive(9.0, 10.0)
    robot.drive(10.0, 10.2, ALERT)
    first, second = robot.stop()
    assert stamps(first) == tenths(1.5, 3.1)
    assert Recording.load(first).facts['ended'] == 'record.max_duration is reached'
    assert stamps(second) == tenths(9.5, 10.2)
    assert Recording.load(second).facts['ended'] == 'the test is over'


@pytest.mark.parametrize(
    ('state', 'ended', 'frames'),
    [(ALERT, 'record.max_duration is reached', 101), (State.NORMAL, 'the alert is over', 51)],
)
def test_recording_ends_by_the_clock_where_stamps_stand_still(
    tmp_path: Path, state: State, ended: str, frames: int
) -> None:
    robot = Robot(tmp_path, max_duration=1.0, after=0.5)
    robot.see(7.0, ALERT)
    for _ in range(200):  # 20 s of the clock
        robot.see(7.0, state)
    (path,) = robot.stop()
    recording = Recording.load(path)
    assert recording.facts['ended'] == ended
    assert recording.facts['cameras'][0]['frames'] == pytest.approx(frames, abs=1)


def test_fault_while_nothing_comes_costs_a_recording_and_not_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot = Robot(tmp_path)
    robot.see(1.0, ALERT)

    def fault() -> None:
        msg = 'limits cannot be told'
        raise RuntimeError(msg)

    monkeypatch.setattr(robot.recorder, 'on_look', fault)
    wait_for(lambda: robot.recorder.report().failed, 'the thread to look')
    assert robot.recorder.report().problem == 'limits cannot be told'
    monkeypatch.undo()
    robot.see(2.0)
    robot.drive(3.0, 4.0, ALERT)
    (path,) = robot.stop()
    assert stamps(path) == tenths(3.0, 4.0)


def test_stamps_that_run_back_end_a_recording(tmp_path: Path) -> None:
    robot = Robot(tmp_path)
    robot.drive(50.0, 51.0, ALERT)
    robot.drive(1.0, 2.0)
    robot.state = State.NORMAL
    robot.drive(2.0, 2.2, ALERT)
    first, second = robot.stop()
    assert Recording.load(first).facts['ended'] == 'image stamps ran back'
    assert (stamps(first), stamps(second)) == (tenths(50.0, 51.0), tenths(1.5, 2.2))


def test_frames_out_of_order_are_recorded_as_they_came(tmp_path: Path) -> None:
    robot = Robot(tmp_path)
    late = [1.0, 1.2, 1.1, 1.4, 1.3, 1.5, 1.6, 1.8, 1.7]
    for stamp in late:
        robot.see(stamp, ALERT if 1.2 <= stamp <= 1.5 else State.NORMAL)
    robot.drive(1.9, 2.4)
    (only,) = robot.stop()
    facts = Recording.load(only).facts
    assert facts['ended'] == 'the alert is over'
    assert stamps(only)[: len(late)] == late


def test_recording_ends_where_no_more_frames_come(tmp_path: Path) -> None:
    robot = Robot(tmp_path)
    robot.drive(1.0, 1.3, ALERT)
    wait_for(lambda: robot.recorder.report().written == 6, 'the frames on disk')
    assert robot.recorder.report().is_recording
    robot.now += 2.5
    wait_for(lambda: not robot.recorder.report().is_recording, 'the end of the recording')
    (path,) = robot.stop()
    assert Recording.load(path).facts['ended'] == 'no more frames came'


# memory -----------------------------------------------------------------------------------------


def test_ring_keeps_the_newest_frames_that_its_memory_holds(tmp_path: Path) -> None:
    size = len(image_bytes(0)) + 20 + 2 * 1024  # of a frame with its answer
    robot = Robot(tmp_path, before=100.0, max_memory=8 * size)
    for k in range(10, 60):
        robot.see(k / 10, camera='front' if k % 2 else 'left')
        assert robot.recorder.report().memory_bytes == min(k - 9, 8) * size
    robot.see(6.0, ALERT, serialize=lambda: image_bytes(60, 6.0))
    assert robot.recorder.report().memory_bytes <= 8 * size
    (path,) = robot.stop()
    assert stamps(path) == [5.3, 5.5, 5.7, 5.9, 6.0]
    assert stamps(path, 'left') == [5.4, 5.6, 5.8]


def test_disk_that_hangs_costs_messages_that_are_counted_and_nobody_waits(tmp_path: Path) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hang() -> bytes:
        entered.set()
        assert leave.wait(20.0)
        return image_bytes(10, 1.0)

    limit = 40 * 2000
    robot = Robot(tmp_path, max_memory=limit)
    robot.see(1.0, ALERT, serialize=hang, content=300)
    assert entered.wait(20.0)
    robot.drive(1.1, 21.0, ALERT)  # would wait for ever if it waited
    report = robot.recorder.report()
    assert limit - 2000 < report.memory_bytes <= limit
    assert report.dropped > 300
    leave.set()
    (path,) = robot.stop()
    report = robot.recorder.report()
    assert report.memory_bytes == 0
    assert report.written + report.dropped == 2 * robot.frames
    facts = Recording.load(path).facts
    assert (facts['frames'], facts['dropped']) == (len(stamps(path)), report.dropped)


def test_stop_leaves_a_disk_that_hangs_behind(tmp_path: Path) -> None:
    leave = threading.Event()
    robot = Robot(tmp_path)
    robot.see(1.0, ALERT, serialize=lambda: leave.wait(20.0) and b'', content=300)
    assert not robot.recorder.stop(0.1, 'deactivated')
    robot.see(1.1, ALERT)  # nobody is there any more
    assert robot.recorder.report().memory_bytes <= 300 + 1024 + 20 + 1024
    leave.set()
    wait_for(lambda: not _recording(), 'the thread to end')


def _recording() -> bool:
    return 'record' in {thread.name for thread in threading.enumerate()}


def test_stop_finishes_the_bag_in_its_time_and_drops_what_is_left(tmp_path: Path) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow() -> bytes:
        entered.set()
        leave.wait(0.6)  # past half of the time to stop
        return image_bytes(10, 1.0)

    robot = Robot(tmp_path)
    robot.see(1.0, ALERT, serialize=slow, content=300)
    robot.drive(1.1, 2.0, ALERT)
    assert entered.wait(20.0)
    assert robot.recorder.stop(1.0, 'deactivated')
    (path,) = tmp_path.iterdir()
    facts = Recording.load(path).facts
    assert (facts['frames'], facts['dropped'], facts['ended']) == (1, 19, 'deactivated')
    assert stamps(path) == [1.0]


def test_message_that_cannot_be_serialised_costs_only_itself(tmp_path: Path) -> None:
    robot = Robot(tmp_path)

    def fail() -> bytes:
        raise RuntimeError

    robot.see(1.0, ALERT)
    robot.see(1.1, ALERT, serialize=fail, content=300)
    robot.see(1.2, ALERT)
    (path,) = robot.stop()
    assert stamps(path) == [1.0, 1.2]
    assert Recording.load(path).facts['dropped'] == robot.recorder.report().dropped == 1


def test_frame_larger_than_the_memory_is_told(tmp_path: Path) -> None:
    robot = Robot(tmp_path, max_memory=MIB)
    robot.drive(1.0, 1.3, content=3 * MIB)
    assert robot.recorder.report().problem == (
        'a frame of 3.0 MiB does not fit into record.max_memory'
    )
    assert robot.recorder.report().memory_bytes < 4000
    robot.change(max_memory=4 * MIB)
    robot.see(1.3, content=3 * MIB)
    assert robot.recorder.report().problem == ''
    robot.stop()


# disk -------------------------------------------------------------------------------------------


def record(folder: Path, times: int, *, size: int = 0, **limits: Any) -> list[Path]:
    """Record alerts of one frame each and return the recordings that are there then."""
    robot = Robot(folder, after=0.0, **limits)
    for k in range(times):
        robot.see(10.0 + k, ALERT, serialize=(lambda: large(size)) if size else None)
        robot.see(10.5 + k)
    robot.stop()
    return sorted(path for path in folder.iterdir() if path.name.startswith('robot'))


def large(size: int) -> bytes:
    return text() + np.random.default_rng(0).bytes(size)


def test_oldest_recordings_of_this_node_go_first_and_nothing_else_goes(tmp_path: Path) -> None:
    folder = tmp_path / 'recordings'
    first, second, third = record(folder, 3, size=MIB)
    mark_recording(first, 'id')
    other = shutil.copytree(second, folder / second.name.replace('robot', 'other'))
    facts = {**Recording.load(other).facts, 'node': '/other/ood_monitor'}
    (other / 'recording.json').write_text(json.dumps(facts))
    by_hand = shutil.copytree(second, folder / f'{second.name}_by_hand')
    (by_hand / 'recording.json').unlink()
    (folder / 'notes.txt').write_text('keep')
    outside = shutil.copytree(third, tmp_path / 'outside')
    (folder / 'a_link').symlink_to(outside)
    named = folder / 'crash_at_the_gate'
    shutil.copytree(second, named)
    kept = {first, other, by_hand, named, folder / 'notes.txt', folder / 'a_link'}
    after = set(record(folder, 1, size=MIB, max_disk=5 * MIB // 2)) | kept
    assert set(folder.iterdir()) == after
    assert {first, other, by_hand, named, third} < after
    assert second not in after
    assert len(list(outside.iterdir())) == 3
    (new,) = set(record(folder, 1, size=MIB, max_disk=1)) - kept  # the last one stays
    assert new not in after
    assert set(folder.iterdir()) == {*kept, new}


def test_recording_that_reaches_the_disk_limit_is_closed_whole(tmp_path: Path) -> None:
    robot = Robot(tmp_path, before=0.0, max_disk=10 * MIB)
    for k in range(40):
        robot.see(1.0 + k / 10, ALERT, serialize=lambda: large(MIB))
        wait_for(lambda: robot.recorder.report().memory_bytes < 4 * MIB, 'the disk')
    (path,) = robot.stop()
    facts = Recording.load(path).facts
    assert facts['ended'] == 'record.max_disk is reached'
    assert facts['frames'] == 10
    assert facts['dropped'] > 0
    assert size_of(path) < 11 * MIB
    with BagReader(path) as bag:
        assert bag.topics()[0].count == facts['frames']


def test_recording_behind_one_that_reaches_a_limit_goes_on(tmp_path: Path) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hang() -> bytes:
        entered.set()
        assert leave.wait(20.0)
        return large(MIB)

    robot = Robot(tmp_path, after=0.0, max_disk=MIB)
    robot.see(1.0, ALERT, serialize=hang, content=300)
    assert entered.wait(20.0)
    robot.see(1.1)
    robot.see(1.2, ALERT)  # the next one has begun when the first one proves too large
    leave.set()
    wait_for(lambda: robot.recorder.report().recordings == 1, 'the first one')
    robot.see(1.3, ALERT)
    paths = robot.stop()
    assert stamps(paths[-1]) == [1.1, 1.2, 1.3]


def test_alert_in_the_frame_that_ends_a_recording_begins_another(tmp_path: Path) -> None:
    robot = Robot(tmp_path, max_duration=1.0)
    robot.drive(1.0, 2.0, ALERT, camera='left')
    robot.see(2.0, camera='left')
    robot.see(2.1, ALERT, camera='left')  # cut off here, and raised here
    robot.see(1.0, camera='other')
    robot.drive(2.2, 2.4, ALERT, camera='left')
    first, second = robot.stop()
    assert stamps(first, 'left') == tenths(1.0, 2.1)
    assert stamps(second, 'left') == [2.1, 2.2, 2.3]
    assert Recording.load(second).facts['ended'] == 'the test is over'


def test_make_room_takes_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert make_room(tmp_path / 'none', 0, is_ours=lambda path: True) == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MiB."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=12m', 'tmpfs', str(folder)]
    if os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip('mounting a small file system needs root')
    yield folder
    subprocess.run(['umount', '-l', str(folder)], check=True)


def test_disk_that_fills_up_ends_a_recording_whole_while_some_is_free(small_disk: Path) -> None:
    robot = Robot(small_disk, before=0.0, min_free=3 * MIB)
    for k in range(30):
        robot.see(1.0 + k / 10, ALERT, serialize=lambda: large(MIB // 2))
        wait_for(lambda: robot.recorder.report().memory_bytes < 2 * MIB, 'the disk')
    robot.drive(4.0, 4.2)
    robot.see(5.0, ALERT)  # and the next one is refused
    (path,) = robot.stop()
    assert Recording.load(path).facts['ended'] == 'the disk is full'
    with BagReader(path) as bag:
        assert bag.topics()[0].count >= 15
    report = robot.recorder.report()
    assert (report.recordings, report.failed) == (1, 1)
    assert report.problem.startswith('the disk is full (')


def test_disk_without_a_byte_left_costs_the_recording_and_the_next_one_is_made(
    small_disk: Path,
) -> None:
    robot = Robot(small_disk)
    for k in range(30):
        robot.see(1.0 + k / 10, ALERT, serialize=lambda: large(MIB))
    wait_for(lambda: robot.recorder.report().failed, 'the failure')
    assert 'No space left on device' in robot.recorder.report().problem
    wait_for(lambda: not robot.recorder.report().is_recording, 'the end')
    assert list(small_disk.iterdir()) == []  # the space is free again
    robot.drive(9.0, 9.2)
    robot.see(10.0, ALERT)
    (path,) = robot.stop()
    assert stamps(path)[-1] == 10.0
    report = robot.recorder.report()
    assert (report.recordings, report.failed, report.problem) == (1, 1, '')
    assert report.memory_bytes == 0


def test_folder_that_cannot_be_made_or_has_vanished_is_told(tmp_path: Path) -> None:
    file = tmp_path / 'file'
    file.write_text('')
    robot = Robot(file / 'folder')
    robot.see(1.0, ALERT)
    wait_for(lambda: robot.recorder.report().failed == 1, 'the failure')
    assert robot.recorder.report().problem == f'Not a directory: {file / "folder"}'
    robot.change(folder=tmp_path / 'folder')
    robot.see(2.0)
    robot.see(3.0, ALERT)
    wait_for(lambda: robot.recorder.report().written == 2, 'the frame on disk')
    shutil.rmtree(tmp_path / 'folder')
    robot.drive(3.1, 9.0)
    wait_for(lambda: robot.recorder.report().failed == 2, 'the failure')
    robot.see(9.0, ALERT)
    (path,) = robot.stop()
    assert stamps(path)[-1] == 9.0


# crash ------------------------------------------------------------------------------------------

CRASH = """
import os, sys
from pathlib import Path
import numpy as np
from ros_ood_monitor.records import State
from tests.recorder_tools import large_image, Robot, wait_for
robot = Robot(Path(sys.argv[1]))
robot.drive(1.0, 2.0)
for k in range(20, 60):
    robot.see(k / 10, State.ALERT, serialize=lambda stamp=k / 10: large_image(stamp))
wait_for(lambda: robot.recorder.report().memory_bytes == 0, 'the disk')
print('written', flush=True)
if sys.argv[2] == 'stay':
    sys.stdin.read()
os.kill(os.getpid(), 9)
"""


def test_killed_process_leaves_a_part_that_the_next_one_brings_back(tmp_path: Path) -> None:
    command = [sys.executable, '-c', CRASH, str(tmp_path)]
    done = subprocess.run([*command, 'die'], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-9, 'written\n'), done.stderr
    (hidden,) = tmp_path.iterdir()
    assert hidden.name.startswith('.robot_ood_monitor_')
    with subprocess.Popen(
        [*command, 'stay'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as alive:
        assert alive.stdout is not None
        assert alive.stdout.readline() == 'written\n'
        robot = Robot(tmp_path)
        robot.see(1.0)
        robot.stop()
        # what another process writes is left alone
        names = [path.name for path in tmp_path.iterdir()]
        assert sorted(name.startswith('.') for name in names) == [False, True]
        alive.kill()
    (path,) = find_recordings([tmp_path])
    assert path.facts['ended'].startswith('interrupted')
    assert 'frames' not in path.facts
    with BagReader(path.path) as bag:
        seen = [frame.stamp for frame in bag.frames(['/front/image_raw'])]
    assert len(seen) >= 40
    assert seen[:5] == pytest.approx([1.5, 1.6, 1.7, 1.8, 1.9])
    assert np.diff(seen) == pytest.approx(0.1)


def test_process_killed_before_anything_was_written_leaves_nothing(tmp_path: Path) -> None:
    shutil.copytree(*_hidden(tmp_path, NODE))
    other, _ = _hidden(tmp_path, '/someone/else')
    robot = Robot(tmp_path)
    robot.see(1.0)
    assert robot.stop() == [other]


def _hidden(folder: Path, node: str) -> tuple[Path, Path]:
    """Make what a process leaves that was killed at once, twice."""
    made = folder / '.robot_ood_monitor_20260101T000000.000Z.active'
    made.mkdir(exist_ok=True)
    facts = {'format': 'ros_ood_monitor recording 1', 'node': node, 'ended': 'interrupted'}
    (made / 'recording.json').write_text(json.dumps(facts))
    return made, folder / '.robot_ood_monitor_20260101T000000.001Z.active'


def test_message_counts_its_content_and_what_holds_it() -> None:
    assert Message('/topic', IMAGE, 300, text).size == 1324
