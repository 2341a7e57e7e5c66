"""Lets frames through at most at a given rate."""

from __future__ import annotations

import math

__all__ = ['RateLimit']


class RateLimit:
    """
    Accepts events so that their mean rate stays at or under a limit.

    Due times advance by whole periods instead of starting anew at each accepted event: 30 Hz
    limited to 10 Hz gives 10 Hz and not 7.5 Hz when the events jitter.

    Parameters
    ----------
    rate_hz : float
        Highest rate, in Hz; 0 accepts everything.

    """

    def __init__(self, rate_hz: float = 0.0) -> None:
        self.rate_hz = rate_hz
        self._due = -math.inf

    def accepts(self, now: float) -> bool:
        """
        Tell whether the event is let through.

        Parameters
        ----------
        now : float
            The time, in s. One that ran back starts anew.

        Returns
        -------
        bool
            False where it comes too early.

        """
        if self.rate_hz <= 0.0:
            return True
        period = 1.0 / self.rate_hz
        # due is never more than a period after a frame, unless the clock ran back since
        if self._due - 1.001 * period < now < self._due:
            return False
        late = now - self._due
        self._due = (self._due if 0.0 <= late < period else now) + period
        return True
