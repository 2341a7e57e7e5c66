"""
The thread that scores: one engine, a frame of each camera in turn, or of several in one call.

The executor's thread only puts messages into slots of one; decoding, inference and publishing
happen here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import math
import threading
import time
import traceback
from typing import Any, Final

from ros_ood_monitor.errors import EngineError
from ros_ood_monitor.monitor import observe_together
from ros_ood_monitor.records import AlertState, Frame, Observation
from ros_ood_monitor.ros.camera.slot import LatestSlots
from ros_ood_monitor.ros.camera.stream import CameraStream

__all__ = ['ScoringThread']

_LOOK_S: Final = 0.05  # how often the clock is looked at


class ScoringThread:
    """
    Scores the newest frames of all cameras, over and over.

    Parameters
    ----------
    streams : sequence of CameraStream
        One a camera.
    max_wait : float
        Longest time for which a frame may wait for its turn, in s; 0 sets no limit.
    batch : int, default 0
        Most frames, one a camera, in one call of the engine; 0 takes what the engine gains by.
    on_fault : callable
        Told once, with every camera's FAULT, the reason and a traceback, that the engine, or what
        judges its scores, failed; the thread then ends.
    on_error : callable
        Told with a traceback what else went wrong; the thread goes on.
    clock : callable
        Seconds in which frames wait, such as `stream_clock` returns.

    """

    def __init__(
        self,
        streams: Sequence[CameraStream],
        *,
        max_wait: float,
        batch: int = 0,
        on_fault: Callable[[list[AlertState], str, str], None],
        on_error: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.streams = tuple(streams)
        self.max_wait = max_wait
        self.batch = batch
        self._on_fault = on_fault
        self._on_error = on_error
        self._slots: LatestSlots[tuple[Any, float]] = LatestSlots(len(self.streams), clock)
        self._thread = threading.Thread(target=self._run, name='score', daemon=True)
        self._enter('')

    def start(self) -> None:
        """Start scoring; silence is counted from here."""
        for stream in self.streams:
            stream.start()
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """
        Stop scoring.

        Parameters
        ----------
        timeout : float
            Longest wait for the frame in work, in s.

        Returns
        -------
        bool
            False where the engine did not come back in time; the thread is then left to itself.

        """
        self._slots.close()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def push(self, index: int, message: Any, info: Mapping[str, Any], *, arrived: float) -> None:
        """
        Take a received message; never blocks and never raises.

        Parameters
        ----------
        index : int
            Its camera.
        message : object
            A message with a header, as the camera's stream decodes it.
        info : mapping
            What the middleware says about it.
        arrived : float
            When it came, in s of the clock that stamps images.

        """
        stream = self.streams[index]
        if stream.accepts(info):
            stream.counts.on_received(dropped=self._slots.put((message, arrived), index))

    def report_hang(self, stale_after: float) -> list[str]:
        """
        Publish FAULT where one call of the engine lasts for too long; see `CameraStream`.

        The thread itself looks at the clock between two calls, however many frames wait for their
        turn; this is for a call that does not end, and may be called from any thread.

        Parameters
        ----------
        stale_after : float
            Longest time without a score, and for a call, in s.

        Returns
        -------
        list of str
            State and reason of each camera of which one was published; empty for the others.

        """
        longest = stale_after + 2.0 * _LOOK_S
        lacking, since = self._step
        if not lacking or not self._slots.is_open or time.monotonic() - since < longest:
            return [''] * len(self.streams)
        return [stream.report_hang(longest, lacking) for stream in self.streams]

    def _run(self) -> None:
        looked = time.monotonic()
        while self._slots.is_open:
            try:
                self._score()
                if self._slots.is_open and time.monotonic() - looked >= _LOOK_S:
                    looked = time.monotonic()
                    for stream in self.streams:  # one that is alive hides no dead one
                        stream.look_at_clock()
            except Exception:  # noqa: BLE001, a state that cannot be published is no fault
                if self._slots.is_open:
                    self._on_error(traceback.format_exc())

    def _enter(self, lacking: str) -> None:
        """Note what is lacking until the step that begins now has ended."""
        # by the wall: a simulated clock that stands tells nothing about this thread
        self._step = lacking, time.monotonic()

    def _score(self) -> None:
        self._enter('')
        most = self.batch or self.streams[0].monitor.engine.batch
        # nobody is waited for: a call has what is there when the one before it has ended
        taken = self._slots.take_together(most, _LOOK_S, self.max_wait or math.inf)
        pictures = []
        for each in taken:
            stream = self.streams[each.slot]
            stream.take(each.number)
            if each.is_late:
                stream.leave_out(each.waited)
                continue
            self._enter('a frame is still being decoded')
            message, arrived = each.item
            frame = stream.decode(message, arrived)
            if frame is not None:
                pictures.append((stream, message, frame))
        if not pictures:
            return
        self._enter('the engine has not answered')
        try:
            answers = observe_together([(stream.monitor, frame) for stream, _, frame in pictures])
        except EngineError as error:
            self._fail(f'engine failed: {error}', traceback.format_exc())
            return
        except Exception as error:  # noqa: BLE001, the next frame would meet the same
            reason = f'scores cannot be judged: {type(error).__name__}: {error}'
            self._fail(reason, traceback.format_exc())
            return
        for picture, answer in zip(pictures, answers, strict=True):
            self._enter('an answer is still being published')
            self._publish(*picture, answer)

    def _publish(
        self, stream: CameraStream, message: Any, frame: Frame, answer: Observation
    ) -> None:
        if not self._slots.is_open:
            return  # it was stopped meanwhile: this answer comes too late
        try:
            stream.publish(message, frame, answer)
        except Exception:  # noqa: BLE001, an answer that cannot be published is no fault
            if self._slots.is_open:
                self._on_error(traceback.format_exc())

    def _fail(self, reason: str, details: str) -> None:
        if not self._slots.is_open:
            return  # the engine was taken away while it worked: nothing failed
        self._slots.close()
        faults = [stream.monitor.fault(reason) for stream in self.streams]
        self._on_fault(faults, reason, details)
