"""Play a bag into the monitor: ros2 launch ros_ood_monitor replay.launch.py bundle:=B bag:=BAG."""

from launch import LaunchDescription
from launch.actions import GroupAction

from ros_ood_monitor.ros.launching import (
    monitor_action,
    player_actions,
    replay_arguments,
    transport_of_bag,
)


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, start the monitor and the player."""
    return LaunchDescription(
        [
            GroupAction(
                [*replay_arguments(), transport_of_bag(), monitor_action(), player_actions()]
            )
        ]
    )
