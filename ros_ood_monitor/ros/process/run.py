"""The process around a node: signals, executor, memory. It ends with 0 when it is told to end."""

from __future__ import annotations

from collections.abc import Callable
import ctypes
import os
import sys
import threading
import time
import traceback
from typing import Any, Final

import rclpy
from rclpy.executors import ExternalShutdownException, ShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger_effective_level, LoggingSeverity, set_logger_level
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import try_shutdown

from ros_ood_monitor.errors import OodMonitorError
from ros_ood_monitor.ros.process.reason_throttle import ReasonThrottle
from ros_ood_monitor.ros.process.start_errors import start_error, START_ERRORS
from ros_ood_monitor.ros.process.stop_signal import StopSignal

__all__ = ['Spinner', 'init_ros', 'run_node', 'tune_malloc']

_FAILURES_IN_A_ROW: Final = 20
_LOG_PERIOD_S: Final = 5.0
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


class Spinner:
    """
    Spins a node in a thread and outlives what a callback raises.

    rclpy's executor raises out of ``spin`` what a callback raised, and ``InvalidHandle`` where an
    entity is destroyed at the moment it is waited for. Neither is a reason to stop monitoring,
    however often it comes: otherwise a peer whose request makes a callback fail could end the
    node by asking again. Only an executor that cannot even wait any more is.

    All callbacks run in this one thread, so they must be short. rclpy's multi-threaded executor
    would build its wait set anew while callbacks are under way, again and again, and take the
    interpreter from whoever scores the frames.

    Parameters
    ----------
    node : rclpy.node.Node
        The node.
    on_end : callable
        Called from the thread when spinning ends by itself, with what it failed of or None.

    """

    def __init__(self, node: Any, on_end: Callable[[str | None], None] = lambda _: None) -> None:
        self._node = node
        self._on_end = on_end
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        self._stopping = False
        self._failures = ReasonThrottle(_LOG_PERIOD_S)
        self._thread = threading.Thread(target=self._run, name='spin', daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> bool:
        """
        Stop spinning, after the callback in work.

        Parameters
        ----------
        timeout : float, default 10.0
            Longest wait, in s.

        Returns
        -------
        bool
            False where that callback did not come back in time.

        """
        self._stopping = True
        # work to do is what ends a spin_once; being woken is not
        self._executor.create_task(lambda: None)
        self._thread.join(timeout)
        if self._thread.is_alive():
            return False
        self._executor.remove_node(self._node)
        self._executor.shutdown()
        return True

    def _run(self) -> None:
        failure: str | None = None
        failures = 0
        while not self._stopping and self._node.context.ok():
            try:
                self._executor.spin_once()
                failures = 0
            except (ExternalShutdownException, ShutdownException):
                break
            except Exception as error:  # noqa: BLE001, a callback's fault is not the node's end
                failures = 0 if _is_of_a_callback(error) else failures + 1
                if failures >= _FAILURES_IN_A_ROW:
                    failure = traceback.format_exc()
                    break
                self._log(traceback.format_exc())
        if not self._stopping:
            self._on_end(failure)

    def _log(self, details: str) -> None:
        if not self._stopping and self._failures.accepts(details, time.monotonic()):
            self._node.get_logger().error(f'a callback failed, the node goes on:\n{details}')


def _is_of_a_callback(error: Exception) -> bool:
    """Tell whether rclpy was running a task, instead of waiting for one to become ready."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(frame.f_globals.get('__name__') == 'rclpy.task' for frame in frames)


def init_ros(args: list[str] | None = None) -> None:
    """
    Start ROS for a process that takes the signals itself.

    Parameters
    ----------
    args : list of str, optional
        Command line; ``sys.argv`` where not given.

    Raises
    ------
    Exception
        One of `START_ERRORS`, of which ROS itself has then logged nothing.

    """
    set_logger_level('rcl', LoggingSeverity.FATAL)  # what it raises is said in one line
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    if get_logger_effective_level('rcl') == LoggingSeverity.FATAL:  # not set by --log-level
        set_logger_level('rcl', LoggingSeverity.UNSET)


def run_node(make_node: Callable[[], Any], args: list[str] | None = None) -> int:
    """
    Run a node until SIGINT, SIGTERM or the end of its context.

    Parameters
    ----------
    make_node : callable
        Returns the node; it has ``settings`` and ``close()``, which tells whether nothing of it is
        still at work.
    args : list of str, optional
        Command line; ``sys.argv`` where not given.

    Returns
    -------
    int
        0 where it was told to end, 1 where it could not start or go on.

    """
    failures: list[str] = []
    # Python's handlers instead of rclpy's: they stay in place until the very end, so that a second
    # Ctrl-C while the node is already leaving changes nothing.
    stop = StopSignal()
    try:
        init_ros(args)
        node = make_node()
    except (OodMonitorError, *START_ERRORS) as error:
        said = str(error) if isinstance(error, OodMonitorError) else start_error(error)
        print(f'ood_monitor_node: error: {said}', file=sys.stderr)  # noqa: T201
        try_shutdown()
        return 1
    if node.settings.process_tune_malloc:
        tune_malloc()

    def on_end(failure: str | None) -> None:
        if failure is not None:
            failures.append(failure)
        stop.now()

    spinner = Spinner(node, on_end)
    stop.wait()
    for failure in failures:
        node.get_logger().fatal(f'the executor failed again and again:\n{failure}')
    if not spinner.stop():
        node.get_logger().fatal('a callback has not come back; leaving without it')
        os._exit(1)  # a normal exit would wait for it
    if not node.close():
        # it was told to end and does; a normal exit would wait for the engine being opened
        print(  # noqa: T201
            'ood_monitor_node: ended with a transition or a snapshot that has not come back',
            file=sys.stderr,
        )
        sys.stderr.flush()
        os._exit(1 if failures else 0)
    try_shutdown()
    stop.ignore()  # the interpreter is leaving, too
    return 1 if failures else 0


def tune_malloc() -> bool:
    """
    Let glibc keep freed frame buffers instead of mapping each one anew.

    Every frame of 0.9 MB costs some 640 page faults otherwise. Freed memory, up to 256 MB, then
    stays with the process.

    Returns
    -------
    bool
        False where the C library is another one or refuses.

    """
    try:
        libc = ctypes.CDLL(None)
        accepted = libc.mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)
        accepted &= libc.mallopt(_M_TRIM_THRESHOLD, 256 * 2**20)
    except (OSError, AttributeError, TypeError):
        return False
    return bool(accepted)
