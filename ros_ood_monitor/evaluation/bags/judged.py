"""A bag beside its labels: frames of either class, events, and alerts that were none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.alerting import Episode, EpisodeLog
from ros_ood_monitor.camera_names import camera_name
from ros_ood_monitor.errors import BagError
from ros_ood_monitor.evaluation.bags.events import Event, Mask, Track
from ros_ood_monitor.evaluation.bags.labels import Label
from ros_ood_monitor.evaluation.bags.scored import FAULT, ScoredBag, STATES
from ros_ood_monitor.image_time import image_times
from ros_ood_monitor.records import AlertState, State

__all__ = ['Alert', 'JudgedBag', 'judge']

_STEP_BACK_S: Final = 1.0  # two frames in the wrong order are no clock that was set


@dataclass(frozen=True)
class Alert:
    """
    An episode of ALERT, and whether it was one.

    Parameters
    ----------
    bag : str
        Where.
    episode : Episode
        Camera, start, end, peak, reason.
    first, last : int
        Rows of its first and of its last frame in ALERT.
    is_false : bool
        Whether it began at a frame that no label (nor its margin) covers.

    """

    bag: str
    episode: Episode
    first: int
    last: int
    is_false: bool


@dataclass(frozen=True, eq=False)
class JudgedBag:
    """
    A scored bag beside its labels.

    Parameters
    ----------
    name : str
        The bag.
    path : Path
        Where it lies.
    scored : ScoredBag
        Its frames.
    label : ndarray of shape (n,), int8
        Of each frame: 1 out-of-distribution, 0 in-distribution, -1 within the margin of a label.
    kinds : dict of str to ndarray of shape (n,), bool
        Frames of each kind; a frame may be of several.
    events : tuple of Event
        By camera and start.
    alerts : tuple of Alert
        By start.
    hours : dict of str to float
        In-distribution time watched and not in FAULT, by camera, in hours.
    false_start : ndarray of shape (n,), bool
        Frames at which false alerts began.
    problems : tuple of str
        What the labels and stamps made doubtful.

    """

    name: str
    path: Path
    scored: ScoredBag
    label: npt.NDArray[np.int8]
    kinds: dict[str, Mask]
    events: tuple[Event, ...]
    alerts: tuple[Alert, ...]
    hours: dict[str, float]
    false_start: Mask
    problems: tuple[str, ...]

    @property
    def judged_label(self) -> npt.NDArray[np.int8]:
        """Return labels (n,) in which a frame that was not judged is neither."""
        return np.where(self.scored.judged, self.label, np.int8(-1))


def judge(
    name: str,
    path: Path,
    scored: ScoredBag,
    labels: Sequence[Label],
    *,
    margin: float,
    refractory: float,
) -> JudgedBag:
    """
    Lay the labels of a bag over its frames and alerts.

    Parameters
    ----------
    name : str
        The bag.
    path : Path
        Where it lies.
    scored : ScoredBag
        Its frames.
    labels : sequence of Label
        Its labels.
    margin : float
        Frames so near outside of a label are neither in- nor out-of-distribution, in s.
    refractory : float
        An alert that begins so soon after the last one is the same, in s.

    Returns
    -------
    JudgedBag
        Both together.

    Raises
    ------
    BagError
        If a label names a camera that was not scored, no label covers a frame, or stamps that
        step back leave open which frames are meant.

    """
    label = np.zeros(len(scored), np.int8)
    kinds: dict[str, Mask] = {}
    events: list[Event] = []
    problems = list(scored.facts.problems)
    owned = [(one, _cameras(one, scored, path)) for one in labels]
    for camera, called in enumerate(scored.facts.cameras):
        rows = scored.rows_of(camera)  # (k,)
        if not rows.size:
            continue
        mine = [one for one, cameras in owned if camera in cameras]
        problems += _check_stamps(called, scored.stamp[rows], mine, scored.facts.stale_after, path)
        track = Track(name, called, scored, rows)
        spans = [track.span(one, scored.facts.origin, margin) for one in mine]
        inside, near = (np.zeros(rows.size, np.bool_) for _ in range(2))
        for span in spans:
            inside |= span.inside
            near |= span.near
            kind = kinds.setdefault(span.kind, np.zeros(len(scored), np.bool_))
            kind[rows[span.inside]] = True
        label[rows[near]] = -1
        label[rows[inside]] = 1
        events += [track.event(span, spans) for span in spans]
    if events and not any(event.frames for event in events):
        stamps = f'{scored.stamp.min():.3f} to {scored.stamp.max():.3f} s'
        first = f'{events[0].start:.3f} to {events[0].end:.3f} s'
        msg = (
            f'no label covers a frame: labels are of image stamps from {first} on, frames of '
            f"{stamps}; where times count from the bag's first frame, say 'time: bag': {path}"
        )
        raise BagError(msg)
    events += [event for one, cameras in owned for event in _unseen(name, one, cameras, scored)]
    unseen = sum(not event.frames for event in events)
    if unseen:
        problems.append(f'events without a frame: {unseen} of {len(events)}')
    alerts = _alerts(name, scored, label, refractory)
    false_start = np.zeros(len(scored), np.bool_)
    false_start[[alert.first for alert in alerts if alert.is_false]] = True
    return JudgedBag(
        name=name,
        path=path,
        scored=scored,
        label=label,
        kinds=kinds,
        events=tuple(sorted(events, key=lambda event: (event.camera, event.start))),
        alerts=tuple(alerts),
        hours=_hours(scored, label),
        false_start=false_start,
        problems=tuple(problems),
    )


def _cameras(label: Label, scored: ScoredBag, path: Path) -> set[int]:
    """Return the places of the cameras that a label is about."""
    facts = scored.facts
    if not label.camera:
        return set(range(len(facts.cameras)))
    named = [
        k
        for k, names in enumerate(zip(facts.cameras, facts.topics, strict=True))
        if label.camera in names or camera_name(label.camera) == names[0]
    ]
    if not named:
        known = ', '.join([*facts.cameras, *facts.topics])
        msg = (
            f'label names a camera that is not scored: expected one of {known}, '
            f'got {label.camera!r}: {path}'
        )
        raise BagError(msg)
    return set(named)


def _check_stamps(
    camera: str,
    stamp: npt.NDArray[np.float64],
    labels: Sequence[Label],
    stale_after: float,
    path: Path,
) -> list[str]:
    """Refuse a clock that was set back under labels that count on it, and tell of jumps."""
    steps = np.diff(stamp)
    back = steps[steps < -_STEP_BACK_S]
    if back.size and any(label.time != 'log' for label in labels):
        msg = (
            f'stamps of {camera!r} step back (times: {back.size}, by up to {-back.min():.3f} s), '
            'and its labels do not say which frames they mean; cut the bag where the clock was '
            f'set, or mark it by --label-topic: {path}'
        )
        raise BagError(msg)
    found = []
    back = steps[steps < 0.0]
    if back.size:
        found.append(
            f'{camera}: stamps step back (times: {back.size}, by up to {-back.min():.3f} s)'
        )
    gaps = int(np.count_nonzero(steps > stale_after))
    if gaps:
        found.append(
            f'{camera}: gaps longer than {stale_after:g} s: {gaps}, the longest '
            f'{steps.max():.3f} s; the alert logic starts anew after each'
        )
    return found


def _unseen(name: str, label: Label, cameras: set[int], scored: ScoredBag) -> Iterator[Event]:
    """Yield events of cameras without a frame, which a label has to name."""
    shift = scored.facts.origin if label.time == 'bag' else 0.0
    for camera in cameras if label.camera else ():
        if not scored.rows_of(camera).size:
            called = scored.facts.cameras[camera]
            yield Event(name, called, label.kind, label.start + shift, label.end + shift)


def _alerts(
    name: str, scored: ScoredBag, label: npt.NDArray[np.int8], refractory: float
) -> list[Alert]:
    """Return the alerts by start."""
    alerts: list[Alert] = []
    facts = scored.facts
    normal = STATES.index(State.NORMAL)
    for camera, called in enumerate(facts.cameras):
        log = EpisodeLog(refractory=refractory)
        spans: list[tuple[int, int]] = []  # first and last row of each, as they began
        rows = scored.rows_of(camera)
        calm = scored.state[rows] == normal
        # frames that change nothing for the log need not go through it
        idle = calm & np.concatenate([[True], calm[:-1]])
        for row in rows[~idle].tolist():
            state, changed = STATES[scored.state[row]], bool(scored.changed[row])
            stamp, peak = float(scored.stamp[row]), float(scored.peak[row])
            reason = facts.reasons.get(row, '')
            alert = AlertState(state, changed=changed, peak=peak, reason=reason)
            if log.note(alert, stamp, called):
                spans.append((row, row))
            elif state is State.ALERT:
                spans[-1] = spans[-1][0], row
        spans.sort(key=lambda span: float(scored.stamp[span[0]]))  # as the log has them
        alerts += [
            Alert(name, episode, first, last, bool(label[first] == 0))
            for episode, (first, last) in zip(log.episodes, spans, strict=True)
        ]
    return sorted(alerts, key=lambda alert: (alert.episode.start, alert.episode.camera))


def _hours(scored: ScoredBag, label: npt.NDArray[np.int8]) -> dict[str, float]:
    hours = {}
    for camera, called in enumerate(scored.facts.cameras):
        rows = scored.rows_of(camera)
        step = np.diff(image_times(scored.stamp[rows]))
        known = (label[rows] == 0) & (scored.state[rows] != FAULT)
        watched = known[1:] & known[:-1] & (step > 0.0) & (step <= scored.facts.stale_after)
        hours[called] = float(step[watched].sum()) / 3600.0
    return hours
