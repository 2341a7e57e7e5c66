"""Tolerance and uniformity equal their definitions, and the rank correlation scipy's."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip('torch')

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.study.geometry import tolerance, uniformity
from ros_ood_monitor.training.study.ranks import spearman


def sphere(count: int, width: int, seed: int = 0) -> npt.NDArray[np.float32]:
    drawn = np.random.default_rng(seed).normal(size=(count, width))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn.astype(np.float32)


def pairs_of(count: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(count) for j in range(i + 1, count)]


def test_tolerance_is_the_mean_over_classes_of_the_mean_cosine_of_pairs() -> None:
    directions = sphere(23, 7)
    labels = np.array([3] * 10 + [8] * 2 + [-5] * 11, dtype=np.int64)
    labels = np.random.default_rng(1).permutation(labels)
    by_hand = []
    for label in (3, 8, -5):
        members = directions[labels == label].astype(np.float64)
        by_hand.append(np.mean([members[i] @ members[j] for i, j in pairs_of(len(members))]))
    assert tolerance(directions, labels) == pytest.approx(np.mean(by_hand), abs=1e-7)


def test_tolerance_leaves_classes_of_one_picture_out() -> None:
    directions = sphere(6, 4)
    labels = np.array([0, 0, 0, 1, 1, 2], dtype=np.int64)
    assert tolerance(directions, labels) == pytest.approx(tolerance(directions[:5], labels[:5]))


def test_tolerance_of_points_is_one_and_of_opposite_pairs_minus_one() -> None:
    point = np.array([[0.6, 0.8], [0.6, 0.8], [1.0, 0.0], [1.0, 0.0]], dtype=np.float32)
    labels = np.array([0, 0, 1, 1], dtype=np.int64)
    assert tolerance(point, labels) == pytest.approx(1.0)
    point[[1, 3]] *= -1
    assert tolerance(point, labels) == pytest.approx(-1.0)


def test_tolerance_needs_a_class_of_two() -> None:
    with pytest.raises(TrainingError, match='class of at least 2 pictures, got 3 classes of 1'):
        tolerance(sphere(3, 4), np.arange(3, dtype=np.int64))


@pytest.mark.parametrize('block', [1, 4, 7, 21, 1024])
def test_uniformity_is_minus_the_log_of_the_mean_potential_of_pairs(block: int) -> None:
    directions = sphere(21, 5)
    exact = directions.astype(np.float64)
    mean = np.mean([np.exp(-2.0 * np.sum((exact[i] - exact[j]) ** 2)) for i, j in pairs_of(21)])
    assert uniformity(directions, block=block) == pytest.approx(-math.log(mean), abs=1e-6)


def test_uniformity_rises_from_one_point_to_right_angles() -> None:
    point = np.tile(sphere(1, 8), (5, 1))
    close = sphere(1, 8) + 0.1 * sphere(5, 8, seed=1)
    close /= np.linalg.norm(close, axis=1, keepdims=True)
    assert uniformity(point) == pytest.approx(0.0, abs=1e-6)
    assert 0.0 < uniformity(close) < 0.5
    assert uniformity(np.eye(8, dtype=np.float32)) == pytest.approx(4.0)


def test_uniformity_refuses_one_picture_and_features_that_are_not_finite() -> None:
    with pytest.raises(TrainingError, match='at least 2 pictures, got 1'):
        uniformity(sphere(1, 4))
    broken = sphere(4, 4)
    broken[2, 1] = np.nan
    with pytest.raises(TrainingError, match='uniformity is not finite'):
        uniformity(broken)
    with pytest.raises(TrainingError, match='tolerance is not finite'):
        tolerance(broken, np.array([0, 0, 1, 1], dtype=np.int64))


@pytest.mark.parametrize('seed', range(5))
def test_rank_correlation_equals_scipy_with_ties(seed: int) -> None:
    stats = pytest.importorskip('scipy.stats', reason='the oracle of this test')
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 6, 30).astype(np.float64)
    second = first + rng.normal(0, 3, 30).round()
    expected = float(stats.spearmanr(first, second).statistic)
    assert spearman(first, second) == pytest.approx(expected, abs=1e-12)


def test_rank_correlation_of_four_points_or_a_constant_is_not_given() -> None:
    assert spearman([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]) is None
    assert spearman([1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0]) is None
    assert spearman([1.0, 2.0, 3.0, 4.0, 5.0], [9.0, 8.0, 7.0, 2.0, 0.0]) == pytest.approx(-1.0)
