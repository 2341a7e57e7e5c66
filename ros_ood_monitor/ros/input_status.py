"""How frames of a camera come in, and what to mend: a status of it on ``/diagnostics``."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus

from ros_ood_monitor.records import State
from ros_ood_monitor.ros.converters import key_values
from ros_ood_monitor.ros.load import Load, REPORTS
from ros_ood_monitor.ros.publishers import Publishers
from ros_ood_monitor.ros.stream_counts import Snapshot

__all__ = ['input_status']


def input_status(
    name: str,
    *,
    camera: str,
    topic: str,
    active: bool,
    publishers: Publishers,
    gone_for: float,
    state: State | None,
    silent_for: float,
    stale_after: float,
    now: Snapshot,
    before: Snapshot | None,
    load: Load,
    off_rate: str = '',
) -> DiagnosticStatus:
    """
    Return the status about what comes in from one camera.

    Parameters
    ----------
    name : str
        The status's name.
    camera : str
        hardware_id.
    topic : str
        The topic that is subscribed to.
    active : bool
        Whether the node is active; STALE where it is not.
    publishers : Publishers
        Publishers on the topic.
    gone_for : float
        Time since there was one, in s.
    state : State or None
        The state of the camera that ``~/alert`` holds.
    silent_for, stale_after : float
        Time without a score, and how much of it is STALE, in s.
    now, before : Snapshot
        Counters now and at the previous report, if any: what went wrong since is a WARN.
    load : Load
        What became of the frames of the last reports.
    off_rate : str
        Why the frame rate voids the stated rate of false alerts; empty where it does not.

    Returns
    -------
    diagnostic_msgs.msg.DiagnosticStatus
        OK, WARN, ERROR or STALE, with a sentence and all counters.

    """
    level, message = _judge_input(
        topic, active, publishers, gone_for, silent_for, stale_after, now, before, load, off_rate
    )
    if active and state is State.FAULT and silent_for >= stale_after:
        # of a camera that is only silent the state is STALE
        level, message = DiagnosticStatus.ERROR, f'the engine is silent for {silent_for:.1f} s'
    values: dict[str, object] = {
        'topic': topic,
        'state': state.value if state is not None else '',
        'rate_hz': _rounded(now.rate_hz if active else 0.0),
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
        'publishers': publishers.count,
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


def _judge_input(
    topic: str,
    active: bool,
    publishers: Publishers,
    gone_for: float,
    silent_for: float,
    stale_after: float,
    now: Snapshot,
    before: Snapshot | None,
    load: Load,
    off_rate: str,
) -> tuple[bytes, str]:
    error, warn = DiagnosticStatus.ERROR, DiagnosticStatus.WARN
    received, bad, lost, late, overdue = (
        getattr(now, name) - (getattr(before, name) if before is not None else 0)
        for name in ('received', 'bad', 'lost', 'late', 'overdue')
    )
    if not active:
        return DiagnosticStatus.STALE, 'not active'
    absent = publishers.advice
    if absent and now.received and not publishers.is_mistaken:
        absent = f'camera gone: no publisher on {topic} for {gone_for:.0f} s'
    if silent_for >= stale_after:
        if absent:
            level = error if publishers.is_mistaken else DiagnosticStatus.STALE
            return level, absent
        if publishers.cure:
            return error, publishers.cure
        if bad:
            return error, f'no usable frame for {silent_for:.1f} s: {now.last_bad}'
        if late:
            return DiagnosticStatus.STALE, (
                f'no score for {silent_for:.1f} s: frames wait longer than input.max_wait; raise '
                'it, limit input.max_rate_hz or use a faster engine'
            )
        if not received:
            return DiagnosticStatus.STALE, (
                f'no frame for {silent_for:.1f} s though {topic} has a publisher: it sends none, '
                'all are lost on the way, or none is readable, which the middleware says on stderr'
            )
        return DiagnosticStatus.STALE, f'no score for {silent_for:.1f} s'
    if absent:
        return warn, absent
    if bad:
        return warn, f'{_frames(bad, "undecodable")}: {now.last_bad}'
    if publishers.cure:
        return warn, publishers.cure
    if publishers.heard > 1:
        return warn, (
            f'{publishers.heard} publishers on {topic}: one camera a topic; meanwhile '
            'missed_frames does not count'
        )
    if lost:
        return warn, (
            f'{_frames(lost)} lost by the middleware; the camera needs a larger '
            'shared-memory segment or input.reliability: reliable'
        )
    if not received:
        return warn, 'no frame yet' if not now.received else 'no frame since the last report'
    if load.is_over:
        # dropped in the node is slow scoring; only what never reached it can be the transport
        late_too = f', {load.late} late' if load.late else ''
        cure = ', or give the camera config/fastdds.xml' if load.missed else ''
        return warn, (
            f'overloaded: {_frames(load.dropped)} dropped{late_too} and {load.missed} missed for '
            f'{load.scored} scored in the last {REPORTS} reports; limit input.max_rate_hz or use '
            f'a faster engine{cure}'
        )
    if overdue:
        return warn, (
            f'{_frames(overdue)} answered after input.deadline_ms; limit input.max_rate_hz, use a '
            'faster engine, or raise the deadline'
        )
    if off_rate:
        return warn, off_rate
    return DiagnosticStatus.OK, f'{now.rate_hz:.1f} frames/s scored'


def _frames(number: int, kind: str = '') -> str:
    return f'{number} {kind} frame'.replace('  ', ' ') + ('' if number == 1 else 's')


def _rounded(value: float) -> float:
    return round(value, 3)
