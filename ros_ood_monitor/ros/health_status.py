"""Whether a camera gives usable pictures: what was found is counted, and told on /diagnostics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
import threading

from diagnostic_msgs.msg import DiagnosticStatus

from ros_ood_monitor.health import CHECKS
from ros_ood_monitor.records import Health
from ros_ood_monitor.ros.converters import key_values

__all__ = ['HealthCounts', 'HealthSnapshot', 'health_status']


@dataclass(frozen=True)
class HealthSnapshot:
    """
    What is known at one moment.

    Parameters
    ----------
    latest : Health or None
        Of the latest frame; None before the first one and where none is looked at.
    failed : dict of str to int
        Frames that failed, by check, since activation.
    unusable : int
        Frames since activation whose score was not judged.
    since : dict of str to str
        Faults since the snapshot before, by check: the latest of each in words.

    """

    latest: Health | None
    failed: dict[str, int]
    unusable: int
    since: dict[str, str]


class HealthCounts:
    """Counters that the scoring and the reporting thread share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: Health | None = None
        self._failed: Counter[str] = Counter()
        self._unusable = 0
        self._since: dict[str, str] = {}

    def on_frame(self, health: Health | None) -> dict[str, str]:
        """
        Take the health of the next frame.

        Parameters
        ----------
        health : Health or None
            None where nobody looked.

        Returns
        -------
        dict of str to str
            What to log: by check, the fault that lasts since this frame, in words, and nothing
            where one is over.

        """
        with self._lock:
            before, self._latest = self._latest, health
            if health is None:
                return {}
            for fault in health.faults:
                self._failed[fault.name] += 1
                self._since[fault.name] = str(fault)
            self._unusable += not health.is_usable
            were = before.lasting if before is not None else ()
            news = {name: self._since[name] for name in health.lasting if name not in were}
            return news | {name: '' for name in were if name not in health.lasting}

    def snapshot(self) -> HealthSnapshot:
        """Return what is known, and begin a new list of faults."""
        with self._lock:
            since, self._since = self._since, {}
            if self._latest is not None:  # what lasts is told in words even without a new frame
                self._since = {k: since[k] for k in self._latest.lasting if k in since}
            return HealthSnapshot(self._latest, dict(self._failed), self._unusable, since)


def health_status(
    name: str, *, camera: str, active: bool, enabled: bool, now: HealthSnapshot
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
    now : HealthSnapshot
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
        **{check: round(found[check], 4) for check in CHECKS if check in found},
        **{f'failed_{check}': now.failed[check] for check in CHECKS if check in now.failed},
    }
    return DiagnosticStatus(
        level=level, name=name, message=message, hardware_id=camera, values=key_values(values)
    )


def _judge(active: bool, enabled: bool, now: HealthSnapshot) -> tuple[bytes, str]:
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
