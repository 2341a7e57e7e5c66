"""Curves of an evaluation with few points: none that decides is left out."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.evaluation.bags.evaluate import BagEvaluation
from ros_ood_monitor.evaluation.bags.judged import JudgedBag
from ros_ood_monitor.json_values import finite

__all__ = ['MOST_STREAMS', 'decimated', 'histogram', 'operating_curves', 'timelines']

MOST_STREAMS: Final = 24
"""Curves over time in a page."""

_BUCKETS: Final = 1000
_CURVE: Final = 300  # points of an ROC curve
_BINS: Final = 80
_MOST_BANDS: Final = 100  # of either kind in a plot

Floats = npt.NDArray[np.float64]


def decimated(score: Floats, buckets: int = _BUCKETS) -> npt.NDArray[np.int64]:
    """
    Choose frames that draw the same curve.

    Parameters
    ----------
    score : ndarray of shape (n,), float64
        Scores in order; not finite where there was no answer.
    buckets : int
        Stretches of equal length, of which each keeps its lowest and its highest frame.

    Returns
    -------
    ndarray of shape (at most 2 * buckets + 2,), int64
        Ascending places, the first and the last frame among them.

    """
    if score.size <= 2 * buckets + 2:
        return np.arange(score.size)
    has_answer = np.isfinite(score)
    dips, peaks = (np.where(has_answer, score, other) for other in (np.inf, -np.inf))  # each (n,)
    starts = np.linspace(0, score.size, buckets, endpoint=False).astype(np.int64)
    ends = np.append(starts[1:], score.size)
    places = [0, score.size - 1]
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        places += [
            start + int(dips[start:end].argmin()),
            start + int(peaks[start:end].argmax()),
        ]
    return np.unique(np.array(places, np.int64))


def timelines(evaluation: BagEvaluation) -> list[dict[str, Any]]:
    """
    Return the score of each camera over time, with its labels and alerts.

    Parameters
    ----------
    evaluation : BagEvaluation
        What `evaluate_bags` found.

    Returns
    -------
    list of dict
        Serialisable as JSON; the first `MOST_STREAMS` cameras. Times in s from the bag's first
        image.

    """
    found: list[dict[str, Any]] = []
    for bag in evaluation.bags:
        origin = bag.scored.facts.origin
        for camera, called in enumerate(bag.scored.facts.cameras):
            rows = bag.scored.rows_of(camera)
            if rows.size and len(found) < MOST_STREAMS:
                found.append(_timeline(bag, called, rows, origin))
    return found


def _timeline(
    bag: JudgedBag, camera: str, rows: npt.NDArray[np.int64], origin: float
) -> dict[str, Any]:
    stamp, score = bag.scored.stamp[rows] - origin, bag.scored.raw_score[rows]
    chosen = decimated(score)
    x, y = stamp[chosen], score[chosen]
    # the line breaks where no frame came
    steps = np.diff(stamp, prepend=stamp[0])
    gaps = np.flatnonzero(steps > bag.scored.facts.stale_after)
    breaks = np.searchsorted(chosen, gaps)
    x = np.insert(x, breaks, (stamp[gaps] + stamp[gaps - 1]) / 2)
    y = np.insert(y, breaks, np.nan)
    period = float(np.median(steps[1:])) if rows.size > 1 else 0.0
    events = [event for event in bag.events if event.camera == camera and event.frames]
    alerts = [alert for alert in bag.alerts if alert.episode.camera == camera]
    return {
        'bag': bag.name,
        'camera': camera,
        'frames': int(rows.size),
        'origin': origin,
        'x': [round(value, 4) for value in x.tolist()],
        'y': [finite(float(f'{value:.6g}')) for value in y.tolist()],
        'labels': [
            [max(event.start - origin, float(stamp.min())),
             min(event.end - origin, float(stamp.max())), event.kind]
            for event in events[:_MOST_BANDS]
        ],
        'alerts': [
            # at least a frame wide, so that the shortest one is seen
            [alert.episode.start - origin,
             max(alert.episode.end, alert.episode.start + period) - origin, alert.is_false]
            for alert in alerts[:_MOST_BANDS]
        ],
        'left_out': max(0, len(events) - _MOST_BANDS) + max(0, len(alerts) - _MOST_BANDS),
    }  # fmt: skip


def _scores(evaluation: BagEvaluation) -> tuple[Floats, dict[str, Floats]]:
    """Return the scores of in-distribution frames, and of each kind's."""
    known = [bag.scored.raw_score[bag.judged_label == 0] for bag in evaluation.bags]
    kinds: dict[str, list[Floats]] = {}
    for bag in evaluation.bags:
        for kind, mask in bag.kinds.items():
            kinds.setdefault(kind, []).append(bag.scored.raw_score[mask & bag.scored.judged])
    return np.concatenate(known), {
        kind: np.concatenate(parts) for kind, parts in sorted(kinds.items())
    }


