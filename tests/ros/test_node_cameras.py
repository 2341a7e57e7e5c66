"""Several cameras in one node: one engine, and none hides or starves another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
import contextlib
import itertools
from pathlib import Path
import threading
import time
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Float32

from ros_ood_monitor.bags import BagReader, BagWriter
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines import open_engine
from ros_ood_monitor.errors import EngineError
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.records import Reading
from ros_ood_monitor.replay import replay
from ros_ood_monitor.ros.camera.counts import Counters
from ros_ood_monitor.ros.messages import qos
from ros_ood_monitor.ros.monitor_node import OodMonitorNode
from ros_ood_monitor.ros.watch import watch
from tests.ros.harness import (
    HELD_S,
    image,
    normal_frame,
    Peer,
    peer,
    RELIABLE,
    running_node,
    set_live,
    strange_frame,
    UNCONFIGURED,
    values,
    wait_until,
)

pytestmark = pytest.mark.usefixtures('ros')

NAMES = ('front', 'left', 'rear')
TOPICS = [f'{name}/image_raw' for name in NAMES]
PATIENT = 60.0  # longer than any pause of a busy test machine


class Cameras:
    """Three cameras and what the node says about each."""

    def __init__(self, me: Peer, node: OodMonitorNode | None = None) -> None:
        self.me = me
        self.node: Any = node
        self.scores: dict[str, list[Float32]] = {name: [] for name in NAMES}
        self._seeds = itertools.count()
        self._publishers = {
            name: me.node.create_publisher(Image, topic, RELIABLE)
            for name, topic in zip(NAMES, TOPICS, strict=True)
        }
        for name in NAMES:
            me.node.create_subscription(
                Float32, f'ood_monitor/{name}/score', self.scores[name].append, RELIABLE
            )

    def wait_until_heard(self) -> None:
        for publisher in self._publishers.values():
            wait_until(publisher.get_subscription_count, 'the node to subscribe')

    def publish(self, name: str, stamp: float, rgb: Any = None, **options: Any) -> None:
        # no two alike: a picture that stands still is a fault
        rgb = normal_frame(next(self._seeds)) if rgb is None else rgb
        options = {'frame_id': f'{name}_optical', **options}
        self._publishers[name].publish(image(rgb, stamp=stamp, **options))

    def publish_and_wait(self, name: str, stamp: float, rgb: Any = None) -> DiagnosticArray:
        before = self.count(name)
        wait_until(self._publishers[name].get_subscription_count, 'the node to subscribe')
        self.publish(name, stamp, rgb)
        wait_until(lambda: self.count(name) > before, f'an observation of {name}')
        return [m for m in self.me.observations if m.status[0].hardware_id == name][-1]

    def count(self, name: str) -> int:
        return sum(m.status[0].hardware_id == name for m in self.me.observations)

    def counted(self) -> list[Counters]:
        """Return what the node has counted of every camera by now."""
        assert self.node._watch is not None
        streams = self.node._watch._scoring.streams
        return [stream.counts.snapshot(time.monotonic()) for stream in streams]

    def wait_until_received(self, *frames: int) -> None:
        wait_until(
            lambda: [counters.received for counters in self.counted()] == list(frames),
            f'{frames} frames to be received',
        )

    def wait_until_accounted(self) -> None:
        """Wait until every frame that was received is answered or dropped."""
        wait_until(
            lambda: all(c.received == c.scored + c.dropped for c in self.counted()),
            'what is in work',
        )

    def states(self) -> list[str]:
        """Return the state of every camera as the last alert tells it."""
        return states_of(self.me.alerts[-1]) if self.me.alerts else []

    def wait_for_states(self, *states: str) -> DiagnosticArray:
        """Wait until these states hold, or held since this was asked."""
        start = max(len(self.me.alerts) - 1, 0)

        def look() -> Any:
            told = self.me.alerts[start:]
            return next((each for each in told if states_of(each) == list(states)), None)

        return wait_until(look, f'alert states {states}')

    def reason(self, name: str) -> str:
        """Return why that camera is in its state."""
        return self.me.alerts[-1].status[NAMES.index(name)].message if self.me.alerts else ''

    def wait_for_inputs(self, condition: Any) -> list[tuple[DiagnosticStatus, dict[str, str]]]:
        """Wait for a fresh report in which the input of every camera fulfils the condition."""
        start = len(self.me.statuses)

        def look() -> Any:
            # the last status of a report is that of the model
            ends = [k for k, s in enumerate(self.me.statuses) if 'model' in s.name and k >= start]
            for end in ends:
                found = [(s, _pairs(s)) for s in self.me.statuses[max(start, end - 3) : end]]
                names = [status.name.split()[-1] for status, _ in found]
                if names == list(NAMES) and all(condition(*facts) for facts in found):
                    return found
            return None

        return list(wait_until(look, 'statuses of all inputs'))


def states_of(message: DiagnosticArray) -> list[str]:
    assert [status.hardware_id for status in message.status] == list(NAMES)
    return [_pairs(status)['state'] for status in message.status]


def _pairs(status: DiagnosticStatus) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}


@contextlib.contextmanager
def watching(**parameters: Any) -> Iterator[Cameras]:
    """Run an active node on the three cameras."""
    given = {'input__topics': TOPICS, 'input__reliability': 'reliable', **parameters}
    with running_node(**given) as node, peer() as me:
        cameras = Cameras(me, node)
        me.activate()
        cameras.wait_until_heard()
        yield cameras


class _Paced:
    """A real engine that takes as long for a frame as a test wants, whatever the machine."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.precision = engine.precision
        self._pause = threading.Event()
        self.seconds = 0.0
        self.fails = False
        self.batches: list[int] = []

    def hold(self) -> None:
        """Let the next frame take until `release`."""
        self._pause = threading.Event()
        self.seconds = HELD_S

    def let_one_go(self) -> None:
        """Let the frames in work be answered and hold the next ones."""
        held, self._pause = self._pause, threading.Event()
        held.set()

    def release(self) -> None:
        self.seconds = 0.0
        self._pause.set()

    def infer(self, batch: Any) -> Reading:
        if self.fails:
            msg = 'the device fell off the bus'
            raise EngineError(msg)
        pause, seconds = self._pause, self.seconds  # before the test knows of this frame
        self.batches.append(len(batch))
        pause.wait(seconds)
        reading: Reading = self._engine.infer(batch)
        return reading

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def _paced(tiny_bundle: Path) -> tuple[list[_Paced], Any]:
    """Return what opens the monitor, and the engines that it has opened."""
    bundle = Bundle.load(tiny_bundle)
    made: list[_Paced] = []

    def open_monitor(settings: Any) -> Monitor:
        made.append(_Paced(open_engine(bundle)))
        return Monitor(bundle, made[-1])

    return made, open_monitor


