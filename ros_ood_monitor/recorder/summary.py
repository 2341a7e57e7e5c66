"""What a recording says of itself, gathered frame by frame while it is made."""

from __future__ import annotations

from collections.abc import Mapping
import datetime as dt
import math
from typing import Any, Final

from ros_ood_monitor import __version__
from ros_ood_monitor.recorder.recordings import FORMAT
from ros_ood_monitor.recorder.ring import Entry
from ros_ood_monitor.records import Observation

__all__ = ['INTERRUPTED', 'Summary']

INTERRUPTED: Final = 'interrupted: the process ended before the recording did'
_MAX_CHANGES: Final = 1000  # of state, a camera: a summary stays one


class Summary:
    """
    The contents of ``recording.json``.

    Parameters
    ----------
    node : str
        Full name of the node.
    about : mapping
        What judged, such as bundle, engine and parameters: plain values.
    camera : str
        The camera that raised the alert.
    observation : Observation
        The answer that did.

    Attributes
    ----------
    frames, dropped : int
        Frames written, and messages lost because the disk was slower than the cameras.

    """

    def __init__(
        self, node: str, about: Mapping[str, Any], camera: str, observation: Observation
    ) -> None:
        self.created = dt.datetime.now(dt.timezone.utc)
        self.frames = self.dropped = 0
        self._cameras: dict[str, dict[str, Any]] = {}
        self._facts = {
            'format': FORMAT,
            'version': __version__,
            'node': node,
            'created': self.created.isoformat(timespec='milliseconds'),
            **about,
            'trigger': {
                'camera': observation.camera or camera,
                'stamp': observation.stamp,
                'raw_score': observation.raw_score,
                'threshold': observation.threshold,
                'reason': observation.alert.reason,
            },
        }

    def add(self, entry: Entry) -> None:
        """Take an entry that was written."""
        answer, stamp = entry.answer, entry.stamp
        if answer is None:
            return
        self.frames += 1
        alert = answer.alert
        change = {'stamp': stamp, 'state': alert.state.value, 'reason': alert.reason}
        camera = self._cameras.get(entry.source)
        if camera is None:
            camera = self._cameras[entry.source] = {
                'camera': answer.camera,
                'topic': entry.message.topic,
                'frames': 0,
                'first_stamp': stamp,
                'peak': -math.inf,
                'states': [change],  # what the recording begins with
            }
        elif alert.changed and len(camera['states']) < _MAX_CHANGES:
            camera['states'].append(change)
        camera['frames'] += 1
        camera['last_stamp'] = stamp
        camera['threshold'] = answer.threshold
        if answer.raw_score > camera['peak']:
            camera['peak'], camera['peak_stamp'] = answer.raw_score, stamp

    def facts(self, ended: str) -> dict[str, Any]:
        """
        Return the summary.

        Parameters
        ----------
        ended : str
            Why the recording is over.

        Returns
        -------
        dict
            Plain values. Of an interrupted one the frames are not known.

        """
        counted: dict[str, Any] = {}
        if ended != INTERRUPTED:
            counted = {
                'frames': self.frames,
                'dropped': self.dropped,
                'cameras': list(self._cameras.values()),
            }
        return {**self._facts, 'ended': ended, **counted, 'mark': None}
