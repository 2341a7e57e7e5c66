"""From settings to a monitor that has proven itself; no ROS in here."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
import math
from pathlib import Path
from typing import Any, Final

import cv2

from ros_ood_monitor.alerting import Automaton, LOGICS, make_logic
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.calibration import Calibration, OperatingPoint
from ros_ood_monitor.engines import open_engine
from ros_ood_monitor.errors import CalibrationError, ParameterError
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.ros.camera.health_settings import health_limits, set_health
from ros_ood_monitor.ros.parameters.settings import Settings
from ros_ood_monitor.share import bundle_path

__all__ = [
    'alert_logic',
    'alert_point',
    'engine_cache',
    'offers_heatmap',
    'open_monitor',
    'retune',
    'share_engine',
]


_CONSECUTIVE: Final = ('trigger', 'release', 'trigger_frames', 'release_frames')
"""Parameters of ``alert`` that are fields of an operating point; the others are settings."""


def alert_logic(settings: Settings, calibration: Calibration) -> Automaton:
    """
    Return the alert logic that the parameters and the bundle together ask for.

    Parameters
    ----------
    settings : Settings
        Parameters; an empty name, NaN and 0 leave a value to the bundle.
    calibration : Calibration
        The bundle's.

    Returns
    -------
    Automaton
        In its first state.

    Raises
    ------
    ParameterError
        If the values contradict each other, or one belongs to another alert logic.

    """
    point = alert_point(settings, calibration.operating_point)
    return make_logic(point, calibration.raw_score, stale_after=settings.alert_stale_after)


def alert_point(settings: Settings, point: OperatingPoint) -> OperatingPoint:
    """
    Return the operating point that the parameters make of the bundle's.

    Parameters
    ----------
    settings : Settings
        Parameters; an empty name, NaN and 0 leave a value to the bundle.
    point : OperatingPoint
        The bundle's.

    Returns
    -------
    OperatingPoint
        The same where they leave all to the bundle; else one without a stated rate.

    Raises
    ------
    ParameterError
        If the values contradict each other, or one belongs to another alert logic.

    """
    name = settings.alert_logic or point.logic
    if name != point.logic:
        # neither the settings nor the rate were another logic's
        point = replace(point, logic=name, settings={}, rate=None, rate_established=False)
    fields = _CONSECUTIVE if name == 'consecutive' else ()
    mine = (*fields, *LOGICS.get(name, ()))
    given = {
        leaf: getattr(settings, f'alert_{leaf}')
        for leaf in dict.fromkeys((*_CONSECUTIVE, *chain.from_iterable(LOGICS.values())))
    }
    given = {leaf: value for leaf, value in given.items() if not _is_left(value)}
    other = [f'alert.{leaf}' for leaf in given if leaf not in mine]
    if other:
        msg = (
            f'parameters of another alert logic than {name!r}, which takes '
            f'{[f"alert.{leaf}" for leaf in mine]}: got {other}; leave them at .nan or 0'
        )
        raise ParameterError(msg)
    changes: dict[str, Any] = {leaf: given.pop(leaf) for leaf in fields if leaf in given}
    if 'trigger' in changes:
        # a trigger set under the bundle's release pulls that release down with it
        changes.setdefault('release', min(point.release, changes['trigger']))
    if not (changes or given):
        return point
    try:
        return replace(
            point,
            **changes,
            settings={**point.settings, **given},
            rate=None,
            rate_established=False,
        )
    except CalibrationError as error:
        raise ParameterError(str(error)) from error


def open_monitor(settings: Settings) -> Monitor:
    """
    Load the bundle and open its engine on this device.

    Parameters
    ----------
    settings : Settings
        Parameters of the node.

    Returns
    -------
    Monitor
        Not yet warmed up or verified.

    Raises
    ------
    ParameterError, BundleError, EngineError
        If it cannot run; the message says why.

    """
    if not settings.model_bundle:
        msg = (
            "parameter 'model.bundle' is empty: expected the path of a bundle or the name of a "
            'shipped one; give it with -p model.bundle:=PATH'
        )
        raise ParameterError(msg)
    bundle = Bundle.load(bundle_path(settings.model_bundle))
    cv2.setNumThreads(settings.model_threads)  # the resize too keeps to what was granted
    engine = open_engine(
        bundle,
        settings.model_engine,
        precision=settings.model_precision or None,
        threads=settings.model_threads,
        device=settings.model_device,
        cache=engine_cache(settings),
        stand_in=settings.model_build_if_missing,
    )
    try:
        monitor = Monitor(bundle, engine)
        monitor.alert = alert_logic(settings, monitor.calibration)
        set_health(monitor, settings, health_limits(settings, monitor.health_limits))
    except BaseException:
        engine.close()
        raise
    return monitor


def offers_heatmap(monitor: Monitor, settings: Settings) -> bool:
    """
    Tell whether there are heat-maps to publish.

    Parameters
    ----------
    monitor : Monitor
        Opened and warmed up.
    settings : Settings
        ``publish.heatmap`` says whether they are wanted.

    Returns
    -------
    bool
        Whether bundle and engine give them and they are wanted.

    Raises
    ------
    ParameterError
        If they are required and not to be had.
    EngineError
        If the engine fails.

    """
    if settings.publish_heatmap == 'never':
        return False
    bundle = monitor.bundle
    lack = 'the bundle has no map; take one with a map'
    if monitor.has_map:
        golden = bundle.goldens(monitor.precision).image[:1]  # (1, h, w, 3)
        if monitor.engine.infer(golden).patch_score is not None:
            return True
        engine = monitor.engine.describe()['engine']
        lack = f'the engine {engine} gives no map; take another model.engine'
    if settings.publish_heatmap == 'required':
        msg = f"parameter 'publish.heatmap' is required, but {lack}, or set auto: {bundle.path}"
        raise ParameterError(msg)
    return False


def engine_cache(settings: Settings) -> Path | None:
    """Return the folder of built engines that the parameters name, if any."""
    return Path(settings.model_engine_cache) if settings.model_engine_cache else None


def share_engine(monitor: Monitor, settings: Settings, cameras: int) -> list[Monitor]:
    """
    Return a monitor for every camera, all on one engine.

    Parameters
    ----------
    monitor : Monitor
        The monitor of the first camera.
    settings : Settings
        Parameters of the node.
    cameras : int
        How many cameras there are.

    Returns
    -------
    list of Monitor
        The first is ``monitor``; closing it closes the engine of all. The others' alert logics are
        new.

    """
    logics = [alert_logic(settings, monitor.calibration) for _ in range(cameras - 1)]
    return [monitor, *map(monitor.another, logics)]


def retune(monitor: Monitor, settings: Settings) -> None:
    """
    Give a running monitor the thresholds and limits of changed settings; its state is kept.

    Parameters
    ----------
    monitor : Monitor
        A monitor made by `open_monitor`.
    settings : Settings
        The settings as they become.

    Raises
    ------
    ParameterError
        If the values contradict each other, or the monitor's alert logic is another one; the
        monitor is then as it was.

    """
    limits = health_limits(settings, monitor.health_limits)
    wanted, running = alert_logic(settings, monitor.calibration), monitor.alert
    if not isinstance(running, Automaton) or type(running) is not type(wanted):
        msg = (
            f'alert parameters ask for {type(wanted).__name__}, the monitor runs '
            f'{type(running).__name__}; configure the node anew'
        )
        raise ParameterError(msg)
    running.adopt(wanted)
    set_health(monitor, settings, limits)


def _is_left(value: float) -> bool:
    """Return whether a parameter leaves its value to the bundle."""
    return math.isnan(value) or (isinstance(value, int) and value == 0)
