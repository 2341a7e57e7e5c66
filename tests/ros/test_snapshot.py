"""The service ``~/snapshot``."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import subprocess
import threading
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

pytest.importorskip('rclpy')
pytest.importorskip('std_srvs')

from lifecycle_msgs.msg import Transition
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.errors import DecodeError
from ros_ood_monitor.maps.overlay import annotated
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.records import AlertState, Frame, Observation, State
from ros_ood_monitor.ros.outputs.snapshot import snapshot_folder
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
from tests.tiny_bundle import make_tiny_bundle

pytestmark = pytest.mark.usefixtures('ros')


def _ask(me: Any) -> Any:
    """Ask without waiting for the answer."""
    client = me.node.create_client(Trigger, 'ood_monitor/snapshot')
    assert client.wait_for_service(60.0)
    return client.call_async(Trigger.Request())


def _snapshot(me: Any) -> Any:
    future = _ask(me)
    wait_until(future.done, 'an answer of ~/snapshot')
    return future.result()


def _refusal(me: Any) -> str:
    answer = _snapshot(me)
    assert not answer.success
    return str(answer.message)


def _saved(answer: Any, folder: Path) -> tuple[dict[str, Any], Path]:
    assert answer.success, answer.message
    path = Path(answer.message)
    assert path.parent == folder
    assert list(folder.iterdir()) == [path]  # nothing half-written beside it
    return yaml.safe_load((path / 'snapshot.yaml').read_text(encoding='utf-8')), path


def _headers(me: Any) -> list[Any]:
    return [said.header for said in me.observations]


def _read(path: Path) -> Any:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def test_snapshot_holds_the_last_scored_frame_and_what_was_said_of_it(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / 'made when needed'
    parameters = {'model__bundle': str(tiny_bundle), 'snapshot__folder': str(folder)}
    with running_node('robot', **parameters) as node, peer(namespace='robot') as me:
        me.activate()
        me.publish_and_wait(image(normal_frame(), stamp=99.5))
        rgb = strange_frame()
        message = me.publish_and_wait(image(rgb, stamp=100.25, padding=7))
        facts, path = _saved(_snapshot(me), folder)
        assert path.name.startswith('robot_ood_monitor_20')
        said = values(message)
        (camera,) = facts['cameras']
        assert camera['camera'] == camera['frame_id'] == 'camera_optical_frame'
        assert camera['stamp'] == {'sec': 100, 'nanosec': 250_000_000}
        assert camera['encoding'] == 'rgb8'
        for key in ('raw_score', 'score', 'threshold'):
            assert camera[key] == float(said[key])
        assert camera['state'] == said['state'] == 'SUSPECT'
        assert camera['reason'] == message.status[0].message
        assert facts['node'] == '/robot/ood_monitor'
        assert facts['bundle'] == {'name': 'tiny', 'digest': Bundle.load(tiny_bundle).digest}
        assert facts['engine']['engine'] == 'onnxruntime'
        assert repr(camera['parameters']) == repr(node.settings.by_name())  # some are NaN
        assert camera['parameters']['model.bundle'] == str(tiny_bundle)
        assert camera['parameters']['input.topics'] == ['image']
        assert camera['image'] == 'camera_optical_frame.png'
        assert np.array_equal(_read(path / camera['image']), rgb)


def test_snapshot_holds_the_parameters_that_judged_the_frame(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    parameters = {'model__bundle': str(tiny_bundle), 'snapshot__folder': str(tmp_path)}
    with running_node(alert__trigger=5.0, **parameters) as node, peer() as me:
        me.activate()
        me.publish_and_wait(image(normal_frame()))
        (result,) = node.set_parameters([Parameter('alert.trigger', value=7.0)])
        assert result.successful
        facts, _ = _saved(_snapshot(me), tmp_path)
        (camera,) = facts['cameras']
        assert (camera['threshold'], camera['parameters']['alert.trigger']) == (5.0, 5.0)


@pytest.mark.parametrize(('kind', 'suffix'), [('jpeg', '.jpg'), ('png', '.png')])
def test_compressed_frame_is_saved_byte_for_byte(
    tiny_bundle: Path, tmp_path: Path, kind: str, suffix: str
) -> None:
    parameters = {'model__bundle': str(tiny_bundle), 'snapshot__folder': str(tmp_path)}
    with running_node(input__transport='compressed', **parameters), peer() as me:
        me.activate()
        done, file = cv2.imencode(suffix, normal_frame())
        assert done
        me.publish_and_wait(compressed(file.tobytes(), kind=kind))
        facts, path = _saved(_snapshot(me), tmp_path)
        (camera,) = facts['cameras']
        assert camera['image'] == f'camera{suffix}'
        assert (path / camera['image']).read_bytes() == file.tobytes()


def test_snapshot_without_a_frame_says_so_in_every_state(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    reason = 'no snapshot: no frame has been scored since activation'
    parameters = {'model__bundle': str(tiny_bundle), 'snapshot__folder': str(tmp_path)}
    with running_node(**parameters), peer() as me:
        assert _refusal(me).startswith(reason)
        me.activate()
        assert _refusal(me).startswith(reason)
        me.publish_and_wait(image(normal_frame()))
        assert _snapshot(me).success
        assert me.change(Transition.TRANSITION_DEACTIVATE)
        assert _snapshot(me).success  # the last one, with its stamp
        assert me.change(Transition.TRANSITION_ACTIVATE)
        assert _refusal(me).startswith(reason)
        assert me.change(Transition.TRANSITION_DEACTIVATE)
        assert me.change(Transition.TRANSITION_CLEANUP)
        assert _refusal(me).startswith(reason)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', str(folder)]
    if os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip('mounting a small file system needs root')
    yield folder
    subprocess.run(['umount', '-l', str(folder)], check=True)


def test_full_disk_is_told_in_the_answer_and_leaves_nothing_behind(
    tiny_bundle: Path, full_disk: Path, tmp_path: Path
) -> None:
    parameters = {'model__bundle': str(tiny_bundle), 'snapshot__folder': str(full_disk)}
    with running_node(**parameters), peer() as me:
        me.activate()
        me.publish_and_wait(image(normal_frame(0, 240, 320)))
        said = _refusal(me)
        assert said == (
            'no snapshot: cannot be written (No space left on device); '
            'set snapshot.folder to a folder that the node may make and fill, or mend this one: '
            f'{full_disk}'
        )
        assert not list(full_disk.iterdir())
        # the parameter is live
        assert me.state() == ACTIVE
        other = Parameter('snapshot.folder', value=str(tmp_path / 'other')).to_parameter_msg()
        assert me.call(SetParameters, 'set_parameters', parameters=[other]).results[0].successful
        _saved(_snapshot(me), tmp_path / 'other')


def test_oldest_snapshots_of_this_node_go_where_the_disk_limit_is_reached(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / 'snapshots'
    parameters = {'model__bundle': str(tiny_bundle), 'snapshot__folder': str(folder)}
    with running_node(snapshot__max_disk=1, **parameters) as node, peer() as me:
        me.activate()
        me.publish_and_wait(image(normal_frame(0, 360, 320)))  # 0.3 MiB as PNG
        paths = [Path(_snapshot(me).message) for _ in range(3)]
        (folder / 'ood_monitor_mine').mkdir()
        other = folder / paths[0].name.replace('ood_monitor', 'other')
        other.mkdir()
        (other / 'snapshot.yaml').write_text('time: now\nnode: /other\n')
        (other / 'large').write_bytes(bytes(2**21))
        assert set(paths) < set(folder.iterdir())
        paths += [Path(_snapshot(me).message) for _ in range(2)]
        assert set(folder.iterdir()) == {*paths[-3:], other, folder / 'ood_monitor_mine'}
        assert node.set_parameters([Parameter('snapshot.max_disk', value=0)])[0].successful
        paths += [Path(_snapshot(me).message) for _ in range(2)]
        assert len(list(folder.iterdir())) == 7  # no limit


def test_folder_that_cannot_be_made_is_told_in_the_answer(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    file = tmp_path / 'file'
    file.write_text('')
    parameters = {'model__bundle': str(tiny_bundle), 'snapshot__folder': str(file / 'folder')}
    with running_node(**parameters), peer() as me:
        me.activate()
        me.publish_and_wait(image(normal_frame()))
        assert _refusal(me) == (
            'no snapshot: cannot be written (Not a directory); '
            'set snapshot.folder to a folder that the node may make and fill, or mend this one: '
            f'{file / "folder"}'
        )


def test_one_snapshot_at_a_time_while_scoring_and_services_go_on(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    entered, leave = threading.Event(), threading.Event()
    parameters = {'model__bundle': str(tiny_bundle), 'snapshot__folder': str(tmp_path)}
    with running_node(**parameters) as node, peer() as me:
        decode = node._snapshots._decode

        def slow(message: Any) -> Any:  # as a disk is
            entered.set()
            assert leave.wait(60.0)
            return decode(message)

        node._snapshots._decode = slow
        me.activate()
        first = normal_frame(0)
        me.publish_and_wait(image(first, stamp=100.0))
        pending = _ask(me)
        assert entered.wait(60.0)
        for _ in range(3):
            assert _refusal(me) == (
                'no snapshot: another snapshot is being written; ask again after it'
            )
        for k in range(1, 6):
            me.publish_and_wait(image(normal_frame(k), stamp=100.0 + k))
        assert me.state() == ACTIVE
        assert not pending.done()
        assert not [path for path in tmp_path.iterdir() if not path.name.startswith('.')]
        leave.set()
        wait_until(pending.done, 'the first answer')
        facts, path = _saved(pending.result(), tmp_path)
        assert facts['cameras'][0]['stamp']['sec'] == 100  # as it was when asked
        assert np.array_equal(_read(path / facts['cameras'][0]['image']), first)


def test_names_of_cameras_stay_in_the_folder_and_apart(tiny_bundle: Path, tmp_path: Path) -> None:
    parameters = {'model__bundle': str(tiny_bundle), 'snapshot__folder': str(tmp_path)}
    with running_node(**parameters) as node, peer() as me:
        for k, name in enumerate(('../../etc/passwd', 'a/b', 'a b', '', '...')):
            said = Observation(1.0, '', 0.5, 0.1, 2.0, AlertState(State.NORMAL, reason='fine'))
            node._snapshots.keep(name, image(normal_frame(k)), said)
        node._snapshots.keep('', image(normal_frame(3)), said)
        facts, path = _saved(_snapshot(me), tmp_path)
        names = [camera['image'] for camera in facts['cameras']]
        assert names == ['etc_passwd.png', 'a_b.png', 'a_b_2.png', 'camera.png', 'camera_2.png']
        assert sorted(p.name for p in path.iterdir()) == sorted([*names, 'snapshot.yaml'])


def test_frame_that_can_no_longer_be_decoded_is_told(tiny_bundle: Path, tmp_path: Path) -> None:
    parameters = {'model__bundle': str(tiny_bundle), 'snapshot__folder': str(tmp_path)}
    with running_node(**parameters) as node, peer() as me:

        def fail(message: Any) -> Any:
            msg = 'no picture: truncated'
            raise DecodeError(msg)

        node._snapshots._decode = fail
        me.activate()
        me.publish_and_wait(image(normal_frame()))
        assert _refusal(me) == 'no snapshot: no picture: truncated'
        assert not list(tmp_path.iterdir())


def test_folder_is_the_given_one_or_in_the_home_of_ros(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.delenv('ROS_HOME', raising=False)
    assert snapshot_folder('~/evidence') == tmp_path / 'evidence'
    assert snapshot_folder('') == tmp_path / '.ros' / 'ood_monitor'
    monkeypatch.setenv('ROS_HOME', str(tmp_path / 'home'))
    assert snapshot_folder('') == tmp_path / 'home' / 'ood_monitor'


def test_snapshot_holds_every_camera_that_was_scored(tiny_bundle: Path, tmp_path: Path) -> None:
    parameters = {'model__bundle': str(tiny_bundle), 'snapshot__folder': str(tmp_path)}
    topics = ['/front/image', '/left/image', '/rear/image']  # nothing comes from the last one
    with (
        running_node(input__topics=topics, **parameters),
        peer(topic='/front/image') as me,
        peer(topic='/left/image') as other,
    ):
        me.activate()
        front, left = normal_frame(1), strange_frame()
        for sender, sent in ((me, image(front, stamp=100.0)), (other, image(left, stamp=101.0))):
            sender.publish(sent)
            wait_until(
                # each hears of the other's camera as well
                lambda sender=sender, sent=sent: sent.header in _headers(sender),
                'its observation',
            )
        facts, path = _saved(_snapshot(me), tmp_path)
        assert [camera['camera'] for camera in facts['cameras']] == ['front', 'left']
        assert [camera['state'] for camera in facts['cameras']] == ['NORMAL', 'SUSPECT']
        for name, rgb in (('front', front), ('left', left)):
            assert np.array_equal(_read(path / f'{name}.png'), rgb)


@pytest.mark.parametrize('transport', ['raw', 'compressed'])
def test_snapshot_of_a_bundle_with_maps_holds_the_heatmap_and_the_overlay(
    tmp_path: Path, transport: str
) -> None:
    bundle = make_tiny_bundle(tmp_path / 'mapped', maps=True)
    rgb = normal_frame()
    rgb[10:30, 40:70] = 255, 0, 0
    file = cv2.imencode('.png', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes()
    parameters = {'model__bundle': str(bundle.path), 'snapshot__folder': str(tmp_path / 'shots')}
    with running_node(input__transport=transport, **parameters), peer() as me:
        me.activate()
        said = me.publish_and_wait(
            image(rgb, stamp=3.0) if transport == 'raw' else compressed(file, kind='png')
        )
        facts, path = _saved(_snapshot(me), tmp_path / 'shots')
    expected = Monitor.from_bundle(bundle).observe(Frame(rgb, stamp=3.0))
    (camera,) = facts['cameras']
    assert (np.load(path / camera['heatmap']) == expected.heatmap).all()
    assert (_read(path / camera['overlay']) == annotated(rgb, expected)).all()
    assert camera['heatmap_peak'] == expected.heatmap_peak == float(values(said)['heatmap_peak'])
    (region,) = camera['regions']
    assert (tuple(region['box']), region['peak']) == (
        expected.regions[0][:4],
        expected.heatmap_peak,
    )
