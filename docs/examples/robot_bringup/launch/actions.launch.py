"""One monitor for each of two cameras, from actions instead of includes."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node, PushRosNamespace

from ros_ood_monitor.ros.launching import camera_environment, monitor_node


def monitored_camera(name: str, device: str) -> GroupAction:
    """Return a camera driver and its monitor, both in the namespace NAME."""
    return GroupAction(
        [
            PushRosNamespace(name),
            *camera_environment(),
            Node(
                package='v4l2_camera',
                executable='v4l2_camera_node',
                name='driver',
                parameters=[{'video_device': device}],
                condition=IfCondition(LaunchConfiguration('drivers')),
            ),
            monitor_node(
                bundle=LaunchConfiguration('bundle'),
                image='image_raw',
                parameters=[{'input.max_rate_hz': 10.0}],
                respawn=True,
            ),
        ]
    )


def generate_launch_description() -> LaunchDescription:
    """Start both."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'bundle', default_value='lunar_orbit', description='Bundle of the monitors.'
            ),
            DeclareLaunchArgument(
                'drivers',
                default_value='true',
                description='Whether to start the camera drivers, too.',
            ),
            monitored_camera('front', '/dev/video0'),
            monitored_camera('rear', '/dev/video2'),
        ]
    )
