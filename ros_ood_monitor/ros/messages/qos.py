"""The quality of service of every topic, in one place."""

from __future__ import annotations

from typing import Final

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from ros_ood_monitor.ros.messages.compat import PublisherEventCallbacks

__all__ = ['ALERT', 'DIAGNOSTICS', 'NO_EVENTS', 'OBSERVATION', 'PICTURE', 'SCORE', 'input_qos']

OBSERVATION: Final = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=10, reliability=ReliabilityPolicy.RELIABLE
)
SCORE: Final = OBSERVATION
# reliable is heard by everybody; of pictures the newest is enough
PICTURE: Final = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE
)
# late joiners are told the state that holds now
ALERT: Final = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
DIAGNOSTICS: Final = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=10, reliability=ReliabilityPolicy.RELIABLE
)

# By default rclpy waits for two events of each publisher, in order to log a subscriber that does
# not fit, which that subscriber's process logs as well. It makes its wait set anew for every
# frame, more than once: the events of four publishers take some 0.1 ms of CPU a frame.
NO_EVENTS: Final = PublisherEventCallbacks(use_default_callbacks=False)


def input_qos(reliability: str, depth: int) -> QoSProfile:
    """
    Return the profile of the image subscription.

    Best effort hears reliable and best-effort cameras alike; what it loses is counted.

    Parameters
    ----------
    reliability : {'best_effort', 'reliable'}
        What is asked of the camera.
    depth : int
        Queue length, in frames.

    Returns
    -------
    QoSProfile
        Keep-last, volatile.

    """
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy[reliability.upper()],
    )
