"""The time in which alerts are one: that which is usual, and that which hides a rate."""

from __future__ import annotations

from typing import Final

from ros_ood_monitor.errors import CalibrationError

__all__ = ['check_refractory', 'usual_refractory']

_REFRACTORY_S: Final = 10.0
_MOST_REFRACTORY: Final = 0.1
"""Of the mean time between the alerts that are asked for."""


def usual_refractory(per_hour: float) -> float:
    """Return the refractory time where none is given, in s: 10, less for a high rate."""
    return min(_REFRACTORY_S, _MOST_REFRACTORY * 3600.0 / per_hour)


def check_refractory(refractory: float, per_hour: float) -> None:
    """
    Refuse a refractory time that would hide the rate of alerts which it is to count.

    Parameters
    ----------
    refractory : float
        In s.
    per_hour : float
        The rate that is asked for.

    Raises
    ------
    CalibrationError
        If it is over a tenth of the mean time between such alerts.

    """
    most = _MOST_REFRACTORY * 3600.0 / per_hour
    if not 0.0 <= refractory <= most:
        msg = (
            f'refractory time must be between 0 and {most:.4g} s, a tenth of the mean time '
            f'between {per_hour:g} alerts per hour, got {refractory:g} s: a longer one merges '
            'the alerts that it counts'
        )
        raise CalibrationError(msg)
