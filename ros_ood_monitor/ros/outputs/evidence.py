"""The node's recorder: what the node receives and says, on its way to a bag."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
import traceback
from typing import Any, Final

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.serialization import serialize_message

from ros_ood_monitor.recorder import Limits, Message, Recorder, Report
from ros_ood_monitor.records import Observation
from ros_ood_monitor.ros.messages.converters import key_values
from ros_ood_monitor.ros.parameters.settings import Settings

__all__ = ['Evidence', 'recorder_status']

_MIB: Final = 2**20
_STATUS_BYTES: Final = 1024  # of an observation or an alert, about
_NOTHING: Final = Recorder('', limits=Limits).report()


class Evidence:
    """
    Records alerts while the node is active.

    Parameters
    ----------
    node : rclpy.node.Node
        The node.
    about : callable
        What the summaries say about bundle and engine: plain values by name.
    settings : callable
        The node's parameters as they are now.

    """

    def __init__(
        self,
        node: Node,
        *,
        about: Callable[[], Mapping[str, Any]],
        settings: Callable[[], Settings],
    ) -> None:
        self._node = node
        self._about = about
        self._settings = settings
        self._topics: Mapping[str, str] = {}
        self._recorder: Recorder | None = None
        self._reported = _NOTHING
        self._told = ''

    def start(self, topics: Mapping[str, str]) -> None:
        """
        Record from now on, where ``record.folder`` says so.

        Parameters
        ----------
        topics : mapping of str to str
            The cameras' topics by their names.

        """
        self._topics = topics
        self._reported, self._told = _NOTHING, ''
        self._recorder = Recorder(
            self._node.get_fully_qualified_name(), limits=self._limits, about=self._facts
        )
        self.prepare()

    def prepare(self) -> None:
        """Look at the folder before there is anything to record; the status tells of it."""
        recorder = self._recorder
        if recorder is not None:
            self._safely(recorder.prepare)

    def keep(self, key: str, message: Any, observation: Observation) -> None:
        """
        Take a frame that was scored; from the thread that scores, before it is published.

        Parameters
        ----------
        key : str
            Which camera of the node.
        message : sensor_msgs.msg.Image or CompressedImage
            The message as it came; nobody may write to it any more.
        observation : Observation
            The answer to it.

        """
        recorder = self._recorder
        if recorder is not None:
            kept = _message(self._topics[key], message, len(message.data))
            self._safely(lambda: recorder.take(key, kept, observation))

    def hear(self, topic: str, message: DiagnosticArray) -> None:
        """
        Take what was published about a frame, or about none; from any thread.

        Parameters
        ----------
        topic : str
            Its topic.
        message : diagnostic_msgs.msg.DiagnosticArray
            The message; nobody may write to it any more.

        """
        recorder = self._recorder
        if recorder is not None:
            size = _STATUS_BYTES * len(message.status)
            self._safely(lambda: recorder.note(_message(topic, message, size)))

    def stop(self, timeout: float, why: str) -> bool:
        """
        Finish the open recording.

        Parameters
        ----------
        timeout : float
            Longest wait for the disk, in s.
        why : str
            What its summary says.

        Returns
        -------
        bool
            False where the disk has not come back.

        """
        recorder, self._recorder = self._recorder, None
        if recorder is None:
            return True
        came_back = recorder.stop(timeout, why)
        self._reported = recorder.report()
        return came_back

    def statuses(self, name: str) -> list[DiagnosticStatus]:
        """
        Return the status of the recorder; none where nothing is to be recorded.

        Parameters
        ----------
        name : str
            The node's name.

        Returns
        -------
        list of diagnostic_msgs.msg.DiagnosticStatus
            At most one.

        """
        folder = self._settings().record_folder
        if not folder:
            return []
        self.prepare()  # a disk may have come back
        recorder = self._recorder
        now = recorder.report() if recorder is not None else None
        before, self._reported = self._reported, now or self._reported
        if now is not None:
            self._tell(now)
        return [recorder_status(f'{name}: recorder', folder, now, before)]

    def _tell(self, now: Report) -> None:
        """Log why nothing is recorded, once as long as it is the same."""
        if now.problem and now.problem != self._told:
            self._node.get_logger().warning(f'record.folder: {_nothing(now)}: {now.problem}')
        self._told = now.problem

    def _limits(self) -> Limits:
        settings = self._settings()
        folder = settings.record_folder
        return Limits(
            folder=Path(folder).expanduser().absolute() if folder else None,
            before=settings.record_before,
            after=settings.record_after,
            max_duration=settings.record_max_duration,
            max_disk=settings.record_max_disk * _MIB,
            max_memory=settings.record_max_memory * _MIB,
        )

    def _facts(self) -> dict[str, Any]:
        return {**self._about(), 'parameters': self._settings().by_name()}

    def _safely(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # noqa: BLE001, an answer must go out whatever becomes of its evidence
            log = self._node.get_logger()
            log.error(f'not recorded:\n{traceback.format_exc()}', throttle_duration_sec=5.0)


def recorder_status(
    name: str, folder: str, now: Report | None, before: Report
) -> DiagnosticStatus:
    """
    Return the status about recordings.

    Parameters
    ----------
    name : str
        The status's name.
    folder : str
        Where recordings go.
    now : Report or None
        What was done so far; None where the node is not active.
    before : Report
        The same at the last report.

    Returns
    -------
    diagnostic_msgs.msg.DiagnosticStatus
        STALE where the node is not active, WARN where evidence was lost, else OK.

    """
    level, message = DiagnosticStatus.OK, 'ready'
    if now is None:
        level, message = DiagnosticStatus.STALE, 'not active'
    elif now.problem:
        level, message = DiagnosticStatus.WARN, f'{_nothing(now)}: {now.problem}'
    elif now.dropped > before.dropped:
        level, message = (
            DiagnosticStatus.WARN,
            f'{now.dropped - before.dropped} messages not recorded: the disk is slower than the '
            'cameras; raise record.max_memory, or record compressed images',
        )
    elif now.is_recording:
        message = 'recording'
    report = now or before
    values: dict[str, object] = {
        'folder': folder,
        'is_recording': now is not None and now.is_recording,
        'recordings': report.recordings,
        'failed_recordings': report.failed,
        'written_messages': report.written,
        'dropped_messages': report.dropped,
        'memory_mib': round(report.memory_bytes / _MIB, 3),
        'disk_mib': round(report.disk_bytes / _MIB, 3),
        'last_recording': report.last,
        'last_problem': report.problem,
    }
    return DiagnosticStatus(
        level=level, name=name, message=message, hardware_id='', values=key_values(values)
    )


def _nothing(report: Report) -> str:
    return 'nothing was recorded' if report.failed else 'nothing can be recorded'


def _message(topic: str, message: Any, content: int) -> Message:
    kind = type(message)
    package = kind.__module__.partition('.')[0]
    return Message(
        topic,
        f'{package}/msg/{kind.__name__}',
        content,
        lambda: bytes(serialize_message(message)),
    )