def operating_curves(evaluation: BagEvaluation) -> list[dict[str, Any]]:
    """
    Return ROC and precision-recall curves: of all frames, and of each kind where there are some.

    Parameters
    ----------
    evaluation : BagEvaluation
        What `evaluate_bags` found.

    Returns
    -------
    list of dict
        With ``name``, ``fpr``, ``tpr``, ``precision``; empty where a class has no frame.

    """
    known, kinds = _scores(evaluation)
    foreign = [bag.scored.raw_score[bag.judged_label == 1] for bag in evaluation.bags]
    sets = {'all': np.concatenate(foreign), **(kinds if len(kinds) > 1 else {})}
    return [
        {'name': name, **_curve(known, scores)}
        for name, scores in list(sets.items())[:8]
        if known.size and scores.size
    ]


def _curve(known: Floats, foreign: Floats) -> dict[str, Any]:
    score = np.concatenate([known, foreign])
    label = np.concatenate([np.zeros(known.size), np.ones(foreign.size)])
    order = np.argsort(-score, kind='stable')
    score, label = score[order], label[order]
    last = np.append(np.flatnonzero(np.diff(score)), score.size - 1)  # equal scores count as one
    hits, flagged = np.cumsum(label)[last], last + 1.0
    tpr, fpr = hits / foreign.size, (flagged - hits) / known.size
    # evenly along both axes
    way = np.cumsum(np.diff(tpr, prepend=0.0) + np.diff(fpr, prepend=0.0))
    chosen = np.unique(np.searchsorted(way, np.linspace(way[0], way[-1], _CURVE)))
    chosen = np.union1d(chosen[chosen < way.size], [way.size - 1])
    return {
        'fpr': [0.0, *np.round(fpr[chosen], 6).tolist()],
        'tpr': [0.0, *np.round(tpr[chosen], 6).tolist()],
        'precision': [
            float(np.round((hits / flagged)[chosen[0]], 6)),
            *np.round((hits / flagged)[chosen], 6).tolist(),
        ],
    }


def histogram(evaluation: BagEvaluation) -> dict[str, Any]:
    """
    Return how scores are spread, in-distribution and by kind.

    Parameters
    ----------
    evaluation : BagEvaluation
        What `evaluate_bags` found.

    Returns
    -------
    dict
        Centres and width of the bins, and the share of frames in each; the outermost bins hold
        what is beyond them too.

    """
    known, kinds = _scores(evaluation)
    sets = {'in-distribution': known, **kinds}
    sets = {name: scores for name, scores in sets.items() if scores.size}
    ends = [np.quantile(scores, [0.001, 0.999]) for scores in sets.values()]
    low = min([evaluation.threshold, *(float(end[0]) for end in ends)])
    high = max([evaluation.threshold, *(float(end[1]) for end in ends)])
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, _BINS + 1)
    return {
        'x': ((edges[1:] + edges[:-1]) / 2).tolist(),
        'width': float(edges[1] - edges[0]),
        'sets': [
            {
                'name': name,
                'frames': int(scores.size),
                'share': (
                    np.histogram(np.clip(scores, low, high), edges)[0] / scores.size
                ).tolist(),
            }
            for name, scores in list(sets.items())[:8]
        ],
    }