def test_each_camera_has_its_score_topic_its_observations_and_its_status(
    tiny_bundle: Path,
) -> None:
    with watching(model__bundle=str(tiny_bundle), alert__stale_after=PATIENT) as cameras:
        for k, name in enumerate(NAMES):
            message = cameras.publish_and_wait(name, 10.0 + k)
            assert message.status[0].name == f'ood_monitor: observation {name}'
            assert message.header.frame_id == f'{name}_optical'
        wait_until(lambda: all(map(len, cameras.scores.values())), 'a score of each')
        assert [len(scores) for scores in cameras.scores.values()] == [1, 1, 1]
        assert cameras.me.scores == [], 'the topic of an only camera'
        alert = cameras.wait_for_states('NORMAL', 'NORMAL', 'NORMAL')
        assert [s.name for s in alert.status] == [f'ood_monitor: alert {n}' for n in NAMES]
        for (status, pairs), name in zip(
            cameras.wait_for_inputs(lambda _, p: p['scored'] == '1'), NAMES, strict=True
        ):
            assert status.hardware_id == name
            assert pairs['topic'] == f'/{name}/image_raw'


def test_alert_of_one_camera_is_its_own_and_a_late_joiner_is_told_all_states(
    tiny_bundle: Path,
) -> None:
    with watching(model__bundle=str(tiny_bundle), alert__stale_after=PATIENT) as cameras:
        for k in range(4):
            # taken together these are three strange frames in a row, thrice; each but one has one
            for name in NAMES:
                strange = name == 'left' or (name == 'rear' and k == 3)
                cameras.publish_and_wait(name, 10.0 + k, strange_frame() if strange else None)
        alert = cameras.wait_for_states('NORMAL', 'ALERT', 'SUSPECT')
        # the header is that of the frame that caused this message; each status has its own time
        assert (alert.header.frame_id, alert.header.stamp.sec) == ('rear_optical', 13)
        since = [float(_pairs(status)['since']) for status in alert.status]
        assert since[1:] == [12.0, 13.0]
        assert [status.level for status in alert.status] == [
            DiagnosticStatus.OK,
            DiagnosticStatus.ERROR,
            DiagnosticStatus.WARN,
        ]
        late: list[DiagnosticArray] = []
        cameras.me.node.create_subscription(
            DiagnosticArray, 'ood_monitor/alert', late.append, qos.ALERT
        )
        wait_until(lambda: late, 'the alerts that hold')
        assert states_of(late[0]) == ['NORMAL', 'ALERT', 'SUSPECT']


