"""
ROS's own parameters for the quality of service of the image subscriptions.

``qos_overrides.<topic>.subscription.<policy>`` wins over ``input.reliability`` and ``input.depth``
where it is given. rclpy reads them; it answers a wrong one with an exception of any kind in the
middle of subscribing, so they are judged here before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from rclpy.node import Node
from rclpy.qos import QoSPolicyKind
from rclpy.qos_overriding_options import QoSOverridingOptions

from ros_ood_monitor.errors import ParameterError

__all__ = ['QOS_OVERRIDES', 'given_override', 'overriding_options', 'unused_overrides']

QOS_OVERRIDES: Final = 'qos_overrides.'
"""What the names of these parameters begin with."""

_LARGEST_DEPTH: Final = 1000  # frames, as of input.depth
# Reliability best_available is not among them: it is settled when the node subscribes, and before
# there is a camera it becomes reliable, which hears no best-effort one.
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    'depth': (),
    'reliability': ('best_effort', 'reliable'),
    'durability': ('volatile', 'transient_local'),
    'history': ('keep_last', 'keep_all'),
}


def overriding_options(node: Node, topic: str) -> QoSOverridingOptions:
    """
    Return the overrides that were given for the subscription to a topic.

    Those that were not given are left out: rclpy would declare them with the values of the first
    activation, and these would hold against a later change of ``input.depth``.

    Parameters
    ----------
    node : rclpy.node.Node
        The node.
    topic : str
        The resolved topic.

    Returns
    -------
    rclpy.qos_overriding_options.QoSOverridingOptions
        For `rclpy.node.Node.create_subscription`.

    Raises
    ------
    ParameterError
        If a value is not allowed.

    """
    kinds = []
    for policy, choices in _CHOICES.items():
        name = _name(topic, policy)
        given = node._parameter_overrides.get(name)  # rclpy keeps what was given here
        if given is None:
            continue
        value = given.value
        if choices and value not in choices:
            msg = f'parameter {name!r} must be one of {list(choices)}, got {value!r}'
            raise ParameterError(msg)
        if not choices and (type(value) is not int or not 1 <= value <= _LARGEST_DEPTH):
            msg = f'parameter {name!r} must lie in 1 to {_LARGEST_DEPTH} frames, got {value!r}'
            raise ParameterError(msg)
        kinds.append(QoSPolicyKind[policy.upper()])
    return QoSOverridingOptions(kinds)


def given_override(node: Node, topic: str, policy: str) -> str:
    """Return the name of the override of a policy; empty where none was given."""
    name = _name(topic, policy)
    return name if name in node._parameter_overrides else ''


def unused_overrides(node: Node, topics: Iterable[str]) -> list[str]:
    """
    Return the overrides that were given for no subscription of these, and not to ROS itself.

    Parameters
    ----------
    node : rclpy.node.Node
        The node.
    topics : iterable of str
        The resolved topics that it subscribes to.

    Returns
    -------
    list of str
        Names of parameters.

    """
    used = {_name(topic, policy) for topic in topics for policy in _CHOICES}
    own = ('/parameter_events.', '/clock.', '/rosout.')
    return sorted(
        name
        for name in node._parameter_overrides
        if name.startswith(QOS_OVERRIDES)
        and name not in used
        and not name.removeprefix(QOS_OVERRIDES).startswith(own)
    )


def _name(topic: str, policy: str) -> str:
    return f'{QOS_OVERRIDES}{topic}.subscription.{policy}'
