"""The thread that scores: what one camera's frame may cost the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
import math
import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ros_ood_monitor.alerting import ConsecutiveLogic
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines import open_engine
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.records import AlertState, Frame, Observation, State
from ros_ood_monitor.ros.camera.counts import StreamCounts
from ros_ood_monitor.ros.camera.rate_limit import RateLimit
from ros_ood_monitor.ros.camera.stream import CameraStream
from ros_ood_monitor.ros.watch.scoring import ScoringThread
from tests.odd_engine import OddEngine, poisoned
from tests.recorder_tools import wait_for
from tests.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny', maps=True)


@dataclass
class Answers:
    """Where a camera's answers go."""

    seen: list[Observation] = field(default_factory=list)
    alerts: list[AlertState] = field(default_factory=list)

    def publish_observation(self, header: Any, observation: Observation) -> float:
        self.seen.append(observation)
        return math.nan

    def publish_alert(self, alert: AlertState, **how: Any) -> bool:
        self.alerts.append(alert)
        return True


@dataclass
class Rig:
    """Two cameras on one engine."""

    thread: ScoringThread
    streams: tuple[CameraStream, ...]
    answers: tuple[Answers, Answers]
    faults: list[tuple[list[AlertState], str]]
    stamp: float = 0.0

    def push(self, camera: int, *, is_poisoned: bool = False) -> None:
        """Give a camera a frame."""
        rng = np.random.default_rng(int(10 * self.stamp) + camera)
        rgb = rng.integers(96, 160, (64, 96, 3), dtype=np.uint8)
        self.stamp += 0.1
        message = SimpleNamespace(
            header=None, rgb=poisoned(rgb) if is_poisoned else rgb, stamp=self.stamp
        )
        self.thread.push(camera, message, {}, arrived=0.0)

    def see(self, camera: int, *, is_poisoned: bool = False) -> None:
        """Give a camera a frame and wait until it is answered, or the thread has ended."""
        seen = self.answers[camera].seen
        count = len(seen)
        self.push(camera, is_poisoned=is_poisoned)
        wait_for(lambda: len(seen) > count or self.faults, 'an answer')


@contextmanager
def rig(
    monitor: Monitor,
    change: Callable[[Monitor], None] = lambda twin: None,
    *,
    decode: Callable[[Any, float], Frame] = lambda message, _: Frame(message.rgb, message.stamp),
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Rig]:
    point = monitor.calibration.operating_point
    twin = monitor.another(ConsecutiveLogic(trigger=point.trigger, release=point.release))
    change(twin)
    answers = Answers(), Answers()
    streams = tuple(
        CameraStream(
            each,
            decode=decode,
            outputs=out,
            counts=StreamCounts(0.0),
            limit=RateLimit(),
            on_bad_frame=pytest.fail,
            clock=clock,
        )
        for each, out in zip((monitor, twin), answers, strict=True)
    )
    faults: list[tuple[list[AlertState], str]] = []
    thread = ScoringThread(
        streams,
        max_wait=0.0,
        on_fault=lambda states, reason, _: faults.append((states, reason)),
        on_error=pytest.fail,
        clock=clock,
    )
    thread.start()
    try:
        yield Rig(thread, streams, answers, faults)
    finally:
        assert thread.stop(5.0)


def test_an_answer_that_is_no_number_is_the_fault_of_its_camera_alone(bundle: Bundle) -> None:
    with rig(Monitor(bundle, OddEngine(open_engine(bundle))), clock=lambda: 100.0) as cameras:
        for k in range(8):
            cameras.see(0)
            cameras.see(1, is_poisoned=k in (3, 4))
    assert not cameras.faults
    left, right = (answers.seen for answers in cameras.answers)
    assert [o.state for o in left] == [State.NORMAL] * 8
    assert [k for k, o in enumerate(right) if o.state is State.FAULT] == [3, 4]
    assert len(right) == 8
    assert right[3].alert.reason == "the engine's answer is not finite"
    assert right[5].alert.reason.endswith(", after: the engine's answer is not finite")
    assert (math.isnan(right[3].judged_score), right[3].is_judged) == (True, False)
    assert (right[3].heatmap_peak, right[3].heatmap) == (None, None)
    counts = [stream.health.snapshot() for stream in cameras.streams]
    assert [now.unanswered for now in counts] == [0, 2]
    assert counts[1].unusable == 0


