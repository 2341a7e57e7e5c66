"""Which frames of a sequence are taken: topics, stride, and a window of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import Final

from ros_ood_monitor.errors import TrainingError

__all__ = ['Selection']

_LEAST_SHARE: Final = 1e-9  # of a window inside of a bag, however short


@dataclass(frozen=True)
class Selection:
    """
    Which frames of a sequence are taken.

    Parameters
    ----------
    topics : sequence of str
        Image topics of bags; empty for all of them.
    every : int
        Take the first frame of each sequence (of each topic of a bag) and then every n-th.
    start, end : float or None
        Window of bags, in s from a bag's first message.

    """

    topics: Sequence[str] = ()
    every: int = 1
    start: float | None = None
    end: float | None = None

    def check(self) -> None:
        """
        Refuse what selects nothing.

        Raises
        ------
        TrainingError
            If a value is outside its range.

        """
        if self.every < 1:
            msg = f'every out of range: expected at least 1, got {self.every}'
            raise TrainingError(msg)
        start, end = self._window
        if not (0.0 <= start < (math.inf if end is None else end)):  # neither is NaN
            msg = f'window is empty: expected 0 <= start < end, got {start:g} and {end} s'
            raise TrainingError(msg)

    def share(self, duration: float) -> float:
        """
        Return how much of a bag the window takes.

        Parameters
        ----------
        duration : float
            Of the bag, in s; 0 or NaN where its messages have one time or there are none.

        Returns
        -------
        float
            Share of its time, in [0, 1]; 0 where the window begins after its end, and only then.

        """
        start, end = self._window
        if start > duration:
            return 0.0
        if not duration > 0.0:
            return 1.0
        stop = duration if end is None else min(end, duration)
        return max((stop - start) / duration, _LEAST_SHARE)

    def __str__(self) -> str:
        start, end = self._window
        parts = [f'every {self.every}'] if self.every > 1 else []
        if start or end is not None:
            parts.append(f'the window from {start:g} s' + (f' to {end:g} s' if end else ''))
        return ' and '.join(parts)

    @property
    def _window(self) -> tuple[float, float | None]:
        return self.start or 0.0, self.end
