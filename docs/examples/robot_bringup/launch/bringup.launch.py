"""Two cameras, and one monitor for both by an include."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import ComposableNodeContainer, PushRosNamespace
from launch_ros.descriptions import ComposableNode
from launch_ros.substitutions import FindPackageShare

from ros_ood_monitor.ros.launching import camera_environment


def camera(name: str, device: str) -> ComposableNode:
    """Return a camera driver that publishes NAME/image_raw."""
    return ComposableNode(
        package='v4l2_camera',
        plugin='v4l2_camera::V4L2Camera',
        name='driver',
        namespace=name,
        parameters=[{'video_device': device}],
    )


def generate_launch_description() -> LaunchDescription:
    """Start everything in the namespace robot."""
    # the profile has to be set where the pictures are published: in the container's process, and
    # so before it starts; loading a component into a container that runs comes too late
    cameras = GroupAction(
        [
            *camera_environment(),
            ComposableNodeContainer(
                package='rclcpp_components',
                executable='component_container',
                name='cameras',
                namespace='',
                composable_node_descriptions=[
                    camera('front', '/dev/video0'),
                    camera('rear', '/dev/video2'),
                ],
            ),
        ],
        condition=IfCondition(LaunchConfiguration('drivers')),
    )
    share = FindPackageShare('ros_ood_monitor')
    config = [FindPackageShare('robot_bringup'), 'config', 'monitor.param.yaml']
    monitor = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([share, 'launch', 'multi_camera.launch.py'])
        ),
        launch_arguments={
            'bundle': LaunchConfiguration('bundle'),
            'topics': '[front/image_raw, rear/image_raw]',
            'params_file': PathJoinSubstitution(config),
        }.items(),
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'bundle', default_value='lunar_orbit', description='Bundle of the monitor.'
            ),
            DeclareLaunchArgument(
                'drivers',
                default_value='true',
                description='Whether to start the camera drivers, too.',
            ),
            GroupAction([PushRosNamespace('robot'), cameras, monitor]),
        ]
    )
