"""Episodes: quick repeats within the refractory time are one alert, others are not."""

from __future__ import annotations

import math

import pytest

from ros_ood_monitor.alerting import EpisodeLog
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.records import AlertState, State

N, S, A = State.NORMAL, State.SUSPECT, State.ALERT
REPEAT = [(0, N), (1, A), (2, A), (3, N), (6, A), (7, N), (20, A), (21, N)]


def log_of(
    rows: list[tuple[float, State]], refractory: float, *, entered: tuple[float, ...] = ()
) -> list[tuple[float, float, float]]:
    """Peak is the stamp; a state counts as entered where it differs or is listed."""
    log, before = EpisodeLog(refractory=refractory), None
    for stamp, state in rows:
        changed = state is not before or stamp in entered
        log.note(AlertState(state, changed, peak=float(stamp), reason=f'at {stamp}'), stamp)
        before = state
    return [(e.start, e.end, e.peak) for e in log.episodes]


@pytest.mark.parametrize(
    ('refractory', 'expected'),
    [
        (0.0, [(1, 3, 2), (6, 7, 6), (20, 21, 20)]),
        (2.9, [(1, 3, 2), (6, 7, 6), (20, 21, 20)]),
        (3.0, [(1, 7, 6), (20, 21, 20)]),
        (13.0, [(1, 21, 20)]),
    ],
)
def test_an_alert_within_the_refractory_time_goes_on_with_the_last(
    refractory: float, expected: list[tuple[float, float, float]]
) -> None:
    assert log_of(REPEAT, refractory) == expected


def test_an_interruption_splits_only_where_the_last_frame_in_alert_is_too_long_ago() -> None:
    short = [(1, A), (2, A), (4, S), (5, A), (6, N)]
    assert log_of(short, 3.0) == [(1, 6, 5)]
    assert log_of([(1, A), (2, A), (60, S), (61, A), (62, N)], 3.0) == [(1, 61, 2), (61, 62, 61)]
    assert log_of([(1, A), (2, A), (60, A), (62, N)], 3.0, entered=(60,)) == [
        (1, 60, 2),
        (60, 62, 60),
    ]


def test_stamps_set_back_begin_another_episode() -> None:
    assert log_of([(100, A), (101, N), (50, A), (51, N)], 10.0) == [(50, 51, 50), (100, 101, 100)]


def test_stamps_set_back_during_an_alert_take_no_time_from_it() -> None:
    assert log_of([(100, A), (103, A), (50, S), (51, N)], 0.0) == [(100, 103, 103)]
    assert log_of([(100, A), (103, A), (101, S), (101, A), (102, N)], 0.0) == [
        (100, 103, 103),
        (101, 102, 101),
    ]


def test_note_tells_of_frames_at_which_an_episode_of_its_own_begins() -> None:
    log, before, began = EpisodeLog(refractory=2.0), N, []
    for stamp, state in [(1, A), (2, A), (3, N), (4, A), (5, S), (6, A), (7, N), (20, A), (20, N)]:
        if log.note(AlertState(state, state is not before), stamp):
            began.append(stamp)
        before = state
    assert began == [e.start for e in log.episodes] == [1, 20]


def test_an_episode_says_why_it_began_and_cameras_are_apart() -> None:
    log = EpisodeLog(refractory=10.0)
    for stamp, camera in ((1.0, 'left'), (2.0, 'right')):
        log.note(AlertState(A, changed=True, peak=stamp, reason=f'why {camera}'), stamp, camera)
        log.note(AlertState(N, changed=True), stamp + 0.5, camera)
    assert [(e.camera, e.reason, e.is_over) for e in log.episodes] == [
        ('left', 'why left', True),
        ('right', 'why right', True),
    ]


@pytest.mark.parametrize('refractory', [-1.0, math.nan, math.inf])
def test_a_refractory_time_without_sense_is_refused(refractory: float) -> None:
    with pytest.raises(ParameterError, match='refractory'):
        EpisodeLog(refractory=refractory)
