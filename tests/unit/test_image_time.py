"""Stamps that jitter, or overtake each other, are one stretch of time for all that counts it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from ros_ood_monitor.alerting import EpisodeLog, LOGICS, make_logic
from ros_ood_monitor.alerting.running_episode import RunningEpisode
from ros_ood_monitor.calibration import OperatingPoint
from ros_ood_monitor.image_time import image_times, ImageTime, OUT_OF_ORDER
from ros_ood_monitor.rate_calibration import count_episodes
from ros_ood_monitor.rate_calibration.score_streams import ScoreStream
from ros_ood_monitor.records import State

HELD_OUT = np.sort(np.random.default_rng(0).standard_normal(500))
POINT = OperatingPoint(2.3, 1.6, trigger_frames=3)


def jittered(count: int = 1800) -> npt.NDArray[np.float64]:
    """Return a minute of stamps at 30 Hz, a third of which are older than the one before."""
    stamp = 100.0 + np.arange(count) / 30.0 + np.random.default_rng(0).normal(0.0, 0.05, count)
    assert 0.2 < (np.diff(stamp) < 0.0).mean() < 0.5
    return np.asarray(stamp)


def test_time_stands_for_a_late_frame_and_jumps_where_the_clock_was_set_back() -> None:
    time = ImageTime()
    steps = [time.step(stamp) for stamp in (10.0, 10.5, 10.25, 10.0, 10.75, 10.125, 10.25)]
    np.testing.assert_array_equal(steps, [np.nan, 0.5, 0.0, 0.0, 0.25, -0.625, 0.125])
    assert time.now == 10.25
    assert time.step(10.25 - OUT_OF_ORDER) == 0.0


def test_times_of_all_frames_at_once_are_those_of_one_by_one() -> None:
    stamp = jittered()
    stamp[900:] -= 20.0
    time = ImageTime()
    steps = [time.step(one) for one in stamp.tolist()]
    times = image_times(stamp)
    np.testing.assert_array_equal(np.diff(times), steps[1:])
    assert np.count_nonzero(np.diff(times) < 0.0) == 1
    np.testing.assert_array_equal(image_times(times), times)


@pytest.mark.parametrize('name', list(LOGICS))
def test_an_alert_under_jittering_stamps_is_one_alert(name: str) -> None:
    logic = make_logic(OperatingPoint(2.3, 1.6, logic=name), HELD_OUT)
    log, running = EpisodeLog(), RunningEpisode()
    stamp = jittered()
    seen = []
    for one in stamp.tolist():
        alert = logic.update(6.0, one)
        seen.append(alert)
        log.note(alert, one)
        running.on_frame(one)
        running.on_alert(alert)
    raised = [k for k, alert in enumerate(seen) if alert.changed and alert.state is State.ALERT]
    assert len(raised) == len(log.episodes) == 1
    assert raised[0] < 60
    assert not any('jumped' in alert.reason for alert in seen)
    assert log.episodes[0].duration == pytest.approx(60.0, abs=2.5)
    assert running.duration() == pytest.approx(stamp.max() - stamp[raised[0]], abs=0.2)


@pytest.mark.parametrize('name', list(LOGICS))
def test_calibrate_counts_alerts_under_jittering_stamps_as_the_robot_does(name: str) -> None:
    stamp = jittered()
    raw_score = np.where(np.arange(len(stamp)) % 600 < 200, 6.0, -1.0)
    stamp[1500:] -= 30.0  # in a row of high scores: an alert of its own
    raw_score[1450:] = 6.0
    point = OperatingPoint(2.3, 1.6, logic=name)
    log, logic = EpisodeLog(), make_logic(point, HELD_OUT)
    for one, score in zip(stamp.tolist(), raw_score.tolist(), strict=True):
        log.note(logic.update(score, one), one)
    counted = count_episodes(HELD_OUT)(ScoreStream('a', '', stamp, raw_score), point)
    assert counted.episodes == len(log.episodes) == 5
    assert 20.0 < counted.seconds < 40.0


def test_an_episode_never_ends_before_it_starts() -> None:
    logic = make_logic(OperatingPoint(2.3, 1.6, trigger_frames=1, release_frames=1), HELD_OUT)
    log = EpisodeLog(refractory=1.0)
    for score, stamp in ((6.0, 10.0), (-1.0, 9.9), (6.0, 9.95), (-1.0, 11.0)):
        log.note(logic.update(score, stamp), stamp)
    (episode,) = log.episodes
    assert (episode.start, episode.end, episode.is_over) == (10.0, 11.0, True)


def test_durations_to_alert_and_to_clear_do_not_run_backwards() -> None:
    point = OperatingPoint(2.3, 1.6, settings={'trigger_seconds': 0.3, 'release_seconds': 0.0})
    logic = make_logic(point, HELD_OUT)
    reasons = [logic.update(6.0, stamp).reason for stamp in (1.0, 0.9, 0.8, 1.1, 1.05, 1.3)]
    assert reasons[3:5] == ['0.10 of 0.30 s over the threshold'] * 2
    assert logic.state.state is State.ALERT
    assert logic.state.since == 1.3
