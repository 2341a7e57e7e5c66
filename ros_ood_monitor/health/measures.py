"""
What is measured of a picture, in grey levels of the network's input.

A blur or a noise that the resize to the network's size removes does not reach the score either.
Everything is integer arithmetic of OpenCV on at most 256 px a side: equal pictures give equal
values, and a frame costs a fraction of a millisecond.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ['MEASURES', 'STILL', 'WATCHED_STEP_S', 'grey_of', 'measure', 'repeated']

MEASURES: Final = (
    'black', 'saturated', 'missing', 'blank', 'blurred', 'noise', 'banding', 'exposure', 'colour',
)  # fmt: skip
"""Checks of single pictures, in the order of `measure`."""

STILL: Final = 0.002
"""Share of pixels that may change in a picture that stands still: a clock."""

WATCHED_STEP_S: Final = 1.0
"""The most that the time between two equal pictures counts, in s: in a gap nobody watched."""

_LONGEST: Final = 256  # px of a side
_DARK: Final = 8  # grey levels
_WHITE: Final = 250
_BRIGHTEST: Final = 0.999
# Immerkaer 1996: takes out planes and edges along the axes
_NOISE_KERNEL: Final = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_NOISE_GAIN: Final = 6.0 * 0.6745  # of that kernel, and of a normal distribution's median
_LEVELS: Final = np.arange(256.0)
_TEXTURED: Final = 3  # grey levels between neighbours in a row that can be recognised


def grey_of(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """
    Return the grey picture that is looked at.

    Parameters
    ----------
    image : ndarray of shape (h, w, 3), uint8
        Network input.

    Returns
    -------
    ndarray of shape (gh, gw), uint8
        At most 256 px a side, and at least 2.

    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)  # (h, w)
    longest = max(*grey.shape, _LONGEST)
    if longest > _LONGEST or min(grey.shape) < 2:
        size = tuple(max(2, side * _LONGEST // longest) for side in grey.shape[::-1])
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)  # (gh, gw)
    return grey  # type: ignore[return-value]


def measure(
    image: npt.NDArray[np.uint8], grey: npt.NDArray[np.uint8] | None = None
) -> npt.NDArray[np.float32]:
    """
    Measure one picture.

    Parameters
    ----------
    image : ndarray of shape (h, w, 3), uint8
        Network input.
    grey : ndarray of shape (gh, gw), uint8, optional
        What `grey_of` makes of it, where that is there already.

    Returns
    -------
    ndarray of shape (9,), float32
        In the order of `MEASURES`; see `CHECKS` for what they are.

    References
    ----------
    Immerkaer 1996, "Fast Noise Variance Estimation", eq. 3; the median in place of the mean keeps
    texture out of it.

    """
    grey = grey_of(image) if grey is None else grey
    counts = cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel().astype(np.float64)  # (256,)
    share = counts / grey.size
    mean = float(share @ _LEVELS)
    contrast = float(np.sqrt(max(0.0, share @ np.square(_LEVELS) - mean * mean)))
    _, edges = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
    response = cv2.convertScaleAbs(cv2.filter2D(grey, cv2.CV_16S, _NOISE_KERNEL))
    missing, blank = _constant_blocks(grey)
    red, _, blue, _ = cv2.mean(image)
    return np.array(
        [
            _quantile(share, _BRIGHTEST),
            share[_WHITE:].sum(),
            missing,
            blank,
            float(edges.ravel()[0]) / (contrast + 1.0),
            _median(response) / _NOISE_GAIN,
            max(_bands(grey, 1), _bands(grey, 0)),
            mean,
            red - blue,
        ],
        np.float32,
    )


def repeated(
    grey: npt.NDArray[np.uint8], before: npt.NDArray[np.uint8]
) -> tuple[float, float, bool]:
    """
    Compare a picture with the one before.

    Parameters
    ----------
    grey, before : ndarray of shape (gh, gw), uint8
        From `grey_of`, of equal size.

    Returns
    -------
    changed : float
        Share of pixels that differ.
    old : float
        Share of rows that are recognisably those of ``before``, from one edge of the picture on;
        0 where both edges have such rows, or the whole picture.
    is_calm : bool
        Whether such rows are elsewhere too, so that they are no sign of a torn picture.

    """
    difference = cv2.absdiff(grey, before)
    changed = cv2.countNonZero(difference) / grey.size
    same = difference.max(axis=1) == 0  # (gh,); OpenCV reduces rows many times slower
    if not same.any():
        return changed, 0.0, False
    textured = same & (_steps(grey) >= _TEXTURED)
    if same.all():
        return changed, 0.0, bool(textured.any())
    first, last = int(np.argmin(same)), len(same) - int(np.argmin(same[::-1]))  # rows that differ
    top, bottom = int(textured[:first].sum()), int(textured[last:].sum())
    is_calm = bool(top and bottom) or bool(textured[first:last].any())
    return changed, 0.0 if is_calm else max(top, bottom) / len(same), is_calm


def _steps(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the largest step between neighbours of each row, (gh,)."""
    steps: npt.NDArray[np.uint8] = np.asarray(cv2.absdiff(grey[:, 1:], grey[:, :-1])).max(axis=1)
    return steps


def _constant_blocks(grey: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """Return the share of rows in the lowest block of a mid grey level, and in the largest one."""
    constant = _steps(grey) == 0  # (gh,)
    if not constant.any():
        return 0.0, 0.0
    level = np.where(constant, grey[:, 0].astype(np.int16), np.int16(-1))
    starts = np.flatnonzero(np.diff(level, prepend=-2))  # of runs of equal rows, (k,)
    lengths = np.diff(starts, append=len(level))  # (k,)
    largest = int(lengths[constant[starts]].max())
    lowest = int(lengths[-1]) if _DARK <= level[-1] < _WHITE else 0
    return lowest / len(level), largest / len(level)


def _quantile(share: npt.NDArray[np.float64], quantile: float) -> float:
    return float(np.searchsorted(np.cumsum(share), quantile - 1e-9))


def _median(values: npt.NDArray[Any]) -> float:
    counts = cv2.calcHist([values], [0], None, [256], [0, 256]).ravel()
    return _quantile(counts / values.size, 0.5)


def _bands(grey: npt.NDArray[np.uint8], axis: int) -> float:
    means = cv2.reduce(grey, axis, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel()
    if len(means) < 3:
        return 0.0
    bends = np.abs(means[2:] - 2.0 * means[1:-1] + means[:-2])
    return float(np.partition(bends, bends.size // 2)[bends.size // 2])  # quicker than a median
