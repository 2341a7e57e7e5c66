"""Whether a camera gives usable pictures: a status of it on ``/diagnostics``."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus

from ros_ood_monitor.health import CHECKS
from ros_ood_monitor.ros.camera.health_counts import HealthCounters
from ros_ood_monitor.ros.messages.converters import key_values

__all__ = ['health_status']


def health_status(
    name: str, *, camera: str, active: bool, enabled: bool, now: HealthCounters
) -> DiagnosticStatus:
    """
    Return the status about the pictures of one camera.

    Parameters
    ----------
    name : str
        The status's name.
    camera : str
        hardware_id.
    active : bool
        Whether the node is active; STALE where it is not.
    enabled : bool
        Whether frames are looked at.
    now : HealthCounters
        What is known.

    Returns
    -------
    diagnostic_msgs.msg.DiagnosticStatus
        ERROR where a fault blinds and lasts, WARN for every other one since the report before.

    """
    level, message = _judge(active, enabled, now)
    found = dict(now.latest.values) if now.latest is not None else {}
    values: dict[str, object] = {
        'health': str(now.latest) if now.latest is not None else 'off' if not enabled else '',
        'unusable_frames': now.unusable,
        'unanswered_frames': now.unanswered,
        **{check: round(found[check], 4) for check in CHECKS if check in found},
        **{f'failed_{check}': now.failed[check] for check in CHECKS if check in now.failed},
    }
    return DiagnosticStatus(
        level=level, name=name, message=message, hardware_id=camera, values=key_values(values)
    )


def _judge(active: bool, enabled: bool, now: HealthCounters) -> tuple[bytes, str]:
    if not active:
        return DiagnosticStatus.STALE, 'not active'
    if not enabled:
        return DiagnosticStatus.OK, 'not checked: health.enabled is false'
    faults = [now.since[check] for check in CHECKS if check in now.since]
    if faults:
        is_blind = now.latest is not None and now.latest.is_blind
        level = DiagnosticStatus.ERROR if is_blind else DiagnosticStatus.WARN
        return level, '; '.join(faults)
    if now.latest is None:
        return DiagnosticStatus.STALE, 'no frame yet'
    return DiagnosticStatus.OK, 'usable pictures'
