"""Alerts counted where a logic can alert are those of the logic run through every frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ros_ood_monitor.alerting import EpisodeLog, make_logic
from ros_ood_monitor.calibration import OperatingPoint
from ros_ood_monitor.rate_calibration import count_episodes
from ros_ood_monitor.rate_calibration.score_streams import BLIND, ScoreStream, STALE_AFTER
from ros_ood_monitor.records import State

HELD_OUT = np.sort(np.random.default_rng(0).normal(size=300))
SETTINGS = {'ewma': {'time_constant': 2.0}, 'cusum': {'reference': 0.3}, 'martingale': {}}


def frame_by_frame(stream: ScoreStream, point: OperatingPoint) -> tuple[int, float]:
    logic = make_logic(point, HELD_OUT, stale_after=STALE_AFTER)
    log = EpisodeLog(refractory=point.refractory)
    seconds = 0.0
    for k, stamp in enumerate(stream.stamp.tolist()):
        if stream.after_fault[k]:
            log.note(logic.fault(BLIND), stamp)
        alert = logic.update(float(stream.raw_score[k]), stamp)
        log.note(alert, stamp)
        if alert.state is State.ALERT and k < len(stream.watched):
            seconds += float(stream.watched[k])
    return len(log.episodes), seconds


def drive(seed: int, mean: float, count: int = 500) -> ScoreStream:
    """Return a stream that depends on itself, with jitter, gaps, jumps back and blind moments."""
    rng = np.random.default_rng(seed)
    raw_score = np.empty(count)
    now = 0.0
    for k, shock in enumerate(rng.standard_t(4.0, count)):
        now = raw_score[k] = 0.9 * now + 0.4 * shock
    step = rng.uniform(0.0, 0.9, count)
    step[rng.integers(0, count, 6)] = 3.0
    step[rng.integers(0, count, 3)] = -5.0
    step[rng.integers(0, count, 9)] = 0.0
    is_after_fault = np.zeros(count, np.bool_)
    is_after_fault[rng.integers(0, count, 9)] = True
    return ScoreStream('a', '', step.cumsum(), raw_score + mean, is_after_fault)


@pytest.mark.parametrize('logic', sorted(SETTINGS))
def test_count_is_that_of_every_frame_one_by_one(logic: str) -> None:
    count = count_episodes(HELD_OUT)
    point = OperatingPoint(2.0, 1.0, logic=logic, settings=SETTINGS[logic], refractory=7.0)
    low = float(HELD_OUT.mean()) if logic == 'ewma' else 0.0
    seen, stops = set(), 0  # numbers of alerts, streams with any
    for seed, mean in enumerate((-0.5, 0.2, 0.5, 3.0)):
        stream = drive(seed, mean)
        for height in np.geomspace(0.1, 100.0, 10):
            at = point.at_limit(low + float(height))
            episodes, seconds = frame_by_frame(stream, at)
            found = count(stream, at)
            assert found.episodes == episodes
            assert found.seconds == pytest.approx(seconds, abs=1e-6)
            seen.add(episodes)
            stops += episodes > 0
    assert len(seen) > 8
    assert 10 < stops < 40  # some are quiet


def test_evidence_from_before_a_blind_camera_raises_no_alert_after_it() -> None:
    stamp = np.arange(0.0, 20.0, 0.5)
    stream = ScoreStream('a', '', stamp, np.where(stamp >= 10.0, 2.0, -1.0))
    blind = replace(stream, after_fault=stamp == 13.0)
    for logic, limit in (('cusum', 6.0), ('ewma', 1.9), ('martingale', 18.0)):
        point = OperatingPoint(2.0, 1.0, logic=logic, settings={'limit': limit})
        whole, cut = (count_episodes(HELD_OUT)(one, point) for one in (stream, blind))
        assert whole.episodes == cut.episodes == 1
        assert cut.seconds < whole.seconds
    consecutive = OperatingPoint(1.0, 0.0, trigger_frames=10)
    late = replace(stream, raw_score=np.where((stamp >= 10.0) & (stamp < 16.0), 2.0, -1.0))
    assert count_episodes(HELD_OUT)(late, consecutive).episodes == 1
    late = replace(late, after_fault=stamp == 13.0)
    assert count_episodes(HELD_OUT)(late, consecutive).episodes == 0
