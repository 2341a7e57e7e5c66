"""Start the monitor for one camera: ros2 launch ros_ood_monitor monitor.launch.py bundle:=PATH."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument

from ros_ood_monitor.ros.launching import monitor_action, shared


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the node."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'bundle',
                default_value='',
                description='Folder or .zip of the bundle, or the name of a shipped one; '
                'empty: model.bundle of the parameter file.',
            ),
            DeclareLaunchArgument(
                'image',
                default_value='image',
                description='Topic of the camera, without /compressed.',
            ),
            DeclareLaunchArgument(
                'transport',
                default_value='',
                choices=['', 'raw', 'compressed'],
                description='Kind of pictures to subscribe to; '
                'empty: input.transport of the parameter file.',
            ),
            DeclareLaunchArgument(
                'reliability',
                default_value='',
                choices=['', 'best_effort', 'reliable'],
                description='Reliability to ask the camera for; '
                'empty: input.reliability of the parameter file.',
            ),
            DeclareLaunchArgument(
                'params_file',
                default_value=shared('config', 'monitor.param.yaml'),
                description='Parameter file of the node.',
            ),
            DeclareLaunchArgument(
                'namespace', default_value='', description='Namespace of the node.'
            ),
            DeclareLaunchArgument(
                'name', default_value='ood_monitor', description='Name of the node.'
            ),
            DeclareLaunchArgument(
                'autostart',
                default_value='',
                description='Whether the node configures and activates itself; '
                'empty: autostart of the parameter file.',
            ),
            DeclareLaunchArgument(
                'use_sim_time',
                default_value='',
                description='Whether the node takes its time from /clock; empty: it does not.',
            ),
            DeclareLaunchArgument(
                'log_level',
                default_value='info',
                choices=['debug', 'info', 'warn', 'error', 'fatal'],
                description='Least severe messages that are logged.',
            ),
            monitor_action(),
        ]
    )
