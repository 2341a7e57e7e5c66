"""Who publishes on an input topic, and what to change where nobody can be heard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from ros_ood_monitor.ros.camera.cameras import Camera, COMPRESSED, find_topic
from ros_ood_monitor.ros.parameters.qos_overrides import given_override

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
    unheard : int
        Those of ``count`` whose quality of service does not fit.
    cure : str
        What does not fit of one of those, and what to change.

    """

    count: int
    advice: str = ''
    is_mistaken: bool = False
    unheard: int = 0
    cure: str = ''

    def why_silent(self, topic: str, *, was_heard: bool) -> str:
        """
        Return why nothing can come, and what to change.

        Parameters
        ----------
        topic : str
            The input topic.
        was_heard : bool
            Whether frames have come before: there is a camera, and nothing to remap.

        Returns
        -------
        str
            One sentence; empty where something can come.

        """
        if self.advice and was_heard and not self.is_mistaken:
            return f'camera gone: no publisher on {topic}'
        return self.advice or self.cure

    @property
    def heard(self) -> int:
        """Return how many can be heard."""
        return self.count - self.unheard


def find_publishers(
    node: Node,
    camera: Camera,
    *,
    transport: str,
    asked: QoSProfile | None = None,
    is_transport_used: bool = False,
) -> Publishers:
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
    asked : rclpy.qos.QoSProfile, optional
        What the subscription asks for; not looked at where it is not given.
    is_transport_used : bool, default False
        Whether another camera of the node is heard by this transport, which then has to stay.

    Returns
    -------
    Publishers
        Their number, and advice where it is 0 or one of them cannot be heard.

    """
    compressed = transport == 'compressed'
    wanted, other = (_COMPRESSED_TYPE, _RAW_TYPE) if compressed else (_RAW_TYPE, _COMPRESSED_TYPE)
    topic = camera.topic
    found = [(info.topic_type, info.qos_profile) for info in _infos(node, camera.unmapped)]
    kinds = [kind for kind, _ in found]
    count = kinds.count(wanted)
    if count:
        cures = [
            _misfit(node, topic, offered, asked)
            for kind, offered in found
            if kind == wanted and asked is not None
        ]
        unheard = [cure for cure in cures if cure]
        return Publishers(count, unheard=len(unheard), cure=min(unheard, default=''))
    set_other = f'set input.transport: {"raw" if compressed else "compressed"}'
    if is_transport_used:
        set_other = (
            f'input.transport: {transport} holds for all cameras and another one needs it, so '
            'publish this one so, too, or give it a node of its own'
        )
    if kinds:
        kind = min(kinds)
        cure = set_other if kind == other else f'remap {camera.entry} to images'
        return Publishers(
            0, f'{topic} is published as {kind}, not as {wanted}; {cure}', is_mistaken=True
        )
    entry = camera.entry.removesuffix(COMPRESSED) if compressed else camera.entry
    sibling, unmapped = find_topic(entry, node.resolve_topic_name, compressed=not compressed)
    if sibling == topic:  # remapped by its whole name
        sibling = unmapped = topic.removesuffix(COMPRESSED) if compressed else topic + COMPRESSED
    if other in [info.topic_type for info in _infos(node, unmapped)]:
        advice = f'no publisher on {topic}, but one on {sibling}; {set_other}'
        return Publishers(0, advice, is_mistaken=True)
    return Publishers(0, f'no publisher on {topic}; remap {camera.entry} to your camera')


def _infos(node: Node, unmapped: str) -> list[Any]:
    return list(node.get_publishers_info_by_topic(unmapped))  # which remaps it


def _misfit(node: Node, topic: str, offered: QoSProfile, asked: QoSProfile) -> str:
    """Return what a publisher offers less of than is asked for, and the cure; empty if nothing."""
    lesser = {
        'reliability': (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT),
        'durability': (DurabilityPolicy.TRANSIENT_LOCAL, DurabilityPolicy.VOLATILE),
    }
    for policy, (more, less) in lesser.items():
        if getattr(asked, policy) is more and getattr(offered, policy) is less:
            name = given_override(node, topic, policy) or f'input.{policy}'
            return (
                f'a publisher on {topic} cannot be heard: it offers {policy} {less.name.lower()}, '
                f'not {more.name.lower()}; set {name}: {less.name.lower()}'
            )
    return ''
