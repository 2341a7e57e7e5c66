"""From an operating point to the alert logic that it asks for: the one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.alerting.automaton import Automaton
from ros_ood_monitor.alerting.consecutive import ConsecutiveLogic
from ros_ood_monitor.alerting.cusum import CusumLogic
from ros_ood_monitor.alerting.ewma import EwmaLogic
from ros_ood_monitor.alerting.martingale import MartingaleLogic
from ros_ood_monitor.calibration import OperatingPoint
from ros_ood_monitor.errors import ParameterError

__all__ = ['LOGICS', 'make_logic']

LOGICS: Final[Mapping[str, tuple[str, ...]]] = {
    'consecutive': ('trigger_seconds', 'release_seconds'),
    'ewma': ('limit', 'time_constant'),
    'cusum': ('limit', 'reference'),
    'martingale': ('limit',),
}
"""The alert logics, each with the names that its ``settings`` may hold."""

_REFERENCE: Final = 0.5
_EVIDENCE: Final = 12.0
"""Limit of a martingale that is given none, in nats: a false alert in 160000 frames, were they
independent."""


def make_logic(
    point: OperatingPoint,
    calibration_scores: npt.NDArray[np.float64],
    *,
    stale_after: float = 2.0,
) -> Automaton:
    """
    Return the alert logic of an operating point.

    A limit that is not given is a start and no rate: the trigger for ``ewma``, a second at the
    trigger for ``cusum``, 12 nats for ``martingale``.

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
        If the logic or a setting is unknown, a value is outside its range, or the limit is not
        given and the held-out scores give none.

    """
    _check_names(point)
    settings = dict(point.settings)
    if point.logic == 'consecutive':
        return ConsecutiveLogic(
            trigger=point.trigger,
            release=point.release,
            trigger_frames=point.trigger_frames,
            release_frames=point.release_frames,
            stale_after=stale_after,
            **settings,
        )
    if point.logic == 'martingale':
        settings.setdefault('limit', _EVIDENCE)
        scores = calibration_scores.tolist()
        return MartingaleLogic(scores=scores, stale_after=stale_after, **settings)
    mean, std = float(calibration_scores.mean()), float(calibration_scores.std())
    if point.logic == 'ewma':
        if settings.setdefault('limit', point.trigger) <= mean and 'limit' not in point.settings:
            raise _no_start(point, mean, std)
        return EwmaLogic(mean=mean, stale_after=stale_after, **settings)
    reference = settings.setdefault('reference', _REFERENCE)
    excess = (point.trigger - mean) / std if std else 0.0
    if settings.setdefault('limit', excess - reference) <= 0.0 and 'limit' not in point.settings:
        raise _no_start(point, mean, std)
    return CusumLogic(mean=mean, std=std, stale_after=stale_after, **settings)


def _no_start(point: OperatingPoint, mean: float, std: float) -> ParameterError:
    """Say that the held-out scores give no limit: a few carry their mean up, or all are alike."""
    other = 'set its limit (alert.limit), or take' if std else 'they do not differ; take'
    return ParameterError(
        f'the alert logic {point.logic!r} has no limit to start from: held-out scores have mean '
        f'{mean:.4g} and deviation {std:.4g}, and their threshold is {point.trigger:.4g}; {other} '
        'another logic (alert.logic), such as consecutive or martingale'
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
