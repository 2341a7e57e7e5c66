"""When a recording begins and ends, and what belongs to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
import math
from pathlib import Path
import threading
import time
from typing import Any, Final

from ros_ood_monitor.image_time import ImageTime
from ros_ood_monitor.recorder.limits import Limits
from ros_ood_monitor.recorder.ring import Answer, Entry, Message, Ring
from ros_ood_monitor.recorder.summary import Summary
from ros_ood_monitor.recorder.writer import Writer
from ros_ood_monitor.records import Observation, State

__all__ = ['Recorder', 'Report']

_SILENCE_S: Final = 2.0  # a camera that sends nothing for so long has no more to show
_SLOWEST: Final = 10.0  # image time that is slower than the clock by more stands still


@dataclass
class _Camera:
    """
    What is known of one camera.

    Parameters
    ----------
    time : ImageTime
        Its time, which frames that are out of order do not turn back.
    seen : float
        When that came, by the recorder's clock.
    is_alerting : bool
        Whether that was in ALERT.
    last_alert : float
        Stamp of the last frame in ALERT, in s; NaN where there is none to record.
    alerting : float
        When that came, by the recorder's clock.
    begin : float
        Stamp of the first frame behind the beginning of the recording, in s; NaN without one.

    """

    time: ImageTime = field(default_factory=ImageTime)
    seen: float = -math.inf
    is_alerting: bool = False
    last_alert: float = math.nan
    alerting: float = -math.inf
    begin: float = math.nan

    @property
    def stamp(self) -> float:
        """Return its newest image stamp, in s."""
        return self.time.now

    def note_alert(self, now: float) -> None:
        """Take note that its newest frame is in ALERT."""
        self.last_alert, self.alerting = self.stamp, now

    def is_over(self, after: float, now: float) -> bool:
        """Return whether its alert ended so long ago, in s."""
        ended = self.stamp > self.last_alert + after or now - self.alerting > after * _SLOWEST
        return ended and not self.is_alerting


@dataclass(frozen=True)
class Report:
    """
    What a recorder has done since it was made.

    Parameters
    ----------
    is_recording : bool
        Whether a recording is open.
    recordings, failed : int
        Recordings that are on disk, and those that were lost.
    written, dropped : int
        Messages on disk, and those of a recording that were lost because the disk was slower than
        the cameras, or with the recording.
    memory_bytes, disk_bytes : int
        Bytes held now, and of the recordings that nobody has marked.
    last : str
        Folder of the last recording.
    problem : str
        Why nothing can be recorded, or the last recording was lost; empty where neither is so.

    """

    is_recording: bool
    recordings: int
    failed: int
    written: int
    dropped: int
    memory_bytes: int
    disk_bytes: int
    last: str
    problem: str


class Recorder:
    """
    Keeps the last seconds of every camera, and records an alert with what is around it.

    A recording goes from ``before`` s ahead of the first frame in ALERT to ``after`` s behind the
    last one, of all cameras; an alert that begins meanwhile extends it. Time is image time. What
    is longer than ``max_duration`` is cut off, and the rest of that alert is not recorded. No
    frame is in two recordings.

    ``take`` and ``note`` never wait for the disk: messages are handed to a thread, and lost,
    counted, where more than ``max_memory`` would be held. Without an alert the oldest messages go
    first.

    Parameters
    ----------
    node : str
        Full name of the node; it is in the name of every recording.
    limits : callable
        Returns the limits that hold now.
    about : callable
        Returns what the summary says about what judged: plain values by name.
    clock : callable
        Seconds by which a camera's silence is told.

    """

    def __init__(
        self,
        node: str,
        *,
        limits: Callable[[], Limits],
        about: Callable[[], Mapping[str, Any]] = dict,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node = node
        self._limits, self._about, self._clock = limits, about, clock
        self._lock = threading.RLock()
        self._ring = Ring()
        self._cameras: dict[str, _Camera] = {}
        self._writer: Writer | None = None
        self._searched: Path | None = None
        self._open: Summary | None = None
        self._opened = -math.inf  # by the clock
        self._last_source = ''  # whose frame came last
        self._number = 0
        self._pending = 0  # bytes on the writer's queue
        self._recordings = self._failed = self._written = self._dropped = 0
        self._last = self._problem = self._oversize = self._unfit = ''

    def prepare(self) -> None:
        """
        Look at the folder before there is anything to record; `report` tells what was found.

        Each folder is looked at once, and again as long as it cannot take recordings.
        """
        with self._lock:
            if self._unfit:
                self._searched = None
            self._prepare(self._limits())

    def take(self, source: str, message: Message, observation: Observation) -> None:
        """
        Take a frame that was scored; never waits and never fails.

        Parameters
        ----------
        source : str
            Its camera, by a name that the camera keeps.
        message : Message
            The frame as it was received; nobody may change it any more.
        observation : Observation
            The answer to it.

        """
        with self._lock:
            limits = self._limits()
            if not self._prepare(limits):
                return
            camera = self._cameras.setdefault(source, _Camera())
            if camera.time.step(observation.stamp) < 0.0:
                self._end('image stamps ran back')
                self._ring.forget(source)
            is_alerting = observation.state is State.ALERT
            # what goes on is no new alert: its recording may have been cut off
            is_raised = is_alerting and (observation.alert.changed or not camera.is_alerting)
            camera.is_alerting = is_alerting
            camera.seen = self._clock()
            if is_alerting and (is_raised or self._open is not None):
                camera.note_alert(camera.seen)
            self._end_where_over(limits)
            self._last_source = source
            answer = Answer(
                observation.camera, observation.raw_score, observation.threshold, observation.alert
            )
            self._keep(message, answer, limits)
            if is_raised and self._open is None:
                self._begin(limits, source, observation)
            if self._open is not None and math.isnan(camera.begin):
                camera.begin = camera.stamp

    def note(self, message: Message) -> None:
        """
        Take a message that belongs to the frame taken last, such as the answer as it was sent.

        Its log time is that frame's: an alert about silence, too, stays inside the recording.

        Parameters
        ----------
        message : Message
            The message.

        """
        with self._lock:
            limits = self._limits()
            if limits.folder is not None and self._last_source in self._cameras:
                self._keep(message, None, limits)

    def stop(self, timeout: float, why: str) -> bool:
        """
        Finish the open recording and hold nothing any more; nothing can be taken afterwards.

        Parameters
        ----------
        timeout : float
            Longest wait for the disk, in s.
        why : str
            What the summary says.

        Returns
        -------
        bool
            False where the disk has not come back.

        """
        with self._lock:
            self._end(why)
            self._forget()
            self._limits = Limits
            writer = self._writer
        return writer is None or writer.stop(timeout)

    def report(self) -> Report:
        """Return what has been done so far."""
        with self._lock:
            return Report(
                is_recording=self._open is not None,
                recordings=self._recordings,
                failed=self._failed,
                written=self._written,
                dropped=self._dropped,
                memory_bytes=self._ring.size + self._pending,
                disk_bytes=self._writer.disk_bytes if self._writer is not None else 0,
                last=self._last,
                problem=self._oversize or self._unfit or self._problem,
            )

    # of the writer's thread ---------------------------------------------------------------------

    def on_taken(self, entry: Entry, *, is_written: bool) -> None:
        """Take note that an entry needs no memory any more."""
        with self._lock:
            self._pending -= entry.message.size
            self._written += is_written
            self._dropped += not is_written

    def on_over(self, summary: Summary, why: str) -> None:
        """End a recording, where it is still the open one."""
        with self._lock:
            if self._open is summary:
                self._end(why)

    def on_look(self) -> None:
        """End the open recording where its cameras have fallen silent."""
        with self._lock:
            self._end_where_over(self._limits())

    def on_folder(self, folder: Path, problem: str) -> None:
        """Take note of why a folder cannot take recordings; empty where it can."""
        with self._lock:
            if folder == self._searched:  # and not one that was given up since
                self._unfit = problem

    def on_done(self, summary: Summary, path: Path | None, problem: str) -> None:
        """Take note of a recording's folder, or why there is none."""
        with self._lock:
            self._problem = problem
            if path is not None:
                self._recordings += 1
                self._last = str(path)
            else:
                self._failed += 1
                if self._open is summary:
                    self._end(problem)

    # --------------------------------------------------------------------------------------------

    def _prepare(self, limits: Limits) -> bool:
        """Get ready for the folder that is asked for; False where nothing is to be recorded."""
        if limits.folder is None:
            self._end('recording was turned off')
            self._forget()
            self._searched, self._unfit = None, ''
            return False
        if self._writer is None:
            self._writer = Writer(self._node, self)
        if limits.folder != self._searched:
            self._searched = limits.folder
            self._writer.search(limits)
        return True

    def _begin(self, limits: Limits, source: str, observation: Observation) -> None:
        assert self._writer is not None
        summary = Summary(self._node, self._about(), source, observation)
        now = self._clock()
        self._open, self._opened = summary, now
        self._cameras[source].note_alert(now)
        self._writer.begin(limits, summary)
        silent = {
            name
            for name, camera in self._cameras.items()
            if now - camera.seen > max(limits.before, _SILENCE_S)  # that was another time
        }
        for entry in self._ring.take():
            if entry.source not in silent:
                self._hand_over(entry)

    def _keep(self, message: Message, answer: Answer | None, limits: Limits) -> None:
        source = self._last_source
        self._number += 1
        entry = Entry(self._number, source, self._cameras[source].stamp, message, answer)
        room = limits.max_memory - self._pending
        if answer is not None:
            self._oversize = ''
            if message.size > limits.max_memory:
                size = f'{message.content / 2**20:.1f} MiB'
                self._oversize = f'a frame of {size} does not fit into record.max_memory'
        if self._open is None:
            self._ring.add(entry)
            self._ring.trim(source, entry.stamp - limits.before)
            self._ring.shrink(room)
        elif message.size <= room:
            self._hand_over(entry)
        else:
            self._dropped += 1
            self._open.dropped += 1

    def _hand_over(self, entry: Entry) -> None:
        assert self._writer is not None
        self._pending += entry.message.size
        self._writer.write(entry)

    def _end_where_over(self, limits: Limits) -> None:
        if self._open is None:
            return
        now = self._clock()
        longest = limits.max_duration
        is_long = any(c.stamp - c.begin > longest for c in self._cameras.values())
        if is_long or now - self._opened > longest * _SLOWEST:
            self._end('record.max_duration is reached')
            return
        waited_for = [c for c in self._cameras.values() if not math.isnan(c.last_alert)]
        awake = [c for c in waited_for if now - c.seen <= max(limits.after, _SILENCE_S)]
        if all(camera.is_over(limits.after, now) for camera in awake):
            self._end('the alert is over' if awake else 'no more frames came')

    def _end(self, why: str) -> None:
        if self._open is None or self._writer is None:
            return
        self._open = None
        self._writer.end(why)
        for camera in self._cameras.values():
            camera.last_alert = camera.begin = math.nan

    def _forget(self) -> None:
        self._ring = Ring()
        self._cameras = {}
        self._last_source = ''
