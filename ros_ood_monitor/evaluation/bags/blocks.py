"""
Bootstrap intervals of frame metrics that know that frames of a video depend on each other.

Frames are drawn in blocks of consecutive ones, not one by one. Within a block everything is as it
was recorded, labels and cameras included; between blocks nothing is, so a block has to be longer
than what the scores remember. Its length is chosen from their autocorrelation.

References
----------
Politis, Romano (1992), A circular block-resampling procedure for stationary data. Politis, White
(2004), Automatic block-length selection for the dependent bootstrap, with the correction of
Patton, Politis, White (2009).

"""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.metrics import check_bootstrap, Interval, middle

__all__ = ['FRAME_METRICS', 'block_length', 'draw_metrics', 'intervals_of', 'weighted_metrics']

FRAME_METRICS: Final = ('auroc', 'aupr', 'fpr95_id_positive', 'fpr95_ood_positive')
"""What `weighted_metrics` gives, in this order; as in `ros_ood_monitor.metrics`."""

_LEVELS: Final = 4096
_ENOUGH: Final = 0.9  # of the draws, in which both classes must be
_CONFIDENCE: Final = 0.95

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class FrameMetrics(NamedTuple):
    """One value of each of `FRAME_METRICS`."""

    auroc: float
    aupr: float
    fpr95_id_positive: float
    fpr95_ood_positive: float


