"""Lets one log line per reason and period through; a new reason comes at once."""

from __future__ import annotations

from collections import deque, OrderedDict
import re
from typing import Final

__all__ = ['ReasonThrottle']

_REMEMBERED: Final = 50
_MOST_LINES: Final = 10
"""In a period, whatever their reasons: bytes of a stranger are a reason of their own each time."""
_VARYING: Final = re.compile(r'\b[0-9a-f]{2}(?: [0-9a-f]{2})+\b|\d+')
"""Bytes as hexadecimal numbers, and numbers."""


class ReasonThrottle:
    """
    Tells which of many repeating messages to log.

    Numbers and bytes in a reason are no difference: a camera whose every frame is truncated
    elsewhere gives one reason. Of reasons without end ten lines a period get through.

    Parameters
    ----------
    period : float
        Time for which a reason is not repeated, in s.

    """

    def __init__(self, period: float) -> None:
        self._period = period
        self._logged: OrderedDict[str, float] = OrderedDict()
        self._lines: deque[float] = deque(maxlen=_MOST_LINES)  # times of the latest

    def accepts(self, reason: str, now: float) -> bool:
        """
        Tell whether to log.

        Parameters
        ----------
        reason : str
            The message.
        now : float
            Monotonic time, in s.

        Returns
        -------
        bool
            False where the same, or too much, was logged less than a period ago.

        """
        kind = _VARYING.sub('#', reason)
        if now - self._logged.get(kind, -self._period) < self._period:
            return False
        if len(self._lines) == _MOST_LINES and now - self._lines[0] < self._period:
            return False
        self._lines.append(now)
        self._logged[kind] = now
        self._logged.move_to_end(kind)
        if len(self._logged) > _REMEMBERED:
            self._logged.popitem(last=False)
        return True
