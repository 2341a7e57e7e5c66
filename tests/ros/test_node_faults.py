"""What rclpy does not survive by itself, and any peer may bring about: the node lives on."""

from __future__ import annotations

import gc
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

pytest.importorskip('rclpy')

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

from ros_ood_monitor.ros.diagnostics.model_status import memory_mib
from ros_ood_monitor.ros.lifecycle import lifecycle_guard, service_guard
from ros_ood_monitor.ros.lifecycle.lifecycle_guard import guard_change_state, guarded
from ros_ood_monitor.ros.lifecycle.transitions import Transitions
from ros_ood_monitor.ros.monitor_node import OodMonitorNode
from ros_ood_monitor.ros.process import run
from ros_ood_monitor.ros.process.run import Spinner
from tests.ros.harness import (
    ACTIVE,
    BEST_EFFORT,
    DEADLINE_S,
    FINALIZED,
    HELD_S,
    image,
    INACTIVE,
    normal_frame,
    peer,
    running_node,
    SlowOpening,
    UNCONFIGURED,
    wait_until,
)

pytestmark = pytest.mark.usefixtures('ros')

CALLBACKS = ('on_configure', 'on_activate', 'on_deactivate', 'on_cleanup', 'on_shutdown')
# from the state in which the callback's transition starts to that transition
STARTS = {
    'on_configure': ([], 'configure'),
    'on_activate': (['configure'], 'activate'),
    'on_deactivate': (['configure', 'activate'], 'deactivate'),
    'on_cleanup': (['configure'], 'cleanup'),
    'on_shutdown': ([], 'shutdown'),
}


