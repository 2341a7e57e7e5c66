from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines import open_engine
from ros_ood_monitor.errors import EngineError
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.ros.messages import qos
from tests.ros.harness import (
    image,
    normal_frame,
    Peer,
    peer,
    running_node,
    set_live,
    strange_frame,
    UNCONFIGURED,
    values,
    wait_until,
)

pytestmark = pytest.mark.usefixtures('ros')

# longer than any pause of a busy test machine, so that only the test that wants STALE gets it
PATIENT = 60.0


def _play(me: Peer, frames: str, start: float = 10.0) -> list[str]:
    """Publish n(ormal) and s(trange) frames 0.1 s apart, paced, and return the states."""
    states = []
    for k, kind in enumerate(frames):
        rgb = normal_frame(k) if kind == 'n' else strange_frame()
        states.append(values(me.publish_and_wait(image(rgb, stamp=start + 0.1 * k)))['state'])
    return states


def test_three_strange_frames_raise_an_alert_that_five_normal_ones_clear(
    tiny_bundle: Path,
) -> None:
    parameters: dict[str, Any] = {
        'model__bundle': str(tiny_bundle),
        'alert__stale_after': PATIENT,
        # at a low release the 5 frames in a row would depend on the seeds
        'alert__release': Bundle.load(tiny_bundle).calibration().operating_point.trigger,
    }
    with running_node(**parameters), peer() as me:
        me.wait_for_alert('STALE')
        me.activate()
        states = _play(me, 'nn' + 'ssss' + 'nnnnnn')
        assert states == [
            *['NORMAL'] * 2,
            *['SUSPECT'] * 2,
            *['ALERT'] * 2,
            *['ALERT'] * 4,
            *['NORMAL'] * 2,
        ]
        wait_until(lambda: len(me.alerts) == 5, 'five changes')
        changes = [(values(a)['state'], a.status[0].level) for a in me.alerts]
        assert changes == [
            ('STALE', DiagnosticStatus.STALE),
            ('NORMAL', DiagnosticStatus.OK),
            ('SUSPECT', DiagnosticStatus.WARN),
            ('ALERT', DiagnosticStatus.ERROR),
            ('NORMAL', DiagnosticStatus.OK),
        ]
        raised, cleared = me.alerts[3], me.alerts[4]
        # each carries the header of the frame that caused it: the third strange, the fifth normal
        assert raised.header.stamp.sec + raised.header.stamp.nanosec * 1e-9 == pytest.approx(10.4)
        assert cleared.header.stamp.sec == 11
        # from the first frame in ALERT to the first one back in NORMAL, as a replay counts
        assert float(values(raised)['duration']) == 0.0
        assert float(values(cleared)['duration']) == pytest.approx(0.6)
        peak = max(float(values(o)['raw_score']) for o in me.observations)
        assert float(values(cleared)['peak']) == peak
        assert values(cleared)['reason'] == cleared.status[0].message


def test_late_joiner_is_told_the_alert_that_holds(tiny_bundle: Path) -> None:
    parameters: dict[str, Any] = {
        'model__bundle': str(tiny_bundle),
        'alert__stale_after': PATIENT,
    }
    with running_node(**parameters), peer() as me:
        me.activate()
        _play(me, 'nsss')
        me.wait_for_alert('ALERT')
        late: list[DiagnosticArray] = []
        me.node.create_subscription(DiagnosticArray, 'ood_monitor/alert', late.append, qos.ALERT)
        wait_until(lambda: late, 'the alert that was raised before')
        assert values(late[0])['state'] == 'ALERT'


def test_late_joiner_of_a_node_that_never_ran_is_told_stale() -> None:
    with running_node(), peer() as me:
        alert = me.wait_for_alert('STALE')
        assert alert.status[0].message == 'no scores: the node is not active yet'


def test_silence_turns_stale_and_the_next_frame_ends_it(tiny_bundle: Path) -> None:
    parameters: dict[str, Any] = {'model__bundle': str(tiny_bundle), 'alert__stale_after': PATIENT}
    with running_node(**parameters) as node, peer() as me:
        me.activate()
        _play(me, 'n')
        me.wait_for_alert('NORMAL')
        set_live(node, alert__stale_after=0.3)
        alert = me.wait_for_alert('STALE')
        assert 'without a frame' in alert.status[0].message
        # image time goes on where the last frame left it: no wall clock
        stamp = alert.header.stamp.sec + alert.header.stamp.nanosec * 1e-9
        assert 10.3 <= stamp < 10.0 + PATIENT
        assert alert.header.frame_id == 'camera_optical_frame'
        me.wait_for_status('input', lambda s, _: s.level == DiagnosticStatus.STALE)
        set_live(node, alert__stale_after=PATIENT)  # no answer is late
        _play(me, 'n', start=110.0)
        # the reason and the duration are the same stretch of image time
        again = me.wait_for_alert('NORMAL')
        assert values(again)['reason'] == (
            'like the training data again, after 100.00 s without a frame to score'
        )
        assert float(values(again)['duration']) == pytest.approx(100.0)


