"""Operating points for a rate: chosen on one part, stated on another, by the very alert logic."""

from __future__ import annotations

from dataclasses import replace
import math
from typing import Any

import numpy as np
import pytest

from ros_ood_monitor.alerting import LOGICS, make_logic
from ros_ood_monitor.calibration import Calibration, OperatingPoint
from ros_ood_monitor.cli.calibrate_wording import choice_lines
from ros_ood_monitor.errors import CalibrationError, ParameterError
from ros_ood_monitor.rate_calibration import (
    calibrate_rate,
    count_episodes,
    point_for,
    rate_to_aim_at,
    RateCalibration,
    usual_refractory,
)
from ros_ood_monitor.rate_calibration.hours import quiet_rate_to_aim_at
from ros_ood_monitor.rate_calibration.score_streams import (
    ScoreStream,
    sequence_hours,
    split_streams,
)
from ros_ood_monitor.rates import poisson_upper, RateBound

pytest.importorskip('scipy')
from tests.bench.false_alert_rate import count_fast, count_lean, deploy, observe, sequence, World

WORLD = World('test', offset=0.2, sequences=6, hours=0.5, per_hour=4.0)


def streams(count: int = 6, hours: float = 0.5, seed: int = 0) -> list[ScoreStream]:
    rng = np.random.default_rng(seed)
    return [sequence(WORLD, rng, f'day {k}', hours) for k in range(count)]


@pytest.fixture(scope='module')
def calibration() -> Calibration:
    return Calibration.fit(sequence(WORLD, np.random.default_rng(9), '', 0.5).raw_score[::10])


def calibrated(calibration: Calibration, **how: object) -> RateCalibration:
    values = {'per_hour': 4.0, 'count': count_fast, **how}
    return calibrate_rate(streams(), calibration, **values)  # type: ignore[arg-type]


def test_fast_count_of_the_benchmark_is_that_of_the_alert_logic(calibration: Calibration) -> None:
    count = count_episodes(calibration.raw_score)
    seen = set()
    for seed, trigger in enumerate(np.linspace(-0.5, 3.5, 24)):
        (stream,) = streams(1, 0.3, seed)
        point = OperatingPoint(
            trigger=float(trigger),
            release=float(trigger) - seed % 3 * 0.4,
            trigger_frames=1 + seed % 4,
            release_frames=1 + seed % 5,
            refractory=(0.0, 5.0, 60.0)[seed % 3],
        )
        number = count_fast(stream, point)
        slow = count(stream, point)
        assert number.episodes == slow.episodes
        assert number.seconds == pytest.approx(slow.seconds)
        seen.add(number.episodes)
    assert len(seen) > 8  # silence and endless alerts alone would prove little


@pytest.mark.parametrize('logic', ['cusum', 'ewma', 'martingale'])
def test_lean_counts_of_the_benchmark_are_those_of_the_alert_logics(
    calibration: Calibration, logic: str
) -> None:
    lean, count = count_lean(calibration), count_episodes(calibration.raw_score)
    low = float(calibration.raw_score.mean()) if logic == 'ewma' else 0.0
    seen = set()
    for seed, offset in enumerate((0.0, 0.3, 0.7)):
        (stream,) = streams(1, 0.2, seed)
        stream = replace(stream, raw_score=stream.raw_score + offset)
        for height in np.geomspace(0.3, 40.0, 6):
            point = OperatingPoint(2.0, 1.0, logic=logic, refractory=10.0)
            point = point.at_limit(low + float(height))
            fast, slow = lean(stream, point), count(stream, point)
            assert fast.episodes == slow.episodes
            assert fast.seconds == pytest.approx(slow.seconds)
            seen.add(fast.episodes)
    assert len(seen) > 5


def test_limit_depends_on_the_choosing_part_and_the_statement_on_the_other(
    calibration: Calibration,
) -> None:
    found = calibrated(calibration)
    _, stating, rule = split_streams(streams(), share=0.5, seed=0)
    assert rule == found.bound.split == 'sequence'
    assert found.bound.sequences == len(stating) == 3
    count = count_episodes(calibration.raw_score)
    assert found.bound.episodes == sum(count(stream, found.point).episodes for stream in stating)
    names = {stream.sequence for stream in stating}
    worse = [
        replace(one, raw_score=one.raw_score + 3.0) if one.sequence in names else one
        for one in streams()
    ]
    again = calibrate_rate(worse, calibration, per_hour=4.0, count=count_fast)
    assert again.point.trigger == found.point.trigger
    assert again.bound.episodes > found.bound.episodes
    assert not again.point.rate_established


