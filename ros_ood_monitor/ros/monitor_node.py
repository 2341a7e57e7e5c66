"""
The node ``ood_monitor``: scores one camera and raises an alert when it looks unlike the training.

A lifecycle node: configuring loads the bundle and proves the engine on its goldens, activating
subscribes. It logs an event once and counts what repeats.

Four threads: the executor's takes frames and answers services, one scores, one runs lifecycle
transitions, one reports. None waits for another.
"""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import sys
import time
from typing import Any, Final

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage

from ros_ood_monitor.errors import EngineError, OodMonitorError
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.records import AlertState, Frame, State
from ros_ood_monitor.ros import qos
from ros_ood_monitor.ros.camera_stream import CameraStream
from ros_ood_monitor.ros.command_line import asks_for_help, HELP
from ros_ood_monitor.ros.converters import frame_from_compressed, frame_from_image
from ros_ood_monitor.ros.diagnostics import input_status, model_status, ModelFacts
from ros_ood_monitor.ros.image_input import subscribe_images
from ros_ood_monitor.ros.lifecycle_guard import guard_change_state, guarded
from ros_ood_monitor.ros.load import LoadMeter
from ros_ood_monitor.ros.open_monitor import open_monitor, retune
from ros_ood_monitor.ros.outputs import Outputs
from ros_ood_monitor.ros.parameter_server import ParameterServer
from ros_ood_monitor.ros.process import run_node
from ros_ood_monitor.ros.rate_limit import RateLimit
from ros_ood_monitor.ros.reason_throttle import ReasonThrottle
from ros_ood_monitor.ros.reporter import Reporter
from ros_ood_monitor.ros.settings import Settings
from ros_ood_monitor.ros.stream_counts import Snapshot, StreamCounts
from ros_ood_monitor.ros.transitions import Transitions

__all__ = ['OodMonitorNode', 'main']

_DIAGNOSTICS_PERIOD_S: Final = 1.0
_STOP_TIMEOUT_S: Final = 5.0  # for the frame in work
_TRANSITION_TIMEOUT_S: Final = 4.0  # launch asks more harshly after 5 s
_WARN_PERIOD_S: Final = 5.0
_SUCCESS: Final = TransitionCallbackReturn.SUCCESS


