"""The alert automaton: counts, hysteresis, interruptions, and no skipped state."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ros_ood_monitor.alerting import ConsecutiveLogic
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.records import State


def make_logic(**changes: float) -> ConsecutiveLogic:
    settings = {'trigger': 10.0, 'release': 5.0, 'trigger_frames': 3, 'release_frames': 2}
    return ConsecutiveLogic(**{**settings, **changes})  # type: ignore[arg-type]


def states(logic: ConsecutiveLogic, scores: list[float], rate: float = 10.0) -> list[State]:
    return [logic.update(score, 100.0 + k / rate).state for k, score in enumerate(scores)]


def test_alert_needs_three_frames_above_trigger() -> None:
    assert states(make_logic(), [0, 11, 11, 0, 11, 11, 11]) == [
        State.NORMAL,
        State.SUSPECT,
        State.SUSPECT,
        State.NORMAL,
        State.SUSPECT,
        State.SUSPECT,
        State.ALERT,
    ]


def test_a_score_equal_to_the_trigger_does_not_count() -> None:
    assert set(states(make_logic(), [10.0] * 5)) == {State.NORMAL}


def test_alert_holds_between_the_thresholds_and_clears_after_two_frames_under_release() -> None:
    logic = make_logic()
    states(logic, [11, 11, 11])
    got = [logic.update(s, 100.3 + k / 10).state for k, s in enumerate([7, 4, 7, 4, 4])]
    assert got == [State.ALERT] * 4 + [State.NORMAL]


def test_changed_is_true_exactly_once_per_transition() -> None:
    logic = make_logic()
    scores = [0, 11, 11, 11, 20, 4, 4, 0]
    changed = [logic.update(s, k / 10).changed for k, s in enumerate(scores)]
    assert changed == [False, True, False, True, False, False, True, False]


def test_peak_and_since_belong_to_the_episode() -> None:
    logic = make_logic()
    for k, score in enumerate([0, 12, 30, 11, 25, 7]):
        state = logic.update(score, k / 10)
    assert state.state is State.ALERT
    assert state.peak == 30.0
    assert state.since == pytest.approx(0.3)
    assert math.isnan(make_logic().update(0.0, 0.0).peak)


def test_one_trigger_frame_alerts_at_once() -> None:
    assert states(make_logic(trigger_frames=1), [0, 11]) == [State.NORMAL, State.ALERT]


@pytest.mark.parametrize('rate', [5.0, 10.0, 40.0])
def test_durations_take_the_same_time_at_every_frame_rate(rate: float) -> None:
    logic = make_logic(
        trigger_frames=1, trigger_seconds=0.4, release_frames=1, release_seconds=0.6
    )
    got = [logic.update(11.0, k / rate) for k in range(int(rate))]
    assert next(now.since for now in got if now.state is State.ALERT) == pytest.approx(0.4)
    assert got[0].state is State.SUSPECT
    assert got[1].reason == f'{1.0 / rate:.2f} of 0.40 s over the threshold'
    got = [logic.update(4.0, 1.0 + k / rate) for k in range(int(rate))]
    assert next(now.since for now in got if now.state is State.NORMAL) == pytest.approx(1.6)


def test_count_and_duration_must_both_be_reached() -> None:
    logic = make_logic(trigger_frames=3, trigger_seconds=0.25)
    assert states(logic, [11, 11, 11, 11])[-2:] == [State.SUSPECT, State.ALERT]
    slow = make_logic(trigger_frames=3, trigger_seconds=0.25)
    assert states(slow, [11, 11, 11], rate=2.0)[-2:] == [State.SUSPECT, State.ALERT]


def test_silence_makes_the_stream_stale_once() -> None:
    logic = make_logic(stale_after=2.0)
    logic.update(0.0, 100.0)
    assert logic.silence(1.9).state is State.NORMAL
    stale = logic.silence(2.0)
    assert (stale.state, stale.changed, stale.since) == (State.STALE, True, 102.0)
    assert logic.silence(3.0).changed is False


def test_silence_before_the_first_frame_is_stale_too() -> None:
    assert make_logic().silence(5.0).state is State.STALE


def test_a_frame_after_silence_starts_over() -> None:
    logic = make_logic(stale_after=1.0)
    states(logic, [11, 11])
    logic.silence(1.5)
    back = logic.update(11.0, 102.0)
    assert (back.state, back.changed) == (State.SUSPECT, True)
    assert logic.update(11.0, 102.1).state is State.SUSPECT


def test_a_gap_between_stamps_counts_like_silence_that_was_declared() -> None:
    """A replay never calls silence(); the robot's timer does. Both must agree afterwards."""
    robot, replay = make_logic(stale_after=1.0), make_logic(stale_after=1.0)
    for logic in (robot, replay):
        states(logic, [11, 11, 11])
    robot.silence(1.7)
    for k, score in enumerate([11, 0, 11, 11, 11, 4, 4]):
        a, b = (logic.update(score, 102.0 + k / 10) for logic in (robot, replay))
        assert (a.state, a.changed, a.since) == (b.state, b.changed, b.since)


