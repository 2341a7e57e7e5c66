"""Alerts as people count them: from entering ALERT to leaving it, quick repeats merged."""

from __future__ import annotations

from dataclasses import dataclass, replace
import math

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.image_time import OUT_OF_ORDER
from ros_ood_monitor.records import AlertState, Observation, State

__all__ = ['Episode', 'EpisodeLog']


@dataclass(frozen=True)
class Episode:
    """
    One alert of one camera, from its first frame in ALERT to the first one back in NORMAL.

    Parameters
    ----------
    camera : str
        The camera.
    start : float
        Image stamp of the frame that raised the alert, in s.
    end : float
        Image stamp of the first frame back in NORMAL; of the next alert's first frame where an
        interruption lies between the two; of the last frame where the stream ends before, and of
        the last one before the clock of the stamps was set back. In s, never before ``start``.
    peak : float
        Highest raw_score, frames that led to the alert included.
    is_over : bool
        False where the stream ends before.
    reason : str
        Why it was raised, for people.

    """

    camera: str
    start: float
    end: float
    peak: float
    is_over: bool = False
    reason: str = ''

    @property
    def duration(self) -> float:
        """From start to end, in s."""
        return self.end - self.start


class EpisodeLog:
    """
    Gathers alerts as they come; memory grows with alerts, not frames.

    Parameters
    ----------
    refractory : float, default 0.0
        An alert of the same camera that begins at most this long after the last one was left
        goes on with it, in s of image time; 0 takes every alert as one of its own.

    Raises
    ------
    ParameterError
        If it is negative or not finite.

    """

    def __init__(self, *, refractory: float = 0.0) -> None:
        if not 0.0 <= refractory < math.inf:
            msg = f'refractory must be 0 s or more, got {refractory:g} s'
            raise ParameterError(msg)
        self._refractory = refractory
        self._done: list[Episode] = []
        self._last: dict[str, Episode] = {}  # over, the latest of each camera
        self._open: dict[str, Episode] = {}
        self._left: dict[str, float] = {}  # the last frame in ALERT, or the first one in NORMAL

    def add(self, observation: Observation) -> None:
        """
        Take the next observation.

        Parameters
        ----------
        observation : Observation
            In the order of each camera.

        """
        self.note(observation.alert, observation.stamp, observation.camera)

    def note(self, alert: AlertState, stamp: float, camera: str = '') -> bool:
        """
        Take the state after a frame.

        Parameters
        ----------
        alert : AlertState
            What the alert logic answered to the frame.
        stamp : float
            The image's stamp, in s.
        camera : str, default ''
            The camera.

        Returns
        -------
        bool
            Whether an `Episode` of its own begins with this frame.

        """
        is_alert = alert.state is State.ALERT
        is_new = is_alert and alert.changed
        episode = self._open.pop(camera, None)
        if episode:
            # frames of SUSPECT after an interruption belong to no alert yet
            peak = max(episode.peak, alert.peak) if is_alert and not is_new else episode.peak
            is_over = is_new or alert.state is State.NORMAL
            # neither a frame out of order nor a clock that was set back takes time away
            end = max(episode.end, stamp)
            episode = replace(episode, end=end, peak=peak, is_over=is_over)
            if is_over:
                self._close(episode)
            else:
                self._open[camera] = episode
        begins = False
        if is_new or (is_alert and not episode):
            begins = not self._goes_on(stamp, camera)
            self._open[camera] = (
                Episode(camera, stamp, stamp, alert.peak, reason=alert.reason)
                if begins
                else self._reopened(alert, stamp, camera)
            )
        if is_alert or (episode and alert.state is State.NORMAL):
            self._left[camera] = stamp
        return begins

    @property
    def episodes(self) -> list[Episode]:
        """All alerts so far by start, those not over included."""
        found = [*self._done, *self._last.values(), *self._open.values()]
        return sorted(found, key=lambda e: (e.start, e.camera))

    def _close(self, episode: Episode) -> None:
        if episode.camera in self._last:
            self._done.append(self._last[episode.camera])
        self._last[episode.camera] = episode

    def _goes_on(self, stamp: float, camera: str) -> bool:
        """Tell whether an alert that begins now is the last one, which was left just before."""
        since_last = stamp - self._left.get(camera, -math.inf)  # negative: the clock was set back
        return self._refractory > 0.0 and -OUT_OF_ORDER <= since_last <= self._refractory

    def _reopened(self, alert: AlertState, stamp: float, camera: str) -> Episode:
        last = self._last.pop(camera)
        return replace(
            last, end=max(last.end, stamp), peak=max(last.peak, alert.peak), is_over=False
        )
