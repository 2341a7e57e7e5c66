"""What the node says of a stated rate of false alerts, and of a frame rate at which it is void."""

from __future__ import annotations

from dataclasses import replace
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticStatus

from ros_ood_monitor.bundle import Bundle, write_bundle
from ros_ood_monitor.calibration import Calibration
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.rate_calibration.score_streams import STALE_AFTER
from ros_ood_monitor.rates import RateBound
from ros_ood_monitor.ros.alert_remarks import rate_text, stated_rate, threshold_remarks
from ros_ood_monitor.ros.frame_rate import FrameRateCheck
from ros_ood_monitor.ros.input_status import input_status
from ros_ood_monitor.ros.load import Load
from ros_ood_monitor.ros.open_monitor import alert_point
from ros_ood_monitor.ros.publishers import Publishers
from ros_ood_monitor.ros.settings import Settings
from ros_ood_monitor.ros.stream_counts import StreamCounts
from tests.ros.harness import peer, running_node, wait_until

BOUND = RateBound.measure(
    [0, 1], [12.0, 12.0], per_hour=0.5, refractory=10.0, seed=0, frame_rate_hz=10.0
)


def rated(calibration: Calibration) -> Calibration:
    point = replace(calibration.operating_point, rate=BOUND, rate_established=True)
    return replace(calibration, operating_point=point)


def test_a_rate_of_20_percent_more_or_less_is_told_once_and_shown_while_it_lasts() -> None:
    for rate_hz, is_off in ((10.0, False), (8.2, False), (11.8, False), (7.5, True), (13.0, True)):
        check = FrameRateCheck()
        texts, news = [], 0
        for second in range(40):
            texts.append(check.update(float(second), round(second * rate_hz), 10.0))
            news += check.is_news
        assert texts[:25] == [''] * 25
        assert [bool(text) for text in texts[26:]] == [is_off] * 14
        assert news == is_off
    assert 'calibrated at 10 Hz and does not hold' in texts[-1]


def test_no_stated_rate_and_no_frames_are_no_matter_of_frame_rate() -> None:
    for expected_hz, frames in ((math.nan, 3), (10.0, 0)):
        check = FrameRateCheck()
        assert not any(check.update(float(k), frames * k, expected_hz) for k in range(60))


def test_a_camera_that_pauses_is_no_camera_of_another_rate() -> None:
    check = FrameRateCheck()
    counts = [10 * (k if k < 30 else max(30, k - 4)) for k in range(90)]
    assert not any(check.update(float(k), count, 10.0) for k, count in enumerate(counts))


def test_frame_rate_that_voids_the_rate_is_a_warning() -> None:
    counts = StreamCounts(0.0)
    counts.on_received()
    counts.on_scored(1.0, 1.0)
    status = input_status(
        'n', camera='c', topic='/image', active=True, publishers=Publishers(1), gone_for=0.0,
        state=None, silent_for=0.0, stale_after=2.0, now=counts.snapshot(1.0), before=None,
        load=Load(), off_rate='5 frames/s scored, the rate ...',
    )  # fmt: skip
    assert status.level == DiagnosticStatus.WARN
    assert status.message == '5 frames/s scored, the rate ...'


VOID: dict[str, dict[str, Any]] = {
    'alert.trigger': {'alert_trigger': 99.0},
    'alert.logic': {'alert_logic': 'ewma'},
    'alert.trigger_frames': {'alert_trigger_frames': 2},
    'alert.stale_after': {'alert_stale_after': 1.0},
    'health.enabled': {'health_enabled': False},
    'health.frames': {'health_frames': 5},
    'health.ignore': {'health_ignore': ('blurred', 'frozen')},
    'health.black': {'health_black': 40.0},
    'health.saturated': {'health_saturated': 0.5},
    'alert.trigger, health.ignore': {'alert_trigger': 9.0, 'health_ignore': ('black',)},
}
KEPT: tuple[dict[str, Any], ...] = (
    {},
    {'alert_logic': 'consecutive'},
    {'health_ignore': ('blurred', 'stamps')},  # these only warn
    {'health_noise': 1.0, 'input_max_rate_hz': 5.0},
    {'health_black': 8.0},  # what it was
)


def test_parameters_that_change_what_is_judged_void_the_rate_and_are_named(
    tiny_bundle: Path,
) -> None:
    assert Settings.defaults().alert_stale_after == STALE_AFTER
    bundle = Bundle.load(tiny_bundle)
    monitor = Monitor.from_bundle(bundle)
    assert rate_text(Settings.defaults(alert_trigger=9.0), monitor) == 'not established'
    monitor.calibration = rated(monitor.calibration)
    point = monitor.calibration.operating_point
    assert monitor.health_limits.limits['black'][0] == 8.0
    for changes in KEPT:
        settings = Settings.defaults(**changes)
        assert (stated_rate(settings, monitor), rate_text(settings, monitor)) == (
            BOUND, str(BOUND),
        )  # fmt: skip
        assert alert_point(settings, point).rate is BOUND
    for names, changes in VOID.items():
        settings = Settings.defaults(**changes)
        assert stated_rate(settings, monitor) is None
        text = rate_text(settings, monitor)
        assert text.startswith('not established: parameters take the place of')
        assert text.endswith(f': {names}')
    monitor.close()


def test_thresholds_out_of_reach_of_held_out_scores_are_told(tiny_bundle: Path) -> None:
    calibration = replace(
        Bundle.load(tiny_bundle).calibration(), raw_score=np.array([1.0, 2.0, 3.0, 4.0, 9.0])
    )

    def told(**changes: Any) -> tuple[str, ...]:
        return threshold_remarks(Settings.defaults(**changes), calibration)

    assert told() == told(alert_trigger=1.0) == told(alert_trigger=15.0, alert_release=1.0) == ()
    assert told(alert_trigger=-1e9) == (
        'alert.trigger is -1e+09, held-out scores lie between 1 and 9: every frame counts toward '
        'an alert',
    )
    (high,) = told(alert_trigger=15.1)
    assert 'hardly any frame counts' in high
    (release,) = told(alert_release=0.9)
    assert release.startswith('alert.release is 0.9')
    assert 'no frame ends an alert' in release
    (limit,) = told(alert_logic='ewma', alert_limit=0.5)
    assert limit.startswith('alert.limit is 0.5')
    # seconds and nats are beside no score
    assert told(alert_logic='cusum', alert_limit=0.5) == ()


def test_diagnostics_show_the_rate_that_the_bundle_states(
    ros: None, tiny_bundle: Path, tmp_path: Path
) -> None:
    plain = Bundle.load(tiny_bundle)
    files = {name: plain.read(name) for name in plain.manifest.digests}
    files['calibration.fp32.npz'] = rated(plain.calibration()).to_bytes()
    raw = plain.manifest.raw
    manifest = {key: raw[key] for key in raw if key not in ('format', 'digests', 'digest')}
    path = write_bundle(tmp_path / 'rated', manifest=manifest, files=files).path
    with running_node(model__bundle=str(path), autostart=True), peer() as me:
        shown = wait_until(
            lambda: [
                pair.value
                for status in me.statuses
                if status.name.endswith(': model')
                for pair in status.values
                if pair.key == 'false_alert_rate' and pair.value
            ],
            'a status of the model with the rate',
        )
    assert shown[0] == str(BOUND)
