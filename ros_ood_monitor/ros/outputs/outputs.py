"""What the node publishes about all its cameras together: observations and alerts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import math
import threading
from typing import Any, Final

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.duration import Duration
from rclpy.node import Node
from std_msgs.msg import Header

from ros_ood_monitor.records import AlertState, State
from ros_ood_monitor.ros.diagnostics.worst_alert import worst_alert
from ros_ood_monitor.ros.messages import qos
from ros_ood_monitor.ros.outputs.camera_outputs import CameraOutputs

__all__ = ['Outputs']

_FLUSH: Final = Duration(seconds=0.5)


class Outputs:
    """
    The publishers of ``~/observation`` and ``~/alert``, and those of every camera.

    They live as long as the node and not only while it is active: a late joiner of ``~/alert`` is
    told STALE or FAULT by a node that does not monitor, instead of hearing nothing.

    ``~/alert`` keeps one message for late joiners, so every one tells the state of every camera,
    in the order of the cameras.

    Parameters
    ----------
    node : rclpy.node.Node
        The node to publish from.
    on_published : callable
        Given, from whatever thread publishes, the topic and each message of these two.

    """

    def __init__(
        self,
        node: Node,
        on_published: Callable[[str, DiagnosticArray], None] = lambda topic, message: None,
    ) -> None:
        self._node = node
        self.name = node.get_fully_qualified_name().lstrip('/')
        self._observation = _Heard(
            node.create_publisher(
                DiagnosticArray, '~/observation', qos.OBSERVATION, event_callbacks=qos.NO_EVENTS
            ),
            on_published,
        )
        self._alert = _Heard(
            node.create_publisher(
                DiagnosticArray, '~/alert', qos.ALERT, event_callbacks=qos.NO_EVENTS
            ),
            on_published,
        )
        self._lock = threading.RLock()
        self._names: tuple[str, ...] = ()
        self.cameras: tuple[CameraOutputs, ...] = ()

    def set_cameras(
        self, names: Sequence[str], *, bundle: str = '', has_heatmap: bool = False
    ) -> bool:
        """
        Make the outputs of each camera; those of the same cameras are kept.

        Parameters
        ----------
        names : sequence of str
            Names of the cameras; one empty name where its images name the only one.
        bundle : str, default ''
            Which bundle judges from now on.
        has_heatmap : bool, default False
            Whether there are heat-maps to publish from now on.

        Returns
        -------
        bool
            True where the cameras are others than before; nothing is known of them yet.

        """
        with self._lock:
            are_others = tuple(names) != self._names
            if are_others:
                for camera in self.cameras:
                    camera.close()
                self._names = tuple(names)
                self.cameras = tuple(
                    CameraOutputs(
                        self._node,
                        name,
                        of_several=len(names) > 1,
                        observation=self._observation,
                        lock=self._lock,
                        announce=self._announce,
                    )
                    for name in names
                )
            for camera in self.cameras:
                camera.bundle = bundle
                camera.pictures.offer_heatmap(has_heatmap)
            return are_others

    def publish_alerts(self, alerts: Sequence[AlertState]) -> None:
        """
        Publish the states of all cameras in one message, where one of them is news.

        Parameters
        ----------
        alerts : sequence of AlertState
            One a camera.

        """
        with self._lock:
            pairs = zip(self.cameras, alerts, strict=True)
            news = [camera.take_alert(alert) for camera, alert in pairs]
            if any(news):
                self._announce_now()

    def publish_alert_of_all(self, alert: AlertState) -> None:
        """Publish one state that holds for all cameras; its reason is news in any case."""
        with self._lock:
            for camera in self.cameras:
                camera.take_alert(alert, anew=True)
            self._announce_now()

    def worst_alert(self) -> DiagnosticStatus:
        """Return the status about the alerts of all cameras together."""
        with self._lock:
            found = {
                # nothing was published before the node is set up
                camera.camera: (camera.state or State.STALE, camera.status.message)
                for camera in self.cameras
            }
        return worst_alert(self.name, found)

    def forget_streams(self) -> None:
        """Start anew: the next frames belong to another stretch of time."""
        for camera in self.cameras:
            camera.forget_stream()

    def flush(self) -> None:
        """Wait, for a moment only, until every listener of ``~/alert`` has what was published."""
        self._alert.publisher.wait_for_all_acked(_FLUSH)

    def header_now(self) -> Header:
        """Return a header with the time of the node's clock."""
        return Header(stamp=self._node.get_clock().now().to_msg())

    def _announce_now(self) -> None:
        self._announce(max(self.cameras, key=_last_stamp).header_after())

    def _announce(self, header: Header) -> None:
        statuses = [camera.status for camera in self.cameras]
        self._alert.publish(DiagnosticArray(header=header, status=statuses))


class _Heard:
    """A publisher that tells what it has published."""

    def __init__(self, publisher: Any, tell: Callable[[str, DiagnosticArray], None]) -> None:
        self.publisher = publisher
        self._tell = tell

    def publish(self, message: DiagnosticArray) -> None:
        self.publisher.publish(message)
        self._tell(self.publisher.topic_name, message)


def _last_stamp(camera: CameraOutputs) -> float:
    stamp = camera.last_stamp
    return -math.inf if math.isnan(stamp) else stamp
