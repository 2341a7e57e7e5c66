"""What holds for every alert logic, and what each one alone promises."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
import math

import numpy as np
import pytest

from ros_ood_monitor.alerting import (
    Automaton,
    EpisodeLog,
    EwmaLogic,
    LOGICS,
    make_logic,
    MartingaleLogic,
)
from ros_ood_monitor.calibration import conformal_threshold, OperatingPoint
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.records import AlertState, State
from tests.score_simulation import KINDS, simulate

HELD_OUT = np.sort(np.random.default_rng(0).standard_normal(500))
ALL = tuple(LOGICS)
ACCUMULATING = tuple(name for name in ALL if name != 'consecutive')
NEXT = {
    State.NORMAL: {State.SUSPECT},
    State.SUSPECT: {State.NORMAL, State.ALERT},
    State.ALERT: {State.NORMAL},
    State.STALE: {State.NORMAL, State.SUSPECT},
    State.FAULT: {State.NORMAL, State.SUSPECT},
}
"""Where one frame may lead."""

every = pytest.mark.parametrize('name', ALL)
accumulating = pytest.mark.parametrize('name', ACCUMULATING)


def made(name: str, stale_after: float = 2.0, **settings: float) -> Automaton:
    point = OperatingPoint(2.3, 1.6, logic=name, settings=settings)
    return make_logic(point, HELD_OUT, stale_after=stale_after)


def run(logic: Automaton, scores: Iterable[float], rate: float = 10.0) -> list[AlertState]:
    return [logic.update(score, 100.0 + k / rate) for k, score in enumerate(scores)]


def episodes(logic: Automaton, scores: Iterable[float], rate: float = 10.0) -> int:
    log = EpisodeLog(refractory=10.0)
    for k, score in enumerate(scores):
        log.note(logic.update(score, k / rate), k / rate)
    return len(log.episodes)


@every
def test_no_frame_skips_a_state_and_changed_says_when_one_is_left(name: str) -> None:
    rng = np.random.default_rng(3)
    seen: set[tuple[State, State]] = set()
    for _ in range(20):
        logic, stamp, low, before = made(name), 0.0, 0.0, State.NORMAL
        for _ in range(300):
            if rng.random() < 0.02:
                low = float(rng.choice([0.0, 2.0, 20.0]))
            if (event := rng.random()) < 0.01:
                before = logic.fault('engine failed').state
            elif event < 0.02:
                before = logic.silence(float(rng.uniform(1.5, 3.0))).state
            stamp += float(rng.choice([0.0, 0.03, 0.1, 1.0]))
            score = low + float(rng.standard_t(3))
            now = logic.update(score, stamp)
            assert now.state is before or now.state in NEXT[before]
            assert now.changed == (now.state is not before)
            assert math.isnan(now.peak) == (now.state is State.NORMAL)
            assert math.isnan(now.peak) or now.peak >= score
            assert now.reason
            seen.add((before, now.state))
            before = now.state
    assert {(a, b) for a in list(NEXT)[:3] for b in NEXT[a]} <= seen


@every
def test_a_replay_gives_what_the_robot_gave(name: str) -> None:
    """The robot's timer declares silences, the replay sees gaps between stamps."""
    rng = np.random.default_rng(5)
    robot, replay = made(name), made(name)
    stamp = 50.0
    for k in range(600):
        gap = 0.1 if rng.random() > 0.01 else float(rng.choice([3.0, 9.0, -5.0]))
        if gap > 2.0:
            assert robot.silence(gap - 0.05).state is State.STALE
        stamp += gap
        score = float(rng.normal(4.0 * (k // 50 % 2), 1.0))
        one, other = robot.update(score, stamp), replay.update(score, stamp)
        assert (one.state, one.since, one.peak) == (other.state, other.since, other.peak) or (
            one.state is other.state is State.NORMAL  # has been so since before the gap, in replay
        )


@every
def test_reset_makes_it_new(name: str) -> None:
    scores = np.random.default_rng(6).normal(1.5, 1.5, 200).tolist()
    logic = made(name)
    first = run(logic, scores)
    assert {now.state for now in first} == {State.NORMAL, State.SUSPECT, State.ALERT}
    logic.reset()
    assert logic.state == made(name).state
    assert run(logic, scores) == first


@every
@pytest.mark.parametrize('interrupt', ['silence', 'fault', 'gap', 'jump back'])
def test_what_was_seen_before_an_interruption_counts_for_nothing(
    name: str, interrupt: str
) -> None:
    logic, fresh = made(name), made(name)
    assert run(logic, [20.0] * 30)[-1].state is State.ALERT
    stamp = 103.0
    if interrupt == 'silence':
        assert logic.silence(2.0).state is State.STALE
    elif interrupt == 'fault':
        assert logic.fault('engine failed').changed
    else:
        stamp = 140.0 if interrupt == 'gap' else 50.0
    scores = [20.0, 20.0, 20.0, 0.0, 20.0, 20.0, 20.0]
    for k, score in enumerate(scores):
        now, expected = (each.update(score, stamp + k / 10) for each in (logic, fresh))
        assert (now.state, now.peak) == (expected.state, expected.peak)


@every
@pytest.mark.parametrize('score', [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_refused_and_changes_nothing(
    name: str, score: float
) -> None:
    logic, twin = made(name), made(name)
    for each in (logic, twin):
        run(each, [3.0, 3.0])
    with pytest.raises(ParameterError, match='finite'):
        logic.update(score, 100.2)
    assert logic.state == twin.state
    assert logic.update(3.0, 100.3) == twin.update(3.0, 100.3)


@every
@pytest.mark.parametrize('odd', [5.0, 1e3, 1e300])
def test_a_single_frame_however_odd_never_alerts(name: str, odd: float) -> None:
    got = run(made(name), [*[0.0] * 20, odd, *[0.0] * 20])
    assert State.ALERT not in {now.state for now in got}


@accumulating
def test_two_very_odd_frames_alert(name: str) -> None:
    # frames at which no time has passed, such as the first one, say nothing in image time
    got = [now.state for now in run(made(name, limit=2.0), [0.0, 1e9, 1e9])]
    assert got == [State.NORMAL, State.SUSPECT, State.ALERT]


@every
def test_an_alert_clears_as_soon_after_ten_minutes_as_after_three_seconds(name: str) -> None:
    took = []
    for odd in (30, 6000):
        logic = made(name)
        run(logic, [8.0] * odd)
        calm = [logic.update(0.0, 100.0 + (odd + k) / 10).state for k in range(100)]
        took.append(calm.index(State.NORMAL))
    assert took[0] == took[1] < 60


@every
def test_an_alert_says_what_raised_it_how_long_it_lasts_and_what_ended_it(name: str) -> None:
    got = run(made(name), [*[0.0] * 5, *[8.0] * 30, *[0.0] * 60])
    suspected, raised, cleared = (now for now in got if now.changed)
    ways = {
        'consecutive': ('of 3 frames over', '3 frames in a row over', '5 frames in a row under'),
        'ewma': ('alert over 2.3', 'average score over the limit 2.3', 'average score back at'),
        'cusum': ('alert over', 'added excess over the limit', 'added excess back at'),
        'martingale': ('alert over 12', 'evidence over the limit 12', 'evidence back at'),
    }[name]
    reasons = suspected.reason, raised.reason, cleared.reason
    assert [way in reason for way, reason in zip(ways, reasons, strict=True)] == [True] * 3
    lasted = got[34].since, got[34].peak, got[34].reason
    took = 103.4 - suspected.since
    assert lasted == (raised.since, 8.0, f'unlike the training data for {took:.2f} s')


@accumulating
def test_a_limit_lowered_while_normal_still_leads_through_suspect(name: str) -> None:
    logic = made(name, limit=50.0)
    run(logic, [8.0] * 5)
    assert logic.state.state is State.NORMAL
    logic.adopt(made(name, limit=0.5))
    got = [logic.update(8.0, 100.5 + k / 10).state for k in range(2)]
    assert got == [State.SUSPECT, State.ALERT]


@pytest.mark.parametrize('name', ['ewma', 'cusum'])
@pytest.mark.parametrize('rate', [5.0, 10.0, 40.0])
def test_time_to_alert_does_not_depend_on_the_frame_rate(name: str, rate: float) -> None:
    limit = {'ewma': 2.0, 'cusum': 2.5}[name]
    got = run(made(name, limit=limit), [3.0] * int(3 * rate), rate)
    since = next(now.since for now in got if now.state is State.ALERT)
    # 1 - exp(-t) = 2/3, and (3 - 0.5) t = 2.5, in held-out means and deviations near 0 and 1
    assert since - 100.0 == pytest.approx({'ewma': 1.1, 'cusum': 1.0}[name], abs=0.05 + 1 / rate)


@accumulating
def test_a_very_normal_past_delays_no_alert(name: str) -> None:
    took = []
    for past in (0.0, -1e6, -1e300):
        logic = made(name)
        run(logic, [past] * 100)
        states = [logic.update(8.0, 110.0 + k / 10).state for k in range(100)]
        took.append(states.index(State.ALERT))
    assert len(set(took)) == 1


def test_a_gap_of_cusum_counts_half_a_second_at_most() -> None:
    gap, steps = made('cusum', limit=10.0), made('cusum', limit=10.0)
    for stamp in (100.0, 101.9):
        gap.update(3.0, stamp)
    for k in range(6):
        steps.update(3.0, 100.0 + k / 10)
    assert gap.statistic == pytest.approx(steps.statistic)  # type: ignore[attr-defined]


def test_the_average_weighs_scores_by_the_time_between_them() -> None:
    logic = EwmaLogic(limit=10.0, mean=1.0, time_constant=0.5)
    for score, stamp in ((9.0, 0.0), (3.0, 0.2), (5.0, 0.9)):
        logic.update(score, stamp)
    first = 1.0 + (1.0 - math.exp(-0.2 / 0.5)) * (3.0 - 1.0)  # the frame at 0 lasted no time yet
    assert logic.statistic == pytest.approx(first + (1.0 - math.exp(-0.7 / 0.5)) * (5.0 - first))


def test_p_values_are_monotone_count_ties_half_and_need_no_randomness() -> None:
    logic = MartingaleLogic(limit=5.0, scores=[1.0, 2.0, 2.0, 3.0])
    assert [logic.p_value(x) for x in (0.0, 1.0, 2.0, 2.5, 3.0, 9.0)] == [
        0.9,
        0.8,
        0.5,
        0.3,
        0.2,
        0.1,
    ]


def test_no_bet_wins_on_average_against_frames_like_the_held_out_ones() -> None:
    """Over all ranks that a new frame may take the capital grows by at most 1 on average."""
    logic = MartingaleLogic(limit=1e6, scores=HELD_OUT.tolist())
    between = [-9.0, *(0.5 * (HELD_OUT[1:] + HELD_OUT[:-1])), 9.0]
    p = np.array([logic.p_value(score) for score in between])
    assert p.size == HELD_OUT.size + 1
    for exponent in (0.1, 0.3, 0.5):
        assert (exponent * p ** (exponent - 1.0)).mean() <= 1.0


@pytest.mark.parametrize(
    ('name', 'settings', 'match'),
    [
        ('majority', {}, r"expected one of \['consecutive', .*got 'majority'"),
        ('ewma', {'reference': 1.0}, "setting of the alert logic 'ewma': .*'reference'"),
        ('consecutive', {'limit': 1.0}, 'unknown setting'),
        ('ewma', {'limit': -0.5}, 'limit of the alert logic must be over'),
        ('ewma', {'time_constant': 0.0}, 'time_constant must be positive'),
        ('cusum', {'reference': -1.0}, 'reference must be positive'),
        ('cusum', {'reference': 3.0}, "'cusum' has no limit to start from: .*set its limit"),
        ('cusum', {'limit': -1.0}, 'limit of the alert logic must be over 0'),
        ('martingale', {'limit': 0.0}, 'limit of the alert logic must be over 0'),
        ('consecutive', {'trigger_seconds': -1.0}, 'must be 0 or more'),
    ],
)
def test_bad_settings_are_refused(name: str, settings: dict[str, float], match: str) -> None:
    with pytest.raises(ParameterError, match=match):
        made(name, **settings)


def test_held_out_scores_that_are_all_equal_give_no_deviation() -> None:
    point = OperatingPoint(1.0, 1.0)
    for name in ('ewma', 'cusum'):
        with pytest.raises(ParameterError, match=r'they do not differ; take another logic'):
            make_logic(replace(point, logic=name), np.ones(100))
    with pytest.raises(ParameterError, match='held-out scores that differ'):
        make_logic(replace(point, logic='cusum', settings={'limit': 1.0}), np.ones(100))
    for name in ('consecutive', 'martingale'):
        make_logic(replace(point, logic=name), np.ones(100))


@pytest.mark.parametrize('name', ['ewma', 'cusum'])
def test_a_few_scores_that_carry_the_mean_over_the_trigger_say_what_to_do(name: str) -> None:
    held_out = np.sort(np.concatenate([HELD_OUT, [400.0, 600.0, 1000.0]]))
    point = OperatingPoint(conformal_threshold(held_out, 0.01), 1.0, logic=name)
    with pytest.raises(
        ParameterError, match=r'mean 3\.\d+ and deviation \d+.*threshold is 2\.\d+; set its limit'
    ):
        make_logic(point, held_out)
    assert make_logic(replace(point, settings={'limit': 6.0}), held_out).limit == 6.0


@pytest.fixture(scope='module')
def chosen() -> Callable[[str], OperatingPoint]:
    """Return a function that sets a logic's limit to 6 alerts in an hour of correlated scores."""
    kind = KINDS[1]
    held_out = np.sort(simulate(kind, 2000, np.random.default_rng(1))[0])
    hour = simulate(kind, 36_000, np.random.default_rng(2))[0].tolist()

    def choose(name: str) -> OperatingPoint:
        trigger, release = (conformal_threshold(held_out, alpha) for alpha in (0.01, 0.05))
        point = OperatingPoint(trigger, release, logic=name)
        low, high = 0.2, 30.0
        while high - low > 0.05 * low:
            middle = math.sqrt(low * high)
            is_few = episodes(make_logic(point.at_limit(middle), held_out), hour) <= 6
            low, high = (low, middle) if is_few else (middle, high)
        return point.at_limit(high)

    return choose


@every
def test_the_limit_alone_sets_how_often_it_cries_and_a_rise_is_then_found_in_time(
    name: str, chosen: Callable[[str], OperatingPoint]
) -> None:
    """Another hour has about as many alerts; two deviations more are seen within seconds."""
    kind, rng = KINDS[1], np.random.default_rng(3)
    held_out = np.sort(simulate(kind, 2000, np.random.default_rng(1))[0])
    point = chosen(name)
    assert episodes(make_logic(point, held_out), simulate(kind, 36_000, rng)[0].tolist()) <= 18
    delays = []
    for _ in range(20):
        got = run(make_logic(point, held_out), simulate(kind, 600, rng)[0] + 2.0)
        delays.append(next(now.since - 100.0 for now in got if now.state is State.ALERT))
    most = {'consecutive': 8.0}.get(name, 2.5)
    assert np.mean(delays) < most
