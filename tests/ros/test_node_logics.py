"""The alert logics by parameter: chosen on configure, tuned live, refused where they disagree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from rclpy.parameter import Parameter

from ros_ood_monitor.alerting import CusumLogic, make_logic, MartingaleLogic
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.calibration import OperatingPoint
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.records import State
from ros_ood_monitor.ros.model.open_monitor import alert_logic, alert_point, share_engine
from ros_ood_monitor.ros.parameters.settings import Settings
from tests.ros.harness import (
    image,
    normal_frame,
    peer,
    running_node,
    strange_frame,
    values,
    wait_until,
)

pytestmark = pytest.mark.usefixtures('ros')

PATIENT = 60.0  # so that a pause of a busy test machine is no silence


def _set(node: Any, name: str, value: Any) -> Any:
    (result,) = node.set_parameters([Parameter(name, value=value)])
    return result


def test_cusum_by_parameter_says_on_the_robot_what_it_says_in_a_replay(tiny_bundle: Path) -> None:
    parameters: dict[str, Any] = {
        'model__bundle': str(tiny_bundle),
        'alert__stale_after': PATIENT,
        'alert__logic': 'cusum',
        'alert__limit': 0.6,
    }
    with running_node(**parameters) as node, peer() as me:
        me.activate()
        for k, kind in enumerate('nnn' + 'ssss' + 'n' * 25):
            rgb = normal_frame(k) if kind == 'n' else strange_frame()
            me.publish_and_wait(image(rgb, stamp=10.0 + 0.1 * k))
        calibration = Bundle.load(tiny_bundle).calibration()
        point = OperatingPoint(1e9, 1e9, logic='cusum', settings={'limit': 0.6})
        logic = make_logic(point, calibration.raw_score, stale_after=PATIENT)
        seen = [values(message) for message in me.observations]
        for k, now in enumerate(seen):
            # strings hold every digit of the score
            assert logic.update(float(now['raw_score']), 10.0 + 0.1 * k).state == now['state']
            assert float(now['threshold']) == logic.threshold
        assert [now['state'] for now in seen[:7]] == [
            *['NORMAL'] * 3,
            'SUSPECT',
            *['ALERT'] * 3,
        ]
        assert seen[-1]['state'] == 'NORMAL'
        raised = wait_until(
            lambda: [a for a in me.alerts if values(a)['state'] == 'ALERT'], 'the alert'
        )[0]
        assert raised.status[0].message.endswith('added excess over the limit 0.6')
        assert _set(node, 'alert.limit', 1e6).successful
        assert values(me.publish_and_wait(image(strange_frame(), stamp=13.3)))['state'] == 'NORMAL'


def test_a_logic_is_chosen_on_configure_and_keeps_to_its_own_parameters(
    tiny_bundle: Path,
) -> None:
    parameters = {'model__bundle': str(tiny_bundle), 'alert__trigger': 1.0}
    with running_node(**parameters) as node, peer() as me:
        assert 'must be one of' in _set(node, 'alert.logic', 'majority').reason
        assert _set(node, 'alert.logic', 'ewma').successful
        assert not me.change(Transition.TRANSITION_CONFIGURE)
        status, _ = me.wait_for_status('model', lambda s, _: s.level == DiagnosticStatus.ERROR)
        assert "another alert logic than 'ewma'" in status.message
        assert "got ['alert.trigger']" in status.message
        assert _set(node, 'alert.trigger', float('nan')).successful
        assert _set(node, 'alert.limit', 1e5).successful
        me.activate()
        assert 'applies on configure' in _set(node, 'alert.logic', 'cusum').reason
        assert "another alert logic than 'ewma'" in _set(node, 'alert.reference', 1.0).reason
        assert 'must be positive' in _set(node, 'alert.time_constant', -1.0).reason
        assert _set(node, 'alert.time_constant', 0.5).successful
        assert values(me.publish_and_wait(image(normal_frame())))['threshold'] == '100000.0'


def test_every_camera_has_a_logic_of_its_own_and_of_the_same_kind(tiny_bundle: Path) -> None:
    settings = Settings.defaults(alert_logic='martingale', alert_limit=20.0)
    monitor = Monitor.from_bundle(Bundle.load(tiny_bundle))
    monitor.alert = alert_logic(settings, monitor.calibration)
    logics = [each.alert for each in share_engine(monitor, settings, 3)]
    monitor.close()
    assert all(isinstance(each, MartingaleLogic) and each.limit == 20.0 for each in logics)
    assert len({id(each) for each in logics}) == 3


def test_another_logic_takes_no_settings_of_the_bundle(tiny_bundle: Path) -> None:
    calibration = Bundle.load(tiny_bundle).calibration()
    point = OperatingPoint(
        2.0, 1.0, logic='cusum', settings={'limit': 7.0, 'reference': 1.5}, refractory=5.0
    )
    tuned = type(calibration)(calibration.raw_score, point)
    assert alert_point(Settings.defaults(), point) is point
    same = alert_logic(Settings.defaults(alert_limit=9.0), tuned)
    assert isinstance(same, CusumLogic)
    assert (same.limit, same.reference) == (9.0, 1.5)
    other = alert_logic(Settings.defaults(alert_logic='martingale'), tuned)
    assert isinstance(other, MartingaleLogic)
    assert other.limit == 12.0
    assert other.state.state is State.NORMAL


def test_zero_and_nan_leave_values_to_the_bundle_but_no_threshold_of_zero(
    tiny_bundle: Path,
) -> None:
    calibration = Bundle.load(tiny_bundle).calibration()
    point = OperatingPoint(2.0, 1.0, settings={'trigger_seconds': 0.5})
    tuned = type(calibration)(calibration.raw_score, point)
    kept: Any = alert_logic(Settings.defaults(), tuned)
    assert (kept.trigger, kept.trigger_frames, kept.trigger_seconds) == (2.0, 3, 0.5)
    given = Settings.defaults(alert_trigger=0.0, alert_trigger_seconds=0.0)
    changed: Any = alert_logic(given, tuned)
    assert (changed.trigger, changed.release, changed.trigger_seconds) == (0.0, 0.0, 0.0)
