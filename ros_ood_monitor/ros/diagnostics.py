"""The node's own health on ``/diagnostics``: one status about its input, one about its model."""

from __future__ import annotations

from dataclasses import dataclass, field
import math
import os
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus

from ros_ood_monitor.records import State
from ros_ood_monitor.ros.converters import key_values
from ros_ood_monitor.ros.load import Load, REPORTS
from ros_ood_monitor.ros.stream_counts import Snapshot

__all__ = ['ModelFacts', 'input_status', 'memory_mib', 'model_status']


@dataclass
class ModelFacts:
    """
    What is known about the model that the node runs, or could not run.

    Parameters
    ----------
    bundle : str
        Name and digest; empty while there is none.
    path : str
        Where it was loaded from.
    engine : dict of str to str
        What the engine says about itself.
    verification : str
        How well the engine reproduces the goldens.
    problem : str
        Why configuring failed, or what the engine failed with; empty where all is well.

    """

    bundle: str = ''
    path: str = ''
    engine: dict[str, str] = field(default_factory=dict)
    verification: str = ''
    problem: str = ''


def input_status(
    name: str,
    *,
    camera: str,
    topic: str,
    active: bool,
    publishers: int,
    state: State | None,
    silent_for: float,
    stale_after: float,
    now: Snapshot,
    before: Snapshot | None,
    load: Load,
) -> DiagnosticStatus:
    """
    Return the status about what comes in.

    Parameters
    ----------
    name : str
        The node's name.
    camera : str
        hardware_id.
    topic : str
        The resolved input topic.
    active : bool
        Whether the node is active; STALE where it is not.
    publishers : int
        Publishers on the topic.
    state : State or None
        The state that ``~/alert`` holds.
    silent_for, stale_after : float
        Time without a score, and how much of it is STALE, in s.
    now, before : Snapshot
        Counters now and at the previous report, if any: what went wrong since is a WARN.
    load : Load
        What became of the frames of the last reports.

    Returns
    -------
    diagnostic_msgs.msg.DiagnosticStatus
        OK, WARN, ERROR or STALE, with a sentence and all counters.

    """
    level, message = _judge_input(
        topic, active, publishers, silent_for, stale_after, now, before, load
    )
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
        'decode_errors': now.bad,
        'last_decode_error': now.last_bad,
        'missed_frames': now.missed,
        'lost_messages': now.lost,
        'publishers': publishers,
        'incompatible_qos': now.incompatible_qos,
        'incompatible_policy': now.incompatible_policy,
    }
    return DiagnosticStatus(
        level=level,
        name=f'{name}: input',
        message=message,
        hardware_id=camera,
        values=key_values(values),
    )


def _judge_input(
    topic: str,
    active: bool,
    publishers: int,
    silent_for: float,
    stale_after: float,
    now: Snapshot,
    before: Snapshot | None,
    load: Load,
) -> tuple[bytes, str]:
    error, warn = DiagnosticStatus.ERROR, DiagnosticStatus.WARN
    received, bad, lost = (
        getattr(now, name) - (getattr(before, name) if before is not None else 0)
        for name in ('received', 'bad', 'lost')
    )
    nobody = f'no publisher on {topic}; remap image to your camera'
    if not active:
        return DiagnosticStatus.STALE, 'not active'
    if silent_for >= stale_after:
        if now.incompatible_qos:
            return error, (
                f'a publisher on {topic} cannot be heard: its {now.incompatible_policy} does not '
                'fit; set input.reliability'
            )
        if not publishers:
            return DiagnosticStatus.STALE, nobody
        if bad:
            return error, f'no usable frame for {silent_for:.1f} s: {now.last_bad}'
        return DiagnosticStatus.STALE, f'no score for {silent_for:.1f} s'
    if not publishers:
        return warn, nobody
    if bad:
        return warn, f'{_frames(bad, "undecodable")}: {now.last_bad}'
    if lost:
        return warn, (
            f'{_frames(lost)} lost by the middleware; the camera needs a larger '
            'shared-memory segment or input.reliability: reliable'
        )
    if not received:
        return warn, 'no frame yet' if not now.received else 'no frame since the last report'
    if load.is_over:
        # dropped in the node is slow scoring; only what never reached it can be the transport
        cure = ', or give the camera config/fastdds.xml' if load.missed else ''
        return warn, (
            f'overloaded: {_frames(load.dropped)} dropped and {load.missed} missed for '
            f'{load.scored} scored in the last {REPORTS} reports; limit input.max_rate_hz or use '
            f'a faster engine{cure}'
        )
    return DiagnosticStatus.OK, f'{now.rate_hz:.1f} frames/s scored'


def model_status(name: str, facts: ModelFacts, lifecycle_state: str) -> DiagnosticStatus:
    """
    Return the status about what judges.

    Parameters
    ----------
    name : str
        The node's name.
    facts : ModelFacts
        The model, or why there is none.
    lifecycle_state : str
        Label of the lifecycle state.

    Returns
    -------
    diagnostic_msgs.msg.DiagnosticStatus
        ERROR where configuring or the engine failed, STALE without a model, else OK.

    """
    if facts.problem:
        level, message = DiagnosticStatus.ERROR, facts.problem
    elif facts.bundle:
        level, message = DiagnosticStatus.OK, facts.verification
    else:
        level, message = DiagnosticStatus.STALE, 'not configured'
    values: dict[str, object] = {
        'lifecycle_state': lifecycle_state,
        'bundle': facts.bundle,
        'path': facts.path,
        **facts.engine,
        'verification': facts.verification,
        'memory_mib': _rounded(memory_mib()),
    }
    return DiagnosticStatus(
        level=level,
        name=f'{name}: model',
        message=message,
        hardware_id='',
        values=key_values(values),
    )


def memory_mib() -> float:
    """
    Return the resident memory of this process.

    Returns
    -------
    float
        In MiB; NaN where the system does not tell.

    """
    try:
        pages = int(Path('/proc/self/statm').read_text(encoding='ascii').split()[1])
        return pages * os.sysconf('SC_PAGE_SIZE') / 2**20
    except (OSError, ValueError, IndexError):
        return math.nan


def _frames(number: int, kind: str = '') -> str:
    return f'{number} {kind} frame'.replace('  ', ' ') + ('' if number == 1 else 's')


def _rounded(value: float) -> float:
    return round(value, 3)
