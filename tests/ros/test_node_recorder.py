"""Alerts of a running node as bags."""

from __future__ import annotations

import json
from pathlib import Path
import threading
import time
from typing import Any

import cv2
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('rosbags')

from lifecycle_msgs.msg import Transition
from rclpy.parameter import Parameter
from rosbags.highlevel import AnyReader

from ros_ood_monitor.bags import BagReader
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.recorder import find_recordings, recorder
from ros_ood_monitor.replay import replay
from ros_ood_monitor.ros import monitor_node
from tests.ros.harness import (
    ACTIVE,
    compressed,
    image,
    normal_frame,
    peer,
    running_node,
    strange_frame,
    values,
    wait_until,
)

pytestmark = pytest.mark.usefixtures('ros')

OK, WARN, STALE = b'\x00', b'\x01', b'\x03'


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take no pause of a busy machine for a camera that fell silent or a disk that is gone."""
    monkeypatch.setattr(recorder, '_SILENCE_S', 120.0)
    monkeypatch.setattr(recorder, '_SLOWEST', 1000.0)
    monkeypatch.setattr(monitor_node, '_RECORDING_TIMEOUT_S', 60.0)


def record_parameters(bundle: Path, folder: Path) -> dict[str, Any]:
    return {
        'model__bundle': str(bundle),
        'record__folder': str(folder),
        'record__before': 0.35,
        'record__after': 0.25,
        'alert__trigger_frames': 2,
        'alert__release_frames': 2,
    }


def drive(me: Any, start: float, *, normal: int, strange: int) -> list[dict[str, str]]:
    """Publish normal frames, strange ones, and normal ones again; return what was said of each."""
    said = []
    for k in range(2 * normal + strange):
        rgb = strange_frame() if normal <= k < normal + strange else normal_frame(k)
        said.append(values(me.publish_and_wait(image(rgb, stamp=start + k / 10))))
    return said


def see(me: Any, message: Any) -> None:
    """Publish a frame and wait for the observation of it, not of another camera's."""
    me.publish(message)
    wait_until(
        lambda: any(said.header == message.header for said in me.observations), 'its observation'
    )


def recorded(folder: Path) -> Path:
    wait_until(lambda: folder.is_dir() and any(folder.glob('[!.]*')), 'a recording')
    (recording,) = find_recordings([folder])
    return recording.path


def recording_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == 'record']