def test_the_first_frame_ever_is_not_normal_again() -> None:
    logic = make_logic(stale_after=1.0)
    logic.silence(1.5)
    now = logic.update(0.0, 100.0)
    assert now.changed
    assert now.reason == 'like the training data, after 1.50 s without a frame to score'


def test_stamps_that_run_backwards_start_over() -> None:
    logic = make_logic()
    states(logic, [11, 11, 11])
    assert logic.update(0.0, 3.0).state is State.NORMAL


def test_a_gap_from_normal_to_normal_is_no_change_and_says_how_long_it_was() -> None:
    logic = make_logic()
    logic.update(0.0, 100.0)
    now = logic.update(0.0, 160.0)
    assert (now.state, now.changed) == (State.NORMAL, False)
    assert now.reason.endswith(', after 60.00 s without a frame: stamps jumped by +60.00 s')
    assert logic.update(0.0, 160.1).reason == 'like the training data'


def test_stamps_that_jump_back_are_said_with_their_sign_and_are_no_change_while_normal() -> None:
    logic = make_logic()
    logic.update(0.0, 100.0)
    now = logic.update(0.0, 40.0)
    assert (now.state, now.changed) == (State.NORMAL, False)
    assert now.reason == 'like the training data again, stamps jumped by -60.00 s'


def test_frames_that_are_not_judged_are_no_silence() -> None:
    logic = make_logic()  # stale after 2 s
    for stamp in (100.0, 101.0, 102.0):
        logic.update(11.0, stamp)
    for stamp in (103.0, 104.0):
        now = logic.skip(stamp, 'the picture is black')
        assert (now.state, now.changed) == (State.ALERT, False)
        assert now.reason == 'not judged: the picture is black'
    now = logic.update(11.0, 105.0)  # what was seen 3 s ago is no evidence any more
    assert (now.state, now.changed) == (State.SUSPECT, True)
    assert now.reason.endswith(
        ', after 3.00 s without a frame to judge (last: the picture is black)'
    )
    assert logic.skip(105.5, 'the picture is black').state is State.SUSPECT
    now = logic.update(11.0, 106.0)
    assert now.reason == '2 of 3 frames over the threshold'
    logic.skip(107.0, 'the picture is black')
    now = logic.update(11.0, 167.0)  # this one is a silence, whatever came before it
    assert now.reason.endswith(', after 61.00 s without a frame: stamps jumped by +61.00 s')


@pytest.mark.parametrize('score', [0.0, 11.0], ids=['NORMAL', 'SUSPECT'])
def test_the_state_after_a_silence_says_how_long_it_was(score: float) -> None:
    logic = make_logic(stale_after=1.0)
    logic.update(0.0, 100.0)
    logic.silence(1.5)
    now = logic.update(score, 103.25)
    assert now.changed
    assert now.reason.endswith(', after 3.25 s without a frame to score')


