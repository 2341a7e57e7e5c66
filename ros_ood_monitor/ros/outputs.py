"""What the node publishes about one camera: score, observation and alert."""

from __future__ import annotations

import math
import threading
from typing import Any, Final

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.duration import Duration
from rclpy.node import Node
from std_msgs.msg import Float32, Header

from ros_ood_monitor.records import AlertState, Observation, State
from ros_ood_monitor.ros import qos
from ros_ood_monitor.ros.converters import (
    alert_message,
    observation_message,
    seconds_of,
    time_of,
)

__all__ = ['Outputs']

# An image stamp further than this from the node's clock was taken by another clock (a bag played
# without /clock): the difference is no latency.
_SAME_CLOCK_S: Final = 60.0
_FLUSH: Final = Duration(seconds=0.5)


class Outputs:
    """
    The publishers of ``~/score``, ``~/observation`` and ``~/alert``.

    They live as long as the node and not only while it is active: a late joiner of ``~/alert`` is
    told STALE or FAULT by a node that does not monitor, instead of hearing nothing.

    Parameters
    ----------
    node : rclpy.node.Node
        The node to publish from.

    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.name = node.get_fully_qualified_name().lstrip('/')
        self._score = node.create_publisher(Float32, '~/score', qos.SCORE)
        self._observation = node.create_publisher(
            DiagnosticArray, '~/observation', qos.OBSERVATION
        )
        self._alert = node.create_publisher(DiagnosticArray, '~/alert', qos.ALERT)
        self._lock = threading.Lock()
        self._published: State | None = None
        self._header = Header()
        self._last_stamp = math.nan
        self._began = math.nan
        self._peak = math.nan
        self.bundle = ''
        self.camera = ''

    @property
    def state(self) -> State | None:
        """Return the state that ``~/alert`` holds now; None before the first one."""
        return self._published

    def flush(self) -> None:
        """Wait, for a moment only, until every listener of ``~/alert`` has what was published."""
        self._alert.wait_for_all_acked(_FLUSH)

    def publish_observation(self, header: Header, observation: Observation) -> float:
        """
        Publish the answer to one frame, and the alert where its state changed.

        Parameters
        ----------
        header : std_msgs.msg.Header
            The image's header.
        observation : Observation
            The monitor's answer.

        Returns
        -------
        float
            Publish time - image stamp, in ms; NaN where the stamp is of another clock.

        """
        latency_ms = self._latency_ms(header)
        message = observation_message(
            header,
            observation,
            name=f'{self.name}: observation',
            bundle=self.bundle,
            latency_ms=latency_ms,
        )
        self._score.publish(Float32(data=observation.score))
        self._observation.publish(message)
        with self._lock:
            self._header = header
            if observation.stamp < self._last_stamp:
                # the clock of the stamps was set back: an episode keeps the time it has lasted
                self._began += observation.stamp - self._last_stamp
            self._last_stamp = observation.stamp
        self.camera = observation.camera or self.camera
        self.publish_alert(observation.alert, header=header)
        return latency_ms

    def publish_alert(
        self, alert: AlertState, *, header: Header | None = None, silent_for: float = 0.0
    ) -> bool:
        """
        Publish the alert state where it differs from the last published one.

        Parameters
        ----------
        alert : AlertState
            The state that holds now.
        header : std_msgs.msg.Header, optional
            Header of the frame that caused it. Where no frame did, the last frame's, later by
            ``silent_for``; the node's clock before any frame.
        silent_for : float, default 0.0
            Time since the last frame, in s.

        Returns
        -------
        bool
            True where it was published.

        """
        with self._lock:
            self._track_episode(alert)
            if alert.state is self._published and not alert.changed:
                return False
            self._published = alert.state
            duration = self._duration(silent_for)
            message = alert_message(
                header if header is not None else self._later_header(silent_for),
                alert,
                name=f'{self.name}: alert',
                camera=self.camera,
                bundle=self.bundle,
                peak=self._peak,
                duration=duration,
            )
            self._alert.publish(message)
            if alert.changed or alert.state is State.NORMAL:
                self._log(alert, duration)
            if alert.state is State.NORMAL:
                self._peak = self._began = math.nan
            return True

    def header_now(self) -> Header:
        """Return a header with the time of the node's clock."""
        return Header(stamp=self._node.get_clock().now().to_msg())

    def forget_stream(self) -> None:
        """Start anew: the next frame belongs to another stretch of time."""
        with self._lock:
            self._header = Header(frame_id=self._header.frame_id)
            self._last_stamp = self._began = self._peak = math.nan

    def _log(self, alert: AlertState, duration: float) -> None:
        log = self._node.get_logger()
        if alert.state in (State.ALERT, State.STALE):
            log.warning(f'{alert.state.value}: {alert.reason}')
        elif alert.state is State.NORMAL:
            after = f' again after {duration:.2f} s' if duration > 0.0 else ''
            log.info(f'NORMAL{after}: {alert.reason}')
        else:  # SUSPECT is no news yet, FAULT is logged with its details by whoever caught it
            log.debug(f'{alert.state.value}: {alert.reason}')

    def _track_episode(self, alert: AlertState) -> None:
        # an alert lasts from its first frame in ALERT, whatever led to it
        is_raised = alert.state is State.ALERT and alert.changed
        if is_raised or (alert.state is not State.NORMAL and math.isnan(self._began)):
            self._began = self._last_stamp
        if not math.isnan(alert.peak):
            self._peak = alert.peak if math.isnan(self._peak) else max(self._peak, alert.peak)

    def _duration(self, silent_for: float) -> float:
        if math.isnan(self._began):
            return 0.0
        return max(0.0, self._last_stamp + silent_for - self._began)

    def _later_header(self, silent_for: float) -> Header:
        if math.isnan(self._last_stamp):
            stamp = self._node.get_clock().now().to_msg()
        else:
            stamp = time_of(self._last_stamp + silent_for)
        return Header(stamp=stamp, frame_id=self._header.frame_id)

    def _latency_ms(self, header: Header) -> float:
        now: Any = self._node.get_clock().now()
        latency = now.nanoseconds * 1e-9 - seconds_of(header.stamp)
        return latency * 1e3 if abs(latency) < _SAME_CLOCK_S else math.nan
