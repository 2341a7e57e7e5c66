from __future__ import annotations

from pathlib import Path
import threading
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.decode import decode_compressed
from ros_ood_monitor.engines import open_engine
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.records import Frame, Reading
from tests.ros.harness import (
    BEST_EFFORT,
    compressed,
    HELD_S,
    image,
    normal_frame,
    peer,
    RELIABLE,
    running_node,
    set_live,
    strange_frame,
    values,
    wait_until,
)

ERROR = DiagnosticStatus.ERROR
WARN = DiagnosticStatus.WARN

pytestmark = pytest.mark.usefixtures('ros')


def _offline_raw_score(bundle: Path, rgb: Any) -> float:
    monitor = Monitor.from_bundle(Bundle.load(bundle))
    return monitor.observe(Frame(rgb)).raw_score


def test_header_comes_back_unchanged_to_the_nanosecond(tiny_bundle: Path) -> None:
    message = image(normal_frame(), frame_id='front/optical')
    message.header.stamp.sec, message.header.stamp.nanosec = 1_700_000_001, 123_456_789
    with running_node(model__bundle=str(tiny_bundle)), peer() as me:
        me.activate()
        observation = me.publish_and_wait(message)
        alert = me.wait_for_alert('NORMAL')
    assert observation.header == message.header
    assert alert.header == message.header
    assert observation.status[0].hardware_id == 'front/optical'


def test_observation_has_exactly_one_status_with_the_documented_values(tiny_bundle: Path) -> None:
    bundle = Bundle.load(tiny_bundle)
    with running_node(model__bundle=str(tiny_bundle), input__cameras=['left']), peer() as me:
        me.activate()
        message = me.publish_and_wait(image(normal_frame()))
        wait_until(lambda: me.scores, 'a score')
    (status,) = message.status
    assert status.name == 'ood_monitor: observation'
    assert status.hardware_id == 'left'
    assert status.level == DiagnosticStatus.OK
    assert status.message == 'like the training data'
    found = values(message)
    assert list(found) == [
        'raw_score',
        'score',
        'threshold',
        'state',
        'health',
        'latency_ms',
        'processing_ms',
        'bundle',
    ]
    assert found['bundle'] == f'tiny@{bundle.digest[:12]}'
    assert float(found['threshold']) == bundle.calibration().operating_point.trigger
    assert me.scores[0].data == pytest.approx(float(found['score']), abs=1e-6)
    assert float(found['processing_ms']) > 0.0


def test_latency_is_publish_time_minus_stamp_and_nan_for_stamps_of_another_clock(
    tiny_bundle: Path,
) -> None:
    with running_node(model__bundle=str(tiny_bundle)) as node, peer() as me:
        me.activate()
        now = node.get_clock().now().nanoseconds * 1e-9
        fresh = values(me.publish_and_wait(image(normal_frame(), stamp=now)))
        old = values(me.publish_and_wait(image(normal_frame(), stamp=100.0)))
    assert 0.0 < float(fresh['latency_ms']) < 60_000.0
    assert float(fresh['latency_ms']) > float(fresh['processing_ms'])
    assert np.isnan(float(old['latency_ms']))


@pytest.mark.parametrize('kind', ['jpeg', 'png'])
def test_compressed_frames_arrive_on_the_remapped_topic_with_compressed_appended(
    tiny_bundle: Path, kind: str
) -> None:
    suffix = '.jpg' if kind == 'jpeg' else '.png'
    file = cv2.imencode(suffix, normal_frame(4, 40, 70))[1].tobytes()
    with (
        running_node(
            model__bundle=str(tiny_bundle),
            input__transport='compressed',
            cli_args=['--ros-args', '-r', 'image:=/cam/picture'],
        ),
        peer(topic='/cam/picture') as me,
    ):
        me.activate()
        found = values(me.publish_and_wait(compressed(file, kind=kind)))
    assert float(found['raw_score']) == _offline_raw_score(tiny_bundle, decode_compressed(file))


def test_frames_of_changing_size_are_scored(tiny_bundle: Path) -> None:
    with running_node(model__bundle=str(tiny_bundle)), peer() as me:
        me.activate()
        for height, width in [(60, 90), (90, 60), (1, 1), (480, 640), (33, 35)]:
            rgb = normal_frame(height, height, width)
            found = values(me.publish_and_wait(image(rgb)))
            assert float(found['raw_score']) == _offline_raw_score(tiny_bundle, rgb)