def test_the_worst_alert_wins_in_the_diagnostics_and_every_state_is_shown(
    tiny_bundle: Path,
) -> None:
    with watching(model__bundle=str(tiny_bundle), alert__stale_after=PATIENT) as cameras:
        status, states = cameras.me.wait_for_status('alert', lambda *_: True)
        assert (status.level, set(states.values())) == (DiagnosticStatus.STALE, {'STALE'})
        for k in range(3):
            cameras.publish_and_wait('left', 10.0 + 0.1 * k, strange_frame())
        cameras.publish_and_wait('front', 10.0)
        status, states = cameras.me.wait_for_status(
            'alert', lambda _, states: states['front'] == 'NORMAL'
        )
        assert states == {'front': 'NORMAL', 'left': 'ALERT', 'rear': 'STALE'}
        assert (status.level, status.hardware_id) == (DiagnosticStatus.ERROR, 'left')
        assert status.message.startswith('left: ALERT: 3 frames in a row over')


def test_cameras_of_a_node_that_never_ran_are_told_stale_in_one_message() -> None:
    with running_node(input__topics=TOPICS), peer() as me:
        cameras = Cameras(me)
        alert = cameras.wait_for_states('STALE', 'STALE', 'STALE')
        assert {s.message for s in alert.status} == {'no scores: the node is not active yet'}
        for status, _ in cameras.wait_for_inputs(lambda *_: True):
            assert (status.level, status.message) == (DiagnosticStatus.STALE, 'not active')


def test_transport_that_another_camera_needs_is_not_advised_to_be_changed(
    tiny_bundle: Path,
) -> None:
    topics = {'input__topics': ['front/image_raw', 'side/image']}
    with running_node(model__bundle=str(tiny_bundle), **topics) as node, peer() as me:
        me.activate()
        me.node.create_publisher(CompressedImage, 'side/image/compressed', RELIABLE)
        said = 'no publisher on /side/image, but one on /side/image/compressed; '
        me.wait_for_status(
            'input side', lambda s, _: s.message == said + 'set input.transport: compressed'
        )
        Cameras(me, node).publish_and_wait('front', 10.0)
        me.wait_for_status(
            'input side',
            lambda s, _: s.message.startswith(
                said + 'input.transport: raw holds for all cameras and another one needs it'
            ),
        )


