"""Start one monitor for several cameras: ... multi_camera.launch.py bundle:=B topics:='[X, Y]'."""

from launch import LaunchDescription
from launch.actions import GroupAction

from ros_ood_monitor.ros.launching import multi_camera_action, multi_camera_arguments


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the node; a group keeps their defaults from other files."""
    return LaunchDescription([GroupAction([*multi_camera_arguments(), multi_camera_action()])])
