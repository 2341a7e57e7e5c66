from __future__ import annotations

from pathlib import Path
import shutil
import threading
from typing import Any

import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import State, Transition
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.parameter import Parameter

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines import open_engine
from ros_ood_monitor.errors import EngineError
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.records import Frame
from ros_ood_monitor.ros import monitor_node
from ros_ood_monitor.ros.parameters.settings import Settings
from ros_ood_monitor.ros.watch.watch import Watch
from tests.ros.harness import (
    ACTIVE,
    FINALIZED,
    image,
    INACTIVE,
    normal_frame,
    peer,
    running_node,
    SlowOpening,
    UNCONFIGURED,
    values,
    wait_until,
)
from tests.tiny_bundle import make_tiny_bundle

pytestmark = pytest.mark.usefixtures('ros')

CONFIGURING = State.TRANSITION_STATE_CONFIGURING


def test_ten_rounds_of_the_lifecycle_each_score_frames(tiny_bundle: Path) -> None:
    with running_node(model__bundle=str(tiny_bundle)) as node, peer() as me:
        entities = -1
        for turn in range(10):
            assert me.change(Transition.TRANSITION_CONFIGURE)
            assert me.state() == INACTIVE
            assert me.change(Transition.TRANSITION_ACTIVATE)
            assert me.state() == ACTIVE
            message = me.publish_and_wait(image(normal_frame(turn), stamp=10.0 + turn))
            assert values(message)['state'] == 'NORMAL'
            assert me.change(Transition.TRANSITION_DEACTIVATE)
            assert me.change(Transition.TRANSITION_CLEANUP)
            assert me.state() == UNCONFIGURED
            now = sum(
                len(list(kind)) for kind in (node.subscriptions, node.timers, node.waitables)
            )
            assert entities in (-1, now), f'round {turn} left something behind'
            entities = now


def test_autostart_activates_without_anybody_asking(tiny_bundle: Path) -> None:
    with running_node(model__bundle=str(tiny_bundle), autostart=True), peer() as me:
        me.wait_for_state(ACTIVE)
        me.publish_and_wait(image(normal_frame()))


@pytest.mark.parametrize('state', [UNCONFIGURED, INACTIVE, ACTIVE, FINALIZED])
def test_node_survives_every_transition_that_is_impossible_in_a_state(
    tiny_bundle: Path, state: int
) -> None:
    possible = {
        UNCONFIGURED: {1, 5},
        INACTIVE: {2, 3, 6},
        ACTIVE: {4, 7},
        FINALIZED: set(),
    }[state]
    with running_node(model__bundle=str(tiny_bundle)), peer() as me:
        if state == FINALIZED:
            assert me.change(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
        if state in (INACTIVE, ACTIVE):
            assert me.change(Transition.TRANSITION_CONFIGURE)
        if state == ACTIVE:
            assert me.change(Transition.TRANSITION_ACTIVATE)
        for transition in [*range(9), 10, 30, 50, 60, 97, 255]:
            if transition not in possible:
                assert not me.change(transition), f'transition {transition} was accepted'
                assert me.state() == state
        assert not me.change(0, label='make coffee')
        assert not me.change(0, label='transition_success')
        assert me.state() == state


def test_two_peers_that_activate_at_once_get_one_yes_and_one_no(tiny_bundle: Path) -> None:
    with running_node(model__bundle=str(tiny_bundle)), peer() as me:
        assert me.change(Transition.TRANSITION_CONFIGURE)
        first = me._change.call_async(_request(Transition.TRANSITION_ACTIVATE))
        second = me._change.call_async(_request(Transition.TRANSITION_ACTIVATE))
        wait_until(lambda: first.done() and second.done(), 'both answers')
        assert sorted((first.result().success, second.result().success)) == [False, True]
        assert me.state() == ACTIVE


def _request(transition: int) -> Any:
    from lifecycle_msgs.srv import ChangeState

    return ChangeState.Request(transition=Transition(id=transition))


def _copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / 'copy'))


def _flip_a_byte(bundle: Path) -> None:
    path = bundle / 'backbone.fp32.onnx'
    content = bytearray(path.read_bytes())
    content[100] ^= 0xFF
    path.write_bytes(bytes(content))


def _spoil_the_goldens(bundle: Path) -> None:
    """Make a bundle whose engine computes something else than when it was made."""
    from ros_ood_monitor.bundle import Bundle, write_bundle
    from ros_ood_monitor.bundle.goldens import Goldens

    whole = Bundle.load(bundle)
    goldens = whole.goldens()
    files = {name: whole.read(name) for name in whole.manifest.digests}
    files['goldens.fp32.npz'] = Goldens(goldens.image, goldens.raw_score + 1.0).to_bytes()
    raw = {k: v for k, v in whole.manifest.raw.items() if k not in ('format', 'digests')}
    write_bundle(bundle, manifest=raw, files=files, overwrite=True)