@pytest.fixture
def told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the log repeat nothing, however long the test takes for its many requests."""
    monkeypatch.setattr(lifecycle_guard, '_WARN_PERIOD_S', HELD_S)
    monkeypatch.setattr(service_guard, '_WARN_PERIOD_S', HELD_S)
    monkeypatch.setattr(run, '_LOG_PERIOD_S', HELD_S)


def _raise() -> None:
    msg = 'a fault nobody thought of'
    raise ZeroDivisionError(msg)


# transitions ------------------------------------------------------------------------------------


@pytest.mark.usefixtures('told_once')
def test_refused_transitions_are_answered_each_time_and_told_once_a_state(
    tiny_bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with running_node(model__bundle=str(tiny_bundle)), peer() as me:
        me.activate()
        capfd.readouterr()
        for transition in [*range(4), *range(5, 7), 10, 60, 97, 255] * 3:
            assert not me.change(transition)
        assert not me.change(Transition.TRANSITION_DEACTIVATE, label='x' * 100_000)
        assert not me.change(0, label='\udcff'.encode('utf-8', 'replace').decode())
        assert me.state() == ACTIVE
        me.publish_and_wait(image(normal_frame()))
    said = [line for line in capfd.readouterr().err.splitlines() if 'WARN' in line]
    assert len(said) == 1, said
    assert said[0].endswith(
        "transition 'create' (0) refused in state 'active': "
        'expected one of deactivate (4), shutdown (7)'
    )


class _Faulty(LifecycleNode):
    """Has callbacks that do what they must not."""

    def __init__(self, fault: Any, *callbacks: str) -> None:
        super().__init__('faulty')
        self.fault, self.callbacks = fault, callbacks
        self.transitions = Transitions(self)
        guard_change_state(self, self.transitions)

    def _do(self, callback: str) -> Any:
        return self.fault() if callback in self.callbacks else TransitionCallbackReturn.SUCCESS

    @guarded
    def on_configure(self, state: LifecycleState) -> Any:
        return self._do('on_configure')

    @guarded
    def on_activate(self, state: LifecycleState) -> Any:
        return self._do('on_activate')

    @guarded
    def on_deactivate(self, state: LifecycleState) -> Any:
        return self._do('on_deactivate')

    @guarded
    def on_cleanup(self, state: LifecycleState) -> Any:
        return self._do('on_cleanup')

    @guarded
    def on_shutdown(self, state: LifecycleState) -> Any:
        return self._do('on_shutdown')

    @guarded
    def on_error(self, state: LifecycleState) -> Any:
        return self._do('on_error')


def _drive(node: _Faulty, labels: list[str]) -> list[bool]:
    """Ask for transitions as a peer does; True where one succeeded."""
    asker = Node('asker')
    client = asker.create_client(ChangeState, '/faulty/change_state')
    spinners = [Spinner(node), Spinner(asker)]
    try:
        assert client.wait_for_service(60.0)
        answers = []
        for label in labels:
            request = ChangeState.Request(transition=Transition(label=label))
            future = client.call_async(request)
            wait_until(future.done, f'an answer to {label}')
            answers.append(bool(future.result().success))
        return answers
    finally:
        assert all(spinner.stop(DEADLINE_S) for spinner in spinners)
        assert node.transitions.close(DEADLINE_S)
        asker.destroy_node()


@pytest.mark.parametrize(
    ('fault', 'told'),
    [
        (lambda: None, 'returned None, not a result'),
        (lambda: 'SUCCESS', "returned 'SUCCESS', not a result"),
        (_raise, 'ZeroDivisionError: a fault nobody thought of'),
    ],
    ids=['None', 'text', 'exception'],
)
@pytest.mark.parametrize('callback', CALLBACKS)
def test_callback_that_fails_is_told_once_and_leads_to_unconfigured(
    callback: str, fault: Any, told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before, transition = STARTS[callback]
    node = _Faulty(fault, callback)
    try:
        answers = _drive(node, [*before, transition])
        assert answers == [True] * len(before) + [False]
        assert node._state_machine.current_state == (UNCONFIGURED, 'unconfigured')
    finally:
        node.destroy_node()
    said = capfd.readouterr().err
    assert said.count(told) == 1
    assert said.count(callback) >= 1


@pytest.mark.parametrize('fault', [lambda: None, _raise], ids=['None', 'exception'])
def test_on_error_that_fails_too_ends_in_finalized_and_not_in_between(fault: Any) -> None:
    node = _Faulty(fault, 'on_configure', 'on_error')
    try:
        assert _drive(node, ['configure', 'configure']) == [False, False]
        assert node._state_machine.current_state == (FINALIZED, 'finalized')
    finally:
        node.destroy_node()


@pytest.mark.parametrize('callback', [*CALLBACKS, 'on_error'])
def test_every_callback_of_the_node_is_guarded(callback: str) -> None:
    wrapped = getattr(OodMonitorNode, callback).__wrapped__
    assert guarded(wrapped).__code__ is getattr(OodMonitorNode, callback).__code__


# callbacks --------------------------------------------------------------------------------------


@pytest.mark.usefixtures('told_once')
@pytest.mark.parametrize('kind', ['subscription', 'timer', 'guard condition', 'service'])
def test_callback_that_always_fails_ends_nothing_and_is_told_once(
    kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    node, calls = Node('failing'), []

    def fail(*args: Any) -> None:
        calls.append(args)
        _raise()

    publisher = node.create_publisher(Image, 'picture', 10)
    node.create_subscription(Image, 'picture', fail, 10)
    guard = node.create_guard_condition(fail)
    timer = node.create_timer(0.002 if kind == 'timer' else 1e6, fail)
    node.create_service(SetParameters, '~/odd', fail)
    client = node.create_client(SetParameters, '~/odd')
    ends: list[str | None] = []
    spinner = Spinner(node, ends.append)
    try:
        wait_until(publisher.get_subscription_count, 'the subscription')
        assert client.wait_for_service(60.0)
        for count in range(1, 51):  # more than the failures in a row of an executor at its end
            if kind == 'subscription':
                publisher.publish(Image())
            elif kind == 'guard condition':
                guard.trigger()
            elif kind == 'service':
                client.call_async(SetParameters.Request())
            wait_until(lambda at=count: len(calls) >= at, f'call {count}')
        assert not ends
        timer.cancel()
        node.create_timer(0.001, lambda: ends.append('alive'))
        wait_until(lambda: ends, 'a callback that does not fail')
    finally:
        assert spinner.stop(DEADLINE_S)
        node.destroy_node()
    assert set(ends) == {'alive'}
    assert capfd.readouterr().err.count('ZeroDivisionError: a fault nobody thought of') == 1


@pytest.mark.usefixtures('told_once')
def test_fault_in_the_parameter_callback_is_answered_and_the_value_kept(
    tiny_bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with running_node(model__bundle=str(tiny_bundle)) as node, peer() as me:
        me.activate()
        node._parameters_server._on_live = lambda settings: _raise()
        value = ParameterValue(type=3, double_value=5.0)
        request = {'parameters': [Parameter(name='alert.trigger', value=value)]}
        for _ in range(30):
            (result,) = me.call(SetParameters, 'set_parameters', **request).results
            assert not result.successful
            assert 'a fault nobody thought of' in result.reason
        assert node.get_parameter('alert.trigger').value != 5.0
        assert me.state() == ACTIVE
        me.publish_and_wait(image(normal_frame()))
    assert capfd.readouterr().err.count('a fault nobody thought of') == 1


# peers ------------------------------------------------------------------------------------------


def _parameter(kind: int, name: str = 'alert.stale_after') -> Parameter:
    return Parameter(name=name, value=ParameterValue(type=kind, double_value=3.0))


@pytest.mark.usefixtures('told_once')
def test_malformed_parameter_requests_are_answered_and_end_nothing(
    tiny_bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    good, odd = _parameter(3), _parameter(99)
    with running_node(model__bundle=str(tiny_bundle)), peer() as me:
        for _ in range(25):  # nothing else happens in an unconfigured node: failures in a row
            mixed = me.call(SetParameters, 'set_parameters', parameters=[good, odd, good])
            assert [result.successful for result in mixed.results] == [True, False, False]
            assert '99 is not a valid Parameter.Type' in mixed.results[1].reason
        atomic = me.call(SetParametersAtomically, 'set_parameters_atomically', parameters=[odd])
        assert not atomic.result.successful
        assert '99 is not a valid Parameter.Type' in atomic.result.reason
        for kind in (0, 1, 2, 4, 5, 6, 7, 8, 9):
            (result,) = me.call(
                SetParameters, 'set_parameters', parameters=[_parameter(kind)]
            ).results
            assert not result.successful
        me.call(SetParameters, 'set_parameters', parameters=[_parameter(3, 'x' * 100_000)])
        names = ['nope', '', '\n', 'x' * 100_000]
        assert not me.call(GetParameters, 'get_parameters', names=names).values
        assert not me.call(GetParameterTypes, 'get_parameter_types', names=names).types
        assert not me.call(DescribeParameters, 'describe_parameters', names=names).descriptors
        me.call(ListParameters, 'list_parameters', prefixes=['..', ''] * 100, depth=2**64 - 1)
        me.activate()
        me.publish_and_wait(image(normal_frame()))
    said = capfd.readouterr().err
    assert said.count('99 is not a valid Parameter.Type') == 2  # one a service
    assert 'Traceback' not in said


def test_garbage_on_the_input_topic_is_no_frame_and_the_next_one_is_scored(
    tiny_bundle: Path,
) -> None:
    with running_node(model__bundle=str(tiny_bundle)), peer() as me:
        me.activate()
        publisher = me.publisher(Image)
        whole = serialize_message(image(normal_frame(), frame_id='optical'))
        for garbage in (
            whole[:5000],  # says more pixels than it has
            whole.replace(b'rgb8', b'\xff\xfe\xc3('),  # no UTF-8
            b'',
            b'\x00\x01\x00\x00' + b'\xff' * 200,
            bytes(1000),
        ) * 5:
            publisher.publish(garbage)
        publisher.publish(whole.replace(b'optical', b'\xff\xfe\xc3\x28cal'))
        wait_until(lambda: me.observations, 'the frame of an odd name')
        before = len(me.observations)
        me.publish_and_wait(image(normal_frame(1), stamp=101.0))
        assert len(me.observations) == before + 1
        assert me.state() == ACTIVE


def test_bytes_that_are_no_message_are_missed_frames_and_alone_are_told_as_silence(
    tiny_bundle: Path,
) -> None:
    parameters = {'alert__stale_after': 0.2, 'input__depth': 10}  # none is replaced in the queue
    with running_node(model__bundle=str(tiny_bundle), **parameters), peer() as me:
        me.activate()
        publisher = me.publisher(Image)
        torn = serialize_message(image(normal_frame()))[:5000]
        publisher.publish(torn)
        status, _ = me.wait_for_status('input', lambda s, _: s.message.startswith('no frame for'))
        assert 'though /image has a publisher: it sends none, all are lost' in status.message
        me.publish_and_wait(image(normal_frame(), stamp=1.0))
        for _ in range(3):
            publisher.publish(torn)
        me.publish_and_wait(image(normal_frame(), stamp=1.1))
        _, pairs = me.wait_for_status('input', lambda _, p: p['received'] == '2')
        assert (pairs['missed_frames'], pairs['decode_errors']) == ('3', '0')


ASKER = """
import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
rclpy.init(args=[])
node = rclpy.create_node('asker')
client = node.create_client(ChangeState, 'ood_monitor/change_state')
while True:  # a server may miss the very first request of a peer that it does not know yet
    client.call_async(ChangeState.Request(transition=Transition(id=1)))
    rclpy.spin_once(node, timeout_sec=0.5)
