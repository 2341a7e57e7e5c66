"""Metrics: by hand, and against scikit-learn as an oracle."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.evaluation.bags.blocks import weighted_metrics
from ros_ood_monitor.metrics import (
    aupr,
    aupr_interval,
    auroc,
    auroc_difference,
    auroc_error,
    auroc_interval,
    fpr95_id_positive,
    fpr95_ood_positive,
    Interval,
    share_over,
)

ALL = (auroc, aupr, fpr95_id_positive, fpr95_ood_positive)


def _random_case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scores of both classes; every second case is full of ties."""
    rng = np.random.default_rng(seed)
    n, m = rng.integers(1, 200, size=2)
    shift = rng.uniform(-2.0, 3.0)
    id_score, ood_score = rng.normal(size=n), rng.normal(shift, 1.5, size=m)
    if seed % 2:
        return np.round(id_score * 2) / 2, np.round(ood_score * 2) / 2
    return id_score, ood_score


def test_classes_that_are_wholly_apart_have_an_aupr_of_exactly_one() -> None:
    for count in range(1, 120):
        ood_score = np.arange(count) // 2 + 1.0  # most values twice
        assert aupr(np.zeros(7), ood_score) == 1.0
        known, foreign = np.r_[7, np.zeros(count, int)], np.r_[0, np.ones(count, int)]
        weighted = weighted_metrics(known, foreign)
        assert weighted is not None
        assert weighted.aupr == 1.0


@pytest.mark.parametrize('seed', range(60))
def test_metrics_equal_scikit_learn_with_and_without_ties(seed: int) -> None:
    sklearn_metrics = pytest.importorskip('sklearn.metrics')
    id_score, ood_score = _random_case(seed)
    score = np.concatenate([id_score, ood_score])
    is_ood = np.r_[np.zeros(id_score.size), np.ones(ood_score.size)]

    def fpr_at_95(positive: np.ndarray, score: np.ndarray) -> float:
        fpr, tpr, _ = sklearn_metrics.roc_curve(positive, score, drop_intermediate=False)
        return float(fpr[np.argmax(tpr >= 0.95)])

    assert auroc(id_score, ood_score) == pytest.approx(
        sklearn_metrics.roc_auc_score(is_ood, score), abs=1e-12
    )
    assert aupr(id_score, ood_score) == pytest.approx(
        sklearn_metrics.average_precision_score(is_ood, score), abs=1e-12
    )
    assert fpr95_ood_positive(id_score, ood_score) == pytest.approx(
        fpr_at_95(is_ood, score), abs=1e-12
    )
    assert fpr95_id_positive(id_score, ood_score) == pytest.approx(
        fpr_at_95(1 - is_ood, -score), abs=1e-12
    )


def test_auroc_and_aupr_of_four_scores_by_hand() -> None:
    # pairs (ID, OOD): 1<2 won, 1<4 won, 3>2 lost, 3<4 won
    assert auroc([1.0, 3.0], [2.0, 4.0]) == 0.75
    # down from the top: 4 OOD (precision 1), 3 ID, 2 OOD (precision 2/3); recall 1/2 each
    assert aupr([1.0, 3.0], [2.0, 4.0]) == pytest.approx(0.5 * 1.0 + 0.5 * 2 / 3)


def test_equal_scores_are_chance_in_every_metric() -> None:
    id_score, ood_score = np.zeros(30), np.zeros(10)
    assert auroc(id_score, ood_score) == 0.5
    assert aupr(id_score, ood_score) == 0.25  # the share of OOD
    # one threshold accepts all or nothing, so that 95 % is only reached with everything
    assert fpr95_id_positive(id_score, ood_score) == 1.0
    assert fpr95_ood_positive(id_score, ood_score) == 1.0


