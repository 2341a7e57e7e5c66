"""
The monitor's part of a launch file: arguments and actions, for our launch files and for others.

``launch`` is imported late: it exists only where ROS is installed from its own packages, and this
module is read elsewhere, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import importlib
from typing import Any, Final, TYPE_CHECKING

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.ros.launching.arguments import (
    LaunchArgument,
    MONITOR,
    monitor_options,
    MULTI_CAMERA,
    REPLAY,
)
from ros_ood_monitor.share import share_path

if TYPE_CHECKING:
    from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
    from launch.some_substitutions_type import SomeSubstitutionsType as Text
    from launch.substitutions import EnvironmentVariable
    from launch_ros.actions import LifecycleNode

__all__ = [
    'camera_environment',
    'image_remapping',
    'monitor_action',
    'monitor_arguments',
    'monitor_node',
    'multi_camera_action',
    'multi_camera_arguments',
    'profile_environment',
    'replay_arguments',
    'shared',
]

PACKAGE: Final = 'ros_ood_monitor'
EXECUTABLE: Final = 'ood_monitor_node'
# releases of Fast DDS differ in which one they read
_PROFILE_VARIABLES: Final = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
_TYPES: Final = {'text': str, 'switch': bool, 'names': list[str]}


def shared(*parts: str) -> str:
    """Return the path of a shipped file; see `share_path`."""
    return str(share_path(*parts))


def monitor_node(
    *,
    bundle: Text | None = None,
    image: Text | None = None,
    topics: Sequence[str] | Text | None = None,
    cameras: Sequence[str] | Text | None = None,
    transport: Text | None = None,
    reliability: Text | None = None,
    params_file: Text | None = None,
    namespace: Text = '',
    name: Text = 'ood_monitor',
    autostart: bool | Text | None = None,
    use_sim_time: bool | Text | None = None,
    log_level: Text = 'info',
    parameters: Sequence[Any] = (),
    remappings: Sequence[tuple[Text, Text]] = (),
    **kwargs: Any,
) -> LifecycleNode:
    """
    Return the action that starts the monitor.

    The node configures and activates itself (its parameter ``autostart``). An event handler that
    does it from outside would fire again after every later ``configure`` of an operator.

    What is None is left to the parameter files, and behind them to the node's defaults. Text may
    be a substitution everywhere; one that stands for a list gives it as YAML.

    Parameters
    ----------
    bundle : text, optional
        Folder or .zip of the bundle, or the name of a shipped one.
    image : text, optional
        Topic of the only camera, without ``/compressed``: a remapping of ``image``.
    topics : sequence of str, optional
        Topics of several cameras, instead of ``image``.
    cameras : sequence of str, optional
        Their names, in the same order.
    transport : {'raw', 'compressed'}, optional
        Kind of pictures.
    reliability : {'best_effort', 'reliable'}, optional
        What is asked of the cameras.
    params_file : text, optional
        Parameter file; what is given beside it wins.
    namespace, name : text
        Of the node.
    autostart, use_sim_time : bool, optional
        The node's parameters of these names.
    log_level : text, default 'info'
        Least severe messages that are logged.
    parameters : sequence
        More of what `launch_ros.actions.Node` takes as parameters; they win over all others.
    remappings : sequence of (text, text)
        More remappings.
    **kwargs
        Passed on to `launch_ros.actions.LifecycleNode`, such as ``condition`` or ``respawn``.

    Returns
    -------
    launch_ros.actions.LifecycleNode
        The action. The process runs with our Fast DDS profile where no other one is set.

    Raises
    ------
    ParameterError
        If both ``image`` and ``topics`` are given.

    """
    if image is not None and topics is not None:
        msg = f'expected image for one camera or topics for several, got both: {image}, {topics}'
        raise ParameterError(msg)
    given = {
        'bundle': bundle,
        'transport': transport,
        'reliability': reliability,
        'autostart': autostart,
        'use_sim_time': use_sim_time,
        'topics': topics,
        'cameras': cameras,
    }
    overrides = _overrides(given)
    environment = {**profile_environment(), **kwargs.pop('additional_env', {})}
    return _launch_ros('actions').LifecycleNode(
        package=PACKAGE,
        executable=EXECUTABLE,
        name=name,
        namespace=namespace,
        parameters=[
            *([] if params_file is None else [params_file]),
            *([overrides] if overrides else []),
            *parameters,
        ],
        remappings=[*image_remapping(image), *remappings],
        ros_arguments=['--log-level', log_level],
        additional_env=environment,
        **{'output': 'screen', **kwargs},
    )


def camera_environment() -> list[SetEnvironmentVariable]:
    """
    Return the actions that give cameras the Fast DDS profile with room for raw pictures.

    They have to stand before the camera driver (or the container of its components) and in the
    same scope: what counts is the process that publishes. A profile that is already set stays.

    Returns
    -------
    list of launch.actions.SetEnvironmentVariable
        One for each name of the variable.

    """
    action = _launch('actions').SetEnvironmentVariable
    return [action(name, value) for name, value in profile_environment().items()]


def profile_environment() -> dict[str, EnvironmentVariable]:
    """
    Return the environment of a process that has the Fast DDS profile, for ``additional_env``.

    Returns
    -------
    dict of str to launch.substitutions.EnvironmentVariable
        Both names of the variable: with the profile that either has already, or else with ours.

    """
    variable = _launch('substitutions').EnvironmentVariable
    profile = shared('config', 'fastdds.xml')
    first, second = _PROFILE_VARIABLES
    return {
        first: variable(first, default_value=variable(second, default_value=profile)),
        second: variable(second, default_value=variable(first, default_value=profile)),
    }


def image_remapping(image: Text | None) -> list[tuple[Text, Text]]:
    """Return the remapping to a camera's topic; ``image:=image`` would hide a SetRemap around."""
    return [] if image in (None, '', 'image') else [('image', image)]