def test_point_carries_what_was_measured(calibration: Calibration) -> None:
    point = calibrated(calibration, refractory=7.0).point
    assert point.rate is not None
    assert point.rate_established
    assert point.rate.per_hour == 4.0
    assert point.rate.bound <= 4.0
    assert point.refractory == point.rate.refractory == 7.0
    assert point.frame_rate_hz == point.rate.frame_rate_hz == 2.0
    assert math.isnan(point.alpha)
    assert point.release < point.trigger
    again = Calibration.from_bytes(replace(calibration, operating_point=point).to_bytes())
    assert again.operating_point.rate is not None
    assert again.operating_point.rate.card() == point.rate.card()
    assert again.operating_point.trigger == point.trigger


@pytest.mark.parametrize('logic', sorted(LOGICS))
def test_every_logic_gets_a_limit_that_keeps_to_the_rate(
    calibration: Calibration, logic: str
) -> None:
    found = calibrate_rate(streams(20, 0.05), calibration, per_hour=14.0, logic=logic)
    assert found.point.logic == logic
    assert found.point.rate_established
    # the node makes the same logic of it
    made = make_logic(found.point, calibration.raw_score)
    assert made.limit == found.point.limit
    # and it still hears something odd
    (stream,) = streams(1, 0.25)
    odd = replace(stream, raw_score=stream.raw_score + 8.0)
    assert count_episodes(calibration.raw_score)(odd, found.point).episodes >= 1


def test_few_days_establish_no_rate_of_a_logic_that_does_not_forget(
    calibration: Calibration,
) -> None:
    few = {
        logic: calibrate_rate(streams(6, 0.2), calibration, per_hour=14.0, logic=logic)
        for logic in LOGICS
    }
    assert {logic for logic, found in few.items() if found.point.rate_established} == {
        'consecutive',
        'ewma',
    }
    bound = few['cusum'].bound
    assert bound.bound <= 14.0
    assert '3 sequences: TOO FEW SEQUENCES for this alert logic, which takes 10' in str(bound)
    assert RateBound.from_card(bound.card()) == bound
    assert replace(bound, sequences=10).is_established


def test_too_few_hours_are_refused_with_the_hours_that_it_takes(calibration: Calibration) -> None:
    told = r'0\.1 false alerts per hour: .* at least 30 quiet hours, got 2 .*ask for 1\.5 or more$'
    with pytest.raises(CalibrationError, match=told):
        calibrated(calibration, per_hour=0.1)
    with pytest.raises(CalibrationError, match=r'ask for 1\.5 or more, or pass --extrapolate$'):
        calibrated(calibration, per_hour=0.5)


def test_recordings_of_seconds_are_refused_and_not_extrapolated(calibration: Calibration) -> None:
    seconds = [stream.part(slice(0, 2)) for stream in streams(1)]
    with pytest.raises(CalibrationError, match=r'record about 1\.5 h in all$'):
        calibrate_rate(seconds, calibration, per_hour=4.0, extrapolate=True)


def test_extrapolation_is_never_an_established_rate(calibration: Calibration) -> None:
    found = calibrated(calibration, per_hour=0.6, extrapolate=True)
    assert found.bound.extrapolated
    assert not found.point.rate_established
    assert 'EXTRAPOLATED' in found.point.rate_text
    assert found.point.trigger > calibrated(calibration).point.trigger
    # where the hours are there, they are counted
    assert not calibrated(calibration, extrapolate=True).bound.extrapolated
    # and a tail of 2 hours says nothing of 30
    with pytest.raises(CalibrationError, match=r'ask for 1\.5 or more \(0\.15 by a tail'):
        calibrated(calibration, per_hour=0.1, extrapolate=True)


def test_an_odd_day_among_those_that_state_is_no_established_rate(
    calibration: Calibration,
) -> None:
    found = calibrated(calibration)
    _, stating, _ = split_streams(streams(), share=0.5, seed=0)
    odd = stating[1].sequence
    days = [
        replace(one, raw_score=one.raw_score + 8.0) if one.sequence == odd else one
        for one in streams()
    ]
    again = calibrated_on(days, calibration)
    # one alert that never ends: the count alone would still do
    assert again.bound.episodes <= found.bound.episodes + 1
    assert again.bound.hours == pytest.approx(found.bound.hours * 2 / 3, rel=0.05)
    assert again.bound.in_alert == pytest.approx(1 / 3, abs=0.01)
    assert again.bound.oddest == odd
    assert not again.point.rate_established
    assert f' % of the time in alert: TOO MUCH, {odd} for 99.9 % of its time' in str(again.bound)