def test_the_two_senses_of_fpr95_are_different_numbers() -> None:
    # 20 ID at 1..20: 95 % are 19 of them, accepted at or under 19
    id_score = np.arange(1.0, 21.0)
    # of 40 OOD, 8 lie at or under 19 -> 0.2 missed; 95 % are 38, flagged at or over the third
    # lowest, which is 12.5 -> the 8 ID from 13 to 20 are flagged
    ood_score = np.r_[3.5, 7.5, 12.5, 12.5, 15.0, 16.0, 17.0, 19.0, np.full(32, 50.0)]
    assert fpr95_id_positive(id_score, ood_score) == 8 / 40
    assert fpr95_ood_positive(id_score, ood_score) == 8 / 20


def test_a_score_equal_to_the_threshold_is_accepted_in_one_sense_and_flagged_in_the_other() -> (
    None
):
    id_score = np.arange(1.0, 101.0)  # threshold 95
    assert fpr95_id_positive(id_score, [95.0, 95.5]) == 0.5
    ood_score = np.arange(1.0, 101.0)  # 95 of them lie at or over 6
    assert fpr95_ood_positive([5.5, 6.0], ood_score) == 0.5


@pytest.mark.parametrize('n', [1, 7, 19, 20, 21, 40, 59, 60, 100, 180, 1000])
def test_fpr95_accepts_at_least_95_percent_of_id_and_no_rank_more(n: int) -> None:
    id_score = np.arange(float(n))
    # one OOD just over each ID score: those under the threshold are the accepted ID but one
    accepted = round(fpr95_id_positive(id_score, id_score + 0.5) * n) + 1
    assert accepted * 100 >= 95 * n
    assert (accepted - 1) * 100 < 95 * n


def test_an_inverted_detector_stays_inverted() -> None:
    rng = np.random.default_rng(5)
    id_score, ood_score = rng.normal(size=200), rng.normal(3.0, size=200)
    assert auroc(id_score, ood_score) > 0.95
    assert auroc(-id_score, -ood_score) < 0.05
    assert auroc(-id_score, -ood_score) == pytest.approx(1.0 - auroc(id_score, ood_score))
    assert fpr95_id_positive(-id_score, -ood_score) > 0.99


def test_order_of_the_scores_and_monotone_maps_change_nothing() -> None:
    rng = np.random.default_rng(6)
    id_score, ood_score = _random_case(7)
    for metric in ALL:
        expected = metric(id_score, ood_score)
        assert metric(rng.permutation(id_score), rng.permutation(ood_score)) == expected
        assert metric(np.exp(id_score), np.exp(ood_score)) == expected


def test_separated_classes_are_perfect() -> None:
    assert auroc([0.0, 1.0], [2.0, 3.0]) == 1.0
    assert aupr([0.0, 1.0], [2.0, 3.0]) == 1.0
    assert fpr95_id_positive([0.0, 1.0], [2.0, 3.0]) == 0.0
    assert fpr95_ood_positive([0.0, 1.0], [2.0, 3.0]) == 0.0


@pytest.mark.parametrize('metric', ALL)
@pytest.mark.parametrize(
    ('id_score', 'ood_score', 'words'),
    [
        ([], [1.0], r'in-distribution scores must have shape \(n,\)'),
        ([1.0], [], r'out-of-distribution scores must have shape \(n,\)'),
        ([1.0, np.nan], [1.0], 'got 1 of 2'),
        ([1.0], [np.inf, -np.inf], 'got 2 of 2'),
        ([[1.0]], [1.0], r'got \(1, 1\)'),
    ],
)
def test_empty_and_non_finite_classes_are_refused(
    metric: object, id_score: list[float], ood_score: list[float], words: str
) -> None:
    with pytest.raises(ParameterError, match=words):
        metric(id_score, ood_score)  # type: ignore[operator]


def test_share_over_counts_strictly_as_the_alert_logic_does() -> None:
    assert share_over([1.0, 2.0, 2.0, 3.0], 2.0) == 0.25