def test_a_silence_in_which_stamps_stood_still_is_as_long_as_it_was_declared() -> None:
    logic = make_logic(stale_after=1.0)
    logic.update(0.0, 100.0)
    logic.silence(1.5)
    assert logic.update(0.0, 100.1).reason.endswith(', after 1.50 s without a frame to score')


def test_the_first_frame_after_a_silence_from_the_start_says_so() -> None:
    logic = make_logic(stale_after=1.0)
    for seconds in (0.5, 1.03, 5.0):  # as it grows, not as it was when it became STALE
        logic.silence(seconds)
    assert logic.state.reason == '1.03 s without a frame'
    assert logic.update(0.0, 1.0).reason.endswith(', after 5.00 s without a frame to score')


def test_an_alert_that_lasts_is_counted_from_its_first_frame_over_the_trigger() -> None:
    logic = make_logic()
    states(logic, [0, 11, 11, 11, 11])  # 0.1 s apart
    assert logic.state.reason == 'unlike the training data for 0.30 s'


def test_fault_is_entered_once_and_left_by_the_next_score() -> None:
    logic = make_logic()
    logic.update(0.0, 1.0)
    assert logic.fault('engine failed').changed is True
    assert logic.fault('engine failed').changed is False
    assert logic.state.reason == 'engine failed'
    assert logic.update(0.0, 1.1).state is State.NORMAL


def test_fault_and_stale_are_since_the_image_that_showed_it_judged_or_not() -> None:
    logic = make_logic()
    assert math.isnan(logic.fault('engine failed').since)  # no image showed it
    logic.reset()
    assert logic.fault('the picture is black', 10.0).since == 10.0
    logic.update(0.0, 10.1)
    for stamp in (10.2, 10.3):
        logic.skip(stamp, 'the picture is black')
    faults = [logic.fault('the picture is black', stamp) for stamp in np.arange(104, 704) / 10]
    assert {(now.since, now.state) for now in faults} == {(10.4, State.FAULT)}
    assert logic.silence(2.0).since == pytest.approx(72.3)
    now = logic.update(0.0, 75.1)
    assert now.reason.endswith(', after 65.00 s without a frame to score')
    assert logic.fault('engine failed').since == 75.1  # as of the last frame


def test_reset_forgets_the_stream() -> None:
    logic = make_logic()
    states(logic, [11, 11, 11])
    logic.reset()
    assert logic.state.state is State.NORMAL
    assert logic.update(11.0, 0.0).state is State.SUSPECT


def test_no_state_is_skipped_on_random_streams() -> None:
    allowed = {
        State.NORMAL: {State.SUSPECT},
        State.SUSPECT: {State.NORMAL, State.ALERT},
        State.ALERT: {State.NORMAL},
    }
    rng = np.random.default_rng(11)
    for _ in range(50):
        logic = make_logic(trigger_frames=int(rng.integers(2, 5)))
        before = State.NORMAL
        for k, score in enumerate(rng.normal(8.0, 5.0, size=200)):
            now = logic.update(float(score), k / 30)
            assert now.changed == (now.state is not before)
            assert now.state is before or now.state in allowed[before]
            before = now.state


@pytest.mark.parametrize(
    ('changes', 'match'),
    [
        ({'release': 11.0}, 'release at most trigger'),
        ({'trigger': math.nan}, 'finite'),
        ({'trigger_frames': 0}, 'at least 1'),
        ({'release_frames': -1}, 'at least 1'),
        ({'stale_after': 0.0}, 'stale_after must be positive'),
        ({'trigger_seconds': -0.1}, 'must be 0 or more'),
        ({'release_seconds': math.nan}, 'must be 0 or more'),
    ],
)
def test_settings_outside_their_range_are_refused(changes: dict[str, float], match: str) -> None:
    with pytest.raises(ParameterError, match=match):
        make_logic(**changes)


def test_a_score_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ParameterError, match='finite'):
        make_logic().update(math.nan, 0.0)
