"""Lets one log line per reason and period through; a new reason comes at once."""

from __future__ import annotations

from collections import OrderedDict
import re
from typing import Final

__all__ = ['ReasonThrottle']

_REMEMBERED: Final = 50
_NUMBER: Final = re.compile(r'\d+')


class ReasonThrottle:
    """
    Tells which of many repeating messages to log.

    Numbers in a reason are no difference: a camera whose every frame is truncated elsewhere gives
    one reason.

    Parameters
    ----------
    period : float
        Time for which a reason is not repeated, in s.

    """

    def __init__(self, period: float) -> None:
        self._period = period
        self._logged: OrderedDict[str, float] = OrderedDict()

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
            False where the same was logged less than a period ago.

        """
        kind = _NUMBER.sub('#', reason)
        if now - self._logged.get(kind, -self._period) < self._period:
            return False
        self._logged[kind] = now
        self._logged.move_to_end(kind)
        if len(self._logged) > _REMEMBERED:
            self._logged.popitem(last=False)
        return True