def test_silent_camera_is_stale_while_the_others_go_on(tiny_bundle: Path) -> None:
    with watching(model__bundle=str(tiny_bundle), alert__stale_after=0.4) as cameras:
        stamps = iter(range(10, 10_000))

        def go_on_until(condition: Any, names: tuple[str, ...] = ('front', 'rear')) -> None:
            def publish_and_look() -> bool:
                stamp = 0.05 * next(stamps)
                for name in names:
                    cameras.publish_and_wait(name, stamp)  # none is dropped: no overload
                return bool(condition())

            wait_until(publish_and_look, 'the state of the silent camera')

        go_on_until(
            lambda: (
                cameras.states() == ['NORMAL', 'STALE', 'NORMAL']
                and cameras.reason('left').endswith('s without a frame')
            )
        )
        start = len(cameras.me.statuses)

        def inputs() -> dict[str, bytes]:
            return {s.name.split()[-1]: s.level for s in cameras.me.statuses[start:]}

        wanted = {
            'front': DiagnosticStatus.OK,
            'left': DiagnosticStatus.STALE,
            'rear': DiagnosticStatus.OK,
        }
        go_on_until(lambda: wanted.items() <= inputs().items())
        # it comes, and is as good as the others
        go_on_until(lambda: cameras.states() == ['NORMAL', 'NORMAL', 'NORMAL'], NAMES)


def test_camera_with_broken_frames_is_stale_for_that_reason_and_disturbs_no_other(
    tiny_bundle: Path,
) -> None:
    with watching(model__bundle=str(tiny_bundle), alert__stale_after=PATIENT) as cameras:
        stamps = iter(range(10, 10_000))
        cameras.publish('left', 0.0, encoding='unheard_of')
        wait_until(lambda: cameras.counted()[1].bad, 'the first broken frame')
        set_live(cameras.node, alert__stale_after=0.4)  # none of the silence is before it

        def publish_and_look() -> bool:
            stamp = 0.05 * next(stamps)
            cameras.publish('left', stamp, encoding='unheard_of')
            for name in ('front', 'rear'):
                cameras.publish(name, stamp)
            reason = cameras.reason('left')
            is_told = ' s without a usable frame (last: unknown encoding' in reason
            return is_told and cameras.states() == ['NORMAL', 'STALE', 'NORMAL']

        wait_until(publish_and_look, 'one camera alone to be STALE')
        assert cameras.count('left') == 0
        _, left, rear = (pairs for _, pairs in cameras.wait_for_inputs(lambda *_: True))
        assert int(left['decode_errors']) > 0
        assert (left['scored'], rear['decode_errors']) == ('0', '0')


def test_broken_frames_are_told_of_each_camera_where_names_differ_by_a_number(
    tiny_bundle: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, '_WARN_PERIOD_S', HELD_S)  # the second frame repeats nothing
    topics = ['cam0', 'cam1']
    with running_node(model__bundle=str(tiny_bundle), input__topics=topics) as node, peer() as me:
        me.activate()
        publishers = [me.node.create_publisher(Image, topic, RELIABLE) for topic in topics]
        for publisher in publishers:
            wait_until(publisher.get_subscription_count, 'the node to subscribe')
            publisher.publish(image(normal_frame(), encoding='unheard_of'))
            publisher.publish(image(normal_frame(), encoding='unheard_of'))
        assert node._watch is not None
        counts = [stream.counts for stream in node._watch._scoring.streams]

        def looked_at() -> list[int]:
            now = [each.snapshot(0.0) for each in counts]
            return [each.bad + each.dropped for each in now]

        wait_until(lambda: looked_at() == [2, 2], 'the frames')
    said = capfd.readouterr().err
    assert [said.count(f'{topic}: bad frame: unknown encoding') for topic in topics] == [1, 1]


