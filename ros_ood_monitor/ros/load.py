"""Whether more frames come in than are scored, judged over several reports."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from ros_ood_monitor.ros.stream_counts import Snapshot

__all__ = ['REPORTS', 'Load', 'LoadMeter']

REPORTS: Final = 5
"""Reports that are judged together."""


@dataclass(frozen=True)
class Load:
    """
    What became of the latest frames.

    Parameters
    ----------
    dropped, late, missed, scored : int
        Frames of the last `REPORTS` reports, counted as in `Snapshot`.
    is_over : bool
        Whether the node is overloaded.

    """

    dropped: int = 0
    late: int = 0
    missed: int = 0
    scored: int = 0
    is_over: bool = False


class LoadMeter:
    """
    Tells overload with hysteresis, so that a level near the limit does not flip at every report.

    Overload begins where more frames were dropped, late and missed than scored, and ends where
    fewer than half as many were.
    """

    def __init__(self) -> None:
        self._snapshots: deque[Snapshot] = deque(maxlen=REPORTS)
        self._is_over = False

    def update(self, now: Snapshot) -> Load:
        """
        Take the counters of the next report.

        Parameters
        ----------
        now : Snapshot
            Counters of the same stream as before.

        Returns
        -------
        Load
            Over the last reports, or since activation while there are fewer.

        """
        if self._snapshots and now.received < self._snapshots[-1].received:
            self._snapshots.clear()  # counters that ran back are another stream's
        start = self._snapshots[0] if len(self._snapshots) == REPORTS else None
        dropped, late, missed, scored = (
            getattr(now, name) - (getattr(start, name) if start is not None else 0)
            for name in ('dropped', 'late', 'missed', 'scored')
        )
        self._snapshots.append(now)
        unscored = dropped + late + missed
        limit = scored / 2.0 if self._is_over else float(scored)
        self._is_over = unscored > limit
        return Load(dropped, late, missed, scored, self._is_over)