def test_alert_becomes_a_bag_that_replays_to_equal_scores(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / 'recordings'
    parameters = record_parameters(tiny_bundle, folder)
    with running_node('robot', **parameters) as node, peer(namespace='robot') as me:
        me.activate()
        said = drive(me, 100.0, normal=8, strange=4)
        # strange from 100.8 on, ALERT from 100.9 to 101.2 and no longer at 101.3
        path = recorded(folder)
        status, pairs = me.wait_for_status('recorder', lambda s, p: p['recordings'] == '1')
        assert (status.level, status.name) == (OK, 'robot/ood_monitor: recorder')
        assert pairs['last_recording'] == str(path)
        assert (pairs['dropped_messages'], pairs['last_problem']) == ('0', '')
        parameters_then = node.settings.by_name()
        assert me.change(Transition.TRANSITION_DEACTIVATE)
        assert not recording_threads()
        status, _ = me.wait_for_status('recorder', lambda s, _: s.level == STALE)
        assert status.message == 'not active'
    facts = json.loads((path / 'recording.json').read_text(encoding='utf-8'))
    bundle = Bundle.load(tiny_bundle)
    assert facts['bundle'] == {'name': 'tiny', 'digest': bundle.digest}
    assert facts['node'] == '/robot/ood_monitor'
    assert facts['parameters']['record.before'] == parameters_then['record.before'] == 0.35
    assert facts['parameters']['alert.trigger'] is None  # strict JSON has no NaN
    (camera,) = facts['cameras']
    assert (camera['camera'], camera['topic']) == ('camera_optical_frame', '/robot/image')
    states = [(round(s['stamp'], 1), s['state']) for s in camera['states']]
    assert states == [(100.6, 'NORMAL'), (100.8, 'SUSPECT'), (100.9, 'ALERT'), (101.3, 'NORMAL')]
    assert camera['peak'] == max(float(each['raw_score']) for each in said)
    # what is in it is what was sent
    with BagReader(path) as bag:
        monitor = Monitor.from_bundle(bundle)
        frames = list(bag.frames())
        replayed = list(replay(monitor, frames))
        monitor.close()
    first = round((frames[0].stamp - 100.0) * 10)
    heard = said[first : first + len(frames)]
    assert [repr(o.raw_score) for o in replayed] == [each['raw_score'] for each in heard]
    assert [round(10 * frame.stamp) for frame in frames] == list(range(1006, 1015))
    with AnyReader([path]) as reader:
        messages = [
            (c.topic, reader.deserialize(data, c.msgtype)) for c, _, data in reader.messages()
        ]
    observations: list[Any] = [m for topic, m in messages if topic.endswith('/observation')]
    alerts: list[Any] = [m for topic, m in messages if topic.endswith('/alert')]
    assert [m.status[0].values[0].value for m in observations] == [e['raw_score'] for e in heard]
    assert all(m.header.frame_id == 'camera_optical_frame' for m in observations)
    states = [m.status[0].values[0].value for m in alerts]
    assert states == ['SUSPECT', 'ALERT', 'NORMAL']


def test_node_that_is_deactivated_during_an_alert_finishes_the_bag(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    with running_node(**record_parameters(tiny_bundle, tmp_path)), peer() as me:
        me.activate()
        for k in range(4):
            me.publish_and_wait(image(strange_frame(), stamp=100.0 + k / 10))
        assert recording_threads()
        assert me.change(Transition.TRANSITION_DEACTIVATE)
        assert not recording_threads()
        (recording,) = find_recordings([tmp_path])
        assert recording.facts['ended'] == 'the node is deactivated'
        assert recording.facts['frames'] == 4
        # a report from just before it ended may come first
        _, pairs = me.wait_for_status(
            'recorder', lambda s, p: s.level == STALE and p['recordings'] == '1'
        )
        assert pairs['is_recording'] == 'False'
        assert float(pairs['disk_mib']) > 0.05
        assert [p.name for p in tmp_path.iterdir()] == [recording.path.name]


def test_node_that_is_shut_down_during_an_alert_finishes_the_bag(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    with running_node(**record_parameters(tiny_bundle, tmp_path)), peer() as me:
        me.activate()
        for k in range(3):
            me.publish_and_wait(image(strange_frame(), stamp=100.0 + k / 10))
    assert not recording_threads()
    (recording,) = find_recordings([tmp_path])
    assert recording.facts['ended'] == 'the node is shut down'
    with BagReader(recording.path) as bag:
        assert len(list(bag.frames())) == 3
        assert not bag.damaged_files


def test_several_cameras_are_recorded_together_as_they_came(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    parameters = record_parameters(tiny_bundle, tmp_path)
    parameters['input__topics'] = ['/front/image', '/left/image']
    with (
        running_node(input__transport='compressed', **parameters),
        peer(topic='/front/image') as me,
        peer(topic='/left/image') as other,
    ):
        me.activate()
        files = []
        for k in range(6):
            rgb = strange_frame() if k < 3 else normal_frame(k)
            files.append(_png(rgb))
            see(me, compressed(files[-1], stamp=100.0 + k / 10, kind='png'))
            left = _png(normal_frame(k))
            see(other, compressed(left, stamp=100.05 + k / 10, kind='png'))
        assert me.change(Transition.TRANSITION_DEACTIVATE)
    (recording,) = find_recordings([tmp_path])
    assert [camera['camera'] for camera in recording.facts['cameras']] == ['front', 'left']
    with AnyReader([recording.path]) as reader:
        held = {c.topic: c.msgcount for c in reader.connections}
        sent = [
            reader.deserialize(data, c.msgtype).data.tobytes()  # type: ignore[attr-defined]
            for c, _, data in reader.messages()
            if c.topic == '/front/image/compressed'
        ]
    assert sent == files[: len(sent)]
    assert held['/left/image/compressed'] in (len(sent), len(sent) - 1)
    with BagReader(recording.path) as bag:
        assert {frame.camera for frame in bag.frames()} == {'front', 'left'}


def _png(rgb: Any) -> bytes:
    done, file = cv2.imencode('.png', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    assert done
    return bytes(file.tobytes())


def test_folder_that_cannot_be_written_is_a_warning_and_scoring_goes_on(
    tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / 'file'
    file.write_text('')
    with running_node(**record_parameters(tiny_bundle, file / 'folder')), peer() as me:
        me.activate()
        problem = f'Not a directory: {file / "folder"}'
        status, pairs = me.wait_for_status('recorder', lambda s, _: s.level == WARN)
        assert status.message == f'nothing can be recorded: {problem}', 'before any frame'
        assert (pairs['failed_recordings'], pairs['last_problem']) == ('0', problem)
        said = [line for line in capfd.readouterr().err.splitlines() if 'recorded' in line]
        assert len(said) == 1, said
        assert said[0].endswith(f'record.folder: nothing can be recorded: {problem}')
        drive(me, 100.0, normal=2, strange=3)
        status, pairs = me.wait_for_status(
            'recorder', lambda s, p: s.level == WARN and p['failed_recordings'] == '1'
        )
        assert status.message == f'nothing was recorded: {problem}'
        me.publish_and_wait(image(normal_frame(), stamp=105.0))
        assert me.state() == ACTIVE


def test_folder_set_live_is_tried_at_once_and_again_until_it_can_be_written(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    file = tmp_path / 'file'
    file.write_text('')
    with running_node(model__bundle=str(tiny_bundle)) as node, peer() as me:
        me.activate()
        node.set_parameters([Parameter('record.folder', value=str(file / 'folder'))])
        me.wait_for_status('recorder', lambda s, _: s.level == WARN)
        file.unlink()
        status, pairs = me.wait_for_status('recorder', lambda s, _: s.level == OK)
        assert (status.message, pairs['last_problem']) == ('ready', '')
        assert list((file / 'folder').iterdir()) == []


def test_answers_go_out_whatever_the_recorder_does(
    tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with running_node(**record_parameters(tiny_bundle, tmp_path)) as node, peer() as me:
        me.activate()

        def fail(*args: Any) -> None:
            raise RuntimeError

        assert node._evidence._recorder is not None
        node._evidence._recorder.take = fail
        start = time.monotonic()
        drive(me, 100.0, normal=1, strange=1)
        lasted = time.monotonic() - start
        assert me.state() == ACTIVE
    # three times, of which one in 5 s is told
    assert 1 <= capfd.readouterr().err.count('not recorded:') <= 1 + lasted // 5.0


def test_recorder_has_no_status_where_nothing_is_recorded(tiny_bundle: Path) -> None:
    with running_node(model__bundle=str(tiny_bundle)), peer() as me:
        me.activate()
        drive(me, 100.0, normal=1, strange=4)
        me.wait_for_status('model', lambda s, _: s.level == OK)
        assert not [status for status in me.statuses if status.name.endswith('recorder')]
        assert not recording_threads()
