"""Whether more frames come in than are scored, judged over several reports."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from ros_ood_monitor.ros.camera.counts import Counters

__all__ = ['REPORTS', 'Load', 'LoadMeter']

REPORTS: Final = 5
"""Reports that are judged together."""


@dataclass(frozen=True)
class Load:
    """
    What became of the latest frames.

    Parameters
    ----------
    dropped, late, missed, scored, skipped : int
        Frames of the last `REPORTS` reports, counted as in `Counters`.
    is_over : bool
        Whether the node is overloaded.

    """

    dropped: int = 0
    late: int = 0
    missed: int = 0
    scored: int = 0
    skipped: int = 0
    is_over: bool = False


class LoadMeter:
    """
    Tells overload with hysteresis, so that a level near the limit does not flip at every report.

    Overload begins where more frames were dropped and late than scored, or, with the missed ones,
    than scored and skipped: the rate limit would have left its share of these out. It ends where
    fewer than half as many were.
    """

    def __init__(self) -> None:
        self._reports: deque[Counters] = deque(maxlen=REPORTS)
        self._is_over = False

    def update(self, now: Counters) -> Load:
        """
        Take the counters of the next report.

        Parameters
        ----------
        now : Counters
            Counters of the same stream as before.

        Returns
        -------
        Load
            Over the last reports, or since activation while there are fewer.

        """
        if self._reports and now.received < self._reports[-1].received:
            self._reports.clear()  # counters that ran back are another stream's
        start = self._reports[0] if len(self._reports) == REPORTS else None
        dropped, late, missed, scored, skipped = (
            getattr(now, name) - (getattr(start, name) if start is not None else 0)
            for name in ('dropped', 'late', 'missed', 'scored', 'skipped')
        )
        self._reports.append(now)
        allowed = 0.5 if self._is_over else 1.0  # share
        too_slow = dropped + late
        self._is_over = too_slow > allowed * scored or (
            too_slow + missed > allowed * (scored + skipped)
        )
        return Load(dropped, late, missed, scored, skipped, self._is_over)
