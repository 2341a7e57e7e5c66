"""The clock by which silence and waiting are measured: steady, or that of a simulation."""

from __future__ import annotations

from collections.abc import Callable
import time

from rclpy.node import Node

__all__ = ['stream_clock']


def stream_clock(node: Node) -> Callable[[], float]:
    """
    Return the clock of a node's cameras.

    A simulation that runs at a fifth of real time sends a fifth of the frames; measured by the
    wall its cameras would be silent.

    Parameters
    ----------
    node : rclpy.node.Node
        The node; ``use_sim_time`` is looked at now.

    Returns
    -------
    callable
        Seconds: of ``/clock`` with ``use_sim_time``, where they may stand, jump either way and are
        0 before the first message; else steady ones, which no setting of the system's clock moves.

    """
    if not node.get_parameter('use_sim_time').value:
        return time.monotonic
    clock = node.get_clock()
    return lambda: float(clock.now().nanoseconds) * 1e-9
