"""
A camera in a process of its own: some slow frames, many fast ones, slow ones until it is stopped.

``python -m tests.ros.camera_process HZ COUNT``; the stamp of a frame is its number in s. It says
``ready`` once it is heard, begins at a line on its standard input, and ends at the next one.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time

import rclpy
from rclpy.node import Node
from rclpy.utilities import try_shutdown

from tests.ros.harness import BEST_EFFORT, image, normal_frame

SLOW = 5  # frames before the fast ones
SLOW_HZ = 5.0


def _at_next_line() -> threading.Event:
    read = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), read.set()), daemon=True).start()
    return read


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
    ended, due = _at_next_line(), time.monotonic()
    for number in itertools.count(1):
        is_fast = SLOW < number <= SLOW + count
        due += 1.0 / (hz if is_fast else SLOW_HZ)
        if ended.wait(max(0.0, due - time.monotonic())):
            break
        message.header.stamp.sec = number
        publisher.publish(message)
    node.destroy_node()
    try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
