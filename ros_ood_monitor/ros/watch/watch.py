"""Everything that an active node has: subscriptions, and the threads that answer them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import functools
import time
from typing import Any, Final

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage

from ros_ood_monitor.health import CHECKS
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.records import AlertState, Frame, Observation
from ros_ood_monitor.ros.camera.cameras import Camera
from ros_ood_monitor.ros.camera.clock import stream_clock
from ros_ood_monitor.ros.camera.counts import StreamCounts
from ros_ood_monitor.ros.camera.input import subscribe_images
from ros_ood_monitor.ros.camera.publishers import find_publishers, Publishers
from ros_ood_monitor.ros.camera.rate_limit import RateLimit
from ros_ood_monitor.ros.camera.stream import CameraStream
from ros_ood_monitor.ros.messages.converters import frame_from_compressed, frame_from_image
from ros_ood_monitor.ros.outputs.outputs import Outputs
from ros_ood_monitor.ros.outputs.pictures import PictureThread
from ros_ood_monitor.ros.parameters.settings import Settings
from ros_ood_monitor.ros.process.reason_throttle import ReasonThrottle
from ros_ood_monitor.ros.watch.camera_report import CameraReport
from ros_ood_monitor.ros.watch.scoring import ScoringThread

__all__ = ['Watch']

_WARN_PERIOD_S: Final = 5.0
_PICTURE_TIMEOUT_S: Final = 1.0  # for the one in work


class Watch:
    """
    Watches cameras from `start` to `stop`; what it counted can be reported afterwards.

    Parameters
    ----------
    node : rclpy.node.Node
        The node.
    settings : Settings
        Its parameters.
    cameras : sequence of Camera
        What to subscribe to.
    monitors : sequence of Monitor
        One a camera, on one engine; they are not closed.
    outputs : Outputs
        Where answers go; its cameras are these.
    on_scored : callable
        Given, from the scoring thread, the name of a camera, a message and the answer to it.
    on_fault : callable
        Told once, with the reason and a traceback, that the engine failed; FAULT is published.

    """

    def __init__(
        self,
        node: Node,
        settings: Settings,
        cameras: Sequence[Camera],
        monitors: Sequence[Monitor],
        outputs: Outputs,
        *,
        on_scored: Callable[[str, Any, Observation], None],
        on_fault: Callable[[str, str], None],
    ) -> None:
        self._node = node
        self._settings = settings
        self._cameras = cameras
        self._publish_alerts = outputs.publish_alerts
        self._outputs = outputs.cameras
        self._on_scored = on_scored
        self._on_fault = on_fault
        self._labels = [f'{camera.name}: ' if len(cameras) > 1 else '' for camera in cameras]
        self._errors = ReasonThrottle(_WARN_PERIOD_S)
        self._subscriptions: list[Subscription] = []
        self._asked: dict[int, QoSProfile] = {}  # by camera, with overrides
        self._clock = stream_clock(node)
        self._pictures = PictureThread(
            [camera.pictures for camera in self._outputs],
            settings=lambda: self._settings,
            on_error=self._on_error,
        )
        self._scoring = ScoringThread(
            [self._stream(k, monitor) for k, monitor in enumerate(monitors)],
            max_wait=settings.input_max_wait,
            batch=settings.input_batch,
            on_fault=self._fail,
            on_error=self._on_error,
            clock=self._clock,
        )
        self._reports = [
            CameraReport(
                camera.topic,
                outputs.cameras[k],
                monitors[k],
                self._scoring.streams[k],
                find_publishers=functools.partial(self._publishers, k),
                warn=functools.partial(self._warn, self._labels[k]),
            )
            for k, camera in enumerate(cameras)
        ]
        self.is_active = False

    def start(self) -> None:
        """
        Subscribe and start scoring.

        Raises
        ------
        ParameterError
            If a camera cannot be subscribed to as the parameters ask; nothing is left behind.

        """
        try:
            for index in range(len(self._cameras)):
                subscription = self._subscribe(index)
                self._subscriptions.append(subscription)
                self._asked[index] = subscription.qos_profile
        except Exception:
            self._unsubscribe()
            raise
        self._pictures.start()
        self._scoring.start()
        self.is_active = True

    def stop(self, timeout: float) -> bool:
        """
        Unsubscribe and stop scoring.

        Parameters
        ----------
        timeout : float
            Longest wait for the frame in work, in s.

        Returns
        -------
        bool
            False where the engine did not come back in time; it is then in use for good.

        """
        self.is_active = False
        self._unsubscribe()
        came_back = self._scoring.stop(timeout)
        self._pictures.stop(_PICTURE_TIMEOUT_S)
        return came_back

    def retune(self, settings: Settings) -> None:
        """Take over the parameters that apply live, but for those of the monitors."""
        self._settings = settings
        self._scoring.max_wait = settings.input_max_wait
        self._scoring.batch = settings.input_batch
        for stream in self._scoring.streams:
            stream.limit.rate_hz = settings.input_max_rate_hz
            stream.deadline_ms = settings.input_deadline_ms

    def report_hang(self) -> None:
        """Publish FAULT where a call does not come back; see `ScoringThread.report_hang`."""
        if not self.is_active:
            return
        reasons = self._scoring.report_hang(self._settings.alert_stale_after)
        for label, reason in zip(self._labels, reasons, strict=True):
            if reason:
                self._warn(label, reason)

    def statuses(self) -> list[DiagnosticStatus]:
        """Return the statuses of every camera, with what happened since the last call."""
        settings, active = self._settings, self.is_active
        return [
            *(report.health(settings, active=active) for report in self._reports),
            *(report.input(settings, active=active) for report in self._reports),
        ]

    def _stream(self, index: int, monitor: Monitor) -> CameraStream:
        camera = self._cameras[index]
        label = self._labels[index]
        bad_frames = ReasonThrottle(_WARN_PERIOD_S)  # its own: names may differ by a number alone

        def decode(message: Any, arrived: float) -> Frame:
            convert = (
                frame_from_compressed if isinstance(message, CompressedImage) else frame_from_image
            )
            return convert(message, camera.name, unstamped=arrived)

        def warn_bad_frame(reason: str) -> None:
            if bad_frames.accepts(reason, time.monotonic()):
                self._warn(label, f'bad frame: {reason}')

        def log_health(check: str, text: str) -> None:
            log = self._node.get_logger()
            if not text:
                log.info(f'{label}no longer: {CHECKS[check].text}')
            elif CHECKS[check].blinds:
                log.error(f'{label}FAULT: {text}')
            else:
                log.warning(f'{label}{text}')

        stream = CameraStream(
            monitor,
            decode=decode,
            outputs=self._outputs[index],
            counts=StreamCounts(
                time.monotonic(), publishers=lambda: self._publishers(index).heard
            ),
            limit=RateLimit(self._settings.input_max_rate_hz),
            on_scored=functools.partial(self._on_scored, camera.name),
            on_published=functools.partial(self._pictures.offer, index),
            on_bad_frame=warn_bad_frame,
            on_health=log_health,
            find_cause=functools.partial(self._cause, index),
            clock=self._clock,
        )
        stream.deadline_ms = self._settings.input_deadline_ms
        return stream

    def _subscribe(self, index: int) -> Subscription:
        camera, counts = self._cameras[index], self._scoring.streams[index].counts

        def on_image(message: Any, info: Any) -> None:
            # by the clock that stamps images: a driver may leave that to who receives them
            arrived = self._node.get_clock().now().nanoseconds * 1e-9
            self._scoring.push(index, message, info, arrived=arrived)

        def on_incompatible_qos(count: int, policy: str) -> None:
            counts.on_incompatible_qos(count, policy)
            self._node.get_logger().warning(
                f'a publisher on {camera.topic} offers another {policy} than is asked for '
                '(parameters input.reliability, qos_overrides): nothing is received from it'
            )

        return subscribe_images(
            self._node,
            camera,
            self._settings,
            on_image=on_image,
            on_lost=counts.on_lost,
            on_incompatible_qos=on_incompatible_qos,
        )

    def _unsubscribe(self) -> None:
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())

    def _publishers(self, index: int) -> Publishers:
        return find_publishers(
            self._node,
            self._cameras[index],
            transport=self._settings.input_transport,
            asked=self._asked.get(index),
            is_transport_used=any(
                stream.counts.received
                for k, stream in enumerate(self._scoring.streams)
                if k != index
            ),
        )

    def _cause(self, index: int) -> str:
        was_heard = bool(self._scoring.streams[index].counts.received)
        topic = self._cameras[index].topic
        return self._publishers(index).why_silent(topic, was_heard=was_heard)

    def _warn(self, label: str, text: str) -> None:
        self._node.get_logger().warning(f'{label}{text}')

    def _fail(self, faults: list[AlertState], reason: str, details: str) -> None:
        self._publish_alerts(faults)
        self._on_fault(reason, details)

    def _on_error(self, details: str) -> None:
        if self._node.context.ok() and self._errors.accepts(details, time.monotonic()):
            self._node.get_logger().error(f'an answer was lost, the node goes on:\n{details}')
