"""What happened to the frames of one camera: counters and recent times, for diagnostics."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
import math
import threading
from typing import Final

import numpy as np

__all__ = ['Counters', 'StreamCounts']

_WINDOW: Final = 300  # frames in the percentiles: 10 s at 30 Hz
_LARGEST_GAP: Final = 1000  # frames: a pause of half a minute at 30 Hz
_ONE_ALONE: Final = 10  # numbers in a row are those of one publisher


@dataclass(frozen=True)
class Counters:
    """
    The counters at one moment.

    Parameters
    ----------
    received, scored, dropped, skipped, late, bad : int
        Frames since activation: handed over by the middleware; scored; replaced by a newer one
        before they were looked at; left out by the rate limit; left out after too long a wait;
        undecodable.
    missed : int
        Frames of a publisher that were never handed over: lost on the way, or replaced by a newer
        one in the subscription's queue. Counted by gaps in its numbering, while it is the only one
        on the topic.
    lost : int
        Those that the middleware itself reports as lost on the way.
    overdue : int
        Answers that came later than the deadline.
    rate_hz : float
        Scored frames per second since the previous snapshot or the start.
    latency_ms, processing_ms : tuple of float
        Median and 99th percentile of the last frames, in ms: publish time - image stamp (NaN
        where stamps are of another clock), and time inside the monitor.
    last_bad : str
        What was wrong with the latest undecodable frame.
    incompatible_qos : int
        Publishers that cannot be heard because of their QoS.
    incompatible_policy : str
        Which policy of theirs did not fit.

    """

    received: int
    scored: int
    dropped: int
    skipped: int
    late: int
    bad: int
    missed: int
    lost: int
    overdue: int
    rate_hz: float
    latency_ms: tuple[float, float]
    processing_ms: tuple[float, float]
    last_bad: str
    incompatible_qos: int
    incompatible_policy: str


class StreamCounts:
    """
    Counters that the receiving, the scoring and the reporting thread share.

    Parameters
    ----------
    now : float
        Monotonic time of the start, in s.
    publishers : callable, optional
        How many publishers are heard now; asked where their numbers jump.

    """

    def __init__(self, now: float, publishers: Callable[[], int] = lambda: 1) -> None:
        self._lock = threading.Lock()
        self._publishers = publishers
        self._was_shared = False
        self._in_row = 0
        self._received = self._scored = self._dropped = self._skipped = 0
        self._late = self._bad = self._missed = self._lost = self._incompatible_qos = 0
        self._overdue = 0
        self._number: int | None = None
        self._last_bad = self._incompatible_policy = ''
        self._latency_ms: deque[float] = deque(maxlen=_WINDOW)
        self._processing_ms: deque[float] = deque(maxlen=_WINDOW)
        self._previous = (now, 0)

    @property
    def received(self) -> int:
        """Return how many frames the middleware handed over."""
        return self._received

    def on_received(self, *, dropped: bool = False, skipped: bool = False) -> None:
        """Count a frame; ``dropped``: it pushed an older one out; ``skipped``: by the limit."""
        with self._lock:
            self._received += 1
            self._dropped += dropped
            self._skipped += skipped

    def on_number(self, number: int | None) -> None:
        """
        Take the publisher's number of a received frame, where the middleware tells it.

        It does not tell which publisher that is: where there are several, no gap is counted.

        Parameters
        ----------
        number : int or None
            The number; from one thread only.

        """
        before, self._number = self._number, number
        if number is None or before is None:
            return
        if number == before + 1:
            self._in_row += 1
            return
        was_shared = self._was_shared and self._in_row < _ONE_ALONE
        # asked only now: it costs more than all the rest of the counting
        self._in_row, self._was_shared = 0, self._publishers() > 1
        gap = number - before - 1
        # a larger jump, or one back, is another publisher and no gap
        if 0 < gap <= _LARGEST_GAP and not (was_shared or self._was_shared):
            with self._lock:
                self._missed += gap

    def on_scored(
        self, latency_ms: float, processing_ms: float, *, deadline_ms: float = 0.0
    ) -> None:
        """
        Count a published score.

        Parameters
        ----------
        latency_ms : float
            Publish time - image stamp, in ms; NaN where the stamp is of another clock.
        processing_ms : float
            Time inside the monitor, in ms.
        deadline_ms : float, default 0
            What the larger of the two may be, in ms; 0 sets no limit.

        """
        slowest = processing_ms if math.isnan(latency_ms) else max(latency_ms, processing_ms)
        with self._lock:
            self._scored += 1
            self._overdue += 0.0 < deadline_ms < slowest
            self._latency_ms.append(latency_ms)
            self._processing_ms.append(processing_ms)

    def on_late(self) -> None:
        """Count a frame that waited for too long."""
        with self._lock:
            self._late += 1

    def on_bad(self, reason: str) -> None:
        """Count a frame that is no picture."""
        with self._lock:
            self._bad += 1
            self._last_bad = reason

    def on_lost(self, total: int) -> None:
        """Take over the middleware's count of lost messages."""
        with self._lock:
            self._lost = total

    def on_incompatible_qos(self, total: int, policy: str) -> None:
        """Take over the middleware's count of publishers that do not fit."""
        with self._lock:
            self._incompatible_qos = total
            self._incompatible_policy = policy

    def snapshot(self, now: float) -> Counters:
        """
        Return the counters, and the rate since the last call.

        Parameters
        ----------
        now : float
            Monotonic time, in s.

        Returns
        -------
        Counters
            The counters.

        """
        with self._lock:
            then, scored = self._previous
            self._previous = (now, self._scored)
            seconds = now - then
            return Counters(
                received=self._received,
                scored=self._scored,
                dropped=self._dropped,
                skipped=self._skipped,
                late=self._late,
                bad=self._bad,
                missed=self._missed,
                lost=self._lost,
                overdue=self._overdue,
                rate_hz=(self._scored - scored) / seconds if seconds > 0.0 else 0.0,
                latency_ms=_percentiles(self._latency_ms),
                processing_ms=_percentiles(self._processing_ms),
                last_bad=self._last_bad,
                incompatible_qos=self._incompatible_qos,
                incompatible_policy=self._incompatible_policy,
            )


def _percentiles(values: deque[float]) -> tuple[float, float]:
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return math.nan, math.nan
    median, high = np.percentile(finite, (50, 99))
    return float(median), float(high)