def _make_newer(bundle: Path) -> None:
    path = bundle / 'manifest.yaml'
    path.write_text(path.read_text().replace('format: 1', 'format: 99', 1))


def _tie_a_knot(bundle: Path) -> None:
    with (bundle / 'manifest.yaml').open('a') as manifest:
        manifest.write('extra: &knot [*knot]\n')


@pytest.mark.parametrize(
    ('spoil', 'reason'),
    [
        (shutil.rmtree, 'bundle not found'),
        (_flip_a_byte, "'backbone.fp32.onnx' is damaged"),
        (_spoil_the_goldens, 'does NOT reproduce 3 goldens'),
        (_make_newer, 'bundle format is too new'),
        (_tie_a_knot, 'manifest is nested too deeply'),
    ],
    ids=['missing', 'flipped byte', 'other numbers', 'newer format', 'endless'],
)
def test_configure_refuses_a_broken_bundle_and_says_why(
    tiny_bundle: Path, tmp_path: Path, spoil: Any, reason: str
) -> None:
    bundle = _copy(tiny_bundle, tmp_path)
    spoil(bundle)
    with running_node(model__bundle=str(bundle)), peer() as me:
        assert not me.change(Transition.TRANSITION_CONFIGURE)
        assert me.state() == UNCONFIGURED
        status, _ = me.wait_for_status('model', lambda s, _: s.level == DiagnosticStatus.ERROR)
        assert reason in status.message
        # the bundle is put right: the same node goes on
        shutil.rmtree(bundle, ignore_errors=True)
        shutil.copytree(tiny_bundle, bundle)
        me.activate()
        me.publish_and_wait(image(normal_frame()))


def test_configure_without_a_bundle_says_which_parameter_to_give() -> None:
    with running_node(), peer() as me:
        assert not me.change(Transition.TRANSITION_CONFIGURE)
        status, _ = me.wait_for_status('model', lambda s, _: s.level == DiagnosticStatus.ERROR)
        assert "'model.bundle' is empty" in status.message


def test_configure_refuses_a_release_over_the_trigger(tiny_bundle: Path) -> None:
    parameters = {'model__bundle': str(tiny_bundle), 'alert__trigger': 1.0, 'alert__release': 2.0}
    with running_node(**parameters), peer() as me:
        assert not me.change(Transition.TRANSITION_CONFIGURE)
        status, _ = me.wait_for_status('model', lambda s, _: s.level == DiagnosticStatus.ERROR)
        assert 'at most the trigger threshold' in status.message


