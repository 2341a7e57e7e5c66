"""How frames of a camera come in, and what to mend: a status of it on ``/diagnostics``."""

from __future__ import annotations

from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticStatus

from ros_ood_monitor.records import State
from ros_ood_monitor.ros.camera.counts import Counters
from ros_ood_monitor.ros.camera.publishers import Publishers
from ros_ood_monitor.ros.diagnostics.load import Load, REPORTS
from ros_ood_monitor.ros.messages.converters import key_values

__all__ = ['InputFacts', 'input_status']


@dataclass(frozen=True)
class InputFacts:
    """
    What is known of the frames of one camera.

    Parameters
    ----------
    topic : str
        The topic that is subscribed to.
    active : bool
        Whether the node is active; STALE where it is not.
    publishers : Publishers
        Publishers on the topic.
    now, before : Counters
        Counters now and at the previous report, if any: what went wrong since is a WARN.
    state : State or None
        The state of the camera that ``~/alert`` holds.
    gone_for : float
        Time since there was a publisher, in s.
    silent_for, stale_after : float
        Time without a score, and how much of it is STALE, in s.
    load : Load
        What became of the frames of the last reports.
    off_rate : str
        Why the frame rate voids the stated rate of false alerts; empty where it does not.

    """

    topic: str
    active: bool
    publishers: Publishers
    now: Counters
    before: Counters | None = None
    state: State | None = None
    gone_for: float = 0.0
    silent_for: float = 0.0
    stale_after: float = 0.0
    load: Load = field(default_factory=Load)
    off_rate: str = ''

    @property
    def is_silent(self) -> bool:
        """Return whether there was no score for so long that it is STALE."""
        return self.silent_for >= self.stale_after

    @property
    def absence(self) -> str:
        """Return why nothing can come; empty where something can."""
        if not self.publishers.advice:
            return ''
        is_gone = self.now.received and not self.publishers.is_mistaken
        return f'{self.cause} for {self.gone_for:.0f} s' if is_gone else self.cause

    @property
    def cause(self) -> str:
        """Return why nothing can come or be heard; empty where something can."""
        return self.publishers.why_silent(self.topic, was_heard=bool(self.now.received))

    def since(self, counter: str) -> int:
        """
        Return what a counter grew by since the previous report.

        Parameters
        ----------
        counter : str
            A field of `Counters`.

        Returns
        -------
        int
            All of it where there was no report.

        """
        first = 0 if self.before is None else getattr(self.before, counter)
        return int(getattr(self.now, counter) - first)


def input_status(name: str, *, camera: str, facts: InputFacts) -> DiagnosticStatus:
    """
    Return the status about what comes in from one camera.

    Parameters
    ----------
    name : str
        The status's name.
    camera : str
        hardware_id.
    facts : InputFacts
        What is known.

    Returns
    -------
    diagnostic_msgs.msg.DiagnosticStatus
        OK, WARN, ERROR or STALE, with a sentence and all counters.

    """
    now, state = facts.now, facts.state
    level, message = _judge(facts)
    if facts.active and state is State.FAULT and facts.is_silent:
        # of a camera that is only silent the state is STALE
        level, message = (
            DiagnosticStatus.ERROR,
            f'the engine is silent for {facts.silent_for:.1f} s',
        )
    values: dict[str, object] = {
        'topic': facts.topic,
        'state': state.value if state is not None else '',
        'rate_hz': _rounded(now.rate_hz if facts.active else 0.0),
        'latency_ms_p50': _rounded(now.latency_ms[0]),
        'latency_ms_p99': _rounded(now.latency_ms[1]),
        'processing_ms_p50': _rounded(now.processing_ms[0]),
        'processing_ms_p99': _rounded(now.processing_ms[1]),
        'received': now.received,
        'scored': now.scored,
        'dropped': now.dropped,
        'skipped': now.skipped,
        'late': now.late,
        'overdue': now.overdue,
        'decode_errors': now.bad,
        'last_decode_error': now.last_bad,
        'missed_frames': now.missed,
        'lost_messages': now.lost,
        'publishers': facts.publishers.count,
        'incompatible_qos': now.incompatible_qos,
        'incompatible_policy': now.incompatible_policy,
    }
    return DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        hardware_id=camera,
        values=key_values(values),
    )


