"""
The node for minutes or hours under a camera that misbehaves, and what it must say to that.

``python -m tests.ros.soak --seconds 3600 --json FILE``: the node runs in a process of its own. A
camera at 30 Hz shows known pictures, in between strange ones, black ones, a still picture, broken
messages, clocks that jump, bursts and silence; it restarts; the lifecycle goes round; parameters
change; snapshots are asked for. Each act says what must be seen of it, every frame sent must be
accounted for, every change of state be told, and memory, threads and disk stay level. What a calm
camera costs, latency and CPU time, is measured by ``tests/bench/node_soak.py``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import contextlib
from dataclasses import dataclass, field
import json
from pathlib import Path
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import numpy as np
from rcl_interfaces.srv import SetParameters
import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import try_shutdown
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.ros.messages import qos
from ros_ood_monitor.ros.process.own_domain import take_domain
from ros_ood_monitor.ros.process.run import Spinner
from tests.ros.harness import EVERY_ALERT, image, normal_frame, strange_frame, wait_until
from tests.tiny_bundle import make_tiny_bundle

RATE_HZ = 30.0
STALE_AFTER_S = 1.0
DEADLINE_S = 60.0
HEIGHT, WIDTH = 120, 160
DISK_MIB = 8
_PAUSE_S = 0.3
CAUSES = ('scored', 'dropped', 'skipped', 'late', 'decode_errors')


@dataclass
class Heard:
    """What the node said, in as little memory as it takes."""

    observations: int = 0
    last_ns: int = 0  # stamp of the latest frame that was answered
    changes: list[tuple[float, str]] = field(default_factory=list)  # stamp, state
    alerts: list[tuple[float, str, str]] = field(default_factory=list)  # stamp, state, reason
    processing_ms: list[float] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)  # of the latest activation
    ended: dict[str, int] = field(default_factory=dict)  # of those before, summed
    reports: int = 0
    is_added: bool = False  # the counters are those of an activation that is over

    def on_observation(self, message: DiagnosticArray) -> None:
        """Take the answer to a frame."""
        values = {pair.key: pair.value for pair in message.status[0].values}
        stamp, state = _stamp(message), values['state']
        self.observations += 1
        self.last_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        self.processing_ms.append(float(values['processing_ms']))
        if not self.changes or self.changes[-1][1] != state:
            self.changes.append((stamp, state))

    def on_alert(self, message: DiagnosticArray) -> None:
        """Take a change of state."""
        values = {pair.key: pair.value for pair in message.status[0].values}
        self.alerts.append((_stamp(message), values['state'], values['reason']))

    def on_diagnostics(self, message: DiagnosticArray) -> None:
        """Keep the counters; they begin anew with every activation."""
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            part = status.name.rpartition(': ')[2].split()[0]
            if part == 'model':
                self.is_added = self.is_added and values['lifecycle_state'] != 'active'
                self.reports += 1
            elif part == 'input' and 'received' in values and not self.is_added:
                names = ('received', 'missed_frames', *CAUSES)
                self.counters = {name: int(values[name]) for name in names}

    def total(self, name: str) -> int:
        """Return a counter over all activations."""
        return self.ended.get(name, 0) + self.counters.get(name, 0)

    def add_up(self) -> None:
        """Keep the counters of an activation that is over."""
        for name, value in self.counters.items():
            self.ended[name] = self.ended.get(name, 0) + value
        self.counters, self.is_added = {}, True


def _stamp(message: DiagnosticArray) -> float:
    return float(message.header.stamp.sec) + message.header.stamp.nanosec * 1e-9


class Camera(threading.Thread):
    """Publishes what it is told to show, at its rate, from a thread of its own."""

    def __init__(self, node: Node) -> None:
        super().__init__(name='camera', daemon=True)
        self._node = node
        self._publisher: Any = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._shown: Callable[[int], Image | None] = lambda _: None
        self.sent = 0
        self.numbers: dict[int, int] = {}  # how many were sent by the frame of a stamp
        self.offset = 0.0  # of its clock, in s
        self.restart()
        self.start()

    def show(self, what: Callable[[int], Image | None]) -> None:
        """Show from now on what ``what`` makes of the number of a frame; nothing for None."""
        with self._lock:
            self._shown = what

    def restart(self) -> None:
        """Vanish and come back as another publisher."""
        with self._lock:
            if self._publisher is not None:
                self._node.destroy_publisher(self._publisher)
            profile = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
            self._publisher = self._node.create_publisher(Image, 'image', profile)

    def is_heard(self) -> bool:
        """Tell whether the node subscribes."""
        with self._lock:
            return bool(self._publisher.get_subscription_count())

    def run(self) -> None:
        """Publish until `stop`."""
        number, due = 0, time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            due += 1.0 / RATE_HZ
            number += 1
            with self._lock:
                self._publish(self._shown(number))

    def burst(self, count: int) -> None:
        """Publish as fast as it goes."""
        with self._lock:
            for number in range(count):
                self._publish(known(number))

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        self.join(5.0)

    def _publish(self, message: Image | None) -> None:
        if message is None:
            return
        nanoseconds = self._node.get_clock().now().nanoseconds + int(self.offset * 1e9)
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(nanoseconds, 10**9)
        self.sent += 1
        self.numbers[nanoseconds] = self.sent
        self._publisher.publish(message)


_KNOWN = [image(normal_frame(seed, HEIGHT, WIDTH)) for seed in range(16)]
_STRANGE = [
    # as red as can be, with the noise of a camera: the check for frozen pictures is not meant
    image(np.maximum(normal_frame(seed, HEIGHT, WIDTH) // 4, strange_frame(HEIGHT, WIDTH)))
    for seed in range(16)
]
_BLACK = image(np.zeros((HEIGHT, WIDTH, 3), np.uint8))


def known(number: int) -> Image:
    """Return a picture like the training data."""
    return _KNOWN[number % len(_KNOWN)]


def strange(number: int) -> Image:
    """Return one unlike it."""
    return _STRANGE[number % len(_STRANGE)]


def black(_: int) -> Image:
    """Return what a covered lens sees."""
    return _BLACK


def still(_: int) -> Image:
    """Return the same picture every time."""
    return _KNOWN[0]


def broken(number: int) -> Image:
    """Return a message that is no picture."""
    if number % 2:
        return Image(height=HEIGHT, width=WIDTH, encoding='rgb8', step=3 * WIDTH)
    return Image(height=HEIGHT, width=WIDTH, encoding='no_such_encoding', step=3 * WIDTH)


def nothing(_: int) -> None:
    """Return no picture."""


class Soak:
    """
    Acts in a random order, each with what must be heard of it.

    Parameters
    ----------
    node : Node
        The camera's and listener's.
    seed : int
        Of the order, the lengths and the moments.

    """

    def __init__(self, node: Node, *, seed: int) -> None:
        self.heard = Heard()
        self.camera = Camera(node)
        self.acts: dict[str, int] = {}
        self.failures: list[str] = []
        self.unsure = 0  # frames sent while node or camera came or went: heard or not
        self._node = node
        self._random = random.Random(seed)
        reliable = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)
        listen = node.create_subscription
        listen(DiagnosticArray, 'ood_monitor/observation', self.heard.on_observation, reliable)
        listen(DiagnosticArray, 'ood_monitor/alert', self.heard.on_alert, EVERY_ALERT)
        listen(DiagnosticArray, '/diagnostics', self.heard.on_diagnostics, reliable)
        self._change = node.create_client(ChangeState, 'ood_monitor/change_state')
        self._set = node.create_client(SetParameters, 'ood_monitor/set_parameters')
        self._snapshot = node.create_client(Trigger, 'ood_monitor/snapshot')

    def run(self, seconds: float) -> None:
        """Play acts for a time, each at least once; what was missed lies in ``failures``."""
        acts = [
            self.strange, self.glimpse, self.black, self.still, self.broken, self.silence,
            self.clock_back, self.clock_ahead, self.burst, self.camera_restart,
            self.deactivate, self.cleanup, self.parameters, self.snapshot, self.late_joiner,
        ]  # fmt: skip
        end, deck = time.monotonic() + seconds, list(acts)
        self._answers_again(0)
        self.calm(1.0)
        while time.monotonic() < end or len(self.acts) < len(acts):
            if not deck:
                deck = list(acts)
            act = deck.pop(self._random.randrange(len(deck)))
            try:
                act()
                self.calm(self._random.uniform(0.5, 2.0))
            except AssertionError as error:
                self.failures.append(f'{act.__name__}: {error}')
                self.camera.show(known)
            self.acts[act.__name__] = self.acts.get(act.__name__, 0) + 1
        self.camera.show(nothing)

    def calm(self, seconds: float) -> None:
        """Show what is known, until the node says so and a while longer."""
        self.camera.show(known)
        self._until(lambda: self._last_change() == 'NORMAL', 'NORMAL')
        time.sleep(seconds)

    # pictures -----------------------------------------------------------------------------------

    def strange(self) -> None:
        """Show something unlike the training data: an alert."""
        self._see(strange, 'ALERT', self._random.uniform(0.5, 3.0))

    def glimpse(self) -> None:
        """Show single strange pictures: suspect, no alert."""
        alerts = self._count('ALERT')
        latest = self.camera.sent

        def single(number: int) -> Image:
            nonlocal latest
            # one alone, or all between two, may be replaced by newer ones on a busy machine
            if number % 15 or self._answered() <= latest:
                return known(number)
            latest = self.camera.sent + 1
            return strange(number)

        self._see(single, 'SUSPECT', 0.5)
        assert self._count('ALERT') == alerts, 'an alert about a single picture'

    def black(self) -> None:
        """Cover the lens: a fault of the input and no alert."""
        self._faulty(black)

    def still(self) -> None:
        """Freeze the camera: a fault of the input."""
        self._faulty(still)

    def broken(self) -> None:
        """Send messages that are no pictures: counted, and the node goes on."""
        before = self.heard.total('decode_errors')
        self.camera.show(broken)
        self._until(lambda: self.heard.total('decode_errors') > before, 'decode errors')
        time.sleep(self._random.uniform(0.0, 2.0))

    # stream -------------------------------------------------------------------------------------

    def silence(self) -> None:
        """Stop sending: stale."""
        self._see(nothing, 'STALE', self._random.uniform(0.0, 2.0))

    def clock_back(self) -> None:
        """Set the camera's clock back."""
        self._jump(-self._random.uniform(5.0, 500.0))

    def clock_ahead(self) -> None:
        """Set it forth again."""
        self._jump(self._random.uniform(5.0, 500.0))

    def burst(self) -> None:
        """Send faster than the engine scores."""
        self.camera.burst(self._random.randrange(5, 40))

    def camera_restart(self) -> None:
        """Let the driver come back as another publisher."""
        self._pause()
        answered = self._answered()
        self.camera.restart()
        self._answers_again(answered)

    # node ---------------------------------------------------------------------------------------

    def deactivate(self) -> None:
        """Stop the node and start it again."""
        self._round(Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE)

    def cleanup(self) -> None:
        """Let it give back its engine and take another one."""
        self._round(
            Transition.TRANSITION_DEACTIVATE,
            Transition.TRANSITION_CLEANUP,
            Transition.TRANSITION_CONFIGURE,
            Transition.TRANSITION_ACTIVATE,
        )

    def parameters(self) -> None:
        """Change what may change, and try what may not."""
        frames = self._random.randrange(2, 5)
        good = Parameter('alert.trigger_frames', value=frames).to_parameter_msg()
        bad = Parameter('alert.trigger_frames', value=-1).to_parameter_msg()
        answers = self._call(self._set, SetParameters.Request(parameters=[good, bad])).results
        assert [answer.successful for answer in answers] == [True, False]

    def snapshot(self) -> None:
        """Ask for a picture."""
        answer = self._call(self._snapshot, Trigger.Request())
        assert answer.success, answer.message

    def late_joiner(self) -> None:
        """Come late: the state is told."""
        told: list[str] = []

        def take(message: DiagnosticArray) -> None:
            told.append(message.status[0].values[0].value)

        subscription = self._node.create_subscription(
            DiagnosticArray, 'ood_monitor/alert', take, qos.ALERT
        )
        try:
            self._until(lambda: told, 'the alert state as a late joiner')
        finally:
            self._node.destroy_subscription(subscription)

    def _see(self, shown: Callable[[int], Image | None], state: str, seconds: float) -> None:
        before = self._count(state)
        self.camera.show(shown)
        self._until(lambda: self._count(state) > before, state)
        time.sleep(seconds)

    def _faulty(self, shown: Callable[[int], Image | None]) -> None:
        alerts = self._count('ALERT')
        self._see(shown, 'FAULT', self._random.uniform(0.0, 1.0))
        assert self._count('ALERT') == alerts, 'an alert about a camera that fails'

    def _jump(self, seconds: float) -> None:
        before = self.heard.observations
        self.camera.offset += seconds
        self._until(lambda: self.heard.observations > before + 10, 'observations')

    def _round(self, *transitions: int) -> None:
        if self._random.random() < 0.5:
            self._pause()
        answered = self._answered()
        for transition in transitions:
            request = ChangeState.Request(transition=Transition(id=transition))
            assert self._call(self._change, request).success, f'transition {transition} failed'
            if transition == Transition.TRANSITION_DEACTIVATE:
                self._last_counters()
                self.heard.add_up()
        self._answers_again(answered)

    def _answers_again(self, answered: int) -> None:
        """Wait for the next answer: what is sent up to then is heard by nobody, or by both."""
        sent = self.camera.sent
        self.camera.show(known)
        self._until(lambda: self._answered() > sent, 'answers')
        self.unsure += self._answered() - 1 - answered

    def _answered(self) -> int:
        """Return how many frames were sent up to the one that was answered last."""
        return self.camera.numbers.get(self.heard.last_ns, 0)

    def _last_counters(self) -> None:
        reports = self.heard.reports
        self._until(lambda: self.heard.reports > reports + 1, 'its last counters')

    def _pause(self) -> None:
        self.camera.show(nothing)
        time.sleep(_PAUSE_S)

    def _count(self, state: str) -> int:
        return sum(1 for _, told, _ in self.heard.alerts if told == state)

    def _last_change(self) -> str:
        return self.heard.alerts[-1][1] if self.heard.alerts else ''

    def _until(self, condition: Callable[[], Any], what: str) -> None:
        wait_until(condition, what, DEADLINE_S)

    def _call(self, client: Any, request: Any) -> Any:
        assert client.wait_for_service(timeout_sec=DEADLINE_S), client.srv_name
        future = client.call_async(request)
        self._until(future.done, f'an answer of {client.srv_name}')
        return future.result()


