"""
What the launch files start, so that they only declare and include.

``launch`` is imported late: it exists only where ROS is installed from its own packages, and this
module is read elsewhere, too.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, Final

from ros_ood_monitor.share import share_path

__all__ = ['monitor_action', 'player_actions', 'shared', 'transport_of_bag']

PACKAGE: Final = 'ros_ood_monitor'
EXECUTABLE: Final = 'ood_monitor_node'
_TRUE: Final = ('1', 'true', 'yes', 'on')
_FALSE: Final = ('0', 'false', 'no', 'off')

# launch argument -> parameter it sets; an empty argument leaves the parameter to the file
_OVERRIDES: Final = {
    'bundle': 'model.bundle',
    'transport': 'input.transport',
    'reliability': 'input.reliability',
    'autostart': 'autostart',
    'use_sim_time': 'use_sim_time',
}
_BOOLEANS: Final = ('autostart', 'use_sim_time')


def shared(*parts: str) -> str:
    """Return the path of a shipped file; see `share_path`."""
    return str(share_path(*parts))


def monitor_action() -> Any:
    """
    Return the action that starts the monitor as its launch arguments say.

    The node configures and activates itself (its parameter ``autostart``). An event handler that
    does it from outside would fire again after every later ``configure`` of an operator.

    Returns
    -------
    launch.actions.OpaqueFunction
        It reads ``name namespace params_file image bundle transport reliability autostart
        use_sim_time log_level``.

    """
    return _launch().actions.OpaqueFunction(function=_monitor)


def _monitor(context: Any) -> list[Any]:
    given = context.launch_configurations
    parameters: list[Any] = [given['params_file']] if given['params_file'] else []
    overrides = node_overrides(given)
    if overrides:
        parameters.append(overrides)
    return [
        _launch_ros().LifecycleNode(
            package=PACKAGE,
            executable=EXECUTABLE,
            name=given['name'],
            namespace=given['namespace'],
            parameters=parameters,
            remappings=[('image', given['image'])],
            arguments=['--ros-args', '--log-level', given['log_level']],
            output='screen',
        )
    ]


def node_overrides(given: Any) -> dict[str, Any]:
    """
    Return the parameters that launch arguments set over the parameter file.

    Parameters
    ----------
    given : mapping of str to str
        Launch arguments; empty ones set nothing.

    Returns
    -------
    dict
        Values by parameter.

    Raises
    ------
    ValueError
        If a switch is neither true nor false.

    """
    overrides: dict[str, Any] = {}
    for argument, parameter in _OVERRIDES.items():
        text = given[argument]
        if text:
            overrides[parameter] = _switch(argument, text) if argument in _BOOLEANS else text
    return overrides


def transport_of_bag() -> Any:
    """
    Return the action that sets the launch argument ``transport`` to what the bag holds.

    Returns
    -------
    launch.actions.OpaqueFunction
        It reads ``bag source transport`` and leaves a ``transport`` that is given alone.

    """
    return _launch().actions.OpaqueFunction(function=_set_transport)


def _set_transport(context: Any) -> list[Any]:
    from ros_ood_monitor.bags import BagReader
    from ros_ood_monitor.ros.player import choose_topic, COMPRESSED_TYPE

    given = context.launch_configurations
    if not given.get('transport'):
        with BagReader(given['bag']) as reader:
            _, kind = choose_topic(reader, given['source'])
        given['transport'] = 'compressed' if kind == COMPRESSED_TYPE else 'raw'
    return []


def player_actions() -> Any:
    """
    Return the action that plays a bag, and ends the launch after it where that is wished.

    Returns
    -------
    launch.actions.OpaqueFunction
        It reads ``bag source rate restamp namespace image shutdown_at_end``.

    """
    return _launch().actions.OpaqueFunction(function=_player)


def _player(context: Any) -> list[Any]:
    given = context.launch_configurations
    arguments = ['-m', 'ros_ood_monitor.ros.player', given['bag'], '--rate', given['rate']]
    if given['source']:
        arguments += ['--source', given['source']]
    if _switch('restamp', given['restamp']):
        arguments.append('--restamp')
    launch = _launch()
    player = _launch_ros().Node(
        executable=sys.executable,
        name='bag_player',
        namespace=given['namespace'],
        arguments=arguments,
        remappings=[('image', given['image'])],
        # raw pictures over some 300 kB are lost at best effort without it
        additional_env={'FASTRTPS_DEFAULT_PROFILES_FILE': shared('config', 'fastdds.xml')},
        output='screen',
    )
    actions: list[Any] = [player]
    if _switch('shutdown_at_end', given['shutdown_at_end']):
        shutdown = launch.events.Shutdown(reason='the bag has been played')
        end = launch.actions.EmitEvent(event=shutdown)
        handler = launch.event_handlers.OnProcessExit(target_action=player, on_exit=[end])
        actions.insert(0, launch.actions.RegisterEventHandler(handler))
    return actions


def _launch() -> Any:
    return importlib.import_module('launch')


def _launch_ros() -> Any:
    return importlib.import_module('launch_ros.actions')


def _switch(argument: str, text: str) -> bool:
    word = text.strip().lower()
    if word not in _TRUE + _FALSE:
        msg = f'launch argument {argument!r} must be true or false, got {text!r}'
        raise ValueError(msg)
    return word in _TRUE
