"""
The demonstration: the real node in a process of its own, a bag played onto its topic.

It talks on a ROS domain of its own and on this machine only, so that it disturbs no robot.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from dataclasses import dataclass, field
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Final

from diagnostic_msgs.msg import DiagnosticArray
import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import try_shutdown

from ros_ood_monitor.errors import OodMonitorError
from ros_ood_monitor.records import State
from ros_ood_monitor.ros.demo.player import BagPlayer, Played
from ros_ood_monitor.ros.demo.seen import Point
from ros_ood_monitor.ros.messages import qos
from ros_ood_monitor.ros.messages.converters import seconds_of
from ros_ood_monitor.ros.process.own_domain import take_domain
from ros_ood_monitor.ros.process.run import Spinner

__all__ = ['Demo', 'Shown', 'run_demo']

_TOPIC: Final = '/camera/image'
_START_S: Final = 60.0
_PATIENCE_S: Final = 3.0  # for the answer to one frame, until one has not come
_LEAST_PATIENCE_S: Final = 0.05
_REPORT_S: Final = 3.0  # the node reports once a second
_END_S: Final = 15.0
_LOOK_S: Final = 0.02


@dataclass
class Shown:
    """
    What happened.

    Parameters
    ----------
    points : list of Point
        The node's answers in the order of their stamps.
    played : Played
        What was published.
    bundle : str
        Name and digest of the bundle, as the node published it.
    dropped : int
        Frames that the node received and replaced by a newer one before it looked at them.
    bad : int
        Frames that the node received and could not decode.
    received : int
        Frames that the node received.
    exit_code : int
        How the node's process ended.

    """

    points: list[Point] = field(default_factory=list)
    played: Played = field(default_factory=lambda: Played(0, 0.0, finished=False))
    bundle: str = ''
    dropped: int = 0
    bad: int = 0
    received: int = 0
    exit_code: int = -1


class Demo:
    """
    Listens to the node and tells what it says.

    Parameters
    ----------
    tell : callable
        Takes a Point, and True where its alert state is new.

    """

    def __init__(self, tell: Any) -> None:
        self._tell = tell
        self.points: list[Point] = []
        self.bundle = ''
        self.problem = ''
        self.is_heard = False
        self.lost = 0
        self.patience = _PATIENCE_S
        self.reports = 0
        self.input: dict[str, str] = {}

    def on_observation(self, message: DiagnosticArray) -> None:
        """Take a message of ``~/observation``."""
        values = {pair.key: pair.value for pair in message.status[0].values}
        point = Point(
            seconds_of(message.header.stamp),
            float(values['raw_score']),
            float(values['score']),
            float(values['threshold']),
            State(values['state']),
        )
        is_new = not self.points or self.points[-1].state is not point.state
        self.points.append(point)
        self.bundle = values['bundle']
        self._tell(point, is_new)

    def on_alert(self, message: DiagnosticArray) -> None:
        """Take a message of ``~/alert``, which keeps its last one for whoever joins."""
        self.is_heard = True

    def on_diagnostics(self, message: DiagnosticArray) -> None:
        """Take a message of ``/diagnostics``: can the node start, and what became of frames."""
        for status in message.status:
            if status.name.endswith(': input'):
                self.input = {pair.key: pair.value for pair in status.values}
                self.reports += 1
            if status.name.endswith(': model') and status.message.startswith('not configured: '):
                self.problem = status.message


def run_demo(bundle: Path, bag: Path, *, rate: float, log: Path, tell: Any) -> Shown:
    """
    Run the node on a bag and end it.

    Parameters
    ----------
    bundle : Path
        The bundle.
    bag : Path
        A bag with one image topic.
    rate : float
        Pace as a multiple of the recorded one.
    log : Path
        File for what the node logs.
    tell : callable
        Called with each Point as it arrives, and True where its alert state is new.

    Returns
    -------
    Shown
        What happened.

    Raises
    ------
    OodMonitorError
        If the node does not start, or the bag cannot be played.

    """
    take_domain()
    shown = Shown()
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = Node('demo')
    listener = Demo(tell)
    node.create_subscription(
        DiagnosticArray, '/ood_monitor/observation', listener.on_observation, qos.OBSERVATION
    )
    node.create_subscription(
        DiagnosticArray, '/diagnostics', listener.on_diagnostics, qos.DIAGNOSTICS
    )
    # the last one: who hears it hears the others, for endpoints meet in the order they are made
    node.create_subscription(DiagnosticArray, '/ood_monitor/alert', listener.on_alert, qos.ALERT)
    spinner = Spinner(node)
    player = None
    try:
        player = BagPlayer(node, str(bag), topic=_TOPIC)
        transport = 'compressed' if player.topic.endswith('/compressed') else 'raw'
        with _node_process(bundle, transport, log) as process:
            _wait_until_it_listens(process, player, listener, log)

            def wait_for_the_node(count: int) -> None:
                _wait_for_points(process, listener, count)

            # A robot's camera does not wait. Here the next frame comes after the answer to the one
            # before, so that all are seen on a machine that is slower than the pace asked for.
            shown.played = player.play(
                rate=rate, stop=threading.Event(), before_each=wait_for_the_node
            )
            wait_for_the_node(shown.played.count)
            if len(listener.points) < shown.played.count:
                _wait_for_report(listener)
            process.send_signal(signal.SIGINT)
            shown.exit_code = process.wait(_END_S)
    finally:
        if player is not None:
            player.close()
        spinner.stop()
        node.destroy_node()
        try_shutdown()
    shown.points = sorted(listener.points, key=lambda point: point.stamp)
    shown.bundle = listener.bundle
    shown.received, shown.dropped, shown.bad = (
        int(listener.input.get(key, 0)) for key in ('received', 'dropped', 'decode_errors')
    )
    return shown


@contextlib.contextmanager
def _node_process(bundle: Path, transport: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    parameters = {
        'model.bundle': str(bundle.resolve()),
        'input.transport': transport,
        # every frame is to reach the node; a robot would rather have the newest
        'input.reliability': 'reliable',
        'input.depth': '10',
    }
    command = [sys.executable, '-m', 'ros_ood_monitor.ros.monitor_node', '--ros-args']
    command += [word for name, value in parameters.items() for word in ('-p', f'{name}:={value}')]
    command += ['-r', f'image:={_TOPIC}']
    with log.open('wb') as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_it_listens(
    process: subprocess.Popen[bytes], player: BagPlayer, listener: Demo, log: Path
) -> None:
    stop = threading.Event()
    end = time.monotonic() + _START_S
    # it subscribes when it is active; its alert shows that what it publishes is heard here, too.
    # The reports of diagnostics would show both later, in the silence that makes it STALE.
    while not (player.wait_for_subscriber(_LOOK_S, stop) and listener.is_heard):
        time.sleep(_LOOK_S)
        if listener.problem:
            raise OodMonitorError(listener.problem)
        if process.poll() is not None:
            said = log.read_text(encoding='utf-8', errors='replace').strip().splitlines()
            msg = f'the node ended at once ({" | ".join(said[-3:])}): {log}'
            raise OodMonitorError(msg)
        if time.monotonic() > end:
            msg = f'the node does not listen after {_START_S:g} s; its log says why: {log}'
            raise OodMonitorError(msg)


def _wait_for_points(process: subprocess.Popen[bytes], listener: Demo, count: int) -> None:
    # an answer that came later than it was waited for is not lost
    listener.lost = min(listener.lost, count - len(listener.points))
    end = time.monotonic() + listener.patience
    while len(listener.points) < count - listener.lost:
        if process.poll() is not None:
            msg = f'the node ended with code {process.returncode} while it was scoring'
            raise OodMonitorError(msg)
        if time.monotonic() > end:  # a frame that will not come is waited for once
            listener.lost = count - len(listener.points)
            listener.patience = max(_LEAST_PATIENCE_S, listener.patience / 2.0)
            return
        time.sleep(_LOOK_S / 10.0)


def _wait_for_report(listener: Demo) -> None:
    # the one after the next was surely made after the last frame
    wanted = listener.reports + 2
    end = time.monotonic() + _REPORT_S
    while listener.reports < wanted and time.monotonic() < end:
        time.sleep(_LOOK_S)