"""


def test_peer_that_dies_before_its_answer_leaves_the_node_as_it_asked(
    tiny_bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    slow = SlowOpening()
    with running_node(open_monitor=slow, model__bundle=str(tiny_bundle)), peer() as me:
        asker = subprocess.Popen([sys.executable, '-c', ASKER], env=os.environ.copy())
        try:
            assert slow.entered.wait(60.0)
        finally:
            asker.send_signal(signal.SIGKILL)
            asker.wait(60.0)
        slow.leave.set()
        me.wait_for_state(INACTIVE)
        assert me.change(Transition.TRANSITION_ACTIVATE)
        me.publish_and_wait(image(normal_frame()))
    assert 'Traceback' not in capfd.readouterr().err


# frames -----------------------------------------------------------------------------------------


def test_no_frame_is_scored_after_deactivation_while_the_camera_goes_on(
    tiny_bundle: Path,
) -> None:
    with running_node(model__bundle=str(tiny_bundle)) as node, peer() as me:
        me.activate()
        camera = me.publisher(Image)
        stop = threading.Event()
        sent = [100]

        def publish() -> None:
            while not stop.wait(0.002):
                sent[0] += 1
                camera.publish(image(normal_frame(), stamp=float(sent[0])))

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            for _ in range(3):
                before = len(me.observations)
                wait_until(lambda at=before: len(me.observations) > at, 'scores while active')
                assert me.change(Transition.TRANSITION_DEACTIVATE)
                last = sent[0]  # whatever is published from here on must not be looked at
                heard = [sub.topic_name for sub in node.subscriptions]
                assert '/image' not in heard
                wait_until(lambda at=last: sent[0] > at + 50, 'frames while inactive')
                stamps = [message.header.stamp.sec for message in me.observations]
                assert max(stamps) <= last
                assert me.change(Transition.TRANSITION_ACTIVATE)
        finally:
            stop.set()
            thread.join()


def test_input_asks_for_best_effort_itself_so_that_a_later_camera_is_heard(
    tiny_bundle: Path,
) -> None:
    # BEST_AVAILABLE would have become RELIABLE while there is no publisher yet, and stay so
    with running_node(model__bundle=str(tiny_bundle)) as node, peer(reliability=BEST_EFFORT) as me:
        me.activate()
        (info,) = node.get_subscriptions_info_by_topic('/image')
        assert info.qos_profile.reliability is ReliabilityPolicy.BEST_EFFORT
        me.publish_and_wait(image(normal_frame()))


def test_best_available_is_the_trap_that_it_is_taken_for() -> None:
    node = Node('trapped')
    try:
        profile = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_AVAILABLE)
        node.create_subscription(Image, 'nobody_publishes_yet', lambda message: None, profile)
        (info,) = node.get_subscriptions_info_by_topic('/nobody_publishes_yet')
        assert info.qos_profile.reliability is ReliabilityPolicy.RELIABLE
    finally:
        node.destroy_node()


# leaks ------------------------------------------------------------------------------------------


def _holdings(node: Node) -> dict[str, int]:
    """Count what a process could leak."""
    gc.collect()
    counts = {
        kind: len(list(getattr(node, kind)))
        for kind in ('subscriptions', 'publishers', 'services', 'clients', 'timers', 'guards')
    }
    counts['waitables'] = len(list(node.waitables))
    counts['native threads'] = len(os.listdir('/proc/self/task'))  # noqa: PTH208
    counts['files'] = len(os.listdir('/proc/self/fd'))  # noqa: PTH208
    return counts


def test_ten_rounds_leak_no_thread_file_entity_or_memory(tiny_bundle: Path) -> None:
    with running_node(model__bundle=str(tiny_bundle)) as node, peer() as me:

        def one_round() -> None:
            me.activate()
            me.publish_and_wait(image(normal_frame(0, 480, 640), stamp=time.monotonic()))
            assert me.change(Transition.TRANSITION_DEACTIVATE)
            assert me.change(Transition.TRANSITION_CLEANUP)
            me.state()

        def ten_rounds() -> float:
            memory = memory_mib()
            for _ in range(10):
                one_round()
            return memory_mib() - memory

        for _ in range(3):  # caches and pools reach their size
            one_round()
        before = _holdings(node)
        grown = [ten_rounds()]

        def is_no_more() -> bool:
            # a thread that was just ending when the first was counted is no more now
            now = _holdings(node)
            return all(now[kind] <= before[kind] for kind in before)

        wait_until(is_no_more, f'{before}, at last {_holdings(node)}')
        # a frame is 0.9 MiB, an engine some more: one of them leaked a round would be seen in
        # every ten, an allocator's further arena for threads that met in only one
        while grown[-1] >= 5.0 and len(grown) < 3:
            grown.append(ten_rounds())
        assert grown[-1] < 5.0, grown
