"""From settings to the checks of a monitor; no ROS in here."""

from __future__ import annotations

from typing import Final

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.health import HealthLimits, HealthMonitor
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.ros.parameters.settings import Settings

__all__ = ['health_limits', 'set_health']

_LIMITED: Final = ('black', 'saturated', 'frozen', 'blurred', 'noise')  # by parameters


def health_limits(settings: Settings, bundle: HealthLimits) -> HealthLimits:
    """
    Return the limits that the parameters and the bundle together ask for.

    Parameters
    ----------
    settings : Settings
        Parameters; NaN leaves a limit to the bundle.
    bundle : HealthLimits
        Limits of the bundle.

    Returns
    -------
    HealthLimits
        Of the checks that are made. A limit of the rate knows what ``input.max_rate_hz`` leaves.

    Raises
    ------
    ParameterError
        If ``health.ignore`` names no check.

    """
    given = {name: float(getattr(settings, f'health_{name}')) for name in _LIMITED}
    limits = bundle.with_limits(given)
    if 'rate' in limits.limits and settings.input_max_rate_hz > 0.0:
        slowest = min(limits.limits['rate'][0], settings.input_max_rate_hz / 2.0)
        limits = limits.with_limits({'rate': slowest})
    try:
        return limits.without(name for name in settings.health_ignore if name)
    except ParameterError as error:
        msg = f"parameter 'health.ignore': {error}"
        raise ParameterError(msg) from error


def set_health(monitor: Monitor, settings: Settings, limits: HealthLimits) -> None:
    """
    Give a running monitor its checks; what they know of the stream is kept.

    Parameters
    ----------
    monitor : Monitor
        The monitor.
    settings : Settings
        Parameters.
    limits : HealthLimits
        What `health_limits` made of them.

    """
    if not settings.health_enabled:
        monitor.health = None
    elif monitor.health is None:
        monitor.health = HealthMonitor(limits, frames=settings.health_frames)
    else:
        monitor.health.limits, monitor.health.frames = limits, settings.health_frames
