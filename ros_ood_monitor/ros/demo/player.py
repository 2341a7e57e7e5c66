"""
Plays the pictures of a bag onto a topic, byte for byte, at the pace they were recorded with.

For demonstrations, launch files and tests; it needs no rosbag2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
import struct
import threading
import time
from typing import Final, NamedTuple

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.utilities import try_shutdown
from sensor_msgs.msg import CompressedImage, Image

from ros_ood_monitor.bags import BagReader
from ros_ood_monitor.bags.plain import decompress_message
from ros_ood_monitor.errors import BagError, OodMonitorError, ParameterError
from ros_ood_monitor.ros.camera.cameras import find_topic
from ros_ood_monitor.ros.process.run import init_ros
from ros_ood_monitor.ros.process.start_errors import start_error, START_ERRORS
from ros_ood_monitor.ros.process.stop_signal import StopSignal

__all__ = ['BagPlayer', 'Played', 'choose_topic', 'play_bag']

COMPRESSED_TYPE: Final = 'sensor_msgs/msg/CompressedImage'
_TYPES: Final = {'sensor_msgs/msg/Image': Image, COMPRESSED_TYPE: CompressedImage}
_LOOK_S: Final = 0.02
# CDR, little endian: 4 bytes of encapsulation, then the header's stamp as int32 and uint32
_STAMP: Final = struct.Struct('<iI')
_STAMP_AT: Final = 4


class _Message(NamedTuple):
    log_time: int
    data: bytes


@dataclass(frozen=True)
class Played:
    """
    What was played.

    Parameters
    ----------
    count : int
        Frames published.
    seconds : float
        How long it took.
    finished : bool
        False where it was stopped before the bag's end.

    """

    count: int
    seconds: float
    finished: bool


class BagPlayer:
    """
    Publishes one image topic of a bag.

    Raw images go to the topic ``image``, compressed ones to ``image/compressed``, as
    image_transport names them.

    Parameters
    ----------
    node : rclpy.node.Node
        The node to publish from; it need not be spun.
    bag : str
        The bag.
    source : str, default ''
        The bag's topic; its only image topic where empty.
    topic : str, default 'image'
        Base topic to publish to.
    restamp : bool, default False
        Whether headers get the time of publishing instead of keeping their own.

    Raises
    ------
    BagError, ParameterError
        If there is no such bag or topic, or no telling which topic is meant.

    """

    def __init__(
        self,
        node: Node,
        bag: str,
        *,
        source: str = '',
        topic: str = 'image',
        restamp: bool = False,
    ) -> None:
        self._node = node
        self._restamp = restamp
        self._reader = BagReader(bag)
        self.source, kind = choose_topic(self._reader, source)
        _, unmapped = find_topic(
            topic, node.resolve_topic_name, compressed=kind == COMPRESSED_TYPE
        )
        profile = QoSProfile(
            history=HistoryPolicy.KEEP_LAST, depth=10, reliability=ReliabilityPolicy.RELIABLE
        )
        self._publisher = node.create_publisher(_TYPES[kind], unmapped, profile)

    @property
    def topic(self) -> str:
        """Return the topic published to, resolved."""
        return str(self._publisher.topic_name)

    def close(self) -> None:
        """Give the publisher and the bag back."""
        self._node.destroy_publisher(self._publisher)
        self._reader.close()

    def wait_for_subscriber(self, timeout: float, stop: threading.Event) -> bool:
        """
        Wait until somebody listens.

        Parameters
        ----------
        timeout : float
            Longest wait, in s.
        stop : threading.Event
            Ends the wait.

        Returns
        -------
        bool
            False where nobody came.

        """
        end = time.monotonic() + timeout
        while not self._publisher.get_subscription_count():
            if time.monotonic() > end or stop.wait(_LOOK_S):
                return False
        return True

    def play(
        self,
        *,
        rate: float = 1.0,
        stop: threading.Event,
        before_each: Callable[[int], None] = lambda count: None,
    ) -> Played:
        """
        Publish all frames.

        Parameters
        ----------
        rate : float, default 1.0
            Pace as a multiple of the recorded one.
        stop : threading.Event
            Ends it early.
        before_each : callable
            Called with the count of frames published so far; it may wait, for a listener that is
            slower than the pace.

        Returns
        -------
        Played
            What was played.

        Raises
        ------
        ParameterError
            If the rate is not positive.
        BagError
            If the bag holds no frame of the topic.

        """
        if not rate > 0.0:
            msg = f'rate must be positive, got {rate:g}'
            raise ParameterError(msg)
        start = time.monotonic()
        first = count = 0
        for message in self._messages():
            first = first or message.log_time
            due = start + (message.log_time - first) * 1e-9 / rate
            if stop.wait(max(0.0, due - time.monotonic())):
                return Played(count, time.monotonic() - start, finished=False)
            before_each(count)
            self._publisher.publish(self._stamped(message.data))
            count += 1
        if not count:
            msg = f'bag has no frame on {self.source}: {self._reader.path}'
            raise BagError(msg)
        self._publisher.wait_for_all_acked(Duration(seconds=5))
        return Played(count, time.monotonic() - start, finished=True)

    def _messages(self) -> Iterator[_Message]:
        for message in self._reader.messages({self.source}):
            yield _Message(message.log_time, decompress_message(message.data))

    def _stamped(self, data: bytes) -> bytes:
        little_endian = data[1:2] == b'\x01'
        if not self._restamp or not little_endian:
            return bytes(data)
        now = self._node.get_clock().now().to_msg()
        copy = bytearray(data)
        _STAMP.pack_into(copy, _STAMP_AT, now.sec, now.nanosec)
        return bytes(copy)


def choose_topic(reader: BagReader, source: str = '') -> tuple[str, str]:
    """
    Return the image topic to play.

    Parameters
    ----------
    reader : BagReader
        The bag.
    source : str, default ''
        Name of the topic; the only image topic where empty.

    Returns
    -------
    tuple of str
        Its name and its type.

    Raises
    ------
    BagError
        If the bag has no image topic.
    ParameterError
        If there is no such image topic, or several and none is named.

    """
    topics = {topic.name: topic.type for topic in reader.image_topics}
    if not topics:
        found = ', '.join(f'{t.name} ({t.type})' for t in reader.topics()) or 'none at all'
        msg = f'bag has no image topic, it has {found}: {reader.path}'
        raise BagError(msg)
    if not source and len(topics) == 1:
        return next(iter(topics.items()))
    if source not in topics:
        msg = (
            f'no such image topic: expected one of {", ".join(topics)}, '
            f'got {source!r}; name it with --source: {reader.path}'
        )
        raise ParameterError(msg)
    return source, topics[source]


def play_bag(
    bag: str,
    *,
    source: str = '',
    rate: float = 1.0,
    restamp: bool = False,
    wait: float = 30.0,
    ros_args: Sequence[str] = (),
) -> None:
    """
    Play a bag from a node of its own until the bag's end, SIGINT or SIGTERM.

    For a process that ends with it: signals that come afterwards are ignored.

    Parameters
    ----------
    bag, source, restamp
        As of `BagPlayer`.
    rate : float, default 1.0
        Pace as a multiple of the recorded one.
    wait : float, default 30.0
        Longest wait for a subscriber, in s.
    ros_args : sequence of str
        What stands behind ``--ros-args``.

    Raises
    ------
    BagError, ParameterError
        As `BagPlayer`.
    OodMonitorError
        If ROS does not start with these arguments, or nobody subscribes.

    """
    stop = StopSignal().as_event()
    try:
        init_ros(['--ros-args', *ros_args])
        node = Node('bag_player')
    except START_ERRORS as error:
        try_shutdown()
        raise OodMonitorError(start_error(error)) from error
    log = node.get_logger()
    try:
        player = BagPlayer(node, bag, source=source, restamp=restamp)
        try:
            if player.wait_for_subscriber(wait, stop):
                log.info(f'playing {player.source} onto {player.topic} at {rate:g} times its pace')
                played = player.play(rate=rate, stop=stop)
                log.info(f'played {played.count} frames in {played.seconds:.1f} s')
            elif not stop.is_set():
                msg = f'nobody subscribed to {player.topic} within {wait:g} s'
                raise OodMonitorError(msg)
        finally:
            player.close()
    finally:
        node.destroy_node()
        try_shutdown()
        StopSignal.ignore()  # the interpreter is leaving, too