def unaccounted(heard: Heard, *, sent: int, unsure: int) -> list[str]:
    """
    Return what does not add up of the frames.

    Parameters
    ----------
    heard : Heard
        The node's own counters.
    sent : int
        Frames that were published.
    unsure : int
        Those among them that went unheard if a node or camera was just coming or going.

    """
    total = heard.total
    found = []
    received, known_fate = total('received'), sum(total(cause) for cause in CAUSES)
    # the last frame may be in work, or was in every transition
    if not 0 <= received - known_fate <= 1 + unsure:
        fates = {cause: total(cause) for cause in CAUSES}
        found.append(f'{received} frames received, but {known_fate} accounted for: {fates}')
    if not sent - unsure <= received + total('missed_frames') <= sent:
        found.append(
            f'{sent} frames sent, {unsure} of them while node or camera came or went; received '
            f'{received}, missed {total("missed_frames")}'
        )
    return found


def untold(heard: Heard) -> list[str]:
    """Return changes of state that an observation shows and no alert told."""
    told = {(round(stamp, 6), state) for stamp, state, _ in heard.alerts}
    missed = [
        f'{state} at {stamp:.3f}'
        for stamp, state in heard.changes
        if (round(stamp, 6), state) not in told and state in ('SUSPECT', 'ALERT')
    ]
    for (_, before, _), (stamp, after, _) in zip(heard.alerts, heard.alerts[1:], strict=False):
        if (before, after) == ('NORMAL', 'ALERT'):
            missed.append(f'SUSPECT before ALERT at {stamp:.3f}')
    return missed


