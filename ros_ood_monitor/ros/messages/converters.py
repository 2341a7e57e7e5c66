"""Between ROS messages and the monitor's records; nothing else builds or reads these messages."""

from __future__ import annotations

import math
from typing import Final

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from ros_ood_monitor import statuses
from ros_ood_monitor.decode import decode_compressed, decode_image
from ros_ood_monitor.records import AlertState, Frame, Observation

__all__ = [
    'LEVELS',
    'alert_status',
    'frame_from_compressed',
    'frame_from_image',
    'key_values',
    'observation_message',
    'seconds_of',
    'time_of',
]

LEVELS: Final = {state: bytes([level]) for state, level in statuses.LEVELS.items()}
"""Level of a DiagnosticStatus for every state."""


def seconds_of(stamp: Time) -> float:
    """Return a message's time in s, as bags and the monitor count it."""
    return float(stamp.sec) + float(stamp.nanosec) * 1e-9


def time_of(seconds: float) -> Time:
    """Return s as a message's time; negative times become zero, which messages cannot hold."""
    # whole seconds first: the product with 1e9 would lose the last 100 ns of today's stamps
    whole = math.floor(seconds)
    nanoseconds = max(0, whole * 10**9 + round((seconds - whole) * 1e9))
    return Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


def frame_from_image(message: Image, camera: str = '', *, unstamped: float = 0.0) -> Frame:
    """
    Decode an uncompressed image.

    Parameters
    ----------
    message : sensor_msgs.msg.Image
        The message. For ``rgb8`` without padding the frame shares its memory.
    camera : str, default ''
        Name of the camera; the header's frame_id where it is empty.
    unstamped : float, default 0.0
        The frame's stamp where the driver left the header's at zero, in s.

    Returns
    -------
    Frame
        The picture with the header's stamp.

    Raises
    ------
    DecodeError
        If the message is not the picture it claims to be.

    """
    rgb = decode_image(
        message.data,
        encoding=message.encoding,
        height=message.height,
        width=message.width,
        step=message.step,
        is_bigendian=bool(message.is_bigendian),
    )  # (H, W, 3)
    header = message.header
    stamp = seconds_of(header.stamp) or unstamped
    return Frame(rgb, stamp, camera or header.frame_id, message.encoding)


def frame_from_compressed(
    message: CompressedImage, camera: str = '', *, unstamped: float = 0.0
) -> Frame:
    """
    Decode a JPEG or PNG image.

    Parameters
    ----------
    message : sensor_msgs.msg.CompressedImage
        The message.
    camera : str, default ''
        Name of the camera; the header's frame_id where it is empty.
    unstamped : float, default 0.0
        The frame's stamp where the driver left the header's at zero, in s.

    Returns
    -------
    Frame
        The picture with the header's stamp.

    Raises
    ------
    DecodeError
        If the bytes are no picture.

    """
    rgb = decode_compressed(message.data, format=message.format)  # (H, W, 3)
    header = message.header
    stamp = seconds_of(header.stamp) or unstamped
    return Frame(rgb, stamp, camera or header.frame_id, message.format)


def key_values(values: dict[str, object]) -> list[KeyValue]:
    """Return diagnostic values; floats keep all their digits, so that they can be compared."""
    return [KeyValue(key=key, value=value) for key, value in statuses.texts(values).items()]


def observation_message(
    header: Header, observation: Observation, *, name: str, bundle: str, latency_ms: float
) -> DiagnosticArray:
    """
    Return the message of ``~/observation``.

    Parameters
    ----------
    header : std_msgs.msg.Header
        The image's header; it is passed on unchanged.
    observation : Observation
        The monitor's answer to that image.
    name : str
        Name of the DiagnosticStatus.
    bundle : str
        Which bundle scored it.
    latency_ms : float
        Publish time - image stamp, in ms; NaN where the stamp is of another clock.

    Returns
    -------
    diagnostic_msgs.msg.DiagnosticArray
        With exactly one status.

    """
    status = statuses.observation_status(
        observation, name=name, bundle=bundle, latency_ms=latency_ms
    )
    return DiagnosticArray(header=header, status=[_message(status)])


def alert_status(
    alert: AlertState,
    *,
    name: str,
    camera: str,
    bundle: str,
    peak: float,
    duration: float,
) -> DiagnosticStatus:
    """
    Return the status of one camera in ``~/alert``.

    Parameters
    ----------
    alert : AlertState
        The state that holds now.
    name, camera, bundle : str
        Name of the DiagnosticStatus, its hardware_id, and the bundle that judges.
    peak : float
        Highest raw_score of the episode; NaN without one.
    duration : float
        Image time since the alert was raised, up to the first frame back in NORMAL; without an
        alert, since the stream left NORMAL. In s.

    Returns
    -------
    diagnostic_msgs.msg.DiagnosticStatus
        With the state in words and values.

    """
    return _message(
        statuses.alert_status(
            alert, name=name, camera=camera, bundle=bundle, peak=peak, duration=duration
        )
    )


def _message(status: statuses.Status) -> DiagnosticStatus:
    return DiagnosticStatus(
        level=bytes([status.level]),
        name=status.name,
        message=status.message,
        hardware_id=status.hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in status.values.items()],
    )
