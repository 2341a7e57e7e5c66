"""Scores of sequences: the time watched, one frame rate, and how sequences are dealt out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from ros_ood_monitor.errors import CalibrationError
from ros_ood_monitor.rate_calibration.score_streams import (
    frame_rate_of,
    ScoreStream,
    split_streams,
)


def line(stamp: npt.NDArray[np.float64], name: str = 'a') -> ScoreStream:
    return ScoreStream(name, '', stamp, np.zeros(len(stamp)))


def test_gaps_and_steps_back_are_no_hours_watched() -> None:
    stamp = np.concatenate([np.arange(0.0, 61.0), np.arange(1000.0, 1061.0), [5.0]])
    assert line(stamp).hours == pytest.approx(120.0 / 3600.0)
    assert line(np.zeros(50)).hours == 0.0
    assert line(np.zeros(1)).hours == 0.0


def test_few_sequences_are_cut_with_a_minute_between() -> None:
    stamp = np.arange(0.0, 3600.0)
    choosing, stating, rule = split_streams([line(stamp)], share=0.75, seed=0)
    assert rule == 'block'
    assert stating[0].stamp[0] - choosing[0].stamp[-1] == pytest.approx(60.0, abs=2.0)
    assert stating[0].hours / (stating[0].hours + choosing[0].hours) == pytest.approx(0.75, 0.02)


def test_sequences_are_dealt_out_whole_and_by_the_seed() -> None:
    four = [line(np.arange(0.0, 600.0), name) for name in 'abcd']
    dealt = {
        frozenset(one.sequence for one in split_streams(four, share=0.5, seed=seed)[1])
        for seed in range(8)
    }
    assert {len(names) for names in dealt} == {2}
    assert len(dealt) > 1


def test_frame_rates_that_differ_are_refused_by_name() -> None:
    slow = [line(np.arange(0.0, 60.0, 1.0 + 0.05 * k), f'slow {k}') for k in range(3)]
    assert frame_rate_of(slow) == pytest.approx(1.0 / 1.05)
    with pytest.raises(CalibrationError, match=r'got 5 Hz.*: fast'):
        frame_rate_of([*slow, line(np.arange(0.0, 60.0, 0.2), 'fast')])
    with pytest.raises(CalibrationError, match='no time to watch'):
        frame_rate_of([line(np.arange(0.0, 60.0, 5.0))])