def calibrated_on(
    days: list[ScoreStream], calibration: Calibration, **how: Any
) -> RateCalibration:
    return calibrate_rate(days, calibration, per_hour=4.0, count=count_fast, **how)


@pytest.mark.parametrize('logic', sorted(LOGICS))
def test_an_odd_day_among_those_that_choose_is_refused_by_name_and_not_met_with_silence(
    calibration: Calibration, logic: str
) -> None:
    recorded = streams(6, 0.15)
    choosing, _, _ = split_streams(recorded, share=0.5, seed=0)
    odd = choosing[1].sequence
    days = [
        replace(one, raw_score=one.raw_score + 30.0) if one.sequence == odd else one
        for one in recorded
    ]
    told = rf'limit is beyond hearing: {logic} at .*: sequence {odd} is quiet from \d'
    with pytest.raises(CalibrationError, match=told):
        calibrate_rate(days, calibration, per_hour=14.0, logic=logic)


@pytest.mark.parametrize('number', [1, 2])
def test_odd_days_that_vouch_for_each_other_are_named(
    calibration: Calibration, number: int
) -> None:
    recorded = streams(6, 0.5)
    choosing, _, _ = split_streams(recorded, share=0.5, seed=0)
    odd = {stream.sequence for stream in choosing[:number]}
    days = [
        replace(one, raw_score=one.raw_score + 12.0) if one.sequence in odd else one
        for one in recorded
    ]
    if number == 1:  # nobody vouches for it
        with pytest.raises(CalibrationError, match='limit is beyond hearing'):
            calibrated_on(days, calibration)
        return
    found = calibrated_on(days, calibration)
    assert set(found.doubtful) == odd
    assert found.card()['chosen_on']['doubtful'] == list(found.doubtful)
    assert calibrated_on(recorded, calibration).doubtful == ()


def test_limits_that_are_asked_for_are_told_by_sequence_and_beside_the_one_before(
    calibration: Calibration,
) -> None:
    found = calibrated(calibration)
    choosing, _, _ = split_streams(streams(), share=0.5, seed=0)
    assert set(found.choosing) == {stream.sequence for stream in choosing}
    assert found.limit_before == calibration.operating_point.trigger
    for stream in choosing:
        episodes, quiet_from = found.choosing[stream.sequence]
        assert count_fast(stream, found.point).episodes == episodes
        assert not count_fast(stream, found.point.at_limit(quiet_from)).episodes
    assert next(iter(found.choosing.values()))[1] == max(at for _, at in found.choosing.values())
    assert found.card()['chosen_on']['quiet_from'].keys() == found.choosing.keys()


def test_cameras_of_a_robot_share_its_hours_and_add_their_alerts(calibration: Calibration) -> None:
    left = [replace(one, camera='left') for one in streams()]
    right = [replace(one, camera='right') for one in streams()]
    both, one = calibrated_on([*left, *right], calibration), calibrated_on(left, calibration)
    assert sum(sequence_hours([*left, *right]).values()) == sum(sequence_hours(left).values())
    assert both.bound.sequences == one.bound.sequences
    assert both.bound.hours <= one.bound.hours + 0.01
    assert both.bound.episodes % 2 == 0
    # files of one camera are hours one after the other
    assert sum(sequence_hours([streams(1)[0]] * 2).values()) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(('refractory', 'per_hour'), [(1e9, 4.0), (91.0, 4.0), (-1.0, 4.0)])
def test_a_refractory_time_that_merges_what_it_counts_is_refused(
    calibration: Calibration, refractory: float, per_hour: float
) -> None:
    with pytest.raises(CalibrationError, match='between 0 and 90 s, a tenth of the mean time'):
        calibrated(calibration, refractory=refractory, per_hour=per_hour)


def test_usual_refractory_time_is_well_under_the_time_between_alerts() -> None:
    assert [usual_refractory(rate) for rate in (0.1, 36.0, 72.0)] == [10.0, 10.0, 5.0]


@pytest.mark.parametrize(('logic', 'least'), [('martingale', math.log(20.0)), ('cusum', 1.0)])
def test_no_rate_buys_a_limit_that_is_no_evidence(
    calibration: Calibration, logic: str, least: float
) -> None:
    calm = [replace(one, raw_score=np.full_like(one.raw_score, -3.0)) for one in streams(6, 0.1)]
    found = calibrate_rate(calm, calibration, per_hour=100.0, logic=logic)
    assert found.point.limit == least
    assert found.decided_by == found.card()['chosen_on']['decided_by'] == 'least'
    assert math.isnan(found.limit_before)  # the bundle had none for this logic
    assert found.card()['limit_before'] is None
    said = 'a capital of 20' if logic == 'martingale' else 'a deviation for a second'
    assert choice_lines('fp32', found)[1].endswith(f': the least that is evidence: {said}')
    assert ', before: none; ' in choice_lines('fp32', found)[1]
    assert math.isnan(found.point.alpha)  # set for a rate and no share of frames