@pytest.mark.parametrize(('metric', 'bootstrap'), [(auroc, auroc_interval), (aupr, aupr_interval)])
def test_bootstrap_interval_is_repeatable_and_holds_the_estimate(
    metric: Callable[..., float], bootstrap: Callable[..., Interval]
) -> None:
    id_score, ood_score = _random_case(10)
    interval = bootstrap(id_score, ood_score, seed=1, resamples=300)
    assert interval == bootstrap(id_score, ood_score, seed=1, resamples=300)
    assert interval != bootstrap(id_score, ood_score, seed=2, resamples=300)
    assert 0.0 <= interval.low < metric(id_score, ood_score) < interval.high <= 1.0


def test_bootstrap_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    # AUROC of N(0, 1) against N(1, 1) is Phi(1 / sqrt(2)) = 0.7602
    rng = np.random.default_rng(11)
    hits = 0
    for seed in range(100):
        interval = auroc_interval(
            rng.normal(size=60), rng.normal(1.0, size=60), seed=seed, resamples=200
        )
        hits += interval.low <= 0.7602 <= interval.high
    assert 88 <= hits <= 99


@pytest.mark.parametrize(('confidence', 'resamples'), [(0.0, 10), (1.0, 10), (0.95, 0)])
def test_bootstrap_options_outside_their_range_are_refused(
    confidence: float, resamples: int
) -> None:
    with pytest.raises(ParameterError, match='bootstrap needs'):
        auroc_interval([0.0], [1.0], seed=0, confidence=confidence, resamples=resamples)


def _paired_case(
    seed: int, n: int = 150, m: int = 90, loss: float = 0.3
) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    known, strange = rng.normal(size=n), rng.normal(1.5, size=m)
    return known, strange, known + rng.normal(0, 0.3, n), strange - loss + rng.normal(0, 0.3, m)


def test_a_paired_difference_is_that_of_the_two_aurocs() -> None:
    known, strange, known_2, strange_2 = _paired_case(1)
    found = auroc_difference((known, known_2), (strange, strange_2))
    assert found.value == pytest.approx(auroc(known_2, strange_2) - auroc(known, strange))
    back = auroc_difference((known_2, known), (strange_2, strange))
    assert back.value == pytest.approx(-found.value)
    assert back.standard_error == pytest.approx(found.standard_error)


def test_the_standard_error_of_a_paired_difference_is_that_of_a_paired_bootstrap() -> None:
    known, strange, known_2, strange_2 = _paired_case(2)
    rng = np.random.default_rng(3)
    drawn = []
    for _ in range(1000):
        i, j = rng.integers(0, known.size, known.size), rng.integers(0, strange.size, strange.size)
        drawn.append(auroc(known_2[i], strange_2[j]) - auroc(known[i], strange[j]))
    found = auroc_difference((known, known_2), (strange, strange_2))
    assert found.standard_error == pytest.approx(np.std(drawn), rel=0.1)


def test_a_detector_does_not_differ_from_itself() -> None:
    known, strange, *_ = _paired_case(4)
    assert auroc_difference((known, known), (strange, strange)) == (0.0, 0.0)


def test_one_picture_tells_no_difference_and_other_pictures_are_refused() -> None:
    assert auroc_difference(([0.0], [0.0]), ([1.0], [-1.0])) == (-1.0, np.inf)
    with pytest.raises(ParameterError, match='of the same pictures, got 1 and 2'):
        auroc_difference(([0.0], [0.0, 1.0]), ([1.0], [1.0]))


def test_the_error_of_an_auroc_is_about_the_spread_of_many_drawn_ones() -> None:
    rng = np.random.default_rng(4)
    drawn = [auroc(rng.normal(size=40), rng.normal(1.2, 1.0, 60)) for _ in range(400)]
    told = auroc_error(float(np.mean(drawn)), 40, 60)
    assert told == pytest.approx(float(np.std(drawn)), rel=0.15)
    assert auroc_error(0.9, 160, 240) < 0.55 * auroc_error(0.9, 40, 60)
    assert auroc_error(1.0, 40, 60) == 0.0
    assert auroc_error(0.9, 0, 60) == float('inf')
