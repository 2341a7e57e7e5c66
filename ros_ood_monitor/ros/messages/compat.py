"""What differs between the releases of rclpy that we run on; Humble's is the oldest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from rclpy.subscription import Subscription

try:
    from rclpy.event_handler import (
        PublisherEventCallbacks,
        SubscriptionEventCallbacks,
        UnsupportedEventTypeError,
    )
except ImportError:  # Humble
    from rclpy.qos_event import (
        PublisherEventCallbacks,
        SubscriptionEventCallbacks,
        UnsupportedEventTypeError,
    )

__all__ = [
    'PublisherEventCallbacks',
    'SubscriptionEventCallbacks',
    'UnsupportedEventTypeError',
    'with_message_info',
]

GIVES_MESSAGE_INFO: Final = hasattr(Subscription, 'CallbackType')  # Iron and later


def with_message_info(
    callback: Callable[[Any, Mapping[str, Any]], None],
) -> Callable[..., None]:
    """
    Return a callback of a subscription that is told about the message where rclpy knows.

    Parameters
    ----------
    callback : callable
        Takes a message, and the middleware's facts about it by name.

    Returns
    -------
    callable
        The same; on Humble, which calls with the message alone, it is given no fact.

    """
    if GIVES_MESSAGE_INFO:
        return callback
    return lambda message: callback(message, {})