def _judge(facts: InputFacts) -> tuple[bytes, str]:
    if not facts.active:
        return DiagnosticStatus.STALE, 'not active'
    return _judge_silence(facts) if facts.is_silent else _judge_flow(facts)


def _judge_silence(facts: InputFacts) -> tuple[bytes, str]:
    """Say why no score has come for so long."""
    error, stale = DiagnosticStatus.ERROR, DiagnosticStatus.STALE
    publishers, silence = facts.publishers, f'for {facts.silent_for:.1f} s'
    if facts.absence:
        return error if publishers.is_mistaken else stale, facts.absence
    if publishers.cure:
        return error, publishers.cure
    if facts.since('bad'):
        return error, f'no usable frame {silence}: {facts.now.last_bad}'
    if facts.since('late'):
        return stale, (
            f'no score {silence}: frames wait longer than input.max_wait; raise '
            'it, limit input.max_rate_hz or use a faster engine'
        )
    if not facts.since('received'):
        return stale, (
            f'no frame {silence} though {facts.topic} has a publisher: it sends none, '
            'all are lost on the way, or none is readable, which the middleware says on stderr'
        )
    if facts.since('dropped'):
        return stale, f'no score {silence}: frames come, and wait for the engine'
    return stale, f'no score {silence}'


def _judge_flow(facts: InputFacts) -> tuple[bytes, str]:
    """Say what went wrong since the last report, although frames are scored."""
    remark = _flaw(facts) or facts.off_rate
    if remark:
        return DiagnosticStatus.WARN, remark
    return DiagnosticStatus.OK, f'{facts.now.rate_hz:.1f} frames/s scored'


def _flaw(facts: InputFacts) -> str:
    publishers, load = facts.publishers, facts.load
    bad, lost, overdue = (facts.since(name) for name in ('bad', 'lost', 'overdue'))
    if facts.absence:
        return facts.absence
    if bad:
        return f'{_frames(bad, "undecodable")}: {facts.now.last_bad}'
    if publishers.cure:
        return publishers.cure
    if publishers.heard > 1:
        return (
            f'{publishers.heard} publishers on {facts.topic}: one camera a topic; meanwhile '
            'missed_frames does not count'
        )
    if lost:
        return (
            f'{_frames(lost)} lost by the middleware; the camera needs a larger '
            'shared-memory segment or input.reliability: reliable'
        )
    if not facts.since('received'):
        return 'no frame yet' if not facts.now.received else 'no frame since the last report'
    if load.is_over:
        return _overload(load)
    if overdue:
        return (
            f'{_frames(overdue)} answered after input.deadline_ms; limit input.max_rate_hz, use a '
            'faster engine, or raise the deadline'
        )
    return ''


def _overload(load: Load) -> str:
    # dropped in the node is slow scoring; only what never reached it can be the transport
    late_too = f', {load.late} late' if load.late else ''
    skipped = f' and {load.skipped} skipped' if load.skipped else ''
    cure = ', or give the camera config/fastdds.xml' if load.missed else ''
    return (
        f'overloaded: {_frames(load.dropped)} dropped{late_too} and {load.missed} missed for '
        f'{load.scored} scored{skipped} in the last {REPORTS} reports; limit input.max_rate_hz or '
        f'use a faster engine{cure}'
    )


def _frames(number: int, kind: str = '') -> str:
    return f'{number} {kind} frame'.replace('  ', ' ') + ('' if number == 1 else 's')


def _rounded(value: float) -> float:
    return round(value, 3)
