"""What every alert logic promises: a stream of raw_score and stamps in, AlertState out."""

from __future__ import annotations

from typing import Protocol

from ros_ood_monitor.records import AlertState

__all__ = ['AlertLogic']


class AlertLogic(Protocol):
    """
    Decides from the scores of one camera whether something unlike the training data lasts.

    Time is the image's stamp, never a wall clock: a replayed bag gives what the robot gave.
    """

    @property
    def threshold(self) -> float:
        """Return the threshold on raw_score over which a frame counts toward an alert."""
        ...

    @property
    def state(self) -> AlertState:
        """Return the state as the last update, silence or fault returned it."""
        ...

    def update(self, raw_score: float, stamp: float) -> AlertState:
        """
        Take the score of a frame.

        Parameters
        ----------
        raw_score : float
            Higher = more anomalous.
        stamp : float
            The image's stamp, in s.

        Returns
        -------
        AlertState
            The state after this frame.

        """
        ...

    def skip(self, stamp: float, reason: str) -> AlertState:
        """
        Take note of a frame that says nothing about the scene.

        Parameters
        ----------
        stamp : float
            The image's stamp, in s.
        reason : str
            Why it is not judged, for people.

        Returns
        -------
        AlertState
            The state as it was, with that reason.

        """
        ...

    def silence(self, seconds: float) -> AlertState:
        """
        Take note that no frame has come for a while.

        Parameters
        ----------
        seconds : float
            Time since the last frame was received, in s.

        Returns
        -------
        AlertState
            STALE once that is too long, else the state as it was.

        """
        ...

    def fault(self, reason: str, stamp: float | None = None) -> AlertState:
        """
        Take note that frames cannot be scored.

        Parameters
        ----------
        reason : str
            What failed, for people.
        stamp : float, optional
            Stamp of the image that showed it, in s; where none did, it is as of the last frame.

        Returns
        -------
        AlertState
            FAULT.

        """
        ...

    def reset(self) -> None:
        """Forget the stream: NORMAL, nothing counted."""
        ...