def test_what_decides_the_limit_is_told(calibration: Calibration) -> None:
    lively = calibrated(calibration)
    assert lively.decided_by == 'tail'
    assert 'where the tail of their alerts keeps' in choice_lines('fp32', lively)[1]
    # one alert in all the hours that choose is too few for a tail
    days = [replace(one, raw_score=np.full_like(one.raw_score, 1.0)) for one in streams()]
    choosing, _, _ = split_streams(days, share=0.5, seed=0)
    choosing[0].raw_score[100:110] = 3.0
    few = calibrated_on(days, calibration)
    assert few.decided_by == 'margin'
    (_, highest), *_ = few.choosing.values()
    assert few.point.limit > highest == pytest.approx(3.0, abs=0.01)
    calm = [replace(one, raw_score=np.full_like(one.raw_score, -3.0)) for one in streams()]
    still = calibrated_on(calm, calibration)
    quartile = calibration.raw_score[int(0.75 * calibration.raw_score.size)]
    assert still.point.limit == quartile > max(quiet for _, quiet in still.choosing.values())
    assert choice_lines('fp32', still)[1].endswith(': upper quartile of the held-out scores')


def test_a_logic_takes_no_limit_to_start_from(calibration: Calibration) -> None:
    # a few odd held-out scores carry their mean over the trigger: neither has a default
    held_out = np.append(calibration.raw_score, [2000.0] * 9)
    odd = Calibration.fit(np.resize(held_out, 10 * held_out.size), alpha=0.2)
    for logic in ('ewma', 'cusum'):
        with pytest.raises(ParameterError, match='has no limit to start from'):
            make_logic(replace(odd.operating_point, logic=logic), odd.raw_score)
        assert point_for(odd, logic).logic == logic
    found = calibrate_rate(streams(), odd, per_hour=4.0, logic='ewma')
    assert found.point.rate_established
    assert found.point.limit > odd.raw_score.mean()
    assert found.decided_by == 'alerts'  # there is none to keep a margin to
    alike = Calibration.fit(np.ones(500))
    with pytest.raises(ParameterError, match=r'scores that differ, got .* of 0; take another'):
        point_for(alike, 'cusum')


def test_a_generous_rate_never_buys_an_alert_that_does_not_end(calibration: Calibration) -> None:
    point = calibrated(calibration, per_hour=500.0).point
    (stream,) = streams(1, 0.5, seed=5)
    assert float(np.mean(stream.raw_score > point.trigger)) < 0.2


def test_the_aim_is_confirmed_with_probability_0_9() -> None:
    aim = rate_to_aim_at(1.0, 10.0)
    rng = np.random.default_rng(0)
    counts, times = np.unique(rng.poisson(aim * 10.0, 4000), return_counts=True)
    confirmed = sum(n for k, n in zip(counts, times, strict=True) if poisson_upper(int(k)) <= 10.0)
    assert confirmed / 4000 == pytest.approx(0.9, abs=0.02)
    assert rate_to_aim_at(1.0, 0.5) == 0.1


def test_few_sequences_aim_lower_where_their_hours_stand_an_alert() -> None:
    # of n sequences, n - 1 are drawn: the hours of these must stand what is aimed at
    assert quiet_rate_to_aim_at(1.0, 12.0, 3) == pytest.approx(0.22, abs=0.01)
    assert quiet_rate_to_aim_at(1.0, 12.0, 12) == pytest.approx(0.29, abs=0.01)
    assert quiet_rate_to_aim_at(1.0, 3.05, 3) == quiet_rate_to_aim_at(1.0, 3.05, 12)
    assert quiet_rate_to_aim_at(1.0, 12.0, 1) == pytest.approx(rate_to_aim_at(1.0, 11.88))


def test_stated_bounds_hold_in_fresh_sequences(calibration: Calibration) -> None:
    within = established = 0
    for seed in range(40):
        found = deploy(WORLD, seed)
        rate, _ = observe(WORLD, found.point, seed, 12.0)
        within += rate <= found.bound.bound
        established += found.bound.is_established
    assert within >= 36
    assert established >= 24
