"""Pixel metrics equal scikit-learn's, and AUPRO as it is defined, with and without ties."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.metrics import auroc
from ros_ood_monitor.metrics.pixels import PixelScores

Pictures = list[tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]]


def _pictures(seed: int, *, levels: int = 0, count: int = 5) -> Pictures:
    """Return maps that know something, and masks with blobs; the first one is empty."""
    rng = np.random.default_rng(seed)
    pictures = []
    for k in range(count):
        mask = np.zeros((20, 26), dtype=np.bool_)
        for _ in range(0 if k == 0 else rng.integers(1, 4)):
            y, x = rng.integers(0, 16), rng.integers(0, 22)
            mask[y : y + rng.integers(1, 6), x : x + rng.integers(1, 6)] = True
        score = rng.normal(size=mask.shape) + rng.uniform(0.3, 1.5) * mask
        if levels:
            score = np.round(score * levels) / levels
        pictures.append((score.astype(np.float32), mask))
    return pictures


def _collected(pictures: Pictures) -> PixelScores:
    scores = PixelScores()
    for score, mask in pictures:
        scores.add(score, mask)
    return scores


def _regions(mask: npt.NDArray[np.bool_]) -> list[set[tuple[int, int]]]:
    """Return regions by a flood over the eight neighbours."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}
    regions = []
    while left:
        edge, region = [left.pop()], set()
        while edge:
            y, x = edge.pop()
            region.add((y, x))
            for near in [(y + a, x + b) for a in (-1, 0, 1) for b in (-1, 0, 1)]:
                if near in left:
                    left.remove(near)
                    edge.append(near)
        regions.append(region)
    return regions


def _literal_aupro(pictures: Pictures, limit: float) -> float:
    """Section 5.1 of Bergmann et al. as it is written: a loop over thresholds and regions."""
    regions = [(k, region) for k, (_, mask) in enumerate(pictures) for region in _regions(mask)]
    normal = np.concatenate([score[~mask] for score, mask in pictures])
    points = [(0.0, 0.0)]
    for threshold in sorted({float(v) for score, _ in pictures for v in score.ravel()})[::-1]:
        overlap = [
            sum(pictures[k][0][place] >= threshold for place in region) / len(region)
            for k, region in regions
        ]
        points.append((float(np.mean(normal >= threshold)), float(np.mean(overlap))))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x0 >= limit:
            break
        if x1 > limit:
            x1, y1 = limit, y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


@pytest.mark.parametrize('levels', [0, 1, 3])
@pytest.mark.parametrize('seed', [1, 2, 3])
def test_metrics_equal_the_oracles(seed: int, levels: int) -> None:
    oracle = pytest.importorskip('sklearn.metrics')
    pictures = _pictures(seed, levels=levels)
    label = np.concatenate([mask.ravel() for _, mask in pictures])
    score = np.concatenate([score.ravel() for score, _ in pictures])
    got = _collected(pictures).metrics()
    assert got.auroc == pytest.approx(oracle.roc_auc_score(label, score), abs=1e-12)
    assert got.ap == pytest.approx(oracle.average_precision_score(label, score), abs=1e-12)
    assert got.aupro == pytest.approx(_literal_aupro(pictures, 0.3), abs=1e-12)


def test_a_perfect_map_has_one_everywhere_and_its_negative_zero() -> None:
    _, mask = _pictures(4)[1]
    scores, inverted = PixelScores(), PixelScores()
    scores.add(mask.astype(np.float32), mask)
    inverted.add(-mask.astype(np.float32), mask)
    assert scores.metrics() == pytest.approx((1.0, 1.0, 1.0))
    assert inverted.metrics()[::2] == (0.0, 0.0)


def test_many_regions_that_are_wholly_found_have_exactly_one_everywhere() -> None:
    for regions in range(1, 50):
        scores = PixelScores()
        for k in range(regions):
            mask = np.zeros((9, 9), dtype=np.bool_)
            mask[: 1 + k % 7, :3] = True
            scores.add(np.where(mask, 1.0 + np.arange(9) / 7.0, 0.0), mask)
        assert scores.metrics() == (1.0, 1.0, 1.0)
        assert all(interval == (1.0, 1.0) for interval in scores.intervals(seed=0, resamples=3))


def test_a_constant_map_is_chance() -> None:
    pictures = [(np.zeros_like(score), mask) for score, mask in _pictures(5)]
    scores = _collected(pictures)
    auroc, ap, aupro = scores.metrics()
    assert auroc == 0.5
    assert ap == pytest.approx(scores.anomalous_share)
    assert aupro == pytest.approx(0.15)  # the diagonal up to 0.3, over 0.3


