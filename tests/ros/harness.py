"""A node under test and a peer that talks to it, each spun in a thread; waiting has a deadline."""

from __future__ import annotations

import array
from collections.abc import Callable, Iterator
import contextlib
import threading
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import State as LifecycleStateMessage
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
import numpy as np
import numpy.typing as npt
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Float32

from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.ros.messages.converters import time_of
from ros_ood_monitor.ros.model.open_monitor import open_monitor
from ros_ood_monitor.ros.monitor_node import OodMonitorNode
from ros_ood_monitor.ros.parameters.settings import Settings
from ros_ood_monitor.ros.process.run import Spinner

DEADLINE_S = 60.0
HELD_S = 10.0 * DEADLINE_S  # what a test holds up lasts for all that it waits for meanwhile
RELIABLE = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
EVERY_ALERT = QoSProfile(
    depth=200,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
# no frame is lost, and none comes after a silence, because a busy machine pauses for a while
UNHURRIED = {'input__max_wait': 0.0, 'input__depth': 50, 'alert__stale_after': 120.0}
UNCONFIGURED = LifecycleStateMessage.PRIMARY_STATE_UNCONFIGURED
INACTIVE = LifecycleStateMessage.PRIMARY_STATE_INACTIVE
ACTIVE = LifecycleStateMessage.PRIMARY_STATE_ACTIVE
FINALIZED = LifecycleStateMessage.PRIMARY_STATE_FINALIZED


def wait_until(condition: Callable[[], Any], what: str, timeout: float = DEADLINE_S) -> Any:
    """Poll until the condition holds and return its value; fail with words after the deadline."""
    end = time.monotonic() + timeout
    while True:
        is_late = time.monotonic() > end  # before it is looked: a pause is nobody's fault
        value = condition()
        if value:
            return value
        if is_late:
            msg = f'waited {timeout:g} s in vain for: {what}'
            raise AssertionError(msg)
        time.sleep(0.005)


def values(message: DiagnosticArray) -> dict[str, str]:
    """Return the key-value pairs of a message's only status."""
    (status,) = message.status
    return {pair.key: pair.value for pair in status.values}


class SlowOpening:
    """Opens a monitor when it is let."""

    def __init__(self) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()

    def __call__(self, settings: Settings) -> Monitor:
        self.entered.set()
        assert self.leave.wait(HELD_S)
        return open_monitor(settings)


class Peer:
    """A camera and a consumer at once, in a node of its own."""

    def __init__(self, *, namespace: str = '', topic: str = 'image', reliability: Any = RELIABLE):
        self.node = Node('peer', namespace=namespace)
        self.scores: list[Float32] = []
        self.observations: list[DiagnosticArray] = []
        self.alerts: list[DiagnosticArray] = []
        self.statuses: list[DiagnosticStatus] = []
        self._looked_at = 0  # the alert that held when the peer last did or saw something
        self._topic, self._reliability = topic, reliability
        self._publishers: dict[type, Any] = {}
        listen = self.node.create_subscription
        listen(Float32, 'ood_monitor/score', self.scores.append, RELIABLE)
        listen(DiagnosticArray, 'ood_monitor/observation', self.observations.append, RELIABLE)
        listen(DiagnosticArray, 'ood_monitor/alert', self.alerts.append, EVERY_ALERT)
        listen(DiagnosticArray, '/diagnostics', self._on_diagnostics, RELIABLE)
        self._change = self.node.create_client(ChangeState, 'ood_monitor/change_state')
        self._get = self.node.create_client(GetState, 'ood_monitor/get_state')
        self._spinner = Spinner(self.node)

    def close(self) -> None:
        self._spinner.stop()
        self.node.destroy_node()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.statuses += [s for s in message.status if s.name.startswith(self._name)]

    @property
    def _name(self) -> str:
        return f'{self.node.get_namespace()}/ood_monitor'.lstrip('/')

    # camera -------------------------------------------------------------------------------------

    def publisher(self, kind: type) -> Any:
        """Make the camera's publisher and wait until the node hears it."""
        if kind not in self._publishers:
            topic = self._topic + ('/compressed' if kind is CompressedImage else '')
            self._publishers[kind] = self.node.create_publisher(kind, topic, self._reliability)
        publisher = self._publishers[kind]
        wait_until(publisher.get_subscription_count, 'the node to subscribe')
        return publisher

    def heard_by(self) -> int:
        """Count the subscriptions to the camera's topics."""
        return sum(p.get_subscription_count() for p in self._publishers.values())

    def publish(self, message: Any) -> None:
        publisher = self.publisher(type(message))
        self._looked_at = max(self._looked_at, len(self.alerts) - 1)
        publisher.publish(message)

    def publish_and_wait(self, message: Any) -> DiagnosticArray:
        """Publish a frame and return the observation of it: paced, so that none is dropped."""
        before = len(self.observations)
        self.publish(message)

        def answers() -> list[DiagnosticArray]:
            return [o for o in self.observations[before:] if o.header == message.header]

        wait_until(answers, 'an observation')
        return answers()[-1]

    # lifecycle ----------------------------------------------------------------------------------

    def change(self, transition: int, *, label: str = '') -> bool:
        self._looked_at = max(self._looked_at, len(self.alerts) - 1)
        request = ChangeState.Request(transition=Transition(id=transition, label=label))
        return bool(self._call(self._change, request).success)

    def state(self) -> int:
        # asked again where no answer comes: a server in another process may answer the very first
        # request before it has discovered whom to answer
        def ask() -> Any:
            future = self._get.call_async(GetState.Request())
            end = time.monotonic() + 1.0
            while not future.done() and time.monotonic() < end:
                time.sleep(0.002)
            return future.result() if future.done() else None

        assert self._get.wait_for_service(timeout_sec=DEADLINE_S)
        return int(wait_until(ask, 'an answer of get_state').current_state.id)

    def wait_for_state(self, state: int) -> None:
        wait_until(lambda: self.state() == state, f'lifecycle state {state}')

    def activate(self) -> None:
        assert self.change(Transition.TRANSITION_CONFIGURE)
        assert self.change(Transition.TRANSITION_ACTIVATE)

    def call(self, kind: Any, service: str, **request: Any) -> Any:
        """Ask a service of the node and return its answer."""
        client = self.node.create_client(kind, f'ood_monitor/{service}')
        try:
            return self._call(client, kind.Request(**request))
        finally:
            self.node.destroy_client(client)

    def _call(self, client: Any, request: Any) -> Any:
        assert client.wait_for_service(timeout_sec=DEADLINE_S)
        future = client.call_async(request)
        wait_until(future.done, f'an answer of {client.srv_name}')
        return future.result()

    # reports ------------------------------------------------------------------------------------

    def wait_for_status(
        self,
        suffix: str,
        condition: Callable[[DiagnosticStatus, dict[str, str]], bool],
        *,
        start: int | None = None,
    ) -> tuple[DiagnosticStatus, dict[str, str]]:
        """Wait for a status that fulfils the condition: one that comes, or came since start."""
        start = len(self.statuses) if start is None else start

        def look() -> Any:
            for status in self.statuses[start:]:
                pairs = {pair.key: pair.value for pair in status.values}
                if status.name.endswith(suffix) and condition(status, pairs):
                    return status, pairs
            return None

        return wait_until(look, f'a status {suffix!r}: {self.statuses[-2:]}')

    def wait_for_alert(self, state: str) -> DiagnosticArray:
        """Wait for a state that holds or held since a frame was sent or the last one was found."""

        def look() -> Any:
            for number in range(self._looked_at, len(self.alerts)):
                if values(self.alerts[number])['state'] == state:
                    self._looked_at = number
                    return self.alerts[number]
            return None

        return wait_until(look, f'alert state {state}')


@contextlib.contextmanager
def running_node(
    namespace: str = '',
    *,
    open_monitor: Any = None,
    open_built: Any = None,
    cli_args: list[str] | None = None,
    **parameters: Any,
) -> Iterator[OodMonitorNode]:
    """Run the node in this process; parameters by name with ``__`` for the dot."""
    # a parameter of the command line is less than one that is given here
    unhurried = {} if {'-p', '--params-file'} & set(cli_args or ()) else UNHURRIED
    overrides = [
        Parameter(name.replace('__', '.'), value=value)
        for name, value in {'autostart': False, **unhurried, **parameters}.items()
    ]
    given = {'open_monitor': open_monitor, 'open_built': open_built}
    options = {name: value for name, value in given.items() if value is not None}
    node = OodMonitorNode(
        namespace=namespace, parameter_overrides=overrides, cli_args=cli_args, **options
    )
    spinner = Spinner(node)
    try:
        yield node
    finally:
        assert spinner.stop(DEADLINE_S), 'a callback did not come back'
        assert node.close(), 'a transition did not come back'


def set_live(node: Node, **parameters: Any) -> None:
    """Set parameters of a node that runs; by name with ``__`` for the dot."""
    for name, value in parameters.items():
        (result,) = node.set_parameters([Parameter(name.replace('__', '.'), value=value)])
        assert result.successful, result.reason


@contextlib.contextmanager
def peer(**options: Any) -> Iterator[Peer]:
    made = Peer(**options)
    try:
        yield made
    finally:
        made.close()


def image(
    rgb: npt.NDArray[np.uint8],
    *,
    stamp: float = 100.0,
    encoding: str = 'rgb8',
    frame_id: str = 'camera_optical_frame',
    padding: int = 0,
) -> Image:
    """Build an Image of (H, W, 3) or (H, W) pixels that are already in the encoding's order."""
    height, width = rgb.shape[:2]
    rows = np.ascontiguousarray(rgb).reshape(height, -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=255)
    data = array.array('B')
    data.frombytes(rows.tobytes())
    message = Image(
        height=height, width=width, encoding=encoding, step=rows.shape[1], is_bigendian=0
    )
    message.data = data
    message.header.stamp = time_of(stamp)
    message.header.frame_id = frame_id
    return message


def compressed(
    file: bytes, *, stamp: float = 100.0, kind: str = 'jpeg', frame_id: str = 'camera'
) -> CompressedImage:
    message = CompressedImage(format=kind)
    message.data = array.array('B', file)
    message.header.stamp = time_of(stamp)
    message.header.frame_id = frame_id
    return message


def normal_frame(seed: int = 0, height: int = 60, width: int = 90) -> npt.NDArray[np.uint8]:
    """Grey noise, which the tiny bundle knows, (H, W, 3)."""
    rng = np.random.default_rng(seed)
    return rng.uniform(100, 156, (height, width, 3)).astype(np.uint8)


def strange_frame(height: int = 60, width: int = 90) -> npt.NDArray[np.uint8]:
    """Red noise, which it does not, (H, W, 3); flat red would be no usable picture."""
    rgb = np.random.default_rng(99).integers(0, 50, (height, width, 3), np.uint8)
    rgb[..., 0] += 200
    return rgb
