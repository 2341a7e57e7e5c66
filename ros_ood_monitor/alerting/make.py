"""From an operating point to the alert logic that it asks for: the one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.alerting.automaton import Automaton
from ros_ood_monitor.alerting.consecutive import ConsecutiveLogic
from ros_ood_monitor.calibration import OperatingPoint
from ros_ood_monitor.errors import ParameterError

__all__ = ['LOGICS', 'make_logic']

LOGICS: Final[Mapping[str, tuple[str, ...]]] = {
    'consecutive': ('trigger_seconds', 'release_seconds'),
}
"""The alert logics, each with the names that its ``settings`` may hold."""


def make_logic(
    point: OperatingPoint,
    calibration_scores: npt.NDArray[np.float64],
    *,
    stale_after: float = 2.0,
) -> Automaton:
    """
    Return the alert logic of an operating point.

    Parameters
    ----------
    point : OperatingPoint
        The logic's name, limit and settings; what is not set takes the logic's default.
    calibration_scores : ndarray of shape (n,), float64
        Held-out in-distribution scores of the same precision, ascending.
    stale_after : float, default 2.0
        Silence that makes the stream STALE, in s.

    Returns
    -------
    Automaton
        An `AlertLogic` in its first state.

    Raises
    ------
    ParameterError
        If the logic or a setting is unknown, or a value is outside its range.

    """
    _check_names(point)
    return ConsecutiveLogic(
        trigger=point.trigger,
        release=point.release,
        trigger_frames=point.trigger_frames,
        release_frames=point.release_frames,
        stale_after=stale_after,
        **point.settings,
    )


def _check_names(point: OperatingPoint) -> None:
    if point.logic not in LOGICS:
        msg = f'unknown alert logic: expected one of {list(LOGICS)}, got {point.logic!r}'
        raise ParameterError(msg)
    unknown = sorted(set(point.settings) - set(LOGICS[point.logic]))
    if unknown:
        msg = (
            f'unknown setting of the alert logic {point.logic!r}: expected some of '
            f'{list(LOGICS[point.logic])}, got {unknown}'
        )
        raise ParameterError(msg)
