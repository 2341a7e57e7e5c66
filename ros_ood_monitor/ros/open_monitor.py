"""From settings to a monitor that has proven itself; no ROS in here."""

from __future__ import annotations

import math
from pathlib import Path

import cv2

from ros_ood_monitor.alerting import ConsecutiveLogic
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.calibration import OperatingPoint
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.ros.settings import Settings
from ros_ood_monitor.share import bundle_path

__all__ = ['alert_logic', 'open_monitor', 'retune', 'share_engine']


def alert_logic(settings: Settings, point: OperatingPoint) -> ConsecutiveLogic:
    """
    Return the alert logic that the parameters and the bundle together ask for.

    Parameters
    ----------
    settings : Settings
        Parameters; NaN and 0 leave a value to the bundle.
    point : OperatingPoint
        The bundle's operating point.

    Returns
    -------
    ConsecutiveLogic
        In its first state.

    Raises
    ------
    ParameterError
        If the values contradict each other.

    """
    trigger = _or(settings.alert_trigger, point.trigger)
    # a trigger set under the bundle's release pulls that release down with it
    release = _or(settings.alert_release, min(point.release, trigger))
    return ConsecutiveLogic(
        trigger=trigger,
        release=release,
        trigger_frames=settings.alert_trigger_frames or point.trigger_frames,
        release_frames=settings.alert_release_frames or point.release_frames,
        stale_after=settings.alert_stale_after,
    )


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
    monitor = Monitor.from_bundle(
        bundle,
        engine=settings.model_engine,
        precision=settings.model_precision or None,
        threads=settings.model_threads,
        device=settings.model_device,
        cache=Path(settings.model_engine_cache) if settings.model_engine_cache else None,
    )
    try:
        retune(monitor, settings)
    except ParameterError:
        monitor.close()
        raise
    return monitor


def share_engine(monitor: Monitor, cameras: int) -> list[Monitor]:
    """
    Return a monitor for every camera, all on one engine.

    Parameters
    ----------
    monitor : Monitor
        The monitor of the first camera.
    cameras : int
        How many cameras there are.

    Returns
    -------
    list of Monitor
        The first is ``monitor``; closing it closes the engine of all. The others' alert logics are
        new, at the bundle's operating point.

    """
    point = monitor.calibration.operating_point
    logics = [alert_logic(Settings.defaults(), point) for _ in range(cameras - 1)]
    return [monitor, *map(monitor.another, logics)]


def retune(monitor: Monitor, settings: Settings) -> None:
    """
    Give a running monitor the thresholds of changed settings; its state is kept.

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
    wanted = alert_logic(settings, monitor.calibration.operating_point)
    running = monitor.alert
    if not isinstance(running, ConsecutiveLogic):
        msg = f'alert parameters do not apply to the alert logic {type(running).__name__}'
        raise ParameterError(msg)
    # plain attributes, each read once a frame: a frame between two of them sees one change early
    running.trigger, running.release = wanted.trigger, wanted.release
    running.trigger_frames = wanted.trigger_frames
    running.release_frames = wanted.release_frames
    running.stale_after = wanted.stale_after


def _or(value: float, default: float) -> float:
    return default if math.isnan(value) else value
