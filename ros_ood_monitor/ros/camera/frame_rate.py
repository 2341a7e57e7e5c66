"""Whether frames are scored at the rate that a rate of false alerts was calibrated at."""

from __future__ import annotations

from collections import deque
import math
from typing import Final

__all__ = ['FrameRateCheck']

_WINDOW_S: Final = 10.0
_LASTS_S: Final = 20.0
"""
A pause of the camera is over by then: the longest that leaves a frame in the window is as long as
it, and is more than a fifth of it for 1.6 windows.
"""
_TOLERANCE: Final = 0.2


class FrameRateCheck:
    """Compares the rate of the last ten seconds with the calibrated one, for one camera."""

    def __init__(self) -> None:
        self._counts: deque[tuple[float, int]] = deque()
        self._since = math.nan
        self._told = False
        self.is_news = False
        """Whether the last update told of a difference and none before it did."""

    def update(self, now: float, scored: int, expected_hz: float) -> str:
        """
        Take a count of scored frames.

        Parameters
        ----------
        now : float
            Monotonic time, in s.
        scored : int
            Frames scored since the start.
        expected_hz : float
            Frame rate of the calibration; NaN where there is no rate to keep.

        Returns
        -------
        str
            A sentence where the rate has differed by more than 20 % for 20 s; nothing else, and
            nothing while no frame comes at all.

        """
        self.is_news = False
        counts = self._counts
        counts.append((now, scored))
        while len(counts) > 2 and now - counts[1][0] >= _WINDOW_S:
            counts.popleft()
        seconds, frames = now - counts[0][0], scored - counts[0][1]
        rate_hz = frames / seconds if seconds >= _WINDOW_S else math.nan
        # what is NaN does not differ
        if not frames or not abs(rate_hz - expected_hz) > _TOLERANCE * expected_hz:
            self._since = math.nan
            return ''
        self._since = now if math.isnan(self._since) else self._since
        if now - self._since < _LASTS_S:
            return ''
        self.is_news, self._told = not self._told, True
        return (
            f'{rate_hz:.3g} frames/s scored, the rate of false alerts was calibrated at '
            f'{expected_hz:.3g} Hz and does not hold; run at that rate, or calibrate at this one'
        )