class OodMonitorNode(LifecycleNode):
    """
    Monitors the topic ``image``.

    Parameters
    ----------
    open_monitor : callable, optional
        From settings to a Monitor; loads the bundle named by ``model.bundle`` where not given.
    **kwargs
        Passed on to `rclpy.lifecycle.LifecycleNode`.

    Raises
    ------
    ParameterError
        If a parameter from the command line or a file is not allowed.

    """

    def __init__(
        self, *, open_monitor: Callable[[Settings], Monitor] = open_monitor, **kwargs: Any
    ) -> None:
        super().__init__('ood_monitor', **kwargs)
        self._transitions = Transitions(self)
        guard_change_state(self, self._transitions)
        self._open_monitor = open_monitor
        self._monitor: Monitor | None = None
        self._stream: CameraStream | None = None
        self._subscription: Subscription | None = None
        self._counts = StreamCounts(time.monotonic())
        self._reported: Snapshot | None = None
        self._load = LoadMeter()
        self._limit = RateLimit()
        self._facts = ModelFacts()
        self._faulted = False
        self._bad_frames = ReasonThrottle(_WARN_PERIOD_S)
        self._errors = ReasonThrottle(_WARN_PERIOD_S)
        self._parameters_server = ParameterServer(
            self, is_unconfigured=self._is_unconfigured, on_live=self._apply_live
        )
        self._parameters_server.warn_unknown()
        self._unused_files = self._parameters_server.warn_unused_files(
            kwargs.get('cli_args') or ()
        )
        self._settings = self._parameters_server.settings()
        self._outputs = Outputs(self)
        self._outputs.publish_alert(_stopped('not active yet'))
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', qos.DIAGNOSTICS)
        self._fault_guard = self.create_guard_condition(self._leave_active_after_fault)
        if self._settings.autostart:
            self._autostart_timer = self.create_timer(
                # goes off while sim time stands, too
                0.0,
                self._autostart,
                clock=Clock(clock_type=ClockType.STEADY_TIME),
            )
        self._reporter = Reporter(
            self._report, period=_DIAGNOSTICS_PERIOD_S, on_error=self._on_failed_report
        )

    @property
    def settings(self) -> Settings:
        """Return the parameters as they were read last."""
        return self._settings

    # lifecycle ----------------------------------------------------------------------------------

    @guarded
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the bundle, open the engine and prove it; FAILURE stays unconfigured."""
        self._facts = ModelFacts()
        self._faulted = False
        monitor = None
        try:
            self._settings = self._parameters_server.settings()
            self._facts.path = self._settings.model_bundle
            monitor = self._open_monitor(self._settings)
            monitor.warm_up()
            verification = monitor.verify()
            if not verification.ok:
                msg = f'{verification}; rebuild the engine or re-export: {monitor.bundle.path}'
                raise EngineError(msg)
        except OodMonitorError as error:
            if monitor is not None:
                monitor.close()
            self._facts.problem = f'not configured: {error}'
            if not self._settings.model_bundle:
                self._facts.problem = '; '.join([self._facts.problem, *self._unused_files])
            self.get_logger().error(self._facts.problem)
            return TransitionCallbackReturn.FAILURE
        self._monitor = monitor
        bundle = monitor.bundle
        self._facts = ModelFacts(
            bundle=f'{bundle.manifest.name}@{bundle.digest[:12]}',
            path=str(bundle.path),
            engine=monitor.engine.describe(),
            verification=str(verification),
        )
        self._outputs.bundle = self._facts.bundle
        self.get_logger().info(f'configured with {self._facts.bundle}: {verification}')
        return _SUCCESS

    @guarded
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start scoring."""
        monitor = self._monitor
        if monitor is None:
            return TransitionCallbackReturn.FAILURE
        settings = self._settings = self._parameters_server.settings()
        try:
            retune(monitor, settings)  # live parameters may have changed while it was opened
        except OodMonitorError as error:
            self.get_logger().error(f'not activated: {error}')
            return TransitionCallbackReturn.FAILURE
        monitor.reset()
        self._outputs.forget_stream()
        self._outputs.camera = settings.input_camera
        self._counts, self._reported = StreamCounts(time.monotonic()), None
        self._load = LoadMeter()
        self._limit = RateLimit(settings.input_max_rate_hz)
        self._stream = CameraStream(
            monitor,
            decode=self._decode,
            outputs=self._outputs,
            counts=self._counts,
            limit=self._limit,
            on_bad_frame=self._warn_bad_frame,
            on_fault=self._on_fault,
            on_error=self._on_error,
        )
        self._stream.start()
        self._subscription = subscribe_images(
            self,
            settings,
            on_image=self._stream.push,
            on_lost=self._counts.on_lost,
            on_incompatible_qos=self._on_incompatible_qos,
        )
        self.get_logger().info(f'monitoring {self._subscription.topic_name}')
        return _SUCCESS

    @guarded
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and stop; ERROR where the engine has failed, which leads to on_error."""
        if self._faulted:
            return TransitionCallbackReturn.ERROR
        self._stop_stream('deactivated')
        return _SUCCESS

    @guarded
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close the engine."""
        self._release()
        return _SUCCESS

    @guarded
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and close from any state."""
        self._stop_stream('shut down')
        self._release()
        return _SUCCESS

    @guarded
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give everything back; SUCCESS leads to unconfigured, from where it can start anew."""
        self._stop_stream('' if self._faulted else 'stopped by an error')
        self._release(keep_problem=True)
        self._facts.problem = self._facts.problem or 'a transition failed; see the log'
        return _SUCCESS

    # frames -------------------------------------------------------------------------------------

    def _decode(self, message: Any) -> Frame:
        convert = (
            frame_from_compressed if isinstance(message, CompressedImage) else frame_from_image
        )
        arrived = self.get_clock().now().nanoseconds * 1e-9
        return convert(message, self._settings.input_camera, unstamped=arrived)

    def _warn_bad_frame(self, reason: str) -> None:
        if self._bad_frames.accepts(reason, time.monotonic()):
            self.get_logger().warning(f'bad frame: {reason}')

    def _on_error(self, details: str) -> None:
        if self.context.ok() and self._errors.accepts(details, time.monotonic()):
            self.get_logger().error(f'an answer was lost, the node goes on:\n{details}')

    def _on_incompatible_qos(self, count: int, policy: str) -> None:
        self._counts.on_incompatible_qos(count, policy)
        self.get_logger().warning(
            f'a publisher on the input topic offers another {policy} than input.reliability asks '
            'for: nothing is received from it'
        )

    # faults -------------------------------------------------------------------------------------

    def _on_fault(self, reason: str, details: str) -> None:
        """Take the scoring thread's last word; the lifecycle goes on in the executor."""
        self._faulted = True
        self._facts.problem = f'cannot score any more, {reason}'
        self.get_logger().error(f'{self._facts.problem}\n{details}')
        self._fault_guard.trigger()

    def _leave_active_after_fault(self) -> None:
        # on_deactivate answers ERROR, so this is the way to on_error
        self._submit(lambda: self._try(self.trigger_deactivate))

    def _autostart(self) -> None:
        self._autostart_timer.cancel()

        def start() -> None:
            if self._try(self.trigger_configure) == _SUCCESS and not self._transitions.is_closing:
                self._try(self.trigger_activate)

        self._submit(start)

    def _submit(self, work: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the node is ending: no more transitions
            self._transitions.submit(work)

    def _try(self, transition: Callable[[], Any]) -> Any:
        try:
            return transition()
        except Exception as error:  # noqa: BLE001, a peer may have been faster; the node lives on
            self.get_logger().warning(f'{transition.__name__} is not possible now: {error}')
            return None

    # reports ------------------------------------------------------------------------------------

    def _is_unconfigured(self) -> bool:
        # a transition in work has read its parameters already
        return self._monitor is None and not self._transitions.is_busy

    def _apply_live(self, settings: Settings) -> None:
        if self._monitor is not None:
            retune(self._monitor, settings)
        self._settings = settings
        self._limit.rate_hz = settings.input_max_rate_hz

    def _report(self) -> None:
        stream, subscription, name = self._stream, self._subscription, self._outputs.name
        stale_after = self._settings.alert_stale_after
        now = self._counts.snapshot(time.monotonic())
        if stream is not None and stream.report_hang(stale_after):
            self.get_logger().warning('the engine has not answered: STALE')
        topic = self._topic_of(subscription)
        statuses = [
            input_status(
                name,
                camera=self._outputs.camera,
                topic=topic,
                active=stream is not None,
                publishers=self.count_publishers(topic) if topic else 0,
                state=self._outputs.state,
                silent_for=stream.seconds_without_score() if stream is not None else 0.0,
                stale_after=stale_after,
                now=now,
                before=self._reported,
                load=self._load.update(now),
            ),
            model_status(name, self._facts, self._state_machine.current_state[1]),
        ]
        self._reported = now
        self._diagnostics.publish(
            DiagnosticArray(header=self._outputs.header_now(), status=statuses)
        )

    def _on_failed_report(self, error: Exception) -> None:
        if self.context.ok():
            self.get_logger().error(f'a report failed, the node goes on: {error!r}')

    def _topic_of(self, subscription: Subscription | None) -> str:
        try:
            return str(subscription.topic_name) if subscription is not None else ''
        except Exception:  # noqa: BLE001, deactivated in between: its handle is gone
            return ''

    # ends ---------------------------------------------------------------------------------------

    def _stop_stream(self, why: str) -> None:
        stream, self._stream = self._stream, None
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            self.destroy_subscription(subscription)
        if stream is not None and not stream.stop(_STOP_TIMEOUT_S):
            self.get_logger().error('the engine did not come back; it is left behind')
            self._monitor = None  # not closed: it is still in use
        if why:
            self._outputs.publish_alert(_stopped(why))

    def _release(self, *, keep_problem: bool = False) -> None:
        monitor, self._monitor = self._monitor, None
        if monitor is not None:
            monitor.close()
        self._facts = ModelFacts(problem=self._facts.problem if keep_problem else '')

    def close(self) -> bool:
        """
        Shut the node down from any state; it cannot be used afterwards.

        Returns
        -------
        bool
            False where a transition in work has not come back and was left behind.

        """
        came_back = self._transitions.close(_TRANSITION_TIMEOUT_S)
        if came_back and self._state_machine.current_state[1] != 'finalized':
            self._try(self.trigger_shutdown)
        self._reporter.stop()
        self._outputs.flush()  # the last word would otherwise go down with the process
        self.destroy_node()
        return came_back


def _stopped(why: str) -> AlertState:
    return AlertState(State.STALE, reason=f'no scores: the node is {why}')


def main(args: list[str] | None = None) -> int:
    """
    Run the node until it is told to stop.

    Parameters
    ----------
    args : list of str, optional
        Command line; ``sys.argv`` where not given.

    Returns
    -------
    int
        0 after SIGINT or SIGTERM or for ``--help``, 1 where the node could not start or run.

    """
    if asks_for_help(sys.argv if args is None else args):
        print(HELP, end='')  # noqa: T201
        return 0
    return run_node(OodMonitorNode, args)


if __name__ == '__main__':
    sys.exit(main())
