"""One camera's way from received message to published score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import dataclasses
import time
from typing import Any, Protocol

from ros_ood_monitor.errors import DecodeError
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.records import AlertState, Frame, Observation, State
from ros_ood_monitor.ros.camera.counts import StreamCounts
from ros_ood_monitor.ros.camera.health_counts import HealthCounts
from ros_ood_monitor.ros.camera.rate_limit import RateLimit

__all__ = ['CameraStream', 'StreamOutputs']


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
    The steps that a frame of one camera takes, and what is known about the silence between frames.

    `accepts` is for the thread that receives, `report_hang` for any; everything else, the monitor
    above all, is touched by the thread that scores and needs no lock.

    Parameters
    ----------
    monitor : Monitor
        Ready to observe; it is not closed by the stream.
    decode : callable
        From a message, and when it came in s of the clock that stamps images, to a Frame; raises
        DecodeError.
    outputs : StreamOutputs
        Where answers go.
    counts : StreamCounts
        Where frames are counted.
    limit : RateLimit
        Which frames are looked at.
    on_scored : callable
        Given a message and the answer to it, just before that is published.
    on_published : callable
        Given a message, its picture and the answer to it, after that was published.
    on_bad_frame : callable
        Told why a frame is no picture.
    on_health : callable
        Told the name of a check and what is wrong with the pictures once that lasts; nothing where
        it is over.
    find_cause : callable
        Returns why no frame can come, with what to change; empty where one can. It is asked when a
        camera falls silent.
    clock : callable
        Seconds by which silence is measured, such as `stream_clock` returns.

    """

    def __init__(
        self,
        monitor: Monitor,
        *,
        decode: Callable[[Any, float], Frame],
        outputs: StreamOutputs,
        counts: StreamCounts,
        limit: RateLimit,
        on_scored: Callable[[Any, Observation], None] = lambda message, observation: None,
        on_published: Callable[[Any, Frame, Observation], None] = lambda *answer: None,
        on_bad_frame: Callable[[str], None],
        on_health: Callable[[str, str], None] = lambda check, text: None,
        find_cause: Callable[[], str] = str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.monitor = monitor
        self.counts = counts
        self.limit = limit
        self._decode = decode
        self._outputs = outputs
        self._on_scored = on_scored
        self._on_published = on_published
        self._on_bad_frame = on_bad_frame
        self._on_health = on_health
        self._find_cause = find_cause
        self.told_cause = ''  # of this silence, by whoever told it last
        self.health = HealthCounts()
        self.deadline_ms = 0.0
        self._clock = clock
        self._last_score = clock()
        # the latest frame that was let in, that a turn took, and that is done with, by number
        self._accepted = self._taken = self._done = 0
        self._unusable = ''
        self._left_out = 0  # by the rate limit, since the last score
        self._hung = False

    def start(self) -> None:
        """Count silence from here."""
        self._last_score = self._clock()
        self.told_cause = ''

    def accepts(self, info: Mapping[str, Any]) -> bool:
        """
        Tell whether a received message is to be looked at, and count it where it is not.

        Parameters
        ----------
        info : mapping
            What the middleware says about it; ``publication_sequence_number`` is used, if any.

        Returns
        -------
        bool
            False where the rate limit leaves it out.

        """
        self.counts.on_number(info.get('publication_sequence_number'))
        now = self._clock()
        if not self.limit.accepts(now):
            self.counts.on_received(skipped=True)
            self._left_out += 1
            return False
        self._accepted += 1
        return True

    def take(self, number: int) -> None:
        """Note which of the frames that were let in is in work from now on."""
        self._taken = number

    def leave_out(self, waited: float) -> None:
        """Count a frame that waited for too long, in s."""
        self._done = self._taken
        self.counts.on_late()
        self._unusable = f'it waited {waited:.2f} s for the engine'

    def decode(self, message: Any, arrived: float) -> Frame | None:
        """Return the picture of a message; None where it is none, which is counted and told."""
        try:
            return self._decode(message, arrived)
        except Exception as error:  # noqa: BLE001, whatever it is: this frame, not the node
            self._done = self._taken
            is_known = isinstance(error, DecodeError)
            self._unusable = str(error) if is_known else f'{type(error).__name__}: {error}'
            self.counts.on_bad(self._unusable)
            self._on_bad_frame(self._unusable)
            return None

    def publish(self, message: Any, frame: Frame, observation: Observation) -> None:
        """Publish and count the monitor's answer to this message and its picture."""
        self._done = self._taken
        if self._hung:
            observation = self._after_hang(observation)
        self._on_scored(message, observation)  # before: who hears of it may ask about it
        news = self.health.on_frame(observation.health, has_answer=observation.has_answer)
        for check, text in news.items():
            self._on_health(check, text)
        self._unusable, self._left_out = '', 0  # before: what comes now is of the next silence
        latency_ms = self._outputs.publish_observation(message.header, observation)
        self._last_score, self.told_cause = self._clock(), ''
        self.counts.on_scored(latency_ms, observation.latency_ms, deadline_ms=self.deadline_ms)
        self._on_published(message, frame, observation)

    def look_at_clock(self) -> None:
        """Publish STALE where no frame has been scored for too long."""
        seconds = self.seconds_without_score()
        alert = self.monitor.check_silence(seconds)
        # only STALE is news here: before the first frame the logic is NORMAL by default, which
        # nothing has shown yet
        if alert.state is State.STALE:
            reason = self._why_silent(seconds)
            if not reason and alert.changed:  # only then it is published: the graph is asked once
                reason = self._with_cause(alert.reason)
            if reason:
                alert = dataclasses.replace(alert, reason=reason)
            self._outputs.publish_alert(alert, silent_for=seconds)

    def seconds_without_score(self) -> float:
        """
        Return the time since the last published score or since the start, in s.

        A clock that ran back, or that only now begins (at 0 it has not), starts it anew.
        """
        last = self._last_score  # before the clock: another thread may note a score meanwhile
        now = self._clock()
        if now < last or last == 0.0:
            self._last_score = last = now
        return now - last

    def report_hang(self, longest: float, lacking: str) -> str:
        """
        Publish FAULT while the thread that scores cannot, because a call does not come back.

        It is STALE where this camera waits for nothing: no frame of it is in work or in its slot.

        Parameters
        ----------
        longest : float
            Longest time without a score, in s.
        lacking : str
            What has not come, in words.

        Returns
        -------
        str
            The state that was published and why; else empty.

        """
        seconds = self.seconds_without_score()
        if seconds < longest:
            return ''
        if self._accepted > self._done:
            self._hung, state = True, State.FAULT
            reason = f'{seconds:.2f} s without a score: {lacking}'
        else:
            state = State.STALE
            reason = self._why_silent(seconds) or self._with_cause(
                f'{seconds:.2f} s without a frame'
            )
        alert = AlertState(state, reason=reason)
        is_news = self._outputs.publish_alert(alert, silent_for=seconds)
        return f'{state.value}: {reason}' if is_news else ''

    def _why_silent(self, seconds: float) -> str:
        """Return the reason of a silence in which frames came; empty where none did."""
        if self._unusable:
            return f'{seconds:.2f} s without a usable frame (last: {self._unusable})'
        waiting = self._accepted - self._done
        if waiting > 0:
            return (
                f'{seconds:.2f} s without a score: {_frames(waiting)} waited for the engine in '
                'vain; use a faster one, fewer cameras a node, or a larger alert.stale_after'
            )
        if self._left_out:
            frames = _frames(self._left_out)
            return f'{seconds:.2f} s without a score; input.max_rate_hz left out {frames} in it'
        return ''

    def _with_cause(self, reason: str) -> str:
        self.told_cause = self._find_cause()
        return f'{reason}: {self.told_cause}' if self.told_cause else reason

    def _after_hang(self, observation: Observation) -> Observation:
        self._hung = False
        seconds = self.seconds_without_score()
        reason = f'{observation.alert.reason}, after {seconds:.2f} s without an answer'
        return dataclasses.replace(
            observation, alert=dataclasses.replace(observation.alert, reason=reason)
        )


def _frames(number: int) -> str:
    return '1 frame' if number == 1 else f'{number} frames'
