"""A camera that is blind, answers that are late, an engine that never comes back: all are told."""

from __future__ import annotations

import math
from pathlib import Path
import threading
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from rclpy.parameter import Parameter

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines import open_engine
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.health import HealthLimits
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.records import Reading
from ros_ood_monitor.ros import monitor_node
from ros_ood_monitor.ros.camera.counts import StreamCounts
from ros_ood_monitor.ros.camera.health_settings import health_limits
from ros_ood_monitor.ros.parameters.settings import Settings
from tests.ros.harness import (
    ACTIVE,
    DEADLINE_S,
    HELD_S,
    image,
    normal_frame,
    peer,
    running_node,
    set_live,
    UNCONFIGURED,
    values,
    wait_until,
)

pytestmark = pytest.mark.usefixtures('ros')

BLACK = np.zeros((60, 90, 3), np.uint8)


class Hanging:
    """A real engine that answers only when it is let, and is closed by nobody else."""

    batch = 1

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.precision = engine.precision
        self.open, self.entered, self.left = threading.Event(), 0, 0
        self.open.set()  # configuring proves the engine

    def infer(self, batch: Any) -> Reading:
        self.entered += 1
        assert self.open.wait(HELD_S)
        self.left += 1
        reading: Reading = self._engine.infer(batch)
        return reading

    def warm_up(self) -> None:
        self._engine.warm_up()

    def describe(self) -> dict[str, str]:
        facts: dict[str, str] = self._engine.describe()
        return facts

    def close(self) -> None:
        pass


def test_blind_camera_is_a_fault_in_alert_observation_diagnostics_and_log(
    tiny_bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        running_node(model__bundle=str(tiny_bundle), alert__stale_after=30.0),
        peer() as me,
    ):
        me.activate()
        me.publish_and_wait(image(normal_frame(0), stamp=10.0))
        _, pairs = me.wait_for_status('health', lambda s, _: s.level == DiagnosticStatus.OK)
        assert pairs['health'] == 'ok'
        assert float(pairs['black']) > 100.0
        for k in range(1, 5):
            seen = values(me.publish_and_wait(image(BLACK, stamp=10.0 + 0.1 * k)))
            assert seen['health'] == 'black'
            assert seen['state'] == ('NORMAL' if k < 3 else 'FAULT')
            assert 0.0 <= float(seen['score']) <= 1.0
        wait_until(lambda: len(me.scores) == 5, 'the scores')
        assert [math.isnan(score.data) for score in me.scores] == [False] + 4 * [True]
        alert = me.wait_for_alert('FAULT')
        assert alert.header.stamp.nanosec == 300_000_000, 'the third black frame'
        assert alert.status[0].level == DiagnosticStatus.ERROR
        assert alert.status[0].message.startswith('the picture is black: expected at least 8')
        status, pairs = me.wait_for_status(
            'health',
            # not the report from before the last one
            lambda s, p: s.level == DiagnosticStatus.ERROR and p['unusable_frames'] == '4',
        )
        assert 'the picture is black' in status.message
        assert pairs['failed_black'] == '4'
        for k in range(5, 8):
            me.publish_and_wait(image(normal_frame(k), stamp=10.0 + 0.1 * k))
        me.wait_for_alert('NORMAL')
        wait_until(lambda: len(me.scores) == 8, 'the scores')
        # until the fault is over nothing is judged, however the picture looks
        assert [math.isnan(score.data) for score in me.scores[5:]] == [True, True, False]
        me.wait_for_status('health', lambda s, _: s.level == DiagnosticStatus.OK)
        # a fault between two reports is told by the next one
        start = len(me.statuses)
        me.publish_and_wait(image(BLACK, stamp=11.0))
        me.publish_and_wait(image(normal_frame(9), stamp=11.1))
        status, _ = me.wait_for_status(
            'health', lambda s, _: s.level == DiagnosticStatus.WARN, start=start
        )
        assert 'the picture is black' in status.message
    said = capfd.readouterr().err
    assert said.count('FAULT: the picture is black') == 1
    assert said.count('no longer: the picture is black') == 1


def test_checks_are_tuned_and_turned_off_live_and_wrong_values_refused(tiny_bundle: Path) -> None:
    with (
        running_node(model__bundle=str(tiny_bundle), alert__stale_after=30.0) as node,
        peer() as me,
    ):
        me.activate()

        def set_one(name: str, value: Any) -> str:
            (result,) = node.set_parameters([Parameter(name, value=value)])
            return str(result.reason)

        stamps = iter(np.arange(10.0, 20.0, 0.1))

        def health_of(rgb: Any) -> str:
            return values(me.publish_and_wait(image(rgb, stamp=float(next(stamps)))))['health']

        assert health_of(BLACK) == 'black'
        assert set_one('health.ignore', ['black']) == ''
        assert health_of(BLACK) == 'ok'
        assert set_one('health.ignore', ['']) == ''
        assert set_one('health.black', 0.0) == ''
        assert health_of(BLACK) == 'ok'
        assert set_one('health.black', 200.0) == ''
        assert health_of(normal_frame()) == 'black'
        assert set_one('health.enabled', value=False) == ''
        assert health_of(BLACK) == 'off'
        me.wait_for_status('health', lambda s, p: p['health'] == 'off' and 'false' in s.message)
        assert "'health.ignore': unknown health check" in set_one('health.ignore', ['frost'])
        assert "'health.noise' must lie in 0 to 255 grey levels, got -1.0" in set_one(
            'health.noise', -1.0
        )
        assert "'health.black' must lie in 0 to 255" in set_one('health.black', 300.0)
        assert "'health.saturated' must lie in 0 to 1, got 7.0" in set_one('health.saturated', 7.0)
        assert "'health.frozen' must lie in 0 to 3600 s" in set_one('health.frozen', math.inf)
        assert set_one('health.saturated', math.nan) == ''
        description = node.describe_parameter('health.saturated')
        assert description.additional_constraints == '.nan or 0 to 1'
        assert 'health.frames' in set_one('health.frames', 0)


