"""Lifecycle transitions in a thread of their own: a slow configure holds nothing else up."""

from __future__ import annotations

from rclpy.node import Node

from ros_ood_monitor.ros.process.worker import Worker

__all__ = ['Transitions']


class Transitions(Worker):
    """
    Runs one transition after the other, beside the executor's only thread.

    Opening an engine takes from a second to minutes. The executor answers services and takes
    frames meanwhile; it would take none of them while it ran a transition itself.

    Parameters
    ----------
    node : rclpy.node.Node
        The node.

    """

    def __init__(self, node: Node) -> None:
        super().__init__(node, 'transition')
