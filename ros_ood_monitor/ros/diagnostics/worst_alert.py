"""The alerts of all cameras in one status on ``/diagnostics``: the worst wins, each is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from diagnostic_msgs.msg import DiagnosticStatus

from ros_ood_monitor.records import State
from ros_ood_monitor.ros.messages.converters import key_values, LEVELS

__all__ = ['worst_alert']

_ORDER: Final = (State.NORMAL, State.SUSPECT, State.STALE, State.ALERT, State.FAULT)
"""From the best to the worst: a camera that sees something odd is worse than one that is blind."""


def worst_alert(name: str, alerts: Mapping[str, tuple[State, str]]) -> DiagnosticStatus:
    """
    Return the status about what the cameras see.

    Parameters
    ----------
    name : str
        The node's name.
    alerts : mapping of str to (State, str)
        The state of every camera, and its reason, by the camera's name.

    Returns
    -------
    diagnostic_msgs.msg.DiagnosticStatus
        Level and words of the worst state, of the first camera that is in it; every state by
        camera. STALE without a camera.

    """
    states = {camera: state for camera, (state, _) in alerts.items()}
    worst = max(states, key=lambda camera: _ORDER.index(states[camera]), default='')
    state, reason = alerts.get(worst, (State.STALE, 'no camera'))
    label = f'{worst}: ' if len(alerts) > 1 else ''
    return DiagnosticStatus(
        level=LEVELS[state],
        name=f'{name}: alert',
        message=f'{label}{state.value}: {reason}',
        hardware_id=worst,
        values=key_values({camera or 'camera': each.value for camera, each in states.items()}),
    )
