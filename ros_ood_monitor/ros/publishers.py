"""Who publishes on an input topic, and what to change where nobody can be heard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rclpy.node import Node

from ros_ood_monitor.ros.cameras import Camera, COMPRESSED

__all__ = ['Publishers', 'find_publishers']

_RAW_TYPE: Final = 'sensor_msgs/msg/Image'
_COMPRESSED_TYPE: Final = 'sensor_msgs/msg/CompressedImage'


@dataclass(frozen=True)
class Publishers:
    """
    The publishers on an input topic.

    Parameters
    ----------
    count : int
        Those that publish what the node subscribes to.
    advice : str
        Where there are none: what there is instead, and what to change.
    is_mistaken : bool
        Whether there is something instead: images of the other transport, or no images.

    """

    count: int
    advice: str = ''
    is_mistaken: bool = False


def find_publishers(node: Node, camera: Camera, *, transport: str) -> Publishers:
    """
    Look for the publishers of a camera.

    Parameters
    ----------
    node : rclpy.node.Node
        The node, which knows those that it has discovered by now.
    camera : Camera
        The camera.
    transport : {'raw', 'compressed'}
        Which of image_transport's topics is subscribed to.

    Returns
    -------
    Publishers
        Their number, and advice where it is 0.

    """
    compressed = transport == 'compressed'
    wanted, other = (_COMPRESSED_TYPE, _RAW_TYPE) if compressed else (_RAW_TYPE, _COMPRESSED_TYPE)
    topic = camera.topic
    kinds = _types(node, topic)
    count = kinds.count(wanted)
    if count:
        return Publishers(count)
    set_other = f'set input.transport: {"raw" if compressed else "compressed"}'
    if kinds:
        kind = min(kinds)
        cure = set_other if kind == other else f'remap {camera.entry} to images'
        return Publishers(
            0, f'{topic} is published as {kind}, not as {wanted}; {cure}', is_mistaken=True
        )
    sibling = topic.removesuffix(COMPRESSED) if compressed else topic + COMPRESSED
    if other in _types(node, sibling):
        advice = f'no publisher on {topic}, but one on {sibling}; {set_other}'
        return Publishers(0, advice, is_mistaken=True)
    return Publishers(0, f'no publisher on {topic}; remap {camera.entry} to your camera')


def _types(node: Node, topic: str) -> list[str]:
    return [info.topic_type for info in node.get_publishers_info_by_topic(topic)]
