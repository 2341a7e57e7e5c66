"""The node among others: namespaces, several nodes in a process, simulated time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

from ros_ood_monitor.ros.messages.converters import seconds_of, time_of
from tests.ros.harness import (
    ACTIVE,
    image,
    normal_frame,
    peer,
    running_node,
    strange_frame,
    UNCONFIGURED,
    values,
    wait_until,
)

pytestmark = pytest.mark.usefixtures('ros')

PATIENT: dict[str, Any] = {'alert__stale_after': 60.0}


def test_two_nodes_in_one_process_are_two_monitors(tiny_bundle: Path) -> None:
    given = {'model__bundle': str(tiny_bundle), 'alert__trigger_frames': 1, **PATIENT}
    with (
        running_node('/one', **given) as first,
        running_node('/two', **given, input__topics=['/shared/image']),
        peer(namespace='/one') as one,
        peer(namespace='/two', topic='/shared/image') as two,
    ):
        one.activate()
        two.activate()
        one.publish_and_wait(image(normal_frame(), stamp=10.0))
        two.publish_and_wait(image(strange_frame(), stamp=20.0))
        assert values(one.wait_for_alert('NORMAL'))['state'] == 'NORMAL'
        raised = two.wait_for_alert('ALERT')
        assert raised.status[0].name == 'two/ood_monitor: alert'
        assert (len(one.observations), len(two.observations)) == (1, 1)
        # one ends, the other goes on
        assert one.change(Transition.TRANSITION_DEACTIVATE)
        assert one.change(Transition.TRANSITION_CLEANUP)
        assert (one.state(), two.state()) == (UNCONFIGURED, ACTIVE)
        assert first.settings.model_bundle == str(tiny_bundle)
        two.publish_and_wait(image(strange_frame(), stamp=20.1))
        status, _ = two.wait_for_status('input', lambda _, p: p['scored'] == '2')
        assert status.name == 'two/ood_monitor: input'


def test_simulated_time_is_the_nodes_time(tiny_bundle: Path) -> None:
    given = {'model__bundle': str(tiny_bundle), 'use_sim_time': True, 'autostart': True, **PATIENT}
    with running_node(**given) as node, peer() as me:
        me.wait_for_state(ACTIVE)  # although the clock stands still
        clock = me.node.create_publisher(
            Clock, '/clock', QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        )
        wait_until(clock.get_subscription_count, 'the node to hear the clock')
        clock.publish(Clock(clock=time_of(5000.5)))
        wait_until(lambda: node.get_clock().now().nanoseconds == 5_000_500_000_000, 'the time')
        found = values(me.publish_and_wait(image(normal_frame(), stamp=5000.0)))
        assert float(found['latency_ms']) == pytest.approx(500.0)
        # a frame without a stamp is given the simulated time, which goes on
        clock.publish(Clock(clock=time_of(5001.0)))
        wait_until(lambda: node.get_clock().now().nanoseconds == 5_001_000_000_000, 'the time')
        me.publish_and_wait(image(strange_frame(), stamp=0.0))
        alert = me.wait_for_alert('SUSPECT')
        assert float(values(alert)['since']) == 5001.0
        seen: list[float] = []
        me.node.create_subscription(
            DiagnosticArray, '/diagnostics', lambda m: seen.append(seconds_of(m.header.stamp)), 10
        )
        wait_until(lambda: seen and seen[-1] == 5001.0, 'a report in simulated time')
        assert set(seen) <= {0.0, 5000.5, 5001.0}, 'of simulated time, and none of the wall'


def test_silence_is_measured_by_simulated_time_which_may_stand_or_jump(tiny_bundle: Path) -> None:
    given: dict[str, Any] = {'use_sim_time': True, 'alert__stale_after': 0.3}
    with running_node(model__bundle=str(tiny_bundle), **given) as node, peer() as me:
        me.activate()
        clock = me.node.create_publisher(Clock, '/clock', 1)
        wait_until(clock.get_subscription_count, 'the node to hear the clock')

        def set_time(seconds: float) -> None:
            clock.publish(Clock(clock=time_of(seconds)))
            nanoseconds = round(seconds * 1e9)
            wait_until(lambda: node.get_clock().now().nanoseconds == nanoseconds, 'the time')

        def silence() -> str:
            return values(me.wait_for_alert('STALE'))['reason']

        set_time(5000.0)  # from 0: no silence of 5000 s
        me.publish_and_wait(image(normal_frame(), stamp=5000.0))
        me.wait_for_alert('NORMAL')
        # a second of the wall between two reports
        me.wait_for_status('input', lambda s, _: s.message == 'no frame since the last report')
        set_time(5000.25)
        assert values(me.alerts[-1])['state'] == 'NORMAL'
        set_time(5000.5)
        assert silence() == '0.50 s without a frame'
        set_time(50.0)  # a bag that is looped, a simulation that is reset
        me.publish_and_wait(image(normal_frame(), stamp=50.0))
        me.wait_for_alert('NORMAL')
        me.wait_for_status('input', lambda _, p: p['scored'] == '2')  # silence counts from then
        set_time(50.4)
        assert silence() == '0.40 s without a frame'
