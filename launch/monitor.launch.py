"""Start the monitor for one camera: ros2 launch ros_ood_monitor monitor.launch.py bundle:=PATH."""

from launch import LaunchDescription
from launch.actions import GroupAction

from ros_ood_monitor.ros.launching import monitor_action, monitor_arguments


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the node; a group keeps their defaults from other files."""
    return LaunchDescription([GroupAction([*monitor_arguments(), monitor_action()])])
