"""What a page needs to let the alert logic run again at another threshold, exactly."""

from __future__ import annotations

import base64
from collections.abc import Sequence
import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.calibration import OperatingPoint
from ros_ood_monitor.evaluation.bags.evaluate import BagEvaluation
from ros_ood_monitor.evaluation.bags.judged import JudgedBag
from ros_ood_monitor.evaluation.bags.scored import FAULT, ScoredBag
from ros_ood_monitor.image_time import image_times

__all__ = ['MOST_FRAMES', 'explorer_data']

MOST_FRAMES: Final = 200_000
"""Frames in a page, 23 bytes each."""

_FLOORS: Final = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 1.0)
"""Shares of frames that may be left out from below."""

_JUDGED, _FAULT, _AFTER_GAP = 4, 8, 16  # flags; the two bits below are the label + 1

Mask = npt.NDArray[np.bool_]


def explorer_data(
    evaluation: BagEvaluation, *, most_frames: int = MOST_FRAMES
) -> dict[str, Any] | None:
    """
    Pack scores, labels and the alert rule for a page.

    Where there are too many frames, those are left out that change nothing at any threshold that
    the page then offers: scores that are not over the lowest one and come while no alert can be
    on. Bags that do not fit even so are left out whole.

    Parameters
    ----------
    evaluation : BagEvaluation
        What `evaluate_bags` found.
    most_frames : int
        How many frames may be packed.

    Returns
    -------
    dict or None
        Serialisable as JSON; None where not one bag fits.

    """
    point, bags = evaluation.calibration.operating_point, evaluation.bags
    floor, kept = _thinned(bags, point, most_frames)
    streams: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    taken: list[JudgedBag] = []
    left = most_frames
    for bag, masks in zip(bags, kept, strict=True):
        size = sum(int(mask.sum()) for mask in masks)
        if size > left:
            continue
        left -= size
        taken.append(bag)
        for camera, (called, mask) in enumerate(zip(bag.scored.facts.cameras, masks, strict=True)):
            rows = bag.scored.rows_of(camera)
            if rows.size:
                events += _events(bag, called, rows[mask], len(streams))
                streams.append(_stream(bag, rows, mask))
    if not streams:
        return None
    settings = dict(point.settings) if point.logic == 'consecutive' else {}
    facts = taken[0].scored.facts
    labels = np.concatenate([bag.judged_label for bag in taken])
    return {
        'rule': {
            'release': point.release,
            'trigger_frames': point.trigger_frames,
            'release_frames': point.release_frames,
            'trigger_seconds': settings.get('trigger_seconds', 0.0),
            'release_seconds': settings.get('release_seconds', 0.0),
            'stale_after': facts.stale_after if math.isfinite(facts.stale_after) else 1e300,
            'refractory': evaluation.settings.refractory or 0.0,
        },
        'is_own': point.logic == 'consecutive',
        'logic': point.logic,
        'threshold': evaluation.threshold,
        'floor': floor,
        'margin': evaluation.settings.ignore_margin,
        'hours': sum(sum(bag.hours.values()) for bag in taken),
        'id_frames': int(np.count_nonzero(labels == 0)),
        'ood_frames': int(np.count_nonzero(labels == 1)),
        'bags': len(taken),
        'of_bags': len(bags),
        'streams': streams,
        'events': events,
    }


def _thinned(
    bags: Sequence[JudgedBag], point: OperatingPoint, most: int
) -> tuple[float | None, list[list[Mask]]]:
    """Return the lowest threshold to be offered, and each camera's frames to keep, by bag."""
    everything = [
        [
            np.ones(bag.scored.rows_of(k).size, np.bool_)
            for k in range(len(bag.scored.facts.cameras))
        ]
        for bag in bags
    ]
    if sum(len(bag.scored) for bag in bags) <= most:
        return None, everything
    scores = np.concatenate([bag.scored.raw_score for bag in bags])
    scores = scores[np.isfinite(scores)]
    floor = math.inf
    # a floor over the threshold in use would take away what the page is to begin with
    trigger = bags[0].scored.facts.threshold
    for share in _FLOORS:
        floor = min(float(np.quantile(scores, share)), trigger)
        # a guess that costs nothing before the exact count, which takes a second a million frames
        if np.count_nonzero(scores > floor) > most and share < 1.0 and floor < trigger:
            continue
        kept = [
            [
                _needed(bag, bag.scored.rows_of(k), point, floor)
                for k in range(len(bag.scored.facts.cameras))
            ]
            for bag in bags
        ]
        if floor == trigger or sum(int(m.sum()) for masks in kept for m in masks) <= most:
            break
    return floor, kept


def _needed(
    bag: JudgedBag, rows: npt.NDArray[np.int64], point: OperatingPoint, floor: float
) -> Mask:
    """Return which frames of a camera change anything at a threshold of at least ``floor``."""
    scored = bag.scored
    release = min(point.release, floor)
    seconds = dict(point.settings).get('release_seconds', 0.0)
    keep = np.ones(rows.size, np.bool_)
    over, calm, first = 0, 0, 0.0
    may_alert = False  # as far as the highest scores tell: nothing else is sure for all thresholds
    frames = zip(
        scored.raw_score[rows].tolist(), _times(scored, rows).tolist(),
        scored.judged[rows].tolist(), (scored.state[rows] == FAULT).tolist(), strict=True,
    )  # fmt: skip
    for k, (score, stamp, is_judged, is_fault) in enumerate(frames):
        if is_fault:
            over = calm = 0
        elif is_judged:
            over = over + 1 if score > floor else 0
            may_alert = may_alert or over >= point.trigger_frames
        keep[k] = may_alert or over > 0
        if may_alert and is_judged:
            first = first if calm else stamp
            calm = calm + 1 if score < release else 0
            # this frame is the first one in NORMAL, at the latest
            may_alert = not (calm >= point.release_frames and stamp - first >= seconds)
            calm = calm if may_alert else 0
    return keep


def _times(scored: ScoredBag, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return when frames were, as an alert logic takes it; stamps of those that are not judged."""
    times, judged = scored.stamp[rows], scored.judged[rows]
    times[judged] = image_times(times[judged])
    return times


def _stream(bag: JudgedBag, rows: npt.NDArray[np.int64], keep: Mask) -> dict[str, Any]:
    scored, kept = bag.scored, rows[keep]
    flags = (bag.label[kept] + 1).astype(np.uint8)
    flags |= np.where(scored.judged[kept], _JUDGED, 0).astype(np.uint8)
    flags |= np.where(scored.state[kept] == FAULT, _FAULT, 0).astype(np.uint8)
    places = np.flatnonzero(keep)
    after_gap = np.diff(places, prepend=-1) > 1
    flags |= np.where(after_gap, _AFTER_GAP, 0).astype(np.uint8)
    content = (
        _times(scored, rows)[keep].astype('<f8').tobytes()
        + scored.raw_score[kept].astype('<f8').tobytes()
        + flags.tobytes()
    )
    return {'frames': int(kept.size), 'packed': base64.b64encode(content).decode('ascii')}


def _events(
    bag: JudgedBag, called: str, kept: npt.NDArray[np.int64], stream: int
) -> list[dict[str, Any]]:
    """Return the events of a camera, by the places of their frames among those that are kept."""
    return [
        {
            'stream': stream,
            'kind': event.kind,
            'start': event.start,
            'first': int(np.searchsorted(kept, event.rows.first)),
            'until': int(np.searchsorted(kept, event.rows.until, side='right')),
        }
        for event in bag.events
        if event.rows is not None and event.camera == called
    ]
