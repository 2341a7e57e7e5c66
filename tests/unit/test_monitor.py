"""The corridor: the same frames give the same observations, wherever they come from."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from ros_ood_monitor.alerting import ConsecutiveLogic
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.errors import EngineError
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.records import Frame, Observation, State
from tests.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny')


def frames(count: int, *, odd: range, seed: int = 0) -> list[Frame]:
    """Grey noise as the tiny bundle knows it, saturated colour where ``odd``."""
    rng = np.random.default_rng(seed)
    made = []
    for k in range(count):
        rgb = rng.integers(96, 160, (60, 90, 3), dtype=np.uint8)
        if k in odd:
            rgb[..., 0], rgb[..., 1:] = 255, 0
        made.append(Frame(rgb, stamp=50.0 + k / 10, camera='left'))
    return made


def run(bundle: Bundle, stream: list[Frame]) -> list[Observation]:
    monitor = Monitor.from_bundle(bundle)
    return [monitor.observe(frame) for frame in stream]


def test_an_odd_stretch_raises_one_alert_that_clears(bundle: Bundle) -> None:
    seen = run(bundle, frames(40, odd=range(10, 20)))
    entered = [o.state for o in seen if o.alert.changed]
    assert entered == [State.SUSPECT, State.ALERT, State.NORMAL]
    alert = next(o for o in seen if o.state is State.ALERT)
    assert alert.stamp == pytest.approx(51.2)
    assert alert.raw_score > alert.threshold
    assert alert.score == 1.0


def test_two_runs_agree_in_everything_but_processing_time(bundle: Bundle) -> None:
    stream = frames(30, odd=range(5, 12))
    assert run(bundle, stream) == run(bundle, stream)


def test_stamp_and_camera_come_through_unchanged(bundle: Bundle) -> None:
    (first, *_) = run(bundle, frames(1, odd=range(0)))
    assert (first.stamp, first.camera) == (50.0, 'left')


def test_processing_time_is_taken_from_the_given_clock(bundle: Bundle) -> None:
    ticks = itertools.count(step=0.25)
    monitor = Monitor.from_bundle(bundle, clock=lambda: next(ticks))
    assert monitor.observe(frames(1, odd=range(0))[0]).latency_ms == 250.0


def test_another_alert_logic_can_be_given(bundle: Bundle) -> None:
    logic = ConsecutiveLogic(trigger=-1e9, release=-1e9, trigger_frames=1)
    monitor = Monitor.from_bundle(bundle, alert=logic)
    observation = monitor.observe(frames(1, odd=range(0))[0])
    assert observation.state is State.ALERT
    assert observation.threshold == monitor.threshold == -1e9


def test_monitors_of_two_cameras_share_all_but_their_alert_state(bundle: Bundle) -> None:
    left = Monitor.from_bundle(bundle)
    logic = ConsecutiveLogic(trigger=left.threshold, release=left.threshold, trigger_frames=1)
    right = left.another(logic)
    assert (right.engine, right.bundle) == (left.engine, left.bundle)
    assert (right.alert, left.alert is logic) == (logic, False)
    odd, *_ = frames(1, odd=range(1))
    seen = [right.observe(odd), left.observe(odd)]
    assert seen[0].raw_score == seen[1].raw_score
    assert [o.state for o in seen] == [State.ALERT, State.SUSPECT]


def test_reset_makes_the_next_frame_the_first(bundle: Bundle) -> None:
    monitor = Monitor.from_bundle(bundle)
    stream = frames(20, odd=range(20))
    first = [monitor.observe(frame) for frame in stream]
    monitor.reset()
    assert [monitor.observe(frame) for frame in stream] == first


def test_silence_and_fault_reach_the_alert_logic(bundle: Bundle) -> None:
    monitor = Monitor.from_bundle(bundle)
    monitor.observe(frames(1, odd=range(0))[0])
    assert monitor.check_silence(60.0).state is State.STALE
    assert monitor.fault('engine failed').state is State.FAULT
    assert monitor.state.reason == 'engine failed'


def test_an_engine_failure_leaves_the_alert_state(bundle: Bundle) -> None:
    monitor = Monitor.from_bundle(bundle)
    for frame in frames(5, odd=range(5)):
        before = monitor.observe(frame).alert
    monitor.close()
    with pytest.raises(EngineError):
        monitor.observe(frames(1, odd=range(0))[0])
    assert monitor.state == before


def test_monitor_verifies_its_own_engine(bundle: Bundle) -> None:
    assert Monitor.from_bundle(bundle).verify().ok


def test_a_zipped_bundle_gives_the_same_scores(bundle: Bundle, tmp_path: Path) -> None:
    import shutil

    archive = shutil.make_archive(str(tmp_path / 'tiny'), 'zip', bundle.path)
    stream = frames(6, odd=range(3, 6))
    assert run(Bundle.load(archive), stream) == run(bundle, stream)