def _broken_frames() -> dict[str, tuple[Any, str]]:
    unknown = image(normal_frame(), encoding='yuv_unheard_of')
    empty = image(normal_frame())
    empty.height = empty.width = empty.step = 0
    empty.data = []
    short = image(normal_frame())
    short.data = short.data[:-5]
    return {
        'unknown encoding': (unknown, 'unknown encoding'),
        'zero size': (empty, 'image is empty'),
        'truncated': (short, 'truncated'),
    }


@pytest.mark.parametrize('mistake', _broken_frames())
def test_bad_frame_is_counted_and_the_next_one_scored(tiny_bundle: Path, mistake: str) -> None:
    message, reason = _broken_frames()[mistake]
    with running_node(model__bundle=str(tiny_bundle)), peer() as me:
        me.activate()
        me.publish(message)
        status, pairs = me.wait_for_status('input', lambda _, p: p['decode_errors'] == '1')
        assert reason in pairs['last_decode_error']
        assert status.level in (DiagnosticStatus.WARN, DiagnosticStatus.STALE)
        assert len(me.observations) == 0
        me.publish_and_wait(image(normal_frame()))


def test_garbage_jpeg_is_counted_and_the_next_one_scored(tiny_bundle: Path) -> None:
    file = cv2.imencode('.jpg', normal_frame())[1].tobytes()
    with running_node(model__bundle=str(tiny_bundle), input__transport='compressed'), peer() as me:
        me.activate()
        me.publish(compressed(file[:-40]))
        me.wait_for_status('input', lambda _, p: p['decode_errors'] == '1')
        me.publish_and_wait(compressed(file))


class _Gate:
    """A real engine that answers only when it is let: the slowest engine there is."""

    batch = 1

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.precision = engine.precision
        self.open = threading.Event()
        self.entered = 0

    def infer(self, batch: Any) -> Reading:
        self.entered += 1
        assert self.open.wait(HELD_S)
        reading: Reading = self._engine.infer(batch)
        return reading

    def warm_up(self) -> None:
        self._engine.warm_up()

    def describe(self) -> dict[str, str]:
        facts: dict[str, str] = self._engine.describe()
        return facts

    def close(self) -> None:
        self.open.set()
        self._engine.close()


def _gated(tiny_bundle: Path) -> tuple[_Gate, Any]:
    bundle = Bundle.load(tiny_bundle)
    gate = _Gate(open_engine(bundle))
    gate.open.set()  # configuring proves the engine
    return gate, lambda settings: Monitor(bundle, gate)


