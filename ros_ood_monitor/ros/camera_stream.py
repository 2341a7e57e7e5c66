"""
One camera's way from received message to published score, on a thread of its own.

The executor's thread only puts messages into a slot of one; decoding, inference and publishing
happen here. The monitor is touched by this thread alone and needs no lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import dataclasses
import threading
import time
import traceback
from typing import Any, Final, Protocol

from ros_ood_monitor.errors import DecodeError
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.records import AlertState, Frame, Observation, State
from ros_ood_monitor.ros.rate_limit import RateLimit
from ros_ood_monitor.ros.slot import LatestSlot
from ros_ood_monitor.ros.stream_counts import StreamCounts

__all__ = ['CameraStream', 'StreamOutputs']

_LOOK_S: Final = 0.05  # how often a silent stream looks at the clock


class StreamOutputs(Protocol):
    """Where a stream's answers go."""

    def publish_observation(self, header: Any, observation: Observation) -> float:
        """Publish an answer; returns publish time - image stamp, in ms."""
        ...

    def publish_alert(
        self, alert: AlertState, *, header: Any = None, silent_for: float = 0.0
    ) -> bool:
        """Publish the state where it changed."""
        ...


class CameraStream:
    """
    Scores the newest frame of one camera, over and over.

    Parameters
    ----------
    monitor : Monitor
        Ready to observe. The stream uses it from its own thread and does not close it.
    decode : callable
        From a message to a Frame; raises DecodeError.
    outputs : StreamOutputs
        Where answers go.
    counts : StreamCounts
        Where frames are counted.
    limit : RateLimit
        Which frames are looked at.
    on_bad_frame : callable
        Told why a frame is no picture.
    on_fault : callable
        Told once, with a traceback, that the engine failed; the stream has then published FAULT
        and ended.
    on_error : callable
        Told with a traceback what else went wrong; the stream goes on.
    clock : callable
        Monotonic seconds.

    """

    def __init__(
        self,
        monitor: Monitor,
        *,
        decode: Callable[[Any], Frame],
        outputs: StreamOutputs,
        counts: StreamCounts,
        limit: RateLimit,
        on_bad_frame: Callable[[str], None],
        on_fault: Callable[[str, str], None],
        on_error: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monitor = monitor
        self._decode = decode
        self._outputs = outputs
        self._counts = counts
        self._limit = limit
        self._on_bad_frame = on_bad_frame
        self._on_fault = on_fault
        self._on_error = on_error
        self._clock = clock
        self._slot: LatestSlot[Any] = LatestSlot()
        self._thread = threading.Thread(target=self._run, name='score', daemon=True)
        self._last_score = clock()
        self._last_bad = ''
        self._hung = False

    def start(self) -> None:
        """Start scoring; silence is counted from here."""
        self._last_score = self._clock()
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
            False where the engine did not come back in time; its thread is then left to itself.

        """
        self._slot.close()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def push(self, message: Any, info: Mapping[str, Any]) -> None:
        """
        Take a received message; never blocks and never raises.

        Parameters
        ----------
        message : object
            A message with a header, as ``decode`` takes it.
        info : mapping
            What the middleware says about it; ``publication_sequence_number`` is used, if any.

        """
        self._counts.on_number(info.get('publication_sequence_number'))
        if not self._limit.accepts(self._clock()):
            self._counts.on_received(skipped=True)
            return
        self._counts.on_received(dropped=self._slot.put(message))

    def seconds_without_score(self) -> float:
        """Return the time since the last published score or since the start, in s."""
        return self._clock() - self._last_score

    def report_hang(self, stale_after: float) -> bool:
        """
        Publish STALE where the engine has not come back for too long.

        The stream's own thread looks at the clock between frames; this is for the time in which
        it cannot, and may be called from any thread.

        Parameters
        ----------
        stale_after : float
            Longest time without a score, in s.

        Returns
        -------
        bool
            True where STALE was published.

        """
        seconds = self.seconds_without_score()
        if seconds < stale_after + 2.0 * _LOOK_S or not self._slot.is_open:
            return False
        reason = f'{seconds:.2f} s without a score: the engine has not answered'
        alert = AlertState(State.STALE, reason=reason)
        self._hung = self._outputs.publish_alert(alert, silent_for=seconds) or self._hung
        return self._hung

    def _run(self) -> None:
        while self._slot.is_open:
            try:
                message = self._slot.take(_LOOK_S)
                if message is None or not self._score(message):
                    self._look_at_clock()
            except Exception:  # noqa: BLE001, an answer that cannot be published is no fault
                if self._slot.is_open:
                    self._on_error(traceback.format_exc())

    def _score(self, message: Any) -> bool:
        try:
            frame = self._decode(message)
        except Exception as error:  # noqa: BLE001, whatever it is: this frame, not the node
            is_known = isinstance(error, DecodeError)
            self._last_bad = str(error) if is_known else f'{type(error).__name__}: {error}'
            self._counts.on_bad(self._last_bad)
            self._on_bad_frame(self._last_bad)
            return False
        try:
            observation = self._monitor.observe(frame)
        except Exception as error:  # noqa: BLE001, nothing can be scored without the engine
            self._fail(f'engine failed: {error}', traceback.format_exc())
            return True
        if not self._slot.is_open:  # stopped meanwhile: this answer comes too late
            return True
        if self._hung:
            observation = self._after_hang(observation)
        latency_ms = self._outputs.publish_observation(message.header, observation)
        self._last_score, self._last_bad = self._clock(), ''
        self._counts.on_scored(latency_ms, observation.latency_ms)
        return True

    def _after_hang(self, observation: Observation) -> Observation:
        self._hung = False
        seconds = self.seconds_without_score()
        reason = f'{observation.alert.reason}, after {seconds:.2f} s without an answer'
        return dataclasses.replace(
            observation, alert=dataclasses.replace(observation.alert, reason=reason)
        )

    def _look_at_clock(self) -> None:
        if not self._slot.is_open:
            return
        seconds = self.seconds_without_score()
        alert = self._monitor.check_silence(seconds)
        # only STALE is news here: before the first frame the logic is NORMAL by default, which
        # nothing has shown yet
        if alert.state is State.STALE:
            if self._last_bad:
                reason = f'{seconds:.2f} s without a usable frame (last: {self._last_bad})'
                alert = dataclasses.replace(alert, reason=reason)
            self._outputs.publish_alert(alert, silent_for=seconds)

    def _fail(self, reason: str, details: str) -> None:
        if not self._slot.is_open:
            return  # the engine was taken away while it worked: nothing failed
        self._slot.close()
        self._outputs.publish_alert(self._monitor.fault(reason))
        self._on_fault(reason, details)
