"""A monitor that has shown what it can do before the node goes on with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ros_ood_monitor.errors import EngineError
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.ros.diagnostics.alert_remarks import rate_text
from ros_ood_monitor.ros.diagnostics.model_status import ModelFacts
from ros_ood_monitor.ros.model.open_monitor import offers_heatmap, share_engine
from ros_ood_monitor.ros.parameters.settings import Settings

__all__ = ['Proven', 'open_proven']


class Proven(NamedTuple):
    """A monitor for every camera, what ``/diagnostics`` tells of them, and whether they map."""

    monitors: list[Monitor]
    facts: ModelFacts
    has_heatmap: bool


def open_proven(
    open_monitor: Callable[[Settings], Monitor], settings: Settings, cameras: int
) -> Proven:
    """
    Open a monitor for every camera on one engine, and let it reproduce the goldens.

    Parameters
    ----------
    open_monitor : callable
        From settings to a monitor, as `open_monitor` does.
    settings : Settings
        Parameters of the node.
    cameras : int
        How many cameras there are.

    Returns
    -------
    Proven
        Warm; closing the first monitor closes the engine of all.

    Raises
    ------
    OodMonitorError
        If it cannot be opened, does not reproduce a golden, or lacks what is asked for. Nothing
        is left open, whatever is raised.

    """
    monitor = open_monitor(settings)
    try:
        monitor.warm_up()
        verification = monitor.verify()
        if not verification.ok:
            msg = f'{verification}; rebuild the engine or re-export: {monitor.bundle.path}'
            raise EngineError(msg)
        has_heatmap = offers_heatmap(monitor, settings)
        facts = ModelFacts(
            bundle=f'{monitor.bundle.manifest.name}@{monitor.bundle.digest[:12]}',
            path=str(monitor.bundle.path),
            engine=monitor.engine.describe(),
            verification=str(verification),
            false_alert_rate=rate_text(settings, monitor),
        )
        return Proven(share_engine(monitor, settings, cameras), facts, has_heatmap)
    except BaseException:
        monitor.close()
        raise