def test_each_camera_gets_its_third_of_an_engine_that_is_too_slow(tiny_bundle: Path) -> None:
    made, open_monitor = _paced(tiny_bundle)
    with watching(open_monitor=open_monitor, alert__stale_after=PATIENT) as cameras:
        made[0].hold()
        made[0].batches.clear()  # those of the goldens
        for number in range(1, 31):
            # of all that comes, of one camera twice as much, the engine answers one frame
            for name in ('front', 'front', 'left', 'rear'):
                cameras.publish(name, 10.0 + 0.01 * number, normal_frame(0, 24, 32))
            cameras.wait_until_received(2 * number, number, number)
            wait_until(lambda at=number: len(made[0].batches) == at, 'a frame in work')
            made[0].let_one_go()
            wait_until(lambda at=number: len(cameras.me.observations) == at, 'its answer')
        observed = Counter(m.status[0].hardware_id for m in cameras.me.observations)
        assert min(observed.values()) >= 0.8 * max(observed.values()), observed
        made[0].release()
        # what is in work or in a slot when a report is made is scored in the next one
        cameras.wait_for_inputs(
            lambda _, p: int(p['received']) == int(p['scored']) + int(p['dropped'])
        )


@pytest.mark.parametrize('batch', [0, 3])
def test_a_bag_of_the_frames_that_were_not_dropped_replays_as_every_camera_was_observed(
    tiny_bundle: Path, tmp_path: Path, batch: int
) -> None:
    made, open_monitor = _paced(tiny_bundle)
    sent = {
        (name, 10.0 + 0.1 * k): strange_frame() if 6 <= k < 18 else normal_frame(k)
        for k in range(24)
        for name in NAMES
    }
    first = normal_frame(50)
    with watching(
        open_monitor=open_monitor,
        alert__stale_after=PATIENT,
        input__max_wait=PATIENT,
        input__batch=batch,
    ) as cameras:
        made[0].batches.clear()  # those of the goldens
        for name in NAMES:
            cameras.publish_and_wait(name, 9.9, first)
        for number, ((name, stamp), rgb) in enumerate(sent.items()):
            # now and then the engine is too slow for a while, and newer frames replace older ones
            if number % 24 == 0:
                made[0].hold()
            if number % 24 < 12:
                cameras.publish(name, stamp, rgb)
            else:
                cameras.publish_and_wait(name, stamp, rgb)
            if number % 24 == 11:
                each = 1 + number // 3 + 1
                cameras.wait_until_received(each, each, each)
                made[0].release()
                cameras.wait_until_accounted()
        found = cameras.wait_for_inputs(
            lambda _, p: int(p['received']) == 25 == int(p['scored']) + int(p['dropped'])
        )
        assert all(int(pairs['dropped']) > 0 for _, pairs in found), 'nothing was dropped'
        online = {
            name: [
                (values(m)['raw_score'], values(m)['score'], values(m)['state'])
                for m in cameras.me.observations
                if m.status[0].hardware_id == name
            ]
            for name in NAMES
        }
        stamps = [
            (m.status[0].hardware_id, m.header.stamp.sec + m.header.stamp.nanosec * 1e-9)
            for m in cameras.me.observations
        ]
    with BagWriter(tmp_path / 'kept') as writer:
        for name, stamp in stamps:
            rgb = sent.get((name, round(stamp, 3)), first)
            writer.write_image(f'/{name}/image_raw', rgb, stamp)
    bundle, engine = Bundle.load(tiny_bundle), open_engine(Bundle.load(tiny_bundle))
    replayed: dict[str, list[tuple[str, str, str]]] = {name: [] for name in NAMES}
    with BagReader(tmp_path / 'kept') as bag:
        for o in replay(lambda _: Monitor(bundle, engine), bag.frames()):
            replayed[o.camera].append((repr(o.raw_score), repr(o.score), o.state.value))
    assert max(made[0].batches) == max(batch, 1)
    if batch:
        # of several pictures in one call the last bits may differ
        for name in NAMES:
            got, wanted = (np.array(seen[name]) for seen in (online, replayed))
            np.testing.assert_allclose(
                got[:, :2].astype(float), wanted[:, :2].astype(float), rtol=1e-6
            )
            assert got[:, 2].tolist() == wanted[:, 2].tolist()
    else:
        assert replayed == online
    # the comparison means something only where the states change
    assert {state for seen in online.values() for *_, state in seen} >= {'NORMAL', 'ALERT'}


