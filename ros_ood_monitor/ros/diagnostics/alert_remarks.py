"""What people must know of alert and health parameters: is the rate void, a threshold odd."""

from __future__ import annotations

from typing import Final

import numpy as np

from ros_ood_monitor.calibration import Calibration
from ros_ood_monitor.health import CHECKS
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.rates import RateBound
from ros_ood_monitor.ros.camera.health_settings import health_limits
from ros_ood_monitor.ros.parameters.settings import Settings
from ros_ood_monitor.ros.parameters.table import PARAMETERS

__all__ = ['rate_text', 'stated_rate', 'threshold_remarks']

_CHECKED_BY: Final = ('health.enabled', 'health.frames')


def stated_rate(settings: Settings, monitor: Monitor) -> RateBound | None:
    """
    Return the rate of false alerts that the bundle states, where it holds.

    Parameters
    ----------
    settings : Settings
        Parameters of the node.
    monitor : Monitor
        The monitor that they tune.

    Returns
    -------
    RateBound or None
        None where the bundle states none, or parameters change which frames are judged, or how.

    Raises
    ------
    ParameterError
        As `health_limits`.

    """
    rate = monitor.calibration.operating_point.rate
    return None if rate is None or _changed(settings, monitor) else rate


def rate_text(settings: Settings, monitor: Monitor) -> str:
    """
    Return what is known of the rate of false alerts, for people.

    Parameters
    ----------
    settings : Settings
        Parameters of the node.
    monitor : Monitor
        The monitor that they tune.

    Returns
    -------
    str
        A sentence, or that it is not established and which parameters void it.

    Raises
    ------
    ParameterError
        As `health_limits`.

    """
    point = monitor.calibration.operating_point
    if point.rate is None or stated_rate(settings, monitor) is not None:
        return point.rate_text
    return (
        'not established: parameters take the place of what it was measured with: '
        f'{", ".join(_changed(settings, monitor))}'
    )


def threshold_remarks(settings: Settings, calibration: Calibration) -> tuple[str, ...]:
    """
    Return what is odd about thresholds that parameters set, beside the held-out scores.

    Parameters
    ----------
    settings : Settings
        Parameters of the node, which do not contradict each other.
    calibration : Calibration
        The bundle's.

    Returns
    -------
    tuple of str
        A sentence for each threshold under every held-out score, or further over the highest one
        than that is over the median: no alert would end, or begin. NaN leaves one to the bundle.

    """
    scores = calibration.raw_score
    low, middle, high = float(scores[0]), float(np.median(scores)), float(scores[-1])
    beside = f'held-out scores lie between {low:.4g} and {high:.4g}'
    logic = settings.alert_logic or calibration.operating_point.logic
    starts = {'consecutive': 'trigger', 'ewma': 'limit'}.get(logic, '')
    found = []
    for name in (starts, 'release') if starts else ():
        value = float(getattr(settings, f'alert_{name}'))
        if value < low:
            effect = 'every frame counts toward' if name == starts else 'no frame ends'
        elif name == starts and value > 2.0 * high - middle:
            effect = 'hardly any frame counts toward'
        else:
            continue
        found.append(f'alert.{name} is {value:.4g}, {beside}: {effect} an alert')
    return tuple(found)


def _changed(settings: Settings, monitor: Monitor) -> list[str]:
    """Return the parameters that change which frames are judged, or how."""
    given = settings.by_name()
    if given['alert.logic'] == monitor.calibration.operating_point.logic:
        given['alert.logic'] = ''
    names = [
        spec.name
        for spec in PARAMETERS
        if spec.name.startswith('alert.') or spec.name in _CHECKED_BY
        # a calibration runs on the defaults; NaN differs from itself
        if given[spec.name] != spec.default and given[spec.name] == given[spec.name]
    ]
    bundle = monitor.health_limits.limits
    limits = health_limits(settings, monitor.health_limits).limits
    # the others only warn
    moved = [
        name for name in CHECKS if CHECKS[name].blinds and limits.get(name) != bundle.get(name)
    ]
    ignored = any(name not in limits for name in moved)
    return [
        *names,
        *(['health.ignore'] if ignored else []),
        *(f'health.{name}' for name in moved if name in limits),
    ]
