"""Time as image stamps tell it: it goes on, stands where frames are out of order, or jumps."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ['OUT_OF_ORDER', 'ImageTime', 'image_times']

OUT_OF_ORDER: Final = 0.5
"""Time by which a frame may be older than the newest one and is out of order, in s; where it is
older the clock of the stamps was set back."""


class ImageTime:
    """
    The time of one camera: its newest stamp, in s; NaN before the first.

    Stamps jitter, and frames of two publishers overtake each other: a frame that is a little older
    than the newest one takes no time, and is no other stretch of it.
    """

    def __init__(self) -> None:
        self.now = math.nan

    def step(self, stamp: float) -> float:
        """
        Take the stamp of the next frame.

        Parameters
        ----------
        stamp : float
            In s.

        Returns
        -------
        float
            Time since the frame before, in s: 0 where this one is out of order, negative where the
            clock was set back, NaN at the first one.

        """
        step = stamp - self.now
        if -OUT_OF_ORDER <= step < 0.0:
            return 0.0
        self.now = stamp
        return step


def image_times(stamp: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """
    Return the time of each frame of one camera.

    Parameters
    ----------
    stamp : ndarray of shape (n,), float64
        In the order of arrival, in s.

    Returns
    -------
    ndarray of shape (n,), float64
        `ImageTime.now` after each: its differences are negative only where the clock was set back.

    """
    if not (np.diff(stamp) < 0.0).any():
        return stamp
    time = ImageTime()
    times = []
    for one in stamp.tolist():
        time.step(one)
        times.append(time.now)
    return np.array(times)
