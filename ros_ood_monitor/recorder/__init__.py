"""Evidence of alerts: what came before, during and after one, kept on disk as a bag."""

from __future__ import annotations

from ros_ood_monitor.recorder.disk import make_room, plain_name, size_of
from ros_ood_monitor.recorder.limits import Limits
from ros_ood_monitor.recorder.recorder import Recorder, Report
from ros_ood_monitor.recorder.recordings import find_recordings, mark_recording, Recording
from ros_ood_monitor.recorder.ring import Message

__all__ = [
    'Limits',
    'Message',
    'Recorder',
    'Recording',
    'Report',
    'find_recordings',
    'make_room',
    'mark_recording',
    'plain_name',
    'size_of',
]