def test_another_bundle_is_taken_without_starting_the_node_anew(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    other = make_tiny_bundle(tmp_path / 'other', height=16, width=24)
    rgb = normal_frame(5)
    with running_node(model__bundle=str(tiny_bundle)) as node, peer() as me:
        for path in (tiny_bundle, other.path, tiny_bundle):
            bundle = Bundle.load(path)
            assert node.set_parameters([Parameter('model.bundle', value=str(path))])[0].successful
            me.activate()
            found = values(me.publish_and_wait(image(rgb)))
            wanted = Monitor.from_bundle(bundle).observe(Frame(rgb))
            assert float(found['raw_score']) == wanted.raw_score
            assert float(found['threshold']) == wanted.threshold
            assert found['bundle'] == f'tiny@{bundle.digest[:12]}'
            wait_until(
                lambda f=found: me.alerts and _told(me.alerts[-1]) == ('NORMAL', f['bundle']),
                'the alert with the new bundle',
            )
            me.wait_for_status('model', lambda _, p, b=found['bundle']: p['bundle'] == b)
            assert me.change(Transition.TRANSITION_DEACTIVATE)
            assert me.change(Transition.TRANSITION_CLEANUP)
    assert Bundle.load(tiny_bundle).digest != other.digest


def _told(alert: Any) -> tuple[str, str]:
    return values(alert)['state'], values(alert)['bundle']


def test_inactive_node_does_not_score(tiny_bundle: Path) -> None:
    with running_node(model__bundle=str(tiny_bundle)), peer() as me:
        me.activate()
        me.publish_and_wait(image(normal_frame()))
        me.wait_for_alert('NORMAL')
        assert me.change(Transition.TRANSITION_DEACTIVATE)
        wait_until(lambda: me.heard_by() == 0, 'the node to unsubscribe')
        assert me.wait_for_alert('STALE').status[0].message == 'no scores: the node is deactivated'
        before = len(me.observations)
        assert me.change(Transition.TRANSITION_ACTIVATE)
        me.publish_and_wait(image(normal_frame(1), stamp=101.0))
        assert len(me.observations) == before + 1


def test_reports_go_on_while_a_slow_engine_is_being_opened(tiny_bundle: Path) -> None:
    slow = SlowOpening()
    parameters: dict[str, Any] = {'model__bundle': str(tiny_bundle), 'autostart': True}
    with running_node(open_monitor=slow, **parameters), peer() as me:
        assert slow.entered.wait(60.0)
        me.wait_for_status('model', lambda _, p: p['lifecycle_state'] == 'configuring')
        slow.leave.set()
        me.wait_for_state(ACTIVE)


def test_services_answer_during_a_slow_configure_and_a_second_transition_is_refused(
    tiny_bundle: Path,
) -> None:
    slow = SlowOpening()
    with running_node(open_monitor=slow, model__bundle=str(tiny_bundle)), peer() as me:
        first = me._change.call_async(_request(Transition.TRANSITION_CONFIGURE))
        assert slow.entered.wait(60.0)
        assert me.state() == CONFIGURING
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            assert not me.change(transition)
        found = me.call(GetParameters, 'get_parameters', names=['model.bundle'])
        assert found.values[0].string_value == str(tiny_bundle)
        # what configuring has read already stays as it is; what applies live is taken over
        (refused,) = _set(me, 'model.bundle', 'another').results
        assert 'let a transition in work end' in refused.reason
        (taken,) = _set(me, 'alert.trigger', 123.0).results
        assert taken.successful
        assert not first.done()
        slow.leave.set()
        wait_until(first.done, 'the end of the configuring')
        assert first.result().success
        assert me.state() == INACTIVE
        assert me.change(Transition.TRANSITION_ACTIVATE)
        assert values(me.publish_and_wait(image(normal_frame())))['threshold'] == '123.0'


def test_node_that_ends_while_an_engine_is_being_opened_does_not_activate(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # all of the opening is to end while the node waits for it, on a busy machine as well
    monkeypatch.setattr(monitor_node, '_TRANSITION_TIMEOUT_S', 60.0)
    slow = SlowOpening()
    with running_node(open_monitor=slow, model__bundle=str(tiny_bundle), autostart=True) as node:
        assert slow.entered.wait(60.0)
        ending = threading.Thread(target=lambda: wait_until(_is_closing(node), 'the end'))
        ending.start()
        threading.Thread(target=lambda: (ending.join(), slow.leave.set())).start()
    assert node.settings.model_bundle == str(tiny_bundle)
    assert node._state_machine.current_state[1] == 'finalized'
    assert node._watch is None


def _is_closing(node: Any) -> Any:
    return lambda: node._transitions.is_closing


def _set(me: Any, name: str, value: Any) -> Any:
    parameter = Parameter(name, value=value).to_parameter_msg()
    return me.call(SetParameters, 'set_parameters', parameters=[parameter])


class _Failing:
    """A real engine that fails once it is armed."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.precision = engine.precision
        self.is_armed = False

    def infer(self, batch: Any) -> Any:
        if self.is_armed:
            msg = 'gone'
            raise EngineError(msg)
        return self._engine.infer(batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def test_engine_that_fails_at_its_first_frame_leads_to_unconfigured_time_and_again(
    tiny_bundle: Path,
) -> None:
    bundle = Bundle.load(tiny_bundle)
    made: list[_Failing] = []

    def open_failing(settings: Settings) -> Monitor:
        made.append(_Failing(open_engine(bundle)))
        return Monitor(bundle, made[-1])

    with running_node(open_monitor=open_failing), peer() as me:
        for _ in range(3):
            assert me.change(Transition.TRANSITION_CONFIGURE)
            made[-1].is_armed = True
            assert me.change(Transition.TRANSITION_ACTIVATE)
            me.publish(image(normal_frame()))
            me.wait_for_state(UNCONFIGURED)
            assert me.wait_for_alert('FAULT').status[0].message == 'engine failed: gone'


def test_fault_in_opening_the_engine_leaves_the_node_alive_and_unconfigured(
    tiny_bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(settings: Settings) -> Monitor:
        msg = 'a fault nobody thought of'
        raise ZeroDivisionError(msg)

    with running_node(open_monitor=fail), peer() as me:
        assert not me.change(Transition.TRANSITION_CONFIGURE)
        assert me.state() == UNCONFIGURED
        status, _ = me.wait_for_status('model', lambda s, _: s.level == DiagnosticStatus.ERROR)
        assert 'see the log' in status.message
    assert 'ZeroDivisionError: a fault nobody thought of' in capfd.readouterr().err


def test_node_that_was_stale_already_says_that_it_does_not_monitor(tiny_bundle: Path) -> None:
    with running_node(model__bundle=str(tiny_bundle), alert__stale_after=0.1), peer() as me:
        me.activate()
        wait_until(
            lambda: me.alerts and 'without a frame' in me.alerts[-1].status[0].message, 'silence'
        )
        for transition, word in [
            (Transition.TRANSITION_DEACTIVATE, 'deactivated'),
            (Transition.TRANSITION_INACTIVE_SHUTDOWN, 'shut down'),
        ]:
            assert me.change(transition)
            said = f'no scores: the node is {word}'
            wait_until(lambda said=said: me.alerts[-1].status[0].message == said, said)


def test_change_while_the_node_is_activated_is_in_use_afterwards(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, changes = Watch.start, []

    def begin_late(watch: Watch) -> None:
        asked = [Parameter('input.deadline_ms', value=5.0), Parameter('alert.trigger', value=7.0)]
        changes.append(threading.Thread(target=lambda: node.set_parameters_atomically(asked)))
        changes[0].start()
        changes[0].join(0.2)  # it comes before the node knows its watch, or waits for that
        begin(watch)

    monkeypatch.setattr(Watch, 'start', begin_late)
    with running_node(model__bundle=str(tiny_bundle)) as node, peer() as me:
        me.activate()
        changes[0].join()
        assert node.get_parameter('input.deadline_ms').value == 5.0
        assert node.settings.input_deadline_ms == 5.0
        assert [stream.deadline_ms for stream in node._watch._scoring.streams] == [5.0]
        assert values(me.publish_and_wait(image(normal_frame())))['threshold'] == '7.0'


def test_clock_is_not_changed_under_an_active_node(tiny_bundle: Path) -> None:
    with running_node(model__bundle=str(tiny_bundle)) as node, peer() as me:
        me.activate()
        (result,) = _set(me, 'use_sim_time', True).results
        assert not result.successful
        assert result.reason == (
            "parameter 'use_sim_time' applies on activate: deactivate the node first"
        )
        assert not node.get_parameter('use_sim_time').value
        assert me.change(Transition.TRANSITION_DEACTIVATE)
        assert _set(me, 'use_sim_time', True).results[0].successful


@pytest.mark.parametrize('step', ['warm_up', 'verify', 'another'])
def test_whatever_fails_in_proving_the_engine_closes_it(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(self: Monitor, *args: Any) -> Any:
        msg = 'out of memory'
        raise MemoryError(msg)

    closed: list[Monitor] = []
    monkeypatch.setattr(Monitor, step, fail)
    monkeypatch.setattr(Monitor, 'close', lambda self: closed.append(self))
    given: dict[str, Any] = {'model__bundle': str(tiny_bundle), 'input__topics': ['a', 'b']}
    with running_node(**given), peer() as me:
        assert not me.change(Transition.TRANSITION_CONFIGURE)
        assert me.state() == UNCONFIGURED
    assert len(closed) == 1


def test_live_change_that_no_engine_could_refuse_yet_is_refused_when_activating(
    tiny_bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    slow = SlowOpening()
    topics = ['a', 'b']
    given = {'model__bundle': str(tiny_bundle), 'input__topics': topics}
    with running_node(open_monitor=slow, **given) as node, peer() as me:
        configuring = threading.Thread(target=me.change, args=(Transition.TRANSITION_CONFIGURE,))
        configuring.start()
        assert slow.entered.wait(60.0)
        assert node.set_parameters([Parameter('alert.trigger_seconds', value=-1.0)])[0].successful
        slow.leave.set()
        configuring.join()
        assert me.state() == INACTIVE
        assert not me.change(Transition.TRANSITION_ACTIVATE)
        assert me.state() == INACTIVE
        status, _ = me.wait_for_status('model', lambda s, _: s.level == DiagnosticStatus.ERROR)
        assert status.message.startswith('not activated: ')
        assert _set(me, 'alert.trigger_seconds', 0.0).results[0].successful
        assert me.change(Transition.TRANSITION_ACTIVATE)
        me.wait_for_status('model', lambda s, _: s.level == DiagnosticStatus.OK)
    said = capfd.readouterr().err
    assert 'not activated: ' in said
    assert 'Traceback' not in said
