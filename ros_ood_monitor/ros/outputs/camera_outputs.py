"""What the node publishes about one camera: its score, its observations, its part of alerts."""

from __future__ import annotations

from collections.abc import Callable
import math
import threading
from typing import Any, Final

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from std_msgs.msg import Float32, Header

from ros_ood_monitor.alerting.running_episode import RunningEpisode
from ros_ood_monitor.records import AlertState, Observation, State
from ros_ood_monitor.ros.messages import qos
from ros_ood_monitor.ros.messages.converters import (
    alert_status,
    observation_message,
    seconds_of,
    time_of,
)
from ros_ood_monitor.ros.outputs.pictures import CameraPictures

__all__ = ['CameraOutputs']

# An image stamp further than this from the node's clock was taken by another clock (a bag played
# without /clock): the difference is no latency.
_SAME_CLOCK_S: Final = 60.0


class CameraOutputs:
    """
    Publishes the answers about one camera.

    Parameters
    ----------
    node : rclpy.node.Node
        The node to publish from.
    name : str
        Name of the camera; empty for the only one that its images name.
    of_several : bool
        Whether the node has other cameras: the name is then part of topics such as
        ``~/<camera>/score`` and of the names of statuses.
    observation : rclpy.publisher.Publisher
        ``~/observation``, which all cameras share.
    lock : threading.RLock
        Held while states change.
    announce : callable
        Publishes the alerts of all cameras, given the header of what caused it.

    """

    def __init__(
        self,
        node: Node,
        name: str,
        *,
        of_several: bool,
        observation: Any,
        lock: threading.RLock,
        announce: Callable[[Header], None],
    ) -> None:
        self._node = node
        self._name = name
        self._suffix = f' {name}' if of_several else ''
        self._label = f'{name}: ' if of_several else ''
        prefix = f'~/{name}' if of_several else '~'
        self._score = node.create_publisher(
            Float32, f'{prefix}/score', qos.SCORE, event_callbacks=qos.NO_EVENTS
        )
        self.pictures = CameraPictures(node, prefix)
        self._observation = observation
        self._lock = lock
        self._announce = announce
        self._header = Header()
        self._episode = RunningEpisode()
        self.camera = name
        self.bundle = ''
        self.state: State | None = None
        self.status = DiagnosticStatus()
        """Its status in ``~/alert``, as it was when it changed."""

    def status_name(self, what: str) -> str:
        """Return the name of a status about this camera, such as ``ood_monitor: alert front``."""
        node = self._node.get_fully_qualified_name().lstrip('/')
        return f'{node}: {what}{self._suffix}'

    def close(self) -> None:
        """Take the publishers of its own away."""
        self._node.destroy_publisher(self._score)
        self.pictures.close()

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
            name=self.status_name('observation'),
            bundle=self.bundle,
            latency_ms=latency_ms,
        )
        self._score.publish(Float32(data=observation.judged_score))
        self._observation.publish(message)
        with self._lock:
            self._header = header
            self._episode.on_frame(observation.stamp)
        self.camera = observation.camera or self.camera
        self.publish_alert(observation.alert, header=header)
        return latency_ms

    def publish_alert(
        self, alert: AlertState, *, header: Header | None = None, silent_for: float = 0.0
    ) -> bool:
        """
        Publish the alerts of all cameras where this one differs from what was published last.

        Parameters
        ----------
        alert : AlertState
            The state that holds now.
        header : std_msgs.msg.Header, optional
            Header of the frame that caused it. Where no frame did, see `header_after`.
        silent_for : float, default 0.0
            Time since the last frame, in s.

        Returns
        -------
        bool
            True where it was published.

        """
        with self._lock:
            is_news = self.take_alert(alert, silent_for=silent_for)
            if is_news:
                self._announce(header if header is not None else self.header_after(silent_for))
            return is_news

    def take_alert(
        self, alert: AlertState, *, silent_for: float = 0.0, anew: bool = False
    ) -> bool:
        """
        Take a state over into `status` where it is news, without publishing it.

        Parameters
        ----------
        alert : AlertState
            The state that holds now.
        silent_for : float, default 0.0
            Time since the last frame, in s.
        anew : bool, default False
            Whether it is news even where the camera was in this state already.

        Returns
        -------
        bool
            Whether it is news.

        """
        with self._lock:
            self._episode.on_alert(alert)
            if alert.state is self.state and not (alert.changed or anew):
                return False
            self.state = alert.state
            duration = self._episode.duration(silent_for)
            self.status = alert_status(
                alert,
                name=self.status_name('alert'),
                camera=self.camera,
                bundle=self.bundle,
                peak=self._episode.peak,
                duration=duration,
            )
            if alert.changed or alert.state is State.NORMAL:
                self._log(alert, duration)
            if alert.state is State.NORMAL:
                self._episode.end()
            return True

    @property
    def last_stamp(self) -> float:
        """Return the image stamp of the last frame, in s; NaN before the first one."""
        return self._episode.last_stamp

    def header_after(self, silent_for: float = 0.0) -> Header:
        """Return the last frame's header, later by s of silence; the clock before any frame."""
        if math.isnan(self.last_stamp):
            stamp = self._node.get_clock().now().to_msg()
        else:
            stamp = time_of(self.last_stamp + silent_for)
        return Header(stamp=stamp, frame_id=self._header.frame_id)

    def forget_stream(self) -> None:
        """Start anew: the next frame belongs to another stretch of time."""
        with self._lock:
            self._header = Header(frame_id=self._header.frame_id)
            self._episode = RunningEpisode()
            self.camera = self._name

    def _log(self, alert: AlertState, duration: float) -> None:
        log = self._node.get_logger()
        if alert.state in (State.ALERT, State.STALE):
            log.warning(f'{self._label}{alert.state.value}: {alert.reason}')
        elif alert.state is State.NORMAL:
            after = f' again after {duration:.2f} s' if duration > 0.0 else ''
            log.info(f'{self._label}NORMAL{after}: {alert.reason}')
        else:  # SUSPECT is no news yet, FAULT is logged with its details by whoever caught it
            log.debug(f'{self._label}{alert.state.value}: {alert.reason}')

    def _latency_ms(self, header: Header) -> float:
        now: Any = self._node.get_clock().now()
        latency = now.nanoseconds * 1e-9 - seconds_of(header.stamp)
        return latency * 1e3 if abs(latency) < _SAME_CLOCK_S else math.nan
