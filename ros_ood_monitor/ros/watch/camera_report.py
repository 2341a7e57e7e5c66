"""What ``/diagnostics`` tells of a camera, report after report: its health, and what comes in."""

from __future__ import annotations

from collections.abc import Callable
import math
import time
from typing import Final

from diagnostic_msgs.msg import DiagnosticStatus

from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.records import State
from ros_ood_monitor.ros.camera.counts import Counters, StreamCounts
from ros_ood_monitor.ros.camera.frame_rate import FrameRateCheck
from ros_ood_monitor.ros.camera.health_counts import HealthCounts
from ros_ood_monitor.ros.camera.publishers import Publishers
from ros_ood_monitor.ros.camera.stream import CameraStream
from ros_ood_monitor.ros.diagnostics.alert_remarks import stated_rate
from ros_ood_monitor.ros.diagnostics.health_status import health_status
from ros_ood_monitor.ros.diagnostics.input_status import input_status, InputFacts
from ros_ood_monitor.ros.diagnostics.load import LoadMeter
from ros_ood_monitor.ros.outputs.camera_outputs import CameraOutputs
from ros_ood_monitor.ros.outputs.outputs import Outputs
from ros_ood_monitor.ros.parameters.settings import Settings
from ros_ood_monitor.ros.process.reason_throttle import ReasonThrottle

__all__ = ['CameraReport', 'idle_statuses']

_WARN_PERIOD_S: Final = 5.0


class CameraReport:
    """
    Reports on a camera, each time on what happened since the last one.

    Parameters
    ----------
    topic : str
        What is subscribed to.
    outputs : CameraOutputs
        Where answers go; it names the statuses.
    monitor : Monitor
        Its bundle may state a rate of false alerts, which holds at one frame rate.
    stream : CameraStream
        What counts.
    find_publishers : callable
        Returns the publishers of the camera.
    warn : callable
        Logs a warning about the camera.

    """

    def __init__(
        self,
        topic: str,
        outputs: CameraOutputs,
        monitor: Monitor,
        stream: CameraStream,
        *,
        find_publishers: Callable[[], Publishers],
        warn: Callable[[str], None],
    ) -> None:
        self._topic = topic
        self._outputs = outputs
        self._monitor = monitor
        self._stream = stream
        self._find_publishers = find_publishers
        self._warn = warn
        self._load = LoadMeter()
        self._frame_rate = FrameRateCheck()
        self._causes = ReasonThrottle(_WARN_PERIOD_S)
        self._last_seen = time.monotonic()  # a publisher
        self._reported: Counters | None = None

    def health(self, settings: Settings, *, active: bool) -> DiagnosticStatus:
        """Return whether the camera gives usable pictures."""
        return health_status(
            self._outputs.status_name('health'),
            camera=self._outputs.camera,
            active=active,
            enabled=settings.health_enabled,
            now=self._stream.health.snapshot(),
        )

    def input(self, settings: Settings, *, active: bool) -> DiagnosticStatus:
        """Return how its frames come in."""
        now = self._stream.counts.snapshot(time.monotonic())
        before, self._reported = self._reported, now
        publishers = self._find_publishers() if active else Publishers(0)
        if publishers.count:
            self._last_seen = time.monotonic()
        facts = InputFacts(
            topic=self._topic,
            active=active,
            publishers=publishers,
            now=now,
            before=before,
            state=self._outputs.state,
            gone_for=time.monotonic() - self._last_seen,
            silent_for=self._stream.seconds_without_score() if active else 0.0,
            stale_after=settings.alert_stale_after,
            load=self._load.update(now),
            off_rate=self._off_rate(settings, now) if active else '',
        )
        self._tell_cause(facts)
        return input_status(
            self._outputs.status_name('input'), camera=self._outputs.camera, facts=facts
        )

    def _tell_cause(self, facts: InputFacts) -> None:
        """Log why nothing comes where it has become another reason than STALE was told with."""
        if not (facts.active and facts.is_silent and facts.state is State.STALE):
            return
        cause = facts.cause
        if cause == self._stream.told_cause or not self._causes.accepts(cause, time.monotonic()):
            return
        self._stream.told_cause = cause
        if cause:
            self._warn(f'STALE: {cause}')

    def _off_rate(self, settings: Settings, now: Counters) -> str:
        stated = stated_rate(settings, self._monitor)
        expected = math.nan if stated is None else stated.frame_rate_hz
        text = self._frame_rate.update(time.monotonic(), now.scored, expected)
        if self._frame_rate.is_news:
            self._warn(text)
        return text


def idle_statuses(outputs: Outputs) -> list[DiagnosticStatus]:
    """Return the statuses of every camera for a node that has never been active."""
    unknown = HealthCounts().snapshot()
    healths = [
        health_status(
            camera.status_name('health'),
            camera=camera.camera,
            active=False,
            enabled=True,
            now=unknown,
        )
        for camera in outputs.cameras
    ]
    return healths + [
        input_status(
            camera.status_name('input'),
            camera=camera.camera,
            facts=InputFacts(
                '', False, Publishers(0), StreamCounts(0.0).snapshot(0.0), state=camera.state
            ),
        )
        for camera in outputs.cameras
    ]
