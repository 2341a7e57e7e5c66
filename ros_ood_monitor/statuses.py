"""What diagnostic statuses say of frames and alerts: the node's, and those written into bags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from ros_ood_monitor.records import AlertState, Observation, State

__all__ = ['LEVELS', 'Status', 'alert_status', 'observation_status', 'texts']

LEVELS: Final[Mapping[State, int]] = {
    State.NORMAL: 0,
    State.SUSPECT: 1,
    State.ALERT: 2,
    State.STALE: 3,
    State.FAULT: 2,
}
"""Level of a DiagnosticStatus for every state: 0 OK, 1 WARN, 2 ERROR, 3 STALE."""


class Status(NamedTuple):
    """The fields of a ``diagnostic_msgs/DiagnosticStatus``."""

    level: int
    name: str
    message: str
    hardware_id: str
    values: dict[str, str]


def observation_status(
    observation: Observation, *, name: str, bundle: str, latency_ms: float
) -> Status:
    """
    Return the status of a frame, as ``~/observation`` has it.

    Parameters
    ----------
    observation : Observation
        The monitor's answer to it.
    name : str
        Name of the status.
    bundle : str
        Which bundle scored it.
    latency_ms : float
        Publish time - image stamp, in ms; NaN where the stamp is of another clock.

    Returns
    -------
    Status
        With everything that the observation says.

    """
    alert = observation.alert
    values = {
        'raw_score': observation.raw_score,
        'score': observation.score,
        'threshold': observation.threshold,
        'state': alert.state.value,
        'health': observation.health_text,
        'latency_ms': latency_ms,
        'processing_ms': observation.latency_ms,
        **_places(observation),
        'bundle': bundle,
    }
    return Status(
        LEVELS[alert.state], name, observation.sentence, observation.camera, texts(values)
    )


def alert_status(
    alert: AlertState, *, name: str, camera: str, bundle: str, peak: float, duration: float
) -> Status:
    """
    Return the status of one camera, as ``~/alert`` has it.

    Parameters
    ----------
    alert : AlertState
        The state that holds now.
    name, camera, bundle : str
        Name of the status, its hardware_id, and the bundle that judges.
    peak : float
        Highest raw_score of the episode; NaN without one.
    duration : float
        Image time since the alert was raised, up to the first frame back in NORMAL; without an
        alert, since the stream left NORMAL. In s.

    Returns
    -------
    Status
        With the state in words and values.

    """
    values = {
        'state': alert.state.value,
        'reason': alert.reason,
        'since': alert.since,
        'peak': peak,
        'duration': duration,
        'bundle': bundle,
    }
    return Status(LEVELS[alert.state], name, alert.reason, camera, texts(values))


def texts(values: Mapping[str, object]) -> dict[str, str]:
    """Return values as text; floats keep all their digits, so that they can be compared."""
    return {
        # numpy's repr would name its type
        key: repr(float(value)) if isinstance(value, float) else str(value)
        for key, value in values.items()
    }


def _places(observation: Observation) -> dict[str, object]:
    """Return where the picture is strange; nothing for a bundle without a map."""
    if observation.heatmap_peak is None:
        return {}
    return {'heatmap_peak': observation.heatmap_peak, 'regions': observation.regions_text}