def monitor_arguments() -> list[DeclareLaunchArgument]:
    """Return the arguments of ``monitor.launch.py``, to declare them in another launch file."""
    return _declare(MONITOR)


def multi_camera_arguments() -> list[DeclareLaunchArgument]:
    """Return the arguments of ``multi_camera.launch.py``, likewise."""
    return _declare(MULTI_CAMERA)


def replay_arguments() -> list[DeclareLaunchArgument]:
    """Return the arguments of ``replay.launch.py``, likewise."""
    return _declare(REPLAY)


def monitor_action() -> OpaqueFunction:
    """Return the action that starts the monitor as the `monitor_arguments` say."""
    return _launch('actions').OpaqueFunction(function=_start, args=[MONITOR])


def multi_camera_action() -> OpaqueFunction:
    """Return the action that starts the monitor as the `multi_camera_arguments` say."""
    return _launch('actions').OpaqueFunction(function=_start, args=[MULTI_CAMERA])


def _start(context: Any, arguments: Sequence[LaunchArgument]) -> list[LifecycleNode]:
    return [monitor_node(**monitor_options(arguments, context.launch_configurations))]


def _declare(arguments: Sequence[LaunchArgument]) -> list[DeclareLaunchArgument]:
    declare = _launch('actions').DeclareLaunchArgument
    return [
        declare(
            argument.name,
            default_value=argument.default_text,
            description=argument.description,
            choices=list(argument.choices) or None,
        )
        for argument in arguments
    ]


def _overrides(given: Mapping[str, Any]) -> dict[str, Any]:
    # told its type: launch would take a bundle '2024' for a number and a camera 'on' for a bool
    value = _launch_ros('parameter_descriptions').ParameterValue
    return {
        argument.parameter: value(given[argument.name], value_type=_TYPES[argument.kind])
        for argument in dict.fromkeys([*MONITOR, *MULTI_CAMERA])
        if argument.parameter and given[argument.name] is not None
    }


def _launch(module: str) -> Any:
    return importlib.import_module(f'launch.{module}')


def _launch_ros(module: str) -> Any:
    return importlib.import_module(f'launch_ros.{module}')