def test_unstamped_frames_are_given_the_time_of_their_arrival(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, open_monitor = _gated(tiny_bundle)
    with running_node(open_monitor=open_monitor, input__max_wait=0.0) as node, peer() as me:
        me.activate()
        stamps: list[float] = []
        monkeypatch.setattr(
            node._snapshots, 'keep', lambda _key, _message, seen: stamps.append(seen.stamp)
        )

        def now() -> float:
            return float(node.get_clock().now().nanoseconds) * 1e-9

        gate.open.clear()
        entered = gate.entered
        times = [now()]
        me.publish(image(normal_frame(0), stamp=0.0))
        wait_until(lambda: gate.entered > entered, 'the first frame in work')
        times.append(now())
        me.publish(image(normal_frame(1), stamp=0.0))
        assert node._watch is not None
        (stream,) = node._watch._scoring.streams
        wait_until(lambda: stream.counts.received == 2, 'the second one behind it')
        times.append(now())
        gate.open.set()
        wait_until(lambda: len(me.observations) == 2, 'both answers')
    assert times == sorted(times)
    assert times[0] <= stamps[0] <= times[1] <= stamps[1] <= times[2]
    assert all(m.header.stamp.sec == 0 for m in me.observations), 'headers are passed on'


def test_newest_frame_wins_while_the_engine_is_busy_and_drops_are_counted(
    tiny_bundle: Path,
) -> None:
    gate, open_monitor = _gated(tiny_bundle)
    parameters: dict[str, Any] = {
        'input__depth': 50,
        'input__reliability': 'reliable',
        'input__max_wait': 0.0,  # the newest waits as long as the gate is closed
    }
    with running_node(open_monitor=open_monitor, **parameters), peer() as me:
        me.activate()
        gate.open.clear()
        entered = gate.entered
        me.publish(image(normal_frame(0), stamp=1.0))
        wait_until(lambda: gate.entered > entered, 'the engine to start on the first frame')
        for k in range(1, 11):
            me.publish(image(normal_frame(k), stamp=1.0 + 0.1 * k))
        _, pairs = me.wait_for_status('input', lambda _, p: p['received'] == '11')
        assert pairs['dropped'] == '9'
        gate.open.set()
        wait_until(lambda: len(me.observations) == 2, 'the first and the newest frame')
        stamps = [m.header.stamp.sec + m.header.stamp.nanosec * 1e-9 for m in me.observations]
        assert stamps == pytest.approx([1.0, 2.0])
        _, pairs = me.wait_for_status('input', lambda _, p: p['scored'] == '2')
        assert len(me.observations) == 2


def test_services_and_reports_go_on_while_the_engine_hangs(tiny_bundle: Path) -> None:
    gate, open_monitor = _gated(tiny_bundle)
    with running_node(open_monitor=open_monitor) as node, peer() as me:
        me.activate()
        me.publish_and_wait(image(normal_frame(), stamp=1.0))
        me.wait_for_alert('NORMAL')
        gate.open.clear()
        entered = gate.entered
        me.publish(image(normal_frame(), stamp=1.1))
        wait_until(lambda: gate.entered > entered, 'the engine to hang')
        set_live(node, alert__stale_after=0.3)
        alert = me.wait_for_alert('FAULT')
        assert 'the engine has not answered' in alert.status[0].message
        assert me.state() == 3
        me.wait_for_status('input', lambda s, _: s.level == DiagnosticStatus.ERROR)
        gate.open.set()
        me.wait_for_alert('NORMAL')


@pytest.mark.parametrize('depth', [1, 5])
def test_frames_of_a_burst_are_received_or_counted_as_missed(
    tiny_bundle: Path, depth: int
) -> None:
    with running_node(model__bundle=str(tiny_bundle), input__depth=depth), peer() as me:
        me.activate()
        me.publish_and_wait(image(normal_frame(), stamp=1.0))  # numbering is known from here on
        for k in range(1, 61):
            me.publish(image(normal_frame(), stamp=1.0 + 0.01 * k))
        wait_until(lambda: me.observations[-1].header.stamp.nanosec == 600_000_000, 'the newest')
        me.wait_for_status(
            'input', lambda _, p: int(p['received']) + int(p['missed_frames']) == 61
        )


def test_rate_limit_skips_frames_and_counts_them(tiny_bundle: Path) -> None:
    parameters: dict[str, Any] = {
        'model__bundle': str(tiny_bundle),
        'input__max_rate_hz': 0.01,
        'alert__stale_after': 200.0,
        'input__reliability': 'reliable',
        'input__depth': 10,
    }
    with running_node(**parameters), peer() as me:
        me.activate()
        me.publish_and_wait(image(normal_frame(), stamp=1.0))
        for k in range(3):
            me.publish(image(normal_frame(), stamp=1.1 + 0.1 * k))
        _, pairs = me.wait_for_status('input', lambda _, p: p['skipped'] == '3')
        assert (pairs['scored'], pairs['dropped']) == ('1', '0')


def test_publisher_with_another_reliability_shows_in_diagnostics(tiny_bundle: Path) -> None:
    parameters: dict[str, Any] = {
        'model__bundle': str(tiny_bundle),
        'input__reliability': 'reliable',
        'alert__stale_after': 0.2,
    }
    with running_node(**parameters) as node, peer(reliability=BEST_EFFORT) as me:
        me.activate()
        unheard = me.node.create_publisher(Image, 'image', BEST_EFFORT)
        status, pairs = me.wait_for_status(
            'input',
            lambda s, p: p['incompatible_qos'] == '1' and s.level == ERROR,
        )
        assert pairs['incompatible_policy'] == 'RELIABILITY'
        cure = (
            'a publisher on /image cannot be heard: it offers reliability best_effort, not '
            'reliable; set input.reliability: best_effort'
        )
        assert status.message == cure
        # it is told beside one that works, too
        assert node.set_parameters([Parameter('alert.stale_after', value=60.0)])[0].successful
        camera = me.node.create_publisher(Image, 'image', RELIABLE)
        wait_until(camera.get_subscription_count, 'the node to subscribe')
        camera.publish(image(normal_frame()))
        me.wait_for_status('input', lambda s, _: (s.level, s.message) == (WARN, cure))
        # and no more once it is gone, though the middleware goes on counting it
        me.node.destroy_publisher(unheard)
        _, pairs = me.wait_for_status('input', lambda s, _: s.message.startswith('no frame since'))
        assert (pairs['incompatible_qos'], pairs['publishers']) == ('1', '1')


def test_override_that_cannot_be_met_is_named_with_its_cure(tiny_bundle: Path) -> None:
    name = 'qos_overrides./image.subscription.durability'
    given = ['--ros-args', '-p', f'{name}:=transient_local']
    with (
        running_node(model__bundle=str(tiny_bundle), alert__stale_after=0.2, cli_args=given),
        peer() as me,
    ):
        me.activate()
        me.node.create_publisher(Image, 'image', RELIABLE)
        status, _ = me.wait_for_status('input', lambda s, _: s.level == ERROR)
        assert status.message.endswith(f'not transient_local; set {name}: volatile')


def test_two_publishers_on_a_topic_are_a_warning_and_miss_no_frame(tiny_bundle: Path) -> None:
    with running_node(model__bundle=str(tiny_bundle)), peer() as me:
        me.activate()
        for k in range(5):
            me.publish_and_wait(image(normal_frame(), stamp=1.0 + k))
        other = me.node.create_publisher(Image, 'image', RELIABLE)
        wait_until(other.get_subscription_count, 'the node to subscribe')
        for k in range(5):
            stamp = 6.0 + k
            me.publish_and_wait(image(normal_frame(), stamp=stamp))
            other.publish(image(normal_frame(), stamp=stamp + 0.5))
            wait_until(lambda seen=7 + 2 * k: len(me.observations) == seen, 'its observation')
        said = '2 publishers on /image: one camera a topic; meanwhile missed_frames does not count'
        status, pairs = me.wait_for_status(
            'input', lambda s, p: p['scored'] == '15' and s.message == said
        )
        assert (status.level, pairs['missed_frames']) == (WARN, '0')


def test_missing_camera_shows_in_diagnostics_with_the_topic(tiny_bundle: Path) -> None:
    with (
        running_node('/rover', model__bundle=str(tiny_bundle), alert__stale_after=0.2),
        peer(namespace='/rover') as me,
    ):
        me.activate()
        # a report from before it has lasted for long enough is a WARN
        status, _ = me.wait_for_status(
            'input', lambda s, _: 'no publisher' in s.message and s.level == DiagnosticStatus.STALE
        )
        assert status.name == 'rover/ood_monitor: input'
        assert '/rover/image' in status.message


def test_best_effort_subscription_hears_reliable_and_best_effort_cameras(
    tiny_bundle: Path,
) -> None:
    for reliability in (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT):
        profile = QoSProfile(depth=1, reliability=reliability)
        with running_node(model__bundle=str(tiny_bundle)), peer(reliability=profile) as me:
            me.activate()
            me.publish_and_wait(image(strange_frame()))


def test_a_raw_node_ignores_compressed_frames(tiny_bundle: Path) -> None:
    with running_node(model__bundle=str(tiny_bundle)), peer() as me:
        me.activate()
        publisher = me.node.create_publisher(CompressedImage, 'image/compressed', BEST_EFFORT)
        me.publish_and_wait(image(normal_frame()))
        assert publisher.get_subscription_count() == 0


def test_camera_that_leaves_is_a_warning_at_once(tiny_bundle: Path) -> None:
    with running_node(model__bundle=str(tiny_bundle), alert__stale_after=60.0), peer() as me:
        me.activate()
        me.publish_and_wait(image(normal_frame()))
        status, _ = me.wait_for_status(
            'input', lambda s, p: s.level == WARN and p['scored'] == '1'
        )
        assert status.message == 'no frame since the last report'
        me.node.destroy_publisher(me.publisher(Image))
        status, _ = me.wait_for_status('input', lambda s, p: p['publishers'] == '0')
        assert status.level == WARN
        assert status.message.startswith('camera gone: no publisher on /image for ')