def test_a_small_region_counts_as_much_as_a_large_one() -> None:
    mask = np.zeros((40, 40), dtype=np.bool_)
    mask[0, 0] = mask[10:30, 10:30] = True
    score = np.zeros((40, 40), dtype=np.float32)
    score[10:30, 10:30] = 1.0  # only the large one is found
    scores = PixelScores()
    scores.add(score, mask)
    assert scores.regions == 2
    # half of the regions at once, then along the ties with the missed one
    assert scores.metrics().aupro == pytest.approx(0.5 + 0.5 * 0.15)


def test_pixels_that_touch_by_a_corner_are_one_region() -> None:
    scores = PixelScores()
    scores.add(np.zeros((5, 5)), np.eye(5, dtype=np.bool_))
    assert scores.regions == 1


def test_merged_parts_are_what_was_added_in_turn() -> None:
    pictures = _pictures(6)
    merged = PixelScores([_collected(pictures[:2]), _collected(pictures[2:])])
    assert merged.metrics() == _collected(pictures).metrics()
    assert merged.images == 5


def test_a_picture_without_a_normal_pixel_counts_beside_others() -> None:
    full = np.ones((20, 26), np.float32), np.ones((20, 26), np.bool_)
    pictures = [*_pictures(7), full]
    normal, anomalous = (
        np.concatenate([score[mask == wanted] for score, mask in pictures])
        for wanted in (False, True)
    )
    scores = _collected(pictures)
    assert scores.metrics().auroc == pytest.approx(auroc(normal, anomalous), abs=1e-12)
    assert scores.intervals(seed=0, resamples=20).auroc.low > 0.5


@pytest.mark.parametrize(('full', 'missing'), [(False, 'anomalous'), (True, 'normal')])
def test_pixels_of_one_class_only_are_refused(full: bool, missing: str) -> None:
    scores = PixelScores()
    scores.add(np.zeros((4, 4)), np.full((4, 4), full))
    with pytest.raises(ParameterError, match=f'got no {missing} one in 1 pictures'):
        scores.metrics()
    with pytest.raises(ParameterError, match=f'got no {missing} one in 1 pictures'):
        scores.intervals(seed=0)


def test_a_mask_of_another_size_is_refused_with_both_sizes() -> None:
    with pytest.raises(ParameterError, match='expected 6x4 as the picture has, got 4x6'):
        PixelScores().add(np.zeros((4, 6)), np.zeros((6, 4), np.bool_))


def test_a_map_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ParameterError, match='got 1 of 4 that are not'):
        PixelScores().add([[0.0, np.nan], [1.0, 2.0]])


@pytest.mark.parametrize('share', [0.0, 0.01, 0.25, 0.5])
def test_a_threshold_flags_at_most_its_share_of_normal_pixels(share: float) -> None:
    pictures = _pictures(8, levels=4)
    normal = np.concatenate([score[~mask] for score, mask in pictures])
    threshold = _collected(pictures).threshold_at(share)
    assert np.mean(normal > threshold) <= share
    assert np.mean(normal >= threshold) > share  # a lower one would flag more


def test_a_share_of_a_hundred_pixels_flags_as_many_hundredths() -> None:
    scores = PixelScores()
    scores.add(np.arange(100.0).reshape(10, 10))
    for flagged in range(100):
        assert scores.threshold_at(flagged / 100) == 99.0 - flagged
    assert scores.threshold_at(1.0 - 1e-12) == 0.0


def test_intervals_hold_the_exact_figures_and_shrink_with_pictures() -> None:
    few, many = _collected(_pictures(9, count=8)), _collected(_pictures(9, count=64))
    widths = []
    for scores in (few, many):
        intervals = scores.intervals(seed=1, resamples=200)
        for exact, interval in zip(scores.metrics(), intervals, strict=True):
            assert interval.low < exact < interval.high
        widths.append([interval.high - interval.low for interval in intervals])
    assert all(b < 0.6 * a for a, b in zip(*widths, strict=True))


def test_intervals_of_one_picture_a_class_are_its_figures() -> None:
    # nothing to draw from: what is left is what rounding to levels costs
    scores = _collected(_pictures(10, count=2))
    intervals = scores.intervals(seed=1, resamples=5)
    for exact, interval in zip(scores.metrics(), intervals, strict=True):
        assert interval.low == interval.high == pytest.approx(exact, abs=2e-3)


def test_intervals_are_the_same_for_the_same_seed() -> None:
    scores = _collected(_pictures(11))
    assert scores.intervals(seed=3, resamples=9) == scores.intervals(seed=3, resamples=9)
    assert scores.intervals(seed=3, resamples=9) != scores.intervals(seed=4, resamples=9)
