from __future__ import annotations

from collections.abc import Callable, Iterator
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip('rclpy')

from rclpy.node import Node
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from ros_ood_monitor.errors import DecodeError
from ros_ood_monitor.ros.messages.buffers import ImagePublisher
from ros_ood_monitor.ros.messages.converters import frame_from_image, time_of
from ros_ood_monitor.ros.process.run import Spinner
from tests.ros.harness import image, normal_frame, RELIABLE, wait_until

pytestmark = pytest.mark.usefixtures('ros')


@pytest.fixture
def wire() -> Iterator[tuple[ImagePublisher, list[Image]]]:
    """A publisher, and what arrives of it."""
    node, got = Node('wire'), []
    publisher = node.create_publisher(Image, 'picture', RELIABLE)
    node.create_subscription(Image, 'picture', got.append, RELIABLE)
    spinner = Spinner(node)
    wait_until(publisher.get_subscription_count, 'the subscription')
    yield ImagePublisher(publisher), got
    assert spinner.stop()
    node.destroy_node()


def _picture(shape: tuple[int, ...], kind: Any, seed: int = 0) -> npt.NDArray[Any]:
    values = np.random.default_rng(seed).integers(0, 256, shape)
    return values.astype(kind)


@pytest.mark.parametrize(
    ('encoding', 'kind', 'channels'),
    [
        ('rgb8', 'u1', 3),
        ('bgra8', 'u1', 4),
        ('mono8', 'u1', 1),
        ('mono16', 'u2', 1),
        ('32FC1', 'f4', 1),
    ],
)
def test_message_holds_the_bytes_and_what_they_mean(
    wire: tuple[ImagePublisher, list[Image]], encoding: str, kind: str, channels: int
) -> None:
    publisher, got = wire
    shape = (6, 10, channels) if channels > 1 else (6, 10)
    picture = _picture(shape, kind)
    header = Header(stamp=time_of(12.5), frame_id='optical')
    publisher.publish(picture, encoding=encoding, header=header)
    wait_until(lambda: got, 'the picture')
    (message,) = got
    assert message.header == header
    assert (message.height, message.width, message.encoding) == (6, 10, encoding)
    assert message.step == 10 * channels * picture.itemsize
    assert bytes(message.data) == picture.tobytes()


def test_message_is_the_one_that_a_plain_assignment_gives() -> None:
    sent: list[Image] = []

    class Wire:
        def publish(self, message: Image) -> None:
            sent.append(deserialize_message(serialize_message(message), Image))

    rgb = normal_frame()
    expected = image(rgb, stamp=100.0)
    ImagePublisher(Wire()).publish(rgb, encoding='rgb8', header=expected.header)
    assert sent == [expected]


def test_pictures_of_changing_size_and_encoding_arrive_whole_in_a_row(
    wire: tuple[ImagePublisher, list[Image]],
) -> None:
    publisher, got = wire
    wide = _picture((8, 40, 3), 'u1', 5)
    pictures = [
        ('rgb8', _picture((8, 12, 3), 'u1', 1)),
        ('rgb8', _picture((8, 12, 3), 'u1', 2)),  # into the same memory
        ('bgr8', _picture((8, 12, 3), 'u1', 3)),
        ('rgb8', _picture((12, 8, 3), 'u1', 4)),  # as many bytes, another shape
        ('rgb8', wide[:, ::-2]),  # strides of its own
        ('mono16', _picture((12, 12), 'u2', 6)),
        ('16UC1', _picture((12, 12), 'u2', 7)),
        ('rgb8', _picture((8, 12, 3), 'u1', 1)),
    ]
    for encoding, picture in pictures:
        publisher.publish(picture, encoding=encoding)
    wait_until(lambda: len(got) == len(pictures), 'all pictures')
    for message, (encoding, picture) in zip(got, pictures, strict=True):
        assert message.encoding == encoding
        assert (message.height, message.width) == picture.shape[:2]
        assert bytes(message.data) == picture.tobytes()
    assert np.array_equal(frame_from_image(got[4]).rgb, pictures[4][1])


@pytest.mark.parametrize(
    ('picture', 'encoding', 'words'),
    [
        (np.zeros((4, 4, 3), 'u1'), 'yuv422', "expected one of rgb8, .*, got 'yuv422'"),
        (np.zeros((4, 4), 'u1'), 'rgb8', r'expected \(H, W, 3\) uint8, got \(4, 4\) uint8'),
        (np.zeros((4, 4, 3), 'f4'), 'rgb8', r'got \(4, 4, 3\) float32'),
        (np.zeros((0, 4, 3), 'u1'), 'rgb8', r'got \(0, 4, 3\) uint8'),
        (np.zeros((4, 4), '>u2'), 'mono16', 'got .* >u2'),
    ],
)
def test_picture_of_another_kind_is_refused(
    picture: npt.NDArray[Any], encoding: str, words: str
) -> None:
    with pytest.raises(DecodeError, match=words):
        ImagePublisher(None).publish(picture, encoding=encoding)


def test_filling_in_place_is_far_quicker_than_assigning_an_array() -> None:
    class Nowhere:
        def publish(self, message: Image) -> None:
            pass

    rgb, publisher, message = normal_frame(0, 480, 640), ImagePublisher(Nowhere()), Image()
    publisher.publish(rgb, encoding='rgb8')

    def best(work: Callable[[], object], times: int) -> float:
        took = []
        for _ in range(times):
            start = time.thread_time()
            work()
            took.append(time.thread_time() - start)
        return min(took)

    in_place = best(lambda: publisher.publish(rgb, encoding='rgb8'), 10)
    assigned = best(lambda: setattr(message, 'data', rgb.ravel()), 2)
    assert in_place < assigned / 20.0
