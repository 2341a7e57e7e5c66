"""
The node ``ood_monitor``: scores cameras and raises an alert when one looks unlike the training.

A lifecycle node: configuring loads the bundle and proves the engine on its goldens, activating
subscribes. It logs an event once and counts what repeats.

Four threads: the executor's takes frames and answers services, one scores, one runs lifecycle
transitions, one reports. None waits for another.
"""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import sys
import threading
from typing import Any, Final

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from ros_ood_monitor.engines import Engine, open_engine
from ros_ood_monitor.errors import OodMonitorError, ParameterError
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.records import AlertState, Observation, State
from ros_ood_monitor.ros.camera.cameras import Camera, cameras_of
from ros_ood_monitor.ros.diagnostics.alert_remarks import rate_text, threshold_remarks
from ros_ood_monitor.ros.diagnostics.model_status import model_status, ModelFacts
from ros_ood_monitor.ros.lifecycle.lifecycle_guard import guard_change_state, guarded
from ros_ood_monitor.ros.lifecycle.service_guard import guard_services
from ros_ood_monitor.ros.lifecycle.transitions import Transitions
from ros_ood_monitor.ros.messages import qos
from ros_ood_monitor.ros.model.engine_upgrade import EngineUpgrade
from ros_ood_monitor.ros.model.open_monitor import open_monitor, retune
from ros_ood_monitor.ros.model.proven import open_proven
from ros_ood_monitor.ros.outputs.evidence import Evidence
from ros_ood_monitor.ros.outputs.outputs import Outputs
from ros_ood_monitor.ros.outputs.snapshot import Snapshots
from ros_ood_monitor.ros.parameters.command_line import asks_for_help, HELP, unknown_arguments
from ros_ood_monitor.ros.parameters.qos_overrides import overriding_options, unused_overrides
from ros_ood_monitor.ros.parameters.server import ParameterServer
from ros_ood_monitor.ros.parameters.settings import Settings
from ros_ood_monitor.ros.process.reporter import Reporter
from ros_ood_monitor.ros.process.run import run_node
from ros_ood_monitor.ros.watch import idle_statuses, Watch

__all__ = ['OodMonitorNode', 'main']

_DIAGNOSTICS_PERIOD_S: Final = 1.0
_STOP_TIMEOUT_S: Final = 5.0  # for the frame in work
_RECORDING_TIMEOUT_S: Final = 2.0  # for the open recording
_SNAPSHOT_TIMEOUT_S: Final = 0.5  # it is there whole or not at all
_TRANSITION_TIMEOUT_S: Final = 4.0  # launch asks more harshly after 5 s
_SUCCESS: Final = TransitionCallbackReturn.SUCCESS


