"""
A camera in a process of its own: some slow frames, many fast ones, some slow ones.

``python -m tests.ros.camera_process HZ COUNT``; the stamp of a frame is its number in s. It says
``ready`` once it is heard, begins at a line on its standard input, and ends at the next one.
"""

from __future__ import annotations

import sys
import time

import rclpy
from rclpy.node import Node
from rclpy.utilities import try_shutdown

from tests.ros.harness import BEST_EFFORT, image, normal_frame

SLOW = 5  # frames at either end: none of them is lost or dropped
SLOW_HZ = 5.0


def main() -> int:
    hz, count = float(sys.argv[1]), int(sys.argv[2])
    rclpy.init(args=[])
    node = Node('camera')
    publisher = node.create_publisher(type(image(normal_frame())), 'image', BEST_EFFORT)
    message = image(normal_frame(0, 120, 160))
    while not publisher.get_subscription_count():
        time.sleep(0.01)
    print('ready', flush=True)
    sys.stdin.readline()
    due = time.monotonic()
    for number in range(1, count + 2 * SLOW + 1):
        is_fast = SLOW < number <= SLOW + count
        due += 1.0 / (hz if is_fast else SLOW_HZ)
        time.sleep(max(0.0, due - time.monotonic()))
        message.header.stamp.sec = number
        publisher.publish(message)
    sys.stdin.readline()  # what was published last goes down with a process that ends at once
    node.destroy_node()
    try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