def weighted_metrics(known: Ints, foreign: Ints) -> FrameMetrics | None:
    """
    Return the metrics of frames that count several times each, or not at all.

    Parameters
    ----------
    known, foreign : ndarray of shape (k,), int64
        In- and out-of-distribution frames at each of k scores, ascending.

    Returns
    -------
    FrameMetrics or None
        Exact; None where a class is empty.

    """
    n, m = int(known.sum()), int(foreign.sum())
    if not n or not m:
        return None
    known_upto = np.cumsum(known)  # (k,)
    foreign_upto = np.cumsum(foreign)  # (k,)
    twice = int(np.dot(foreign, 2 * known_upto - known))
    found = m - foreign_upto + foreign  # (k,), scores at or over each
    false = n - known_upto + known  # (k,)
    at = foreign > 0
    precision = found[at] / (found[at] + false[at])
    accept = int(np.searchsorted(known_upto, -(-95 * n // 100)))
    flag = int(np.flatnonzero(found >= -(-95 * m // 100))[-1])
    return FrameMetrics(
        twice / (2 * n * m),
        float(np.dot(foreign[at], precision)) / float(m),
        int(foreign_upto[accept]) / m,
        int(false[flag]) / n,
    )


def block_length(residuals: Sequence[Floats]) -> int:
    """
    Choose how many consecutive frames a block needs.

    Parameters
    ----------
    residuals : sequence of ndarray of shape (n_i,), float64
        Scores of each camera of each bag in order, less the mean of their class over all of them:
        a bag that is different as a whole then counts as dependence, too.

    Returns
    -------
    int
        At least 1; at most ``3 sqrt(n)`` and a third of all frames.

    """
    n = sum(series.size for series in residuals)
    if n < 2:
        return 1
    band = max(5, math.ceil(math.sqrt(math.log10(n))))  # lags that must be quiet in a row
    most = math.ceil(math.sqrt(n)) + band
    covariance = np.zeros(2 * most + 1)  # (lags,)
    for series in residuals:
        covariance += _lagged_products(series, covariance.size)
    covariance /= n
    if not covariance[0] > 0.0:
        return 1
    loud = np.abs(covariance / covariance[0]) >= 2.0 * math.sqrt(math.log10(n) / n)
    quiet = (lag for lag in range(most) if not loud[lag + 1 : lag + 1 + band].any())
    last = max(1, next(quiet, most))
    window = min(2 * last, most)
    lag = np.arange(1, window + 1)
    taper = np.minimum(1.0, 2.0 * (1.0 - lag / window))  # (window,)
    tapered = taper * covariance[1 : window + 1]
    spectrum = covariance[0] + 2.0 * float(tapered.sum())
    slope = 2.0 * float(np.dot(tapered, lag))
    longest = max(1, math.ceil(min(3.0 * math.sqrt(n), n / 3.0)))
    if not spectrum > 0.0:
        return longest
    length = round(float(np.cbrt(1.5 * (slope / spectrum) ** 2 * n)))
    return min(max(1, length), longest)


def _lagged_products(series: Floats, lags: int) -> Floats:
    """Return sums of products at each lag (lags,)."""
    size = 1 << (series.size + lags).bit_length()
    spectrum = np.fft.rfft(series, size)
    products = np.fft.irfft(np.abs(spectrum) ** 2, size)[:lags]  # (lags,)
    return np.where(np.arange(lags) < series.size, products, 0.0)


def draw_weights(n: int, block: int, rng: np.random.Generator) -> Ints:
    """
    Draw frames in blocks, from a circle of them.

    Parameters
    ----------
    n : int
        Frames.
    block : int
        Frames of a block, at most n.
    rng : numpy.random.Generator
        Source of the draw.

    Returns
    -------
    ndarray of shape (n,), int64
        How often each frame was drawn; about n in all.

    """
    starts = rng.integers(0, n, -(-n // block))  # (blocks,)
    steps = np.bincount(starts, minlength=2 * n) - np.bincount(starts + block, minlength=2 * n)
    covered = np.cumsum(steps[: 2 * n])
    return covered[:n] + covered[n:]  # (n,), the second half is what went round the circle


def draw_metrics(
    scores: Sequence[Floats],
    label: npt.NDArray[np.int8],
    *,
    block: int,
    seed: int,
    resamples: int = 1000,
) -> Floats:
    """
    Draw frames anew, the same ones for every detector, and measure each draw.

    Parameters
    ----------
    scores : sequence of ndarray of shape (n,), float64
        raw_score by each detector, frames in the order of recording.
    label : ndarray of shape (n,), int8
        1 out-of-distribution, 0 in-distribution, -1 neither.
    block : int
        Frames of a block.
    seed : int
        Seed of the drawing.
    resamples : int, default 1000
        How often is drawn.

    Returns
    -------
    ndarray of shape (draws, detectors, 4), float64
        `FRAME_METRICS` of those draws in which both classes are; empty where they are in less
        than 90 % of them: too few stretches to tell.

    """
    check_bootstrap(_CONFIDENCE, resamples)
    rng = np.random.default_rng(seed)
    n = label.size
    used = np.flatnonzero(label >= 0)
    is_foreign = label[used] == 1
    places = [_levels(score[used]) for score in scores]
    drawn = []
    for _ in range(resamples):
        weight = draw_weights(n, min(block, n), rng)[used]
        found = [_measure(place, count, is_foreign, weight) for place, count in places]
        whole = [one for one in found if one is not None]
        if len(whole) == len(found):
            drawn.append(whole)
    if len(drawn) < _ENOUGH * resamples:
        drawn = []
    return np.array(drawn, dtype=np.float64).reshape(-1, len(scores), len(FRAME_METRICS))


def _levels(score: Floats) -> tuple[Ints, int]:
    """Return each score's place among the different ones (or among 4096 of them), and how many."""
    unique, place = np.unique(score, return_inverse=True)
    if unique.size > _LEVELS:
        return place * _LEVELS // unique.size, _LEVELS
    return place, int(unique.size)


def _measure(
    place: Ints, count: int, is_foreign: npt.NDArray[np.bool_], weight: Ints
) -> FrameMetrics | None:
    both = np.bincount(place + count * is_foreign, weight, 2 * count).astype(np.int64)
    return weighted_metrics(both[:count], both[count:])


def intervals_of(drawn: Floats) -> dict[str, Interval | None]:
    """
    Return the 95 % interval of each metric.

    Parameters
    ----------
    drawn : ndarray of shape (draws, 4), float64
        Metrics, or differences of them.

    Returns
    -------
    dict of str to Interval or None
        By `FRAME_METRICS`; None where nothing was drawn.

    """
    if not len(drawn):
        return dict.fromkeys(FRAME_METRICS)
    columns = zip(FRAME_METRICS, drawn.T, strict=True)
    return {name: middle(column, _CONFIDENCE) for name, column in columns}