class Levels(threading.Thread):
    """Samples memory, threads and open files of a process, and bytes in a folder."""

    def __init__(self, pid: int, folder: Path) -> None:
        super().__init__(name='levels', daemon=True)
        self._process, self._folder = Path(f'/proc/{pid}'), folder
        self._ended = threading.Event()
        self.rss_mib: list[float] = []
        self.threads: list[int] = []
        self.files: list[int] = []
        self.disk_mib: list[float] = []

    def run(self) -> None:
        """Sample once a second until `stop`."""
        while not self._ended.wait(1.0):
            with contextlib.suppress(OSError):  # it has ended, or a file has
                lines = (self._process / 'status').read_text().splitlines()
                values = dict(line.split(':', 1) for line in lines)
                self.rss_mib.append(int(values['VmRSS'].split()[0]) / 1024.0)
                self.threads.append(int(values['Threads']))
                self.files.append(len(list((self._process / 'fd').iterdir())))
                sizes = [f.stat().st_size for f in self._folder.rglob('*') if f.is_file()]
                self.disk_mib.append(sum(sizes) / 2.0**20)

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        self.join(5.0)


def fifths(values: list[Any]) -> list[float]:
    """Return the median of every fifth of a series, which shows whether it levels off."""
    return [round(float(np.median(part)), 1) for part in np.array_split(np.array(values), 5)]