def test_rate_limit_of_the_node_is_no_slow_camera() -> None:
    bundle = HealthLimits.from_table(None, frame_rate_hz=30.0)
    assert health_limits(Settings.defaults(), bundle).limits['rate'][0] == 15.0
    limited = Settings.defaults(input_max_rate_hz=10.0)
    assert health_limits(limited, bundle).limits['rate'][0] == 5.0
    unknown = HealthLimits.from_table(None)
    assert 'rate' not in health_limits(limited, unknown).limits
    with pytest.raises(ParameterError, match=r"'health\.ignore': unknown"):
        health_limits(Settings.defaults(health_ignore=('frost',)), bundle)


def test_answers_after_the_deadline_are_counted_and_warned_of(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a report comes when it is asked for, and never between two of the frames
    monkeypatch.setattr(monitor_node, '_DIAGNOSTICS_PERIOD_S', HELD_S)
    with (
        running_node(model__bundle=str(tiny_bundle), input__deadline_ms=0.001) as node,
        peer() as me,
    ):
        me.activate()

        def report_after(frames: int) -> tuple[DiagnosticStatus, dict[str, str]]:
            assert node._watch is not None
            (stream,) = node._watch._scoring.streams
            # an answer is counted behind its publishing
            wait_until(lambda: stream.counts.snapshot(0.0).scored == frames, 'the counting')
            start = len(me.statuses)
            node._report()
            return me.wait_for_status('input', lambda *_: True, start=start)

        for k in range(3):
            me.publish_and_wait(image(normal_frame(k), stamp=10.0 + k))
        status, pairs = report_after(3)
        assert pairs['overdue'] == '3'
        assert status.level == DiagnosticStatus.WARN
        assert status.message.startswith('3 frames answered after input.deadline_ms')
        assert pairs['scored'] == '3', 'they are published all the same'
        set_live(node, input__deadline_ms=60000.0)
        me.publish_and_wait(image(normal_frame(4), stamp=13.0))
        status, pairs = report_after(4)
        assert (pairs['overdue'], status.level) == ('3', DiagnosticStatus.OK)


def test_deadline_is_judged_by_the_older_of_image_and_answer() -> None:
    counts = StreamCounts(0.0)
    for latency, processing in ((20.0, 5.0), (60.0, 5.0), (float('nan'), 5.0), (3.0, 60.0)):
        counts.on_scored(latency, processing, deadline_ms=50.0)
    counts.on_scored(900.0, 900.0)  # none is set
    assert counts.snapshot(1.0).overdue == 2


def test_engine_that_never_comes_back_is_a_fault_and_holds_no_transition_up(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(monitor_node, '_STOP_TIMEOUT_S', 0.3)
    bundle = Bundle.load(tiny_bundle)
    made: list[Hanging] = []

    def open_monitor(settings: Any) -> Monitor:
        made.append(Hanging(open_engine(bundle)))
        return Monitor(bundle, made[-1])

    with running_node(open_monitor=open_monitor) as node, peer() as me:
        me.activate()
        me.publish_and_wait(image(normal_frame(0), stamp=10.0))
        hung = made[0]
        hung.open.clear()
        entered = hung.entered
        me.publish(image(normal_frame(1), stamp=10.1))
        wait_until(lambda: hung.entered > entered, 'the engine to hang')
        set_live(node, alert__stale_after=0.3)
        alert = me.wait_for_alert('FAULT')
        assert 'the engine has not answered' in alert.status[0].message
        status, _ = me.wait_for_status('input', lambda s, _: s.level == DiagnosticStatus.ERROR)
        assert status.message.startswith('the engine is silent for ')
        # the way out of it
        assert not me.change(Transition.TRANSITION_DEACTIVATE), 'it cannot be activated again'
        assert me.state() == UNCONFIGURED
        status, _ = me.wait_for_status('model', lambda s, _: s.level == DiagnosticStatus.ERROR)
        assert status.message == (
            'the engine did not come back and is left behind; configure anew'
        )
        assert status.message in capfd.readouterr().err
        set_live(node, alert__stale_after=DEADLINE_S)  # a pause of the machine is no silence
        me.activate()
        assert me.state() == ACTIVE
        assert len(made) == 2
        seen = me.publish_and_wait(image(normal_frame(2), stamp=20.0))
        assert values(seen)['state'] == 'NORMAL'
        # what comes back at last is of nobody's interest
        count = len(me.observations)
        hung.open.set()
        wait_until(lambda: hung.left == hung.entered, 'the old engine to come back')
        me.publish_and_wait(image(normal_frame(3), stamp=20.1))
        assert len(me.observations) == count + 1
        assert me.alerts[-1].status[0].message == 'like the training data'
