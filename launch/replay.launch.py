"""Play a bag into the monitor: ros2 launch ros_ood_monitor replay.launch.py bundle:=B bag:=BAG."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

from ros_ood_monitor.ros.launching import player_actions, shared, transport_of_bag


def generate_launch_description() -> LaunchDescription:
    """Include the monitor, declare the player's arguments and start it."""
    return LaunchDescription(
        [
            DeclareLaunchArgument('bag', description='Folder of the bag, or its .mcap or .db3.'),
            DeclareLaunchArgument(
                'source',
                default_value='',
                description="Image topic in the bag; empty: the bag's only one.",
            ),
            DeclareLaunchArgument(
                'rate',
                default_value='1.0',
                description='Pace as a multiple of the recorded one.',
            ),
            DeclareLaunchArgument(
                'restamp',
                default_value='false',
                description='Whether headers get the time of playing instead of their own.',
            ),
            DeclareLaunchArgument(
                'shutdown_at_end',
                default_value='true',
                description='Whether everything ends with the bag.',
            ),
            transport_of_bag(),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(shared('launch', 'monitor.launch.py'))
            ),
            player_actions(),
        ]
    )