def soak(seconds: float, folder: Path, *, seed: int = 0) -> dict[str, Any]:
    """
    Run the node for a while and return what was seen.

    Parameters
    ----------
    seconds : float
        How long.
    folder : Path
        For bundle, recordings, snapshots and the node's log.
    seed : int, default 0
        Of the order of acts.

    Returns
    -------
    dict
        With ``failures``: a line for each thing that was not as it must be.

    """
    bundle = make_tiny_bundle(folder / 'bundle').path
    kept = folder / 'kept'
    values = {
        'model.bundle': bundle,
        'alert.stale_after': STALE_AFTER_S,
        'alert.release_frames': 3,
        'input.reliability': 'reliable',
        'snapshot.folder': kept / 'snapshots',
        'snapshot.max_disk': 1,
        'record.folder': kept / 'recordings',
        'record.before': 1.0,
        'record.after': 1.0,
        'record.max_disk': DISK_MIB,
    }
    words = [word for name, value in values.items() for word in ('-p', f'{name}:={value}')]
    command = [sys.executable, '-m', 'ros_ood_monitor.ros.monitor_node', '--ros-args', *words]
    log = folder / 'log'
    node = Node('soak')
    with log.open('wb') as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    levels = Levels(process.pid, kept)
    play = Soak(node, seed=seed)
    spinner = Spinner(node)
    try:
        wait_until(play.camera.is_heard, 'the node', DEADLINE_S)
        levels.start()
        start = time.monotonic()
        play.run(seconds)
        lasted = time.monotonic() - start
        time.sleep(STALE_AFTER_S + 1.0)
        reports = play.heard.reports
        wait_until(lambda: play.heard.reports > reports + 1, 'the last report', DEADLINE_S)
    finally:
        play.camera.stop()
        levels.stop()
        process.send_signal(signal.SIGINT)
        try:
            exit_code = process.wait(DEADLINE_S)
        finally:
            process.kill()  # or it would answer the tests that come
            spinner.stop()
            node.destroy_node()
    heard, said = play.heard, log.read_text()
    failures = [
        *play.failures,
        *unaccounted(heard, sent=play.camera.sent, unsure=play.unsure),
        *(f'not told: {one}' for one in untold(heard)),
        *(['the log holds a traceback'] if 'Traceback' in said else []),
        *([f'exit code {exit_code}'] if exit_code else []),
    ]
    if max(levels.disk_mib) > DISK_MIB + 2.0:
        failures.append(f'{max(levels.disk_mib):.1f} MiB kept of {DISK_MIB + 1}')
    p50, p99 = np.percentile(heard.processing_ms, (50, 99))
    return {
        'seconds': round(lasted, 1),
        'acts': dict(sorted(play.acts.items())),
        'sent': play.camera.sent,
        'sent_while_the_node_came_or_went': play.unsure,
        'received': heard.total('received'),
        'missed_frames': heard.total('missed_frames'),
        **{cause: heard.total(cause) for cause in CAUSES},
        'observations': heard.observations,
        'states_told': {
            state: sum(1 for _, told, _ in heard.alerts if told == state)
            for state in ('NORMAL', 'SUSPECT', 'ALERT', 'STALE', 'FAULT')
        },
        'processing_ms': {'p50': round(float(p50), 2), 'p99': round(float(p99), 2)},
        'rss_mib_by_fifth': fifths(levels.rss_mib),
        'threads_by_fifth': fifths(levels.threads),
        'open_files_by_fifth': fifths(levels.files),
        'disk_mib_most': round(max(levels.disk_mib), 1),
        'failures': failures,
    }


def main() -> int:
    """Soak, print what was seen, and end with 1 where something was not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seconds', type=float, default=3600.0)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--json', type=Path, help='file to write as well')
    args = parser.parse_args()
    take_domain()
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    with tempfile.TemporaryDirectory(prefix='ood_monitor_soak.') as folder:
        found = soak(args.seconds, Path(folder), seed=args.seed)
    try_shutdown()
    text = json.dumps({**found, 'machine': context()}, indent=2) + '\n'
    print(text, end='')
    if args.json:
        args.json.write_text(text)
    return 1 if found['failures'] else 0


if __name__ == '__main__':
    sys.exit(main())