class OodMonitorNode(LifecycleNode):
    """
    Monitors the topics of ``input.topics``, by default the one topic ``image``.

    Parameters
    ----------
    open_monitor : callable, optional
        From settings to a Monitor; loads the bundle named by ``model.bundle`` where not given.
    open_built : callable, optional
        Opens the engine that ``model.build_if_missing`` built, as `open_engine` does.
    **kwargs
        Passed on to `rclpy.lifecycle.LifecycleNode`.

    Raises
    ------
    ParameterError
        If a parameter from the command line or a file is not allowed.

    """

    def __init__(
        self,
        *,
        open_monitor: Callable[[Settings], Monitor] = open_monitor,
        open_built: Callable[..., Engine] = open_engine,
        **kwargs: Any,
    ) -> None:
        super().__init__('ood_monitor', **kwargs)
        self._transitions = Transitions(self)
        guard_change_state(self, self._transitions)
        self._open_monitor = open_monitor
        self._upgrade = EngineUpgrade(
            submit=self._transitions.submit, logger=self.get_logger(), open_built=open_built
        )
        self._monitors: list[Monitor] = []  # one a camera, all on the first one's engine
        self._cameras: tuple[Camera, ...] = ()
        self._watch: Watch | None = None  # also the last one, which has ended
        self._facts = ModelFacts()
        self._odd: tuple[str, ...] = ()  # thresholds that were warned about
        self._faulted = False
        self._changing = threading.RLock()  # parameters: none between look-up and use
        self._parameters_server = ParameterServer(
            self,
            is_unconfigured=self._is_unconfigured,
            is_active=lambda: self._watch is not None and self._watch.is_active,
            on_live=self._apply_live,
        )
        self._parameters_server.warn_unknown()
        self._unused_files = self._parameters_server.warn_unused_files(
            kwargs.get('cli_args') or ()
        )
        self._settings = self._parameters_server.settings()
        guard_services(self)
        self._snapshots = Snapshots(
            self,
            about=self._about,
            settings=lambda: self._settings,
        )
        self._evidence = Evidence(self, about=self._about, settings=lambda: self._settings)
        self._outputs = Outputs(self, self._evidence.hear)
        try:
            self._set_cameras(cameras_of(self._settings, self.resolve_topic_name))
        except ParameterError:  # configuring refuses them and says why
            self._set_cameras(())
        self._diagnostics = self.create_publisher(
            DiagnosticArray, '/diagnostics', qos.DIAGNOSTICS, event_callbacks=qos.NO_EVENTS
        )
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

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """Set parameters as a peer asks for it, or refuse them with the reason."""
        try:
            meant = self._parameters_server.as_meant(parameter_list)
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        with self._changing:
            return super().set_parameters_atomically(meant)

    # lifecycle ----------------------------------------------------------------------------------

    @guarded
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the bundle, open the engine and prove it; FAILURE stays unconfigured."""
        self._facts = ModelFacts()
        self._faulted = False
        self._odd = ()
        try:
            # what changes from here on holds when the node is activated
            settings = self._settings = self._parameters_server.settings()
            self._facts.path = settings.model_bundle
            cameras = cameras_of(settings, self.resolve_topic_name)
            for camera in cameras:
                overriding_options(self, camera.topic)  # refused here and not when subscribing
            proven = open_proven(self._open_monitor, settings, len(cameras))
        except OodMonitorError as error:
            self._facts.problem = f'not configured: {error}'
            if not self._settings.model_bundle:
                self._facts.problem = '; '.join([self._facts.problem, *self._unused_files])
            self.get_logger().error(self._facts.problem)
            return TransitionCallbackReturn.FAILURE
        self._monitors, self._facts = proven.monitors, proven.facts
        self._set_cameras(cameras, bundle=self._facts.bundle, has_heatmap=proven.has_heatmap)
        for name in unused_overrides(self, [camera.topic for camera in cameras]):
            self.get_logger().warning(f'{name!r} overrides nothing: no such policy or topic')
        self.get_logger().info(f'configured with {self._facts.sentence}')
        self._tell_odd_thresholds()
        self._upgrade.start(self._monitors, settings, self._facts)
        return _SUCCESS

    @guarded
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start scoring."""
        with self._changing:
            return self._activate()

    def _activate(self) -> TransitionCallbackReturn:
        settings = self._settings = self._parameters_server.settings()
        for monitor in self._monitors:
            monitor.reset()
        self._outputs.forget_streams()
        self._snapshots.forget()
        self._evidence.start({camera.name: camera.topic for camera in self._cameras})
        watch = Watch(
            self,
            settings,
            self._cameras,
            self._monitors,
            self._outputs,
            on_scored=self._on_scored,
            on_fault=self._on_fault,
        )
        try:
            self._retune(settings)  # live parameters may have changed meanwhile
            watch.start()
        except OodMonitorError as error:
            self._facts.problem = f'not activated: {error}'
            self.get_logger().error(self._facts.problem)
            self._evidence.stop(0.0, 'not activated')
            return TransitionCallbackReturn.FAILURE
        self._watch, self._facts.problem = watch, ''
        topics = ', '.join(camera.topic for camera in self._cameras)
        self.get_logger().info(f'monitoring {topics}')
        return _SUCCESS

    @guarded
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and stop; ERROR, which leads to on_error, where the engine is lost."""
        if self._faulted:
            return TransitionCallbackReturn.ERROR
        self._stop_watch('deactivated')
        return _SUCCESS if self._monitors else TransitionCallbackReturn.ERROR

    @guarded
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close the engine."""
        self._release()
        return _SUCCESS

    @guarded
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and close from any state."""
        self._stop_watch('shut down')
        self._release()
        return _SUCCESS

    @guarded
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give everything back; SUCCESS leads to unconfigured, from where it can start anew."""
        self._stop_watch('' if self._faulted else 'stopped by an error')
        self._release(keep_problem=True)
        self._facts.problem = self._facts.problem or 'a transition failed; see the log'
        return _SUCCESS

    # faults -------------------------------------------------------------------------------------

    def _on_fault(self, reason: str, details: str) -> None:
        """Take the scoring thread's last word; the lifecycle goes on in the executor."""
        self._faulted = True
        self._facts.problem = f'cannot score any more, {reason}'
        self.get_logger().error(f'{self._facts.problem}\n{details}')
        self._fault_guard.trigger()

    def _on_scored(self, key: str, message: Any, observation: Observation) -> None:
        self._snapshots.keep(key, message, observation)
        self._evidence.keep(key, message, observation)

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
        return not self._monitors and not self._transitions.is_busy

    def _apply_live(self, settings: Settings) -> None:
        self._retune(settings)
        self._settings = settings
        self._tell_odd_thresholds()
        self._evidence.prepare()
        if self._watch is not None:
            self._watch.retune(settings)

    def _retune(self, settings: Settings) -> None:
        for monitor in self._monitors:  # what one refuses the first one refuses
            retune(monitor, settings)
            self._facts.false_alert_rate = rate_text(settings, monitor)

    def _tell_odd_thresholds(self) -> None:
        if not self._monitors:
            return
        before = self._odd
        self._odd = threshold_remarks(self._settings, self._monitors[0].calibration)
        for text in self._odd:
            if text not in before:
                self.get_logger().warning(text)

    def _report(self) -> None:
        watch = self._watch
        if watch is not None:
            watch.report_hang()
        statuses = watch.statuses() if watch is not None else idle_statuses(self._outputs)
        label = self._state_machine.current_state[1]
        statuses.insert(0, self._outputs.worst_alert())
        build = self._upgrade.status
        statuses.append(model_status(self._outputs.name, self._facts, label, engine_build=build))
        statuses += self._evidence.statuses(self._outputs.name)
        self._diagnostics.publish(
            DiagnosticArray(header=self._outputs.header_now(), status=statuses)
        )

    def _about(self) -> dict[str, Any]:
        bundle = self._monitors[0].bundle if self._monitors else None
        return {
            'bundle': bundle and {'name': bundle.manifest.name, 'digest': bundle.digest},
            'engine': self._facts.engine,
        }

    def _on_failed_report(self, error: Exception) -> None:
        if self.context.ok():
            self.get_logger().error(f'a report failed, the node goes on: {error!r}')

    # ends ---------------------------------------------------------------------------------------

    def _set_cameras(
        self, cameras: tuple[Camera, ...], *, bundle: str = '', has_heatmap: bool = False
    ) -> None:
        self._cameras = cameras
        # without a camera the node still has one state to tell
        names = [camera.name for camera in cameras] or ['']
        if self._outputs.set_cameras(names, bundle=bundle, has_heatmap=has_heatmap):
            self._watch = None  # it was about others
            self._outputs.publish_alert_of_all(_stopped('not active yet'))

    def _stop_watch(self, why: str) -> None:
        watch = self._watch
        if watch is not None and watch.is_active and not watch.stop(_STOP_TIMEOUT_S):
            self._facts.problem = 'the engine did not come back and is left behind; configure anew'
            self.get_logger().error(self._facts.problem)
            self._monitors = []  # not closed: it is still in use
        if not self._evidence.stop(_RECORDING_TIMEOUT_S, f'the node is {why or "faulty"}'):
            self.get_logger().error('the disk did not come back; a recording is left behind')
        if why:
            self._outputs.publish_alert_of_all(_stopped(why))

    def _release(self, *, keep_problem: bool = False) -> None:
        self._snapshots.forget()
        self._upgrade.stop()
        monitors, self._monitors = self._monitors, []
        if monitors:
            monitors[0].close()
        self._facts = ModelFacts(problem=self._facts.problem if keep_problem else '')

    def close(self) -> bool:
        """
        Shut the node down from any state; it cannot be used afterwards.

        Returns
        -------
        bool
            False where a transition or a snapshot in work has not come back and was left behind.

        """
        self._upgrade.stop()
        came_back = self._transitions.close(_TRANSITION_TIMEOUT_S)
        if came_back and self._state_machine.current_state[1] != 'finalized':
            self._try(self.trigger_shutdown)
        came_back = self._snapshots.close(_SNAPSHOT_TIMEOUT_S) and came_back
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
        0 after SIGINT or SIGTERM or for ``--help``, 1 where the node could not start or run, 2 for
        arguments that nobody reads.

    """
    argv = sys.argv if args is None else args
    if asks_for_help(argv):
        print(HELP, end='')  # noqa: T201
        return 0
    problem = unknown_arguments(argv)
    if problem:  # ROS would pass over them, and the node start without what they ask for
        print(f'ood_monitor_node: error: {problem}', file=sys.stderr)  # noqa: T201
        return 2
    return run_node(OodMonitorNode, args)


if __name__ == '__main__':
    sys.exit(main())
