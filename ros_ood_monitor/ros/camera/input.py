"""The subscription to a camera: raw or compressed, with what the middleware tells about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import qos_policy_name_from_kind
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from ros_ood_monitor.ros.camera.cameras import Camera
from ros_ood_monitor.ros.messages import qos
from ros_ood_monitor.ros.messages.compat import (
    SubscriptionEventCallbacks,
    UnsupportedEventTypeError,
    with_message_info,
)
from ros_ood_monitor.ros.parameters.qos_overrides import overriding_options
from ros_ood_monitor.ros.parameters.settings import Settings

__all__ = ['subscribe_images']


def subscribe_images(
    node: Node,
    camera: Camera,
    settings: Settings,
    *,
    on_image: Callable[..., None],
    on_lost: Callable[[int], None],
    on_incompatible_qos: Callable[[int, str], None],
) -> Subscription:
    """
    Subscribe to the images of one camera.

    Parameters
    ----------
    node : rclpy.node.Node
        The node.
    camera : Camera
        The camera.
    settings : Settings
        The ``input.*`` parameters.
    on_image : callable
        Takes a sensor_msgs.msg.Image or CompressedImage, and the middleware's message info.
    on_lost : callable
        Takes the count of messages that the middleware lost, where it counts them.
    on_incompatible_qos : callable
        Takes the count of publishers that cannot be heard, and which policy did not fit.

    Returns
    -------
    rclpy.subscription.Subscription
        The subscription, in a callback group of its own.

    Raises
    ------
    ParameterError
        If one of ROS's own overrides of the quality of service is not allowed.

    """

    def on_unfit(event: Any) -> None:
        on_incompatible_qos(event.total_count, qos_policy_name_from_kind(event.last_policy_kind))

    def on_loss(event: Any) -> None:
        on_lost(event.total_count)

    def subscribe(events: SubscriptionEventCallbacks) -> Subscription:
        return node.create_subscription(
            CompressedImage if settings.input_transport == 'compressed' else Image,
            camera.unmapped,
            with_message_info(on_image),
            qos.input_qos(settings.input_reliability, settings.input_depth),
            # a new group each time: rclpy leaves a group locked where one of its events is
            # destroyed in the moment in which it is taken
            callback_group=MutuallyExclusiveCallbackGroup(),
            event_callbacks=events,
            qos_overriding_options=overriding_options(node, camera.topic),
        )

    try:
        return subscribe(
            SubscriptionEventCallbacks(incompatible_qos=on_unfit, message_lost=on_loss)
        )
    except UnsupportedEventTypeError:  # not every middleware counts what it loses
        return subscribe(SubscriptionEventCallbacks(incompatible_qos=on_unfit))
