"""The engine that is missing is built beside the node, and taken over between two frames."""

from __future__ import annotations

import gc
import os
from pathlib import Path
import queue
import shutil
import threading
from typing import Any
import weakref

from diagnostic_msgs.msg import DiagnosticStatus
import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('tensorrt_rtx', reason='tensorrt_rtx is not installed')

from lifecycle_msgs.msg import Transition

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines import Engine, trt_library
from ros_ood_monitor.engines.build import build_engine
from ros_ood_monitor.engines.cache import read_engines
from ros_ood_monitor.engines.cuda import find_device
from ros_ood_monitor.engines.ort_engine import OrtEngine
from ros_ood_monitor.errors import EngineError
from ros_ood_monitor.records import Reading
from ros_ood_monitor.ros.model import engine_upgrade
from ros_ood_monitor.ros.model.engine_build import EngineBuild
from ros_ood_monitor.ros.model.open_monitor import open_monitor
from ros_ood_monitor.ros.parameters.settings import Settings
from tests.ros.harness import (
    HELD_S,
    image,
    normal_frame,
    Peer,
    peer,
    running_node,
    strange_frame,
    values,
    wait_until,
)

pytestmark = pytest.mark.usefixtures('ros')

BUILD_S = 300.0  # at the lowest priority


class Opening:
    """Opens ONNX Runtime in the place of what was built, when it is let."""

    def __init__(self) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()
        self.engine: OrtEngine | None = None

    def __call__(self, bundle: Bundle, library: str, *, precision: str, **options: Any) -> Engine:
        self.entered.set()
        assert self.leave.wait(HELD_S)
        self.engine = OrtEngine(bundle, precision=precision, chosen=f'built by {library}')
        return self.engine


def parameters(bundle: Path, cache: Path) -> dict[str, Any]:
    return {
        'model__bundle': str(bundle),
        'model__engine': 'tensorrt_rtx',
        'model__build_if_missing': True,
        'model__engine_cache': str(cache),
    }


