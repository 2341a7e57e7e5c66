"""Rates of rare alerts: exact bounds, the bootstrap over sequences, the fitted tail, refusals."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from ros_ood_monitor.errors import CalibrationError
from ros_ood_monitor.rates import (
    affordable_episodes,
    bootstrap_upper_rate,
    hours_needed,
    poisson_upper,
    RateBound,
    Tail,
    upper_rate,
)


@pytest.mark.parametrize('confidence', [0.05, 0.1, 0.5, 0.95, 0.999])
@pytest.mark.parametrize('count', [0, 1, 2, 7, 60, 3000, 50_000])
def test_poisson_bound_is_half_the_chi2_quantile_of_scipy(count: int, confidence: float) -> None:
    stats = pytest.importorskip('scipy.stats')
    exact = stats.chi2.ppf(confidence, 2 * count + 2) / 2
    assert poisson_upper(count, confidence) == pytest.approx(exact, rel=1e-9)


def test_no_alert_in_three_hours_bounds_the_rate_at_one_an_hour() -> None:
    assert upper_rate(0, 2.9957323) == pytest.approx(1.0, rel=1e-6)
    assert hours_needed(0.1) == pytest.approx(30.0, rel=0.002)
    assert hours_needed(1.0, episodes=1) == pytest.approx(4.744, rel=1e-3)


def test_affordable_episodes_are_the_most_that_still_bound_the_rate() -> None:
    assert [affordable_episodes(1.0, hours) for hours in (2.9, 3.0, 4.7, 4.8)] == [-1, 0, 0, 1]
    for hours in (40.0, 333.3, 3000.0):
        k = affordable_episodes(2.0, hours)
        assert upper_rate(k, hours) <= 2.0 < upper_rate(k + 1, hours)


@pytest.mark.parametrize(('episodes', 'hours'), [(-1, 1.0), (0, 0.0), (0, math.nan), (2, -1.0)])
def test_a_rate_of_no_hours_or_negative_counts_is_refused(episodes: int, hours: float) -> None:
    with pytest.raises(CalibrationError, match='expected'):
        upper_rate(episodes, hours)


@pytest.mark.parametrize('per_hour', [0.0, -1.0, math.nan, math.inf])
def test_hours_for_a_rate_that_is_none_are_refused(per_hour: float) -> None:
    with pytest.raises(CalibrationError, match='must be over 0 per hour'):
        hours_needed(per_hour)


def test_bootstrap_over_alike_sequences_agrees_with_the_count() -> None:
    assert bootstrap_upper_rate([0] * 8, [1.0, 3.0] * 4, seed=1) == upper_rate(0, 16.0)
    busy = bootstrap_upper_rate([3] * 8, [2.0] * 8, seed=1, draws=20_000)
    assert busy == pytest.approx(upper_rate(21, 14.0), rel=0.02)  # a draw is of seven
    assert busy == bootstrap_upper_rate([3] * 8, [2.0] * 8, seed=1, draws=20_000)


def test_bootstrap_over_unlike_sequences_is_wider_than_the_count() -> None:
    # the same 12 alerts: all on one of six days, or two on each
    assert bootstrap_upper_rate([12, 0, 0, 0, 0, 0], [2.0] * 6, seed=1) > 1.5 * upper_rate(12, 12)
    assert bootstrap_upper_rate([2] * 6, [2.0] * 6, seed=1) < 1.1 * upper_rate(12, 12)


def test_bootstrap_over_few_sequences_is_wider_than_over_as_many_hours_of_more() -> None:
    few = bootstrap_upper_rate([3, 3], [6.0, 6.0], seed=1, draws=20_000)
    assert few == pytest.approx(upper_rate(3, 6.0), rel=0.02)  # one of two is drawn
    assert few > 1.2 * bootstrap_upper_rate([1] * 6, [2.0] * 6, seed=1)


def test_bootstrap_of_one_sequence_tells_nothing() -> None:
    assert math.isnan(bootstrap_upper_rate([3], [9.0], seed=1))
    with pytest.raises(CalibrationError, match='for every sequence'):
        bootstrap_upper_rate([1, 2], [1.0], seed=1)


def test_count_bound_covers_95_of_100_poisson_worlds_or_more() -> None:
    rng = np.random.default_rng(4)
    counts, times = np.unique(rng.poisson(0.4 * 10.0, 4000), return_counts=True)
    covered = sum(n for k, n in zip(counts, times, strict=True) if upper_rate(int(k), 10.0) >= 0.4)
    assert covered / 4000 >= 0.94


def measured(per_hour: float = 1.0) -> RateBound:
    return RateBound.measure(
        [1, 0, 0, 1],
        [2.0, 3.0, 3.0, 4.0],
        per_hour=per_hour,
        refractory=5.0,
        seed=0,
        frame_rate_hz=10.0,
    )


def test_a_rate_is_established_where_both_bounds_are_within_what_was_asked_for() -> None:
    bound = measured()
    # 5 s after each of the two no other one can begin
    assert (bound.episodes, bound.sequences) == (2, 4)
    assert bound.hours == pytest.approx(12.0 - 10.0 / 3600.0)
    assert bound.upper95 == upper_rate(2, bound.hours)
    assert bound.is_established
    assert bound.bound == max(bound.upper95, bound.bootstrap95)
    assert not measured(per_hour=0.4).is_established
    assert not dataclasses.replace(bound, bootstrap95=1.2).is_established
    assert not dataclasses.replace(bound, extrapolated=True).is_established


def test_statement_says_bound_alerts_hours_and_sequences() -> None:
    text = str(dataclasses.replace(measured(), bootstrap95=0.55))
    assert text == (
        'at most 0.55 false alerts/hour with 95 % confidence '
        '(2 false alerts in 12 h, 4 sequences: FEW SEQUENCES, where days differ the bound is less '
        'sure than that; alerts within 5 s count as one; asked for: 1)'
    )
    assert 'FEW' not in str(dataclasses.replace(measured(), sequences=5))
    assert 'EXTRAPOLATED, not measured' in str(dataclasses.replace(measured(), extrapolated=True))
    assert 'other parts chose' in str(dataclasses.replace(measured(), split='block'))


def test_hours_in_alert_are_not_quiet_and_more_than_a_hundredth_establishes_nothing() -> None:
    def spent(*hours: float, per_hour: float = 1.0) -> RateBound:
        names = ('a', 'b', 'c', 'd')
        return RateBound.measure(
            [1, 0, 0, 0],
            [3.0] * 4,
            per_hour=per_hour,
            refractory=0.0,
            seed=0,
            in_alert=dict(zip(names, hours, strict=True)),
        )

    assert spent(0.0, 0.1, 0.0, 0.0).is_established
    day = spent(0.0, 3.0, 0.0, 0.0)
    assert day.hours == pytest.approx(9.0 + 0.03)
    assert day.in_alert == 0.25
    assert (day.oddest, day.oddest_in_alert) == ('b', 1.0)
    assert day.bound < day.per_hour
    assert not day.is_established
    assert '25 % of the time in alert: TOO MUCH, b for 100 % of its time' in str(day)
    # where an alert a minute is asked for, some seconds of each are no sign of odd hours
    assert not spent(0.0, 0.3, 0.3, 0.3).is_established
    assert spent(0.0, 0.3, 0.3, 0.3, per_hour=60.0).is_established
    # several cameras at once: no more than all of the time
    assert spent(0.0, 9.0, 0.0, 0.0).in_alert == 0.25


def test_sequences_with_equal_shares_of_alert_have_that_share_whatever_it_rounds_to() -> None:
    for tenths in range(10, 60):
        hours, spent = 0.1 * tenths, 1.5 / 3600.0
        bound = RateBound.measure(
            [1] * 6,
            [hours] * 6,
            per_hour=10.0,
            refractory=10.0,
            seed=0,
            in_alert={str(k): spent for k in range(6)},
        )
        assert bound.in_alert == pytest.approx(bound.oddest_in_alert)


def test_rate_bound_round_trips_through_its_card() -> None:
    for bound in (measured(), dataclasses.replace(measured(), bootstrap95=math.nan)):
        again = RateBound.from_card({**bound.card(), 'later': 1})
        assert again.card() == bound.card()
    older = {k: v for k, v in measured().card().items() if 'alert' not in k and k != 'oddest'}
    assert RateBound.from_card(older) == measured()
    with pytest.raises(CalibrationError, match="no usable 'hours'"):
        RateBound.from_card({k: v for k, v in bound.card().items() if k != 'hours'})
    with pytest.raises(CalibrationError, match='outside its range'):
        RateBound.from_card({**bound.card(), 'hours': -1.0})


@pytest.mark.parametrize('shape', [0.0, 0.3])
def test_tail_finds_the_rate_that_its_distribution_has_beyond_the_data(shape: float) -> None:
    stats = pytest.importorskip('scipy.stats')
    excess = stats.genpareto.rvs(shape, scale=2.0, size=3000, random_state=3)
    tail = Tail.fit([excess[:1000] + 5.0, excess[1000:] + 5.0], [10.0, 20.0], start=5.0)
    assert tail.rate(5.0) == 100.0
    limit = 5.0 + float(stats.genpareto.isf(1e-3, shape, scale=2.0))  # 0.1 an hour
    assert tail.rate(limit) == pytest.approx(0.1, rel=0.5)
    assert tail.upper_rate(limit, seed=0) > 0.1
    assert tail.rate(tail.limit(0.02)) == pytest.approx(0.02)
    assert tail.limit(1000.0) == 5.0


def test_the_bound_of_a_tail_draws_all_sequences_but_one() -> None:
    loud, calm = np.linspace(0.01, 1.0, 100), np.linspace(0.01, 1.0, 10)
    tail = Tail.fit([loud, calm, calm], [10.0, 10.0, 10.0], start=0.0)
    # two of three are the loud one in a ninth of the draws, three of three in a twenty-seventh
    assert tail.upper_rate(0.0, seed=0) > 9.5


def test_tail_never_promises_silence_beyond_a_limit() -> None:
    # uniform peaks end at 1, a fitted end would say that nothing comes after it
    tail = Tail.fit([np.linspace(0.01, 1.0, 100)], [10.0], start=0.0)
    assert tail.shape == 0.0
    assert tail.rate(1.5) > 0.0


def test_tail_of_too_few_peaks_is_refused() -> None:
    with pytest.raises(CalibrationError, match='at least 10 peaks over 1, got 9'):
        Tail.fit([np.arange(2.0, 11.0)], [5.0], start=1.0)
    with pytest.raises(CalibrationError, match='got 0'):
        Tail.fit([np.ones(20)], [5.0], start=1.0)