def test_activated_node_without_a_frame_says_stale_and_never_normal(tiny_bundle: Path) -> None:
    with running_node(model__bundle=str(tiny_bundle), alert__stale_after=0.2), peer() as me:
        me.activate()
        wait_until(
            lambda: me.alerts and 'without a frame' in me.alerts[-1].status[0].message,
            'STALE by silence',
        )
        assert {values(alert)['state'] for alert in me.alerts} == {'STALE'}


def test_silence_in_which_frames_were_left_out_does_not_say_that_none_came(
    tiny_bundle: Path,
) -> None:
    parameters: dict[str, Any] = {
        'alert__stale_after': 2000.0,  # two periods of the rate
        'input__max_rate_hz': 0.001,
        'input__reliability': 'reliable',
    }
    with running_node(model__bundle=str(tiny_bundle), **parameters) as node, peer() as me:
        me.activate()
        _play(me, 'n')
        for k in range(3):
            me.publish(image(normal_frame(), stamp=10.01 + 0.01 * k))
        me.wait_for_alert('NORMAL')
        me.wait_for_status('input', lambda _, pairs: pairs['skipped'] == '3')
        # the rate first: as it was, it is refused beside a short silence
        set_live(node, input__max_rate_hz=10.0, alert__stale_after=0.3)
        reason = me.wait_for_alert('STALE').status[0].message
        assert reason.endswith(' s without a score; input.max_rate_hz left out 3 frames in it')


def test_undecodable_frames_are_silence(tiny_bundle: Path) -> None:
    parameters: dict[str, Any] = {'alert__stale_after': PATIENT}
    with running_node(model__bundle=str(tiny_bundle), **parameters) as node, peer() as me:
        me.activate()
        _play(me, 'n')
        me.wait_for_alert('NORMAL')
        broken = image(normal_frame(), encoding='unheard_of')
        me.publish(broken)
        me.wait_for_status('input', lambda _, pairs: pairs['decode_errors'] == '1')
        set_live(node, alert__stale_after=0.3)

        def publish_and_look() -> bool:
            me.publish(broken)
            return values(me.alerts[-1])['state'] == 'STALE'

        wait_until(publish_and_look, 'STALE although frames arrive')
        reason = me.alerts[-1].status[0].message
        assert ' s without a usable frame (last: unknown encoding' in reason


def test_gap_between_stamps_is_an_interruption(tiny_bundle: Path) -> None:
    with running_node(model__bundle=str(tiny_bundle), alert__stale_after=PATIENT), peer() as me:
        me.activate()
        assert _play(me, 'nss')[-1] == 'SUSPECT'
        # the third strange frame comes a minute later by its stamp: counting starts anew
        assert _play(me, 'ss', start=100.0) == ['SUSPECT', 'SUSPECT']


class _Breaking:
    """A real engine that fails at the n-th frame after it was proven."""

    batch = 1

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.precision = engine.precision
        self.fails = False

    def infer(self, batch: Any) -> Any:
        if self.fails:
            msg = 'the device fell off the bus'
            raise EngineError(msg)
        return self._engine.infer(batch)

    def warm_up(self) -> None:
        self._engine.warm_up()

    def describe(self) -> dict[str, str]:
        facts: dict[str, str] = self._engine.describe()
        return facts

    def close(self) -> None:
        self._engine.close()


def test_engine_failure_is_one_fault_and_leads_to_unconfigured_from_where_it_recovers(
    tiny_bundle: Path,
) -> None:
    bundle = Bundle.load(tiny_bundle)
    made: list[_Breaking] = []

    def open_monitor(settings: Any) -> Monitor:
        made.append(_Breaking(open_engine(bundle)))
        return Monitor(bundle, made[-1])

    with running_node(open_monitor=open_monitor), peer() as me:
        me.activate()
        _play(me, 'n')
        made[0].fails = True
        me.publish(image(normal_frame(), stamp=10.1))
        alert = me.wait_for_alert('FAULT')
        assert alert.status[0].level == DiagnosticStatus.ERROR
        assert alert.status[0].message == 'engine failed: the device fell off the bus'
        me.wait_for_state(UNCONFIGURED)
        status, _ = me.wait_for_status('model', lambda s, _: s.level == DiagnosticStatus.ERROR)
        assert 'the device fell off the bus' in status.message
        assert [values(a)['state'] for a in me.alerts].count('FAULT') == 1
        # a late joiner learns of the fault from a node that no longer monitors
        late: list[DiagnosticArray] = []
        me.node.create_subscription(DiagnosticArray, 'ood_monitor/alert', late.append, qos.ALERT)
        wait_until(lambda: late, 'the latched fault')
        assert values(late[0])['state'] == 'FAULT'

        me.activate()
        assert len(made) == 2
        _play(me, 'n', start=20.0)
        me.wait_for_alert('NORMAL')


def test_shut_down_node_says_stale_before_it_goes(tiny_bundle: Path) -> None:
    with running_node(model__bundle=str(tiny_bundle)), peer() as me:
        me.activate()
        _play(me, 'n')
        me.wait_for_alert('NORMAL')
        assert me.change(Transition.TRANSITION_ACTIVE_SHUTDOWN)
        assert me.wait_for_alert('STALE').status[0].message == 'no scores: the node is shut down'