@pytest.fixture
def as_with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a build begin as where there is a GPU; what it builds runs on none in these tests."""
    monkeypatch.setattr(engine_upgrade, 'check_can_run', lambda *_library, **_device: None)


def model_values(me: Peer, **expected: str) -> DiagnosticStatus:
    """Wait for a report on the model whose message and values hold what is expected of them."""

    def look() -> DiagnosticStatus | None:
        for status in [s for s in me.statuses if s.name.endswith(': model')][-1:]:
            found = {pair.key: pair.value for pair in status.values}
            found['message'] = status.message
            if all(text in found.get(key, '') for key, text in expected.items()):
                return status
        return None

    found: DiagnosticStatus = wait_until(look, f'diagnostics with {expected}')
    return found


@pytest.mark.usefixtures('as_with_a_gpu')
def test_a_built_engine_takes_over_in_a_running_alert_and_nothing_else_changes(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    opening = Opening()
    given = parameters(tiny_bundle, tmp_path)
    with running_node(**given, open_built=opening) as node, peer() as me:
        me.activate()
        assert opening.entered.wait(BUILD_S)  # the real build has ended well
        model_values(me, engine_build='tensorrt_rtx: opening', chosen='not tensorrt_rtx')
        before = values(me.publish_and_wait(image(strange_frame(), stamp=1.0)))
        while values(me.observations[-1])['state'] != 'ALERT':
            me.publish_and_wait(image(strange_frame(), stamp=1.0 + 0.1 * len(me.observations)))
        me.wait_for_alert('ALERT')
        alerts, old = len(me.alerts), weakref.ref(node._monitors[0].engine)
        opening.leave.set()
        wait_until(lambda: node._monitors[0].engine is opening.engine, 'the new engine')
        after = values(
            me.publish_and_wait(image(strange_frame(), stamp=1.0 + 0.1 * len(me.observations)))
        )
        assert (after['state'], after['raw_score']) == ('ALERT', before['raw_score'])
        assert len(me.alerts) == alerts
        status = model_values(me, engine_build='done', chosen='built by tensorrt_rtx')
        assert status.level == DiagnosticStatus.OK

        def is_gone() -> bool:
            gc.collect()
            return old() is None

        wait_until(is_gone, 'the old engine to go with the last frame that was in work on it')
        assert len(list(tmp_path.glob('*/backbone.plan'))) == 1


def test_without_a_gpu_nothing_is_built_and_onnxruntime_goes_on_and_says_why(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        find_device()
    except EngineError:
        pass
    else:
        pytest.skip('there is a GPU')

    def tell(text: str, **parameters_: Any) -> str:
        with (
            running_node(**parameters(tiny_bundle, tmp_path), **parameters_) as node,
            peer() as me,
        ):
            me.activate()
            status = model_values(me, message=text, engine='onnxruntime')
            assert status.level == DiagnosticStatus.WARN
            assert node._upgrade.status == '', 'no process was started'
            assert me.publish_and_wait(image(normal_frame()))
            return str(status.message)

    said = tell('not on tensorrt_rtx: nothing is built, since an engine could not run here: ')
    assert 'look at nvidia-smi' in said
    assert list(tmp_path.iterdir()) == []
    # an engine that is there already, such as one that was copied, does not run either
    build_engine(Bundle.load(tiny_bundle), library='tensorrt_rtx', cache=tmp_path)
    assert 'nothing is built' not in tell('not on tensorrt_rtx (asked for; not tensorrt_rtx: CUDA')
    # without its library it could not, GPU or not
    monkeypatch.setattr(trt_library.importlib.util, 'find_spec', lambda _name: None)
    shutil.rmtree(next(tmp_path.iterdir()))
    said = tell('not on tensorrt_rtx: nothing is built, since an engine could not run here: ')
    assert 'tensorrt_rtx is not installed (pip install tensorrt-rtx-cu13)' in said


@pytest.mark.usefixtures('as_with_a_gpu')
def test_cleaning_up_ends_a_build_and_closes_what_is_being_opened(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    opening = Opening()
    with (
        running_node(**parameters(tiny_bundle, tmp_path), open_built=opening) as node,
        peer() as me,
    ):
        assert me.change(Transition.TRANSITION_CONFIGURE)
        assert opening.entered.wait(BUILD_S)
        build = node._upgrade._build
        assert me.change(Transition.TRANSITION_CLEANUP)
        opening.leave.set()
        wait_until(lambda: opening.engine and opening.engine._backbone is None, 'the closing')
        assert node._upgrade.status == ''
        with pytest.raises(ProcessLookupError):
            os.kill(build.process.pid, 0)


def test_a_built_engine_that_computes_something_else_is_closed_and_not_given_on(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    class Wrong(OrtEngine):
        def infer(self, batch: npt.NDArray[np.uint8]) -> Reading:
            return Reading(super().infer(batch).raw_score + 1.0)

    opened: list[OrtEngine] = []

    def open_built(bundle: Bundle, library: str, *, precision: str, **options: Any) -> Engine:
        opened.append(Wrong(bundle, precision=precision))
        return opened[0]

    settings = Settings.defaults(
        model_bundle=str(tiny_bundle),
        model_engine='tensorrt_rtx',
        model_build_if_missing=True,
        model_engine_cache=str(tmp_path),
        input_topics=('front', 'left', 'rear'),
        input_batch=8,
    )
    failures: queue.Queue[str] = queue.Queue()
    build = EngineBuild(
        open_monitor(settings),
        'tensorrt_rtx',
        settings,
        on_ready=lambda *ready: pytest.fail('it was given on'),
        on_failed=failures.put,
        open_built=open_built,
    )
    assert 'does NOT reproduce 3 goldens' in failures.get(timeout=BUILD_S)
    assert build.status == 'failed'
    assert opened[0]._backbone is None
    # three cameras give no more than three pictures for a call
    (files,) = read_engines(tmp_path)
    assert files.identity.options['batch'] == [1, 3, 3]
