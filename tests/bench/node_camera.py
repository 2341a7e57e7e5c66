"""
A camera in a process of its own, for measurements: pictures at a rate, each with its stamp.

It says ``ready`` once it is heard, begins at a line on its standard input, and prints as JSON how
many pictures it sent, in which time, and how late the latest one was.
"""

from __future__ import annotations

import argparse
import array
import json
import sys
import time
from typing import Any

import cv2
import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import try_shutdown
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from ros_ood_monitor.ros.messages.buffers import ImagePublisher

VARIANTS = 8  # different pictures, sent in turn
QUALITY = 90  # of JPEG


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what a camera does; a measurement hands the same options on."""
    parser.add_argument('--seconds', type=float, default=300.0, help='how long to publish')
    parser.add_argument('--rate', type=float, default=30.0, help='pictures a second')
    parser.add_argument('--width', type=int, default=640)
    parser.add_argument('--height', type=int, default=480)
    parser.add_argument('--encoding', choices=('rgb8', 'jpeg'), default='rgb8')
    parser.add_argument('--reliability', choices=('best_effort', 'reliable'), default='reliable')


def options(args: argparse.Namespace) -> list[str]:
    """Return the command line of a camera that does what ``args`` say."""
    names = ('seconds', 'rate', 'width', 'height', 'encoding', 'reliability')
    return [f'--{name}={getattr(args, name)}' for name in names]


def pictures(args: argparse.Namespace) -> list[Any]:
    """Return different pictures: noise as the raw ones, which JPEG would not make smaller."""
    rng = np.random.default_rng(0)
    shape = (args.height, args.width, 3)
    noise = [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(VARIANTS)]
    if args.encoding == 'rgb8':
        return noise
    soft = [cv2.GaussianBlur(picture, (0, 0), 3.0) for picture in noise]
    quality = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    return [array.array('B', cv2.imencode('.jpg', rgb, quality)[1].tobytes()) for rgb in soft]


def main() -> int:
    """Publish, then say what was published."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('topic')
    add_options(parser)
    args = parser.parse_args()
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = Node('camera')
    profile = QoSProfile(depth=5, reliability=ReliabilityPolicy[args.reliability.upper()])
    shown = pictures(args)
    header = Header(frame_id=args.topic.strip('/').replace('/', '_'))
    if args.encoding == 'rgb8':
        publisher = node.create_publisher(Image, args.topic, profile)
        in_place = ImagePublisher(publisher)

        def publish(picture: Any) -> None:
            in_place.publish(picture, encoding='rgb8', header=header)

    else:
        publisher = node.create_publisher(CompressedImage, f'{args.topic}/compressed', profile)

        def publish(picture: Any) -> None:
            publisher.publish(CompressedImage(header=header, format='jpeg', data=picture))

    while not publisher.get_subscription_count():
        time.sleep(0.02)
    print('ready', flush=True)
    sys.stdin.readline()
    sent, late, start = 0, 0.0, time.monotonic()
    while (due := start + sent / args.rate) < start + args.seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        late = max(late, time.monotonic() - due)
        header.stamp = node.get_clock().now().to_msg()
        publish(shown[sent % VARIANTS])
        sent += 1
    seconds = time.monotonic() - start
    size = np.mean([memoryview(picture).nbytes for picture in shown])
    print(
        json.dumps(
            {'sent': sent, 'seconds': seconds, 'latest_ms': late * 1e3, 'bytes': int(size)}
        ),
        flush=True,
    )
    sys.stdin.readline()  # the last picture is on its way
    node.destroy_node()
    try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