def test_cameras_that_wait_share_the_next_call_its_hang_and_no_failure_to_publish(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, open_monitor = _paced(tiny_bundle)
    with watching(
        open_monitor=open_monitor, alert__stale_after=PATIENT, input__max_wait=HELD_S
    ) as cameras:
        set_live(cameras.node, input__batch=3)
        made[0].batches.clear()  # those of the goldens
        made[0].hold()
        cameras.publish('left', 10.0)
        wait_until(lambda: made[0].batches == [1], 'the first one in work')
        for name in NAMES:
            cameras.publish(name, 10.1)
        cameras.wait_for_inputs(lambda _, p: int(p['received']) == 1 + ('left' in p['topic']))

        def cannot_be_published(*_: Any) -> float:
            msg = 'no memory for a message'
            raise RuntimeError(msg)

        front = cameras.node._outputs.cameras[0]
        monkeypatch.setattr(front, 'publish_observation', cannot_be_published)
        made[0].let_one_go()
        wait_until(lambda: made[0].batches == [1, 3], 'the others in one call')
        set_live(cameras.node, alert__stale_after=0.3)
        cameras.wait_for_states('FAULT', 'FAULT', 'FAULT')
        assert all('has not answered' in cameras.reason(name) for name in NAMES)
        made[0].release()
        wait_until(lambda: (cameras.count('left'), cameras.count('rear')) == (2, 1), 'answers')
        assert cameras.count('front') == 0
        monkeypatch.undo()
        cameras.publish_and_wait('front', 10.2)


def test_frame_that_waited_for_too_long_is_late_and_not_scored(tiny_bundle: Path) -> None:
    made, open_monitor = _paced(tiny_bundle)
    with watching(open_monitor=open_monitor, alert__stale_after=PATIENT) as cameras:
        cameras.publish_and_wait('front', 10.0)
        made[0].hold()
        made[0].batches.clear()
        cameras.publish('front', 11.0)
        wait_until(lambda: made[0].batches == [1], 'the first one in work')
        for name in ('left', 'rear'):
            cameras.publish(name, 11.0)
        cameras.wait_until_received(2, 1, 1)
        set_live(cameras.node, input__max_wait=0.4)
        time.sleep(0.5)  # for which at least the two others have then waited
        made[0].release()
        found = cameras.wait_for_inputs(
            lambda _, p: 0 < int(p['received']) == int(p['scored']) + int(p['late'])
        )
        assert [int(pairs['late']) for _, pairs in found] == [0, 1, 1]
        set_live(cameras.node, input__max_wait=0.0)
        for name in NAMES:
            cameras.publish_and_wait(name, 12.0)


def test_fault_of_the_engine_is_the_fault_of_every_camera_in_one_message(
    tiny_bundle: Path,
) -> None:
    made, open_monitor = _paced(tiny_bundle)
    with watching(open_monitor=open_monitor, alert__stale_after=PATIENT) as cameras:
        cameras.publish_and_wait('front', 10.0)
        made[0].fails = True
        cameras.publish('left', 10.1)
        alert = cameras.wait_for_states('FAULT', 'FAULT', 'FAULT')
        assert {s.message for s in alert.status} == {'engine failed: the device fell off the bus'}
        cameras.me.wait_for_state(UNCONFIGURED)
        assert sum('FAULT' in states_of(a) for a in cameras.me.alerts) == 1
        # and it recovers
        cameras.me.activate()
        assert len(made) == 2
        cameras.wait_until_heard()
        for name in NAMES:
            cameras.publish_and_wait(name, 20.0)
        cameras.wait_for_states('NORMAL', 'NORMAL', 'NORMAL')


def test_engine_that_hangs_is_a_fault_of_the_camera_that_waits_and_no_frame_of_the_others(
    tiny_bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made, open_monitor = _paced(tiny_bundle)
    with watching(open_monitor=open_monitor, alert__stale_after=PATIENT) as cameras:
        cameras.publish_and_wait('left', 10.0)
        made[0].hold()
        made[0].batches.clear()
        cameras.publish('left', 10.1)
        wait_until(lambda: made[0].batches == [1], 'a frame in work')
        set_live(cameras.node, alert__stale_after=0.3)
        wait_until(lambda: 'not answered' in cameras.reason('left'), 'the hang to be told')
        cameras.wait_for_states('STALE', 'FAULT', 'STALE')
        levels = {'FAULT': DiagnosticStatus.ERROR, 'STALE': DiagnosticStatus.STALE}
        cameras.wait_for_inputs(lambda s, p: s.level == levels[p['state']])  # a report later
        # of the others nothing was waited for
        assert 'not answered' not in cameras.reason('front') + cameras.reason('rear')
        set_live(cameras.node, alert__stale_after=PATIENT)  # no silence follows the answer
        made[0].release()
        again = cameras.wait_for_states('STALE', 'NORMAL', 'STALE')
        assert again.status[1].message.endswith('s without an answer')
    said = capfd.readouterr().err
    assert said.count('the engine has not answered') == 1, 'once, however long it lasts'
    assert 'left: FAULT: ' in said


def test_thresholds_change_live_for_every_camera(tiny_bundle: Path) -> None:
    with watching(model__bundle=str(tiny_bundle), alert__stale_after=PATIENT) as cameras:
        (result,) = cameras.node.set_parameters([Parameter('alert.trigger', value=-100.0)])
        assert result.successful
        for name in NAMES:
            (status,) = cameras.publish_and_wait(name, 10.0).status
            assert _pairs(status)['threshold'] == '-100.0'
            assert _pairs(status)['state'] == 'SUSPECT'


def test_cameras_change_between_two_configurations(tiny_bundle: Path) -> None:
    with running_node(model__bundle=str(tiny_bundle)) as node, peer() as me:
        me.activate()
        me.publish_and_wait(image(normal_frame()))
        me.wait_for_alert('NORMAL')
        assert me.change(Transition.TRANSITION_DEACTIVATE)
        assert me.change(Transition.TRANSITION_CLEANUP)
        (result,) = node.set_parameters([Parameter('input.topics', value=TOPICS)])
        assert result.successful
        cameras = Cameras(me)
        me.activate()
        cameras.wait_until_heard()
        cameras.wait_for_states('STALE', 'STALE', 'STALE')
        for name in NAMES:
            cameras.publish_and_wait(name, 10.0)
        wanted = {f'/ood_monitor/{name}/score' for name in NAMES}

        def offered() -> set[str]:
            topics = {topic for topic, _ in node.get_topic_names_and_types()}
            return {t for t in topics if t.endswith('score') and node.count_publishers(t)}

        # what the graph knows of a node comes behind its state
        wait_until(lambda: offered() == wanted, 'the topics of these cameras alone in the graph')


ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ('example', 'topics'),
    [
        ('three', ['/front/image_raw', '/left/image_raw', '/right/image_raw']),
        ('compressed', ['/camera/image/compressed']),
    ],
)
def test_example_configures_as_it_says_and_holds_no_unknown_name(
    tiny_bundle: Path, capfd: pytest.CaptureFixture[str], example: str, topics: list[str]
) -> None:
    path = ROOT / 'config' / 'cameras' / f'{example}.param.yaml'
    given = ['--ros-args', '--params-file', str(path)]
    with running_node(model__bundle=str(tiny_bundle), cli_args=given) as node, peer() as me:
        me.activate()
        subscribed = [s.topic_name for s in node.subscriptions]
        names = [camera.camera for camera in node._outputs.cameras]
    assert subscribed == topics
    assert names == [topic.split('/')[1] for topic in topics]
    assert 'unknown parameter' not in capfd.readouterr().err


def test_every_example_is_tested() -> None:
    found = {path.name for path in (ROOT / 'config' / 'cameras').iterdir()}
    assert found == {'three.param.yaml', 'compressed.param.yaml'}
