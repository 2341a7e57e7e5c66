"""Block bootstrap: exact metrics of weighted frames, and intervals that know of dependence."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.evaluation.bags.blocks import (
    block_length,
    draw_metrics,
    draw_weights,
    FRAME_METRICS,
    intervals_of,
    weighted_metrics,
)
from ros_ood_monitor.metrics import (
    aupr,
    auroc,
    auroc_interval,
    fpr95_id_positive,
    fpr95_ood_positive,
)

METRICS = (auroc, aupr, fpr95_id_positive, fpr95_ood_positive)


def ar1(n: int, rho: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    noise = rng.normal(size=n) * np.sqrt(1.0 - rho**2)
    series = np.empty(n)
    series[0] = rng.normal()
    for k in range(1, n):
        series[k] = rho * series[k - 1] + noise[k]
    return series


@pytest.mark.parametrize('seed', range(5))
def test_weighted_metrics_are_those_of_frames_repeated_so_often(seed: int) -> None:
    rng = np.random.default_rng(seed)
    levels = np.sort(rng.normal(size=40))
    known, foreign = rng.integers(0, 4, 40), rng.integers(0, 3, 40)
    frames = np.repeat(levels, known), np.repeat(levels, foreign)
    found = weighted_metrics(known, foreign)
    assert found == pytest.approx([metric(*frames) for metric in METRICS], abs=1e-12)


def test_without_one_class_there_is_nothing_to_measure() -> None:
    assert weighted_metrics(np.array([0, 0]), np.array([1, 2])) is None
    assert weighted_metrics(np.array([1, 2]), np.array([0, 0])) is None


def test_a_draw_is_made_of_whole_blocks_round_a_circle() -> None:
    weight = draw_weights(100, 7, np.random.default_rng(0))
    assert weight.sum() == 15 * 7  # 15 blocks cover 100 frames
    lone = draw_weights(10, 10, np.random.default_rng(1))
    assert lone.tolist() == [1] * 10  # one block that goes round once


def test_independent_scores_need_no_blocks_and_slow_ones_need_long_ones() -> None:
    rng = np.random.default_rng(2)
    lengths = [block_length([ar1(4000, rho, rng)]) for rho in (0.0, 0.8, 0.97)]
    assert lengths[0] <= 4
    assert lengths[0] < lengths[1] < lengths[2]
    # what the rule's formula gives for a known first-order autocorrelation
    expected = (6.0 * 4000 * (0.8 / (1 - 0.8**2)) ** 2) ** (1 / 3)
    assert lengths[1] == pytest.approx(expected, rel=0.5)


def test_bags_that_differ_as_a_whole_count_as_dependence() -> None:
    rng = np.random.default_rng(3)
    alike = [rng.normal(size=400) for _ in range(8)]
    apart = [series + offset for series, offset in zip(alike, rng.normal(size=8), strict=True)]
    assert block_length(apart) > 5 * block_length(alike)


@pytest.mark.parametrize('residuals', [[], [np.zeros(1)], [np.zeros(50)], [np.ones(3)]])
def test_a_block_has_a_length_whatever_the_scores(residuals: list[np.ndarray]) -> None:
    assert block_length(residuals) >= 1


def test_intervals_cover_the_truth_where_frames_drawn_one_by_one_do_not() -> None:
    # scores with a memory of some ten frames; OOD is one standard deviation higher: AUROC 0.760
    truth, covered, covered_alone, runs = 0.7602, 0, 0, 40
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        label = np.repeat(np.int8([0, 1, 0, 1]), 200)
        score = ar1(800, 0.9, rng) + label
        residual = score - np.where(label == 1, score[label == 1].mean(), score[label == 0].mean())
        block = block_length([residual])
        drawn = draw_metrics([score], label, block=block, seed=seed, resamples=150)
        low, high = intervals_of(drawn[:, 0])['auroc'] or (0.0, 0.0)
        covered += low <= truth <= high
        low, high = auroc_interval(score[label == 0], score[label == 1], seed=seed, resamples=150)
        covered_alone += low <= truth <= high
    assert covered >= 0.85 * runs
    assert covered_alone <= 0.6 * runs


def test_detectors_are_drawn_alike_so_that_equal_ones_do_not_differ() -> None:
    rng = np.random.default_rng(5)
    label = np.repeat(np.int8([0, 1, 0]), 50)
    score = rng.normal(size=150) + label
    drawn = draw_metrics([score, 3 * score], label, block=5, seed=0, resamples=100)
    assert drawn.shape == (100, 2, len(FRAME_METRICS))
    assert np.array_equal(drawn[:, 0], drawn[:, 1])
    again = draw_metrics([score, 3 * score], label, block=5, seed=0, resamples=100)
    assert np.array_equal(drawn, again)


def test_frames_within_a_margin_are_drawn_but_not_measured() -> None:
    label = np.int8([0] * 20 + [-1] * 10 + [1] * 20)
    score = np.where(label < 0, 1e9, label.astype(float))
    drawn = draw_metrics([score], label, block=3, seed=0, resamples=50)
    assert np.all(drawn[:, 0, :2] == 1.0)


def test_one_short_stretch_among_long_blocks_gives_no_interval() -> None:
    label = np.zeros(1000, np.int8)
    label[500:510] = 1
    drawn = draw_metrics([np.arange(1000.0)], label, block=300, seed=0, resamples=100)
    assert drawn.shape == (0, 1, 4)
    assert set(intervals_of(drawn[:, 0]).values()) == {None}


def test_many_scores_are_drawn_from_levels_with_hardly_a_difference() -> None:
    rng = np.random.default_rng(6)
    label = np.repeat(np.int8([0, 1]), 6000)
    score = rng.normal(size=12000) + label
    exact = auroc(score[label == 0], score[label == 1])
    drawn = draw_metrics([score], label, block=12000, seed=0, resamples=1)
    assert drawn[0, 0, 0] == pytest.approx(exact, abs=2e-3)


def test_no_resample_is_refused() -> None:
    with pytest.raises(ParameterError, match='at least one resample'):
        draw_metrics([np.zeros(2)], np.int8([0, 1]), block=1, seed=0, resamples=0)