def test_ten_answers_in_a_row_that_are_no_numbers_are_an_engine_that_fails(
    bundle: Bundle,
) -> None:
    with rig(Monitor(bundle, OddEngine(open_engine(bundle)))) as cameras:
        for k in range(10):
            assert not cameras.faults
            cameras.see(k % 2, is_poisoned=True)
    ((states, reason),) = cameras.faults
    assert reason.startswith('engine failed: no finite answer for 10 frames in a row; verify the')
    assert [alert.state for alert in states] == [State.FAULT] * 2


def test_what_fails_behind_the_engine_is_not_told_as_the_engine(bundle: Bundle) -> None:
    def spoil(twin: Monitor) -> None:
        assert twin.health is not None
        twin.health.limits = None  # type: ignore[assignment]

    with rig(Monitor.from_bundle(bundle), spoil) as cameras:
        cameras.see(0)
        cameras.see(1)
    ((_, reason),) = cameras.faults
    assert reason.startswith('scores cannot be judged: AttributeError: ')


class Held:
    """A function that answers only while it is let."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.open = threading.Event()
        self.open.set()
        self.entered = 0.0  # when, for the last time

    def __call__(self, *given: Any) -> Any:
        self.entered = time.monotonic()
        assert self.open.wait(60.0)
        return self._function(*given)

    def take(self, cameras: Rig, camera: int) -> None:
        """Hold a frame of this camera for longer than the thread may not look at the clock."""
        self.open.clear()
        self.entered = math.inf
        cameras.push(camera)
        wait_for(lambda: time.monotonic() - self.entered > 0.2, 'it to be in work')


def test_frames_that_wait_for_their_turn_are_no_engine_that_hangs(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, now = open_engine(bundle), [100.0]
    held = Held(engine.infer)
    monkeypatch.setattr(engine, 'infer', held)
    with rig(Monitor(bundle, engine), clock=lambda: now[0]) as cameras:
        held.take(cameras, 0)
        for _ in range(3):
            cameras.push(1)
        now[0] += 500.0
        # the call has just begun, whatever time has passed without a score
        assert cameras.thread.report_hang(200.0) == ['', '']
        left, right = cameras.answers
        assert not left.alerts + right.alerts
        held.open.set()
        wait_for(lambda: left.seen and right.seen, 'answers')
    assert [alert.state for alert in right.alerts] == [State.STALE]
    assert right.alerts[0].reason == (
        '500.00 s without a score: 3 frames waited for the engine in vain; use a faster one, '
        'fewer cameras a node, or a larger alert.stale_after'
    )
    assert not [alert for alert in left.alerts if alert.state is not State.NORMAL]


@pytest.mark.parametrize('step', ['decode', 'infer'])
def test_one_call_that_lasts_is_told_by_what_is_lacking(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    engine = open_engine(bundle)
    held_engine, held_decode = Held(engine.infer), Held(lambda m, _: Frame(m.rgb, m.stamp))
    monkeypatch.setattr(engine, 'infer', held_engine)
    with rig(Monitor(bundle, engine), decode=held_decode) as cameras:
        assert cameras.thread.report_hang(0.05) == ['', ''], 'nothing is in work'
        held = held_decode if step == 'decode' else held_engine
        held.take(cameras, 0)
        told = cameras.thread.report_hang(0.05)
        held.open.set()
        wait_for(lambda: cameras.answers[0].seen, 'the answer')
        cameras.see(1)
    lacking = (
        'a frame is still being decoded' if step == 'decode' else 'the engine has not answered'
    )
    assert told[0].startswith('FAULT: ')
    assert told[0].endswith(f's without a score: {lacking}')
    assert told[1].endswith('s without a frame'), 'the other one waits for nothing'
    (answer,) = cameras.answers[0].seen
    assert answer.alert.reason.endswith(' s without an answer')
