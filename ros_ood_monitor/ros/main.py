"""
The command ``ood_monitor_node``: the node, and quiet from its first moment.

Loading ROS and OpenCV takes a good part of a second, in which Python would answer a signal with a
traceback. This module imports neither before it has taken the signals over.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

__all__ = ['main']


def main() -> int:
    """
    Run the node until it is told to stop.

    Returns
    -------
    int
        0 after SIGINT or SIGTERM, 1 where the node could not start or run, 2 for arguments that
        nobody reads.

    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    from ros_ood_monitor.ros import monitor_node

    return monitor_node.main()


def _leave(number: int, frame: FrameType | None) -> None:
    # nothing runs yet that could be ended; raising would meet whatever import is under way
    os._exit(0)


if __name__ == '__main__':
    sys.exit(main())
