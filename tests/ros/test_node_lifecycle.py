from __future__ import annotations

from pathlib import Path
import shutil
import threading
from typing import Any

import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition

from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.ros.open_monitor import open_monitor
from ros_ood_monitor.ros.settings import Settings
from tests.ros.harness import (
    ACTIVE,
    FINALIZED,
    image,
    INACTIVE,
    normal_frame,
    peer,
    running_node,
    UNCONFIGURED,
    values,
    wait_until,
)

pytestmark = pytest.mark.usefixtures('ros')


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
    from ros_ood_monitor.goldens import Goldens

    whole = Bundle.load(bundle)
    goldens = whole.goldens()
    files = {name: whole.read(name) for name in whole.manifest.digests}
    files['goldens.fp32.npz'] = Goldens(goldens.image, goldens.raw_score + 1.0).to_bytes()
    raw = {k: v for k, v in whole.manifest.raw.items() if k not in ('format', 'digests')}
    write_bundle(bundle, manifest=raw, files=files, overwrite=True)


def _make_newer(bundle: Path) -> None:
    path = bundle / 'manifest.yaml'
    path.write_text(path.read_text().replace('format: 1', 'format: 99', 1))


@pytest.mark.parametrize(
    ('spoil', 'reason'),
    [
        (shutil.rmtree, 'bundle not found'),
        (_flip_a_byte, "'backbone.fp32.onnx' is damaged"),
        (_spoil_the_goldens, 'does NOT reproduce 3 goldens'),
        (_make_newer, 'bundle format is too new'),
    ],
    ids=['missing', 'flipped byte', 'other numbers', 'newer format'],
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
        assert 'release at most trigger' in status.message


def test_inactive_node_does_not_score(tiny_bundle: Path) -> None:
    with running_node(model__bundle=str(tiny_bundle)), peer() as me:
        me.activate()
        me.publish_and_wait(image(normal_frame()))
        assert me.change(Transition.TRANSITION_DEACTIVATE)
        wait_until(lambda: me.heard_by() == 0, 'the node to unsubscribe')
        assert me.wait_for_alert('STALE').status[0].message == 'no scores: the node is deactivated'
        before = len(me.observations)
        assert me.change(Transition.TRANSITION_ACTIVATE)
        me.publish_and_wait(image(normal_frame(1), stamp=101.0))
        assert len(me.observations) == before + 1


def test_reports_go_on_while_a_slow_engine_is_being_opened(tiny_bundle: Path) -> None:
    entered, leave = threading.Event(), threading.Event()

    def open_slowly(settings: Settings) -> Monitor:
        entered.set()
        assert leave.wait(20.0)
        return open_monitor(settings)

    parameters: dict[str, Any] = {'model__bundle': str(tiny_bundle), 'autostart': True}
    with running_node(open_monitor=open_slowly, **parameters), peer() as me:
        assert entered.wait(20.0)
        me.wait_for_status('model', lambda _, p: p['lifecycle_state'] == 'configuring')
        leave.set()
        me.wait_for_state(ACTIVE)


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
