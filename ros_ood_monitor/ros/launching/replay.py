"""What ``replay.launch.py`` starts beside the monitor; ``launch`` is imported late here, too."""

from __future__ import annotations

import importlib
import sys
from typing import Any, TYPE_CHECKING

from ros_ood_monitor.ros.launching.arguments import switch
from ros_ood_monitor.ros.launching.monitor import image_remapping, profile_environment

if TYPE_CHECKING:
    from launch.actions import OpaqueFunction

__all__ = ['player_actions', 'transport_of_bag']


def transport_of_bag() -> OpaqueFunction:
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
    from ros_ood_monitor.ros.demo.player import choose_topic, COMPRESSED_TYPE

    given = context.launch_configurations
    if not given['transport']:
        with BagReader(given['bag']) as reader:
            _, kind = choose_topic(reader, given['source'])
        given['transport'] = 'compressed' if kind == COMPRESSED_TYPE else 'raw'
    return []


def player_actions() -> OpaqueFunction:
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
    arguments = ['-m', 'ros_ood_monitor', 'play', given['bag']]
    if given['rate']:
        arguments += ['--rate', given['rate']]
    if given['source']:
        arguments += ['--source', given['source']]
    if given['restamp'] and switch('restamp', given['restamp']):
        arguments.append('--restamp')
    launch = _launch()
    player = importlib.import_module('launch_ros.actions').Node(
        executable=sys.executable,
        name='bag_player',
        namespace=given['namespace'],
        arguments=arguments,
        remappings=image_remapping(given['image']),
        # raw pictures over some 300 kB are lost at best effort without it
        additional_env=profile_environment(),
        output='screen',
    )
    actions: list[Any] = [player]
    if not given['shutdown_at_end'] or switch('shutdown_at_end', given['shutdown_at_end']):
        shutdown = launch.events.Shutdown(reason='the bag has been played')
        end = launch.actions.EmitEvent(event=shutdown)
        handler = launch.event_handlers.OnProcessExit(target_action=player, on_exit=[end])
        actions.insert(0, launch.actions.RegisterEventHandler(handler))
    return actions


def _launch() -> Any:
    return importlib.import_module('launch')
