"""How long what a camera shows has been unusual, and how much: the peak and the duration."""

from __future__ import annotations

import math

from ros_ood_monitor.image_time import ImageTime
from ros_ood_monitor.records import AlertState, State

__all__ = ['RunningEpisode']


class RunningEpisode:
    """
    What ``~/alert`` tells beside the state; in image time, as a replay counts it.

    An alert lasts from its first frame in ALERT, whatever led to it. Without an alert an episode
    lasts since the camera left NORMAL.
    """

    def __init__(self) -> None:
        self._time = ImageTime()
        self.peak = math.nan
        self._began = math.nan

    @property
    def last_stamp(self) -> float:
        """Return the newest image stamp, in s; NaN before the first one."""
        return self._time.now

    def on_frame(self, stamp: float) -> None:
        """Take the image stamp of a frame, in s."""
        step = self._time.step(stamp)
        if step < 0.0:
            # the clock of the stamps was set back: an episode keeps the time it has lasted
            self._began += step

    def on_alert(self, alert: AlertState) -> None:
        """Take the state that holds now."""
        is_raised = alert.state is State.ALERT and alert.changed
        if is_raised or (alert.state is not State.NORMAL and math.isnan(self._began)):
            self._began = self.last_stamp
        if not math.isnan(alert.peak):
            self.peak = alert.peak if math.isnan(self.peak) else max(self.peak, alert.peak)

    def end(self) -> None:
        """Forget what is over: the camera is back in NORMAL."""
        self.peak = self._began = math.nan

    def duration(self, silent_for: float = 0.0) -> float:
        """
        Return how long it has lasted.

        Parameters
        ----------
        silent_for : float, default 0.0
            Time since the last frame, in s.

        Returns
        -------
        float
            In s; 0 without an episode.

        """
        if math.isnan(self._began):
            return 0.0
        return max(0.0, self.last_stamp + silent_for - self._began)
