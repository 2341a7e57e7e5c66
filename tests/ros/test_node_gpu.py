"""A node on TensorRT on an emulated GPU: it serves, fails once, recovers, and leaves nothing."""

from __future__ import annotations

from collections.abc import Iterator
import gc
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('cuda.bindings', reason='cuda-bindings is not installed')

from lifecycle_msgs.msg import Transition

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines.build import build_engine
from tests.emulated_gpu import emulate, Machine
from tests.ros.harness import (
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


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    emulated = emulate(monkeypatch, 'tensorrt', is_integrated=True)
    yield emulated
    gc.collect()
    assert not emulated.carelessness


@pytest.fixture
def parameters(machine: Machine, tiny_bundle: Path, tmp_path: Path) -> dict[str, Any]:
    build_engine(Bundle.load(tiny_bundle), cache=tmp_path)
    return {
        'model__bundle': str(tiny_bundle),
        'model__engine': 'tensorrt',
        'model__engine_cache': str(tmp_path),
    }


def held(machine: Machine) -> dict[str, int]:
    gc.collect()
    return machine.held()


def test_a_gpu_that_fails_in_the_middle_is_one_fault_and_nothing_stays_on_it(
    machine: Machine, parameters: dict[str, Any]
) -> None:
    with running_node(**parameters) as node, peer() as me:
        me.activate()
        facts = node._monitors[0].engine.describe()
        assert (facts['engine'], facts['device']) == ('tensorrt', 'Emulated 0')
        assert facts['cuda_graph'] == 'yes'
        calm = values(me.publish_and_wait(image(normal_frame(), stamp=1.0)))
        strange = values(me.publish_and_wait(image(strange_frame(), stamp=1.1)))
        assert float(strange['raw_score']) > float(calm['raw_score'])
        machine.fail_at(2, 'cudaErrorLaunchFailure')  # choosing the device is the first call
        me.publish(image(normal_frame(), stamp=1.2))
        alert = me.wait_for_alert('FAULT')
        reason = 'engine failed: CUDA failed while running the engine: cudaErrorLaunchFailure'
        assert alert.status[0].message.startswith(reason)
        me.wait_for_state(UNCONFIGURED)
        me.wait_for_status('model', lambda s, _: s.level == DiagnosticStatus.ERROR)
        wait_until(lambda: not held(machine), 'everything is given back')

        me.activate()
        again = values(me.publish_and_wait(image(normal_frame(), stamp=2.0)))
        assert again['raw_score'] == calm['raw_score']
        assert [values(a)['state'] for a in me.alerts].count('FAULT') == 1
        assert me.change(Transition.TRANSITION_DEACTIVATE)
        assert me.change(Transition.TRANSITION_CLEANUP)
        wait_until(lambda: not held(machine), 'everything is given back')


def test_a_gpu_that_fails_while_an_engine_warms_up_leaves_the_node_unconfigured(
    machine: Machine, parameters: dict[str, Any]
) -> None:
    with running_node(**parameters), peer() as me:
        assert me.change(Transition.TRANSITION_CONFIGURE)
        name = machine.calls.index('cudaGraphLaunch')
        assert me.change(Transition.TRANSITION_CLEANUP)
        machine.fail_at(1 + name)
        assert not me.change(Transition.TRANSITION_CONFIGURE)
        assert me.state() == UNCONFIGURED
        wait_until(lambda: not held(machine), 'everything is given back')
        me.activate()
        me.publish_and_wait(image(normal_frame(), stamp=1.0))
