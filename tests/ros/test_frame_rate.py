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
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter

from ros_ood_monitor.bundle import Bundle, write_bundle
from ros_ood_monitor.calibration import Calibration
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.rate_calibration.score_streams import STALE_AFTER
from ros_ood_monitor.rates import RateBound
from ros_ood_monitor.ros.camera.counts import StreamCounts
from ros_ood_monitor.ros.camera.frame_rate import FrameRateCheck
from ros_ood_monitor.ros.camera.publishers import Publishers
from ros_ood_monitor.ros.diagnostics.alert_remarks import rate_text, stated_rate, threshold_remarks
from ros_ood_monitor.ros.diagnostics.input_status import input_status, InputFacts
from ros_ood_monitor.ros.model.open_monitor import alert_point
from ros_ood_monitor.ros.parameters.settings import Settings
from tests.ros.harness import peer, running_node, SlowOpening

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
        assert texts[:30] == [''] * 30
        assert [bool(text) for text in texts[31:]] == [is_off] * 9
        assert news == is_off
    assert 'calibrated at 10 Hz and does not hold' in texts[-1]


def test_no_stated_rate_and_no_frames_are_no_matter_of_frame_rate() -> None:
    for expected_hz, frames in ((math.nan, 3), (10.0, 0)):
        check = FrameRateCheck()
        assert not any(check.update(float(k), frames * k, expected_hz) for k in range(60))


def test_a_camera_that_pauses_is_no_camera_of_another_rate() -> None:
    for pause in np.arange(1.0, 13.0, 0.25):
        check = FrameRateCheck()
        # a report comes a little later than a second after the one before
        times = [1.03 * k for k in range(90)]
        counts = [round(10 * (t if t < 30.4 else max(30.4, t - pause))) for t in times]
        told = [check.update(*seen, 10.0) for seen in zip(times, counts, strict=True)]
        assert not any(told), pause


def test_frame_rate_that_voids_the_rate_is_a_warning() -> None:
    counts = StreamCounts(0.0)
    counts.on_received()
    counts.on_scored(1.0, 1.0)
    facts = InputFacts(
        '/image', True, Publishers(1), counts.snapshot(1.0), stale_after=2.0,
        off_rate='5 frames/s scored, the rate ...',
    )  # fmt: skip
    status = input_status('n', camera='c', facts=facts)
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


@pytest.fixture
def rated_bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    plain = Bundle.load(tiny_bundle)
    files = {name: plain.read(name) for name in plain.manifest.digests}
    files['calibration.fp32.npz'] = rated(plain.calibration()).to_bytes()
    raw = plain.manifest.raw
    manifest = {key: raw[key] for key in raw if key not in ('format', 'digests', 'digest')}
    return write_bundle(tmp_path / 'rated', manifest=manifest, files=files).path


def test_diagnostics_show_the_rate_that_the_bundle_states(ros: None, rated_bundle: Path) -> None:
    given: dict[str, Any] = {'autostart': True, 'alert__stale_after': STALE_AFTER}
    with running_node(model__bundle=str(rated_bundle), **given), peer() as me:
        _, pairs = me.wait_for_status('model', lambda _, p: bool(p['false_alert_rate']))
    assert pairs['false_alert_rate'] == str(BOUND)


def test_trigger_that_is_set_while_the_engine_opens_voids_the_rate(
    ros: None, rated_bundle: Path
) -> None:
    opening = SlowOpening()
    given: dict[str, Any] = {'autostart': True, 'alert__stale_after': STALE_AFTER}
    with (
        running_node(open_monitor=opening, model__bundle=str(rated_bundle), **given),
        peer() as me,
    ):
        assert opening.entered.wait(60.0)
        trigger = Parameter('alert.trigger', value=7.5).to_parameter_msg()
        (answer,) = me.call(SetParameters, 'set_parameters', parameters=[trigger]).results
        assert answer.successful
        opening.leave.set()
        _, pairs = me.wait_for_status('model', lambda _, p: p['lifecycle_state'] == 'active')
    assert pairs['false_alert_rate'].endswith('what it was measured with: alert.trigger')
