"""
How well a map of scores finds the anomalous pixels of pictures.

A pixel is anomalous where the picture's mask says so; all others are normal ones, those of
anomalous pictures too. As in `metrics`, anomalous is the positive class, higher is the more
anomalous, nothing is fitted, and equal scores count as what they are. The figures are exact: the
curves are followed over every value that occurs, not over a grid of thresholds.

=========== ===================================================================================
`auroc`     probability that an anomalous pixel scores higher than a normal one; says little
            where defects are small, because most pixels are easy
`ap`        average precision; chance is the share of anomalous pixels
`aupro`     area under the per-region overlap: the share of each region's pixels that is over a
            threshold, averaged over regions, against the share of normal pixels over it, from 0
            to 30 % of them, divided by 0.3. A small region counts as much as a large one
=========== ===================================================================================

References
----------
Bergmann, Fauser, Sattlegger, Steger (2021), The MVTec anomaly detection dataset, International
Journal of Computer Vision 129, section 5.1.

"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.metrics.bootstrap import check_bootstrap, Interval, middle

__all__ = ['FPR_LIMIT', 'PixelIntervals', 'PixelMetrics', 'PixelScores']

FPR_LIMIT: Final = 0.3
"""Share of normal pixels up to which `PixelMetrics.aupro` integrates."""

_LEVELS: Final = 1024  # of either class that the scores are rounded to for the intervals

Values = npt.NDArray[np.float64]


class PixelMetrics(NamedTuple):
    """Figures over all pixels of all pictures, each in [0, 1], higher is better."""

    auroc: float
    ap: float
    aupro: float


class PixelIntervals(NamedTuple):
    """Bootstrap intervals of `PixelMetrics`."""

    auroc: Interval
    ap: Interval
    aupro: Interval


class PixelScores:
    """
    The scores of pixels, sorted: 4 bytes a normal pixel, 12 an anomalous one.

    Parameters
    ----------
    parts : iterable of PixelScores
        What it holds from the start.

    """

    def __init__(self, parts: Iterable[PixelScores] = ()) -> None:
        self._normal: list[npt.NDArray[np.float32]] = []
        self._anomalous: list[npt.NDArray[np.float32]] = []
        self._weight: list[Values] = []  # of each anomalous pixel: 1 / pixels of its region
        self.regions = 0
        for part in parts:
            self._normal += part._normal
            self._anomalous += part._anomalous
            self._weight += part._weight
            self.regions += part.regions

    @property
    def images(self) -> int:
        """Return the number of pictures."""
        return len(self._normal)

    @property
    def anomalous_share(self) -> float:
        """Return the share of anomalous pixels, in [0, 1]; NaN without a picture."""
        anomalous = sum(part.size for part in self._anomalous)
        pixels = anomalous + sum(part.size for part in self._normal)
        return anomalous / pixels if pixels else float('nan')

    def add(self, score: npt.ArrayLike, mask: npt.NDArray[np.bool_] | None = None) -> None:
        """
        Add a picture.

        Parameters
        ----------
        score : array_like of shape (height, width)
            The map in image coordinates; kept in single precision.
        mask : ndarray of shape (height, width), bool, optional
            True where a pixel is anomalous; none is where it is not given. Pixels that touch by
            an edge or a corner are one region.

        Raises
        ------
        ParameterError
            If the sizes differ or a score is not finite.

        """
        values = np.asarray(score, dtype=np.float32)
        if values.ndim != 2 or values.size == 0:
            msg = f'map shape mismatch: expected (height, width), got {values.shape}'
            raise ParameterError(msg)
        if not np.isfinite(values).all():
            bad = int(np.count_nonzero(~np.isfinite(values)))
            msg = f'map values must be finite, got {bad} of {values.size} that are not'
            raise ParameterError(msg)
        if mask is None:
            mask = np.zeros(values.shape, dtype=np.bool_)
        if mask.shape != values.shape:
            expected, got = (f'{shape[1]}x{shape[0]}' for shape in (values.shape, mask.shape))
            msg = f'mask size mismatch: expected {expected} as the picture has, got {got}'
            raise ParameterError(msg)
        count, label = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        regions = label[mask]  # (m,), from 1
        area = np.bincount(regions, minlength=count)  # (count,)
        self._normal.append(values[~mask])
        self._anomalous.append(values[mask])
        self._weight.append(1.0 / area[regions])
        self.regions += count - 1

    def metrics(self) -> PixelMetrics:
        """
        Return the exact figures over all pixels.

        Returns
        -------
        PixelMetrics
            ``auroc``, ``ap`` and ``aupro``.

        Raises
        ------
        ParameterError
            If there is no anomalous or no normal pixel.

        """
        normal = np.sort(self._all(self._normal, 'normal'))  # (n,)
        anomalous = self._all(self._anomalous, 'anomalous')
        value, place = np.unique(anomalous, return_inverse=True)  # (u,) ascending, (m,)
        n, m = normal.size, anomalous.size
        below = np.searchsorted(normal, value, side='left')  # (u,)
        not_above = np.searchsorted(normal, value, side='right')  # (u,)
        here = np.bincount(place)  # (u,)
        overlap = np.bincount(place, np.concatenate(self._weight))  # (u,)
        found = np.cumsum(here[::-1])[::-1]  # (u,), at or over the value
        # from the highest value down: along the normal pixels between two values, then up (and
        # along, where normal pixels tie with anomalous ones)
        up = np.repeat(np.cumsum(overlap[::-1]), 2)  # (2u,)
        along = np.stack([n - not_above[::-1], n - below[::-1]], axis=1).ravel() / n  # (2u,)
        x = np.concatenate([[0.0], along, [1.0]])
        # the last one is the number of regions, but for rounding
        y = np.concatenate([[0.0, 0.0], up / up[-1]])
        return PixelMetrics(
            auroc=float(np.sum(here * (below + not_above)) / (2 * n * m)),
            ap=float(np.sum(here * (found / (found + (n - below))))) / m,
            aupro=float(_area(x, y, FPR_LIMIT)) / FPR_LIMIT,
        )

    def threshold_at(self, share: float) -> float:
        """
        Return the lowest normal score that at most a share of the normal pixels exceeds.

        Parameters
        ----------
        share : float
            Share of normal pixels, in [0, 1).

        Returns
        -------
        float
            A threshold; pixels strictly over it count as flagged.

        Raises
        ------
        ParameterError
            If there is no normal pixel, or the share is outside its range.

        """
        if not 0.0 <= share < 1.0:
            msg = f'share of normal pixels must lie in [0, 1), got {share:g}'
            raise ParameterError(msg)
        normal = self._all(self._normal, 'normal')
        flagged = int(round(share * normal.size, 6))  # 0.29 of 100 are 28.999999999999996
        rank = max(0, normal.size - 1 - flagged)
        return float(np.partition(normal, rank)[rank])

    def intervals(
        self, *, seed: int, confidence: float = 0.95, resamples: int = 1000
    ) -> PixelIntervals:
        """
        Return bootstrap intervals of `metrics`, with whole pictures drawn.

        Pixels of one picture are anything but independent, so pictures are drawn with
        replacement: those with anomalous pixels and those without, each at their own number. The
        redrawn figures come from scores rounded to about 2000 levels, which moves them far less
        than the drawing does.

        Parameters
        ----------
        seed : int
            Seed of the drawing.
        confidence : float, default 0.95
            Share of redrawn values inside the interval, in (0, 1).
        resamples : int, default 1000
            How often the pictures are drawn.

        Returns
        -------
        PixelIntervals
            One for each figure.

        Raises
        ------
        ParameterError
            If there is no anomalous or no normal pixel, or an option is outside its range.

        """
        check_bootstrap(confidence, resamples)
        level = self._levels()
        # pictures x (levels + 1), the highest level first
        normal = _counts(self._normal, None, level)
        anomalous = _counts(self._anomalous, None, level)
        overlap = _counts(self._anomalous, self._weight, level)
        empty = np.array([part.size == 0 for part in self._anomalous])
        taken = np.zeros((resamples, self.images))
        rng = np.random.default_rng(seed)
        for these in (np.flatnonzero(empty), np.flatnonzero(~empty)):
            if these.size:
                share = np.full(these.size, 1.0 / these.size)
                taken[:, these] = rng.multinomial(these.size, share, size=resamples)
        false, found, over = (_climb(taken @ part) for part in (normal, anomalous, overlap))
        drawable = (false[:, -1] > 0) & (found[:, -1] > 0)  # a draw may hold no normal pixel
        if not drawable.any():
            msg = f'no draw of {resamples} holds a normal pixel; give pictures that have some'
            raise ParameterError(msg)
        false, found, over = false[drawable], found[drawable], over[drawable]
        fpr, tpr, pro = (part / part[:, -1:] for part in (false, found, over))
        flagged = np.maximum(found + false, 1.0)  # a level that nothing has reached gains nothing
        precision = (found / flagged)[:, 1:]
        return PixelIntervals(
            middle(_area(fpr, tpr, 1.0), confidence),
            middle(np.sum(np.diff(found) * precision, axis=1) / found[:, -1], confidence),
            middle(_area(fpr, pro, FPR_LIMIT) / FPR_LIMIT, confidence),
        )

    def _levels(self) -> Values:
        """Return values that part the normal as well as the anomalous pixels evenly."""
        ends = []
        for parts, what in ((self._normal, 'normal'), (self._anomalous, 'anomalous')):
            values = np.sort(self._all(parts, what))
            ends.append(values[np.linspace(0, values.size - 1, _LEVELS).astype(np.intp)])
        return np.unique(np.concatenate(ends)).astype(np.float64)

    def _all(self, parts: Sequence[npt.NDArray[np.float32]], what: str) -> npt.NDArray[np.float32]:
        values = np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)
        if values.size == 0:
            msg = (
                f'pixel metrics need normal and anomalous pixels, got no {what} one in '
                f'{self.images} pictures; look at the masks'
            )
            raise ParameterError(msg)
        return values


def _counts(
    parts: Sequence[npt.NDArray[np.float32]], weights: Sequence[Values] | None, level: Values
) -> Values:
    """Return how much of each part lies in each level, the highest level first."""
    size = level.size + 1
    rows = [
        np.bincount(
            np.searchsorted(level, part, side='right'),
            None if weights is None else weights[k],
            minlength=size,
        )
        for k, part in enumerate(parts)
    ]
    return np.array(rows, dtype=np.float64)[:, ::-1]  # (parts, size)


def _climb(counts: Values) -> Values:
    """Return running sums along the last axis, from 0."""
    return np.pad(np.cumsum(counts, axis=-1), ((0, 0), (1, 0)))


def _area(x: Values, y: Values, limit: float) -> Values:
    """Return the area under lines through points, from x = 0 to a limit; x never falls."""
    start, end = x[..., :-1], x[..., 1:]
    low, high = y[..., :-1], y[..., 1:]
    length = end - start
    inside = np.clip(limit - start, 0.0, length)
    part = np.divide(inside, length, out=np.zeros_like(length), where=length > 0.0)
    area: Values = np.sum(inside * (low + 0.5 * part * (high - low)), axis=-1)
    return area
