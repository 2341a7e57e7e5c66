"""Our part of launch files, for our own and for others; ``launch`` is imported late here."""

from ros_ood_monitor.ros.launching.monitor import (
    camera_environment,
    monitor_action,
    monitor_arguments,
    monitor_node,
    multi_camera_action,
    multi_camera_arguments,
    profile_environment,
    replay_arguments,
)
from ros_ood_monitor.ros.launching.replay import player_actions, transport_of_bag

__all__ = [
    'camera_environment',
    'monitor_action',
    'monitor_arguments',
    'monitor_node',
    'multi_camera_action',
    'multi_camera_arguments',
    'player_actions',
    'profile_environment',
    'replay_arguments',
    'transport_of_bag',
]
