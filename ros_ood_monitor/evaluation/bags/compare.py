"""Two bundles on the same frames: what differs, and whether by more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.evaluation.bags.blocks import (
    draw_metrics,
    draw_weights,
    FRAME_METRICS,
    intervals_of,
)
from ros_ood_monitor.evaluation.bags.evaluate import BagEvaluation
from ros_ood_monitor.evaluation.bags.events import Event
from ros_ood_monitor.evaluation.bags.frame_figures import METRICS
from ros_ood_monitor.evaluation.bags.judged import JudgedBag
from ros_ood_monitor.evaluation.bags.table import block_frames, choose_block, Table
from ros_ood_monitor.metrics import Interval, middle

__all__ = ['Comparison', 'Difference', 'compare']


@dataclass(frozen=True)
class Difference:
    """A figure of both bundles, the first less the second, and its 95 % interval."""

    value: float | None = None
    interval: Interval | None = None
    first: float | None = None
    second: float | None = None

    @property
    def is_clear(self) -> bool:
        """Return whether the interval leaves out no difference at all."""
        return self.interval is not None and not (self.interval.low <= 0.0 <= self.interval.high)


@dataclass(frozen=True, eq=False)
class Comparison:
    """
    A second bundle beside the first one.

    Parameters
    ----------
    first, second : BagEvaluation
        Both; ``second`` may have failed on bags that ``first`` did not fail on, and so forth.
    bags : tuple of str
        Bags that both could score.
    metrics : dict of str to Difference
        By `FRAME_METRICS`.
    events : int
        Events that are compared.
    only_first, only_second, both : int
        Events that one of the two found, and those that both did.
    time_to_alert : Difference
        Mean over events that both have a time to alert of, in s.
    false_alerts_per_hour : Difference
        Of in-distribution time.

    """

    first: BagEvaluation
    second: BagEvaluation
    bags: tuple[str, ...]
    metrics: dict[str, Difference]
    events: int
    only_first: int
    only_second: int
    both: int
    time_to_alert: Difference
    false_alerts_per_hour: Difference


def compare(first: BagEvaluation, second: BagEvaluation) -> Comparison:
    """
    Compare two bundles on the bags that both could score.

    Every draw of the bootstrap takes the same blocks of frames for both, so that what both find
    hard cancels out.

    Parameters
    ----------
    first, second : BagEvaluation
        Of the same bags, with the same labels.

    Returns
    -------
    Comparison
        The first less the second.

    Raises
    ------
    ParameterError
        If they have no bag in common, or read different frames of one.

    """
    pairs = _pairs(first, second)
    tables = [Table.of([pair[k] for pair in pairs]) for k in range(2)]
    one, two = tables
    block = max(choose_block(table, table.raw_score) for table in tables)
    block = block_frames(one, np.arange(one.label.size), block)
    settings = first.settings
    events = [both for pair in pairs for both in zip(pair[0].events, pair[1].events, strict=True)]
    return Comparison(
        first=first,
        second=second,
        bags=tuple(pair[0].name for pair in pairs),
        metrics=_metric_differences(one, two, block, settings.seed, settings.resamples),
        events=sum(a.frames > 0 for a, _ in events),
        only_first=sum(a.found and not b.found for a, b in events),
        only_second=sum(b.found and not a.found for a, b in events),
        both=sum(a.found and b.found for a, b in events),
        time_to_alert=_sooner(events, settings.seed, settings.resamples),
        false_alerts_per_hour=_false_alerts(
            one,
            two,
            [sum(hours for pair in pairs for hours in pair[k].hours.values()) for k in range(2)],
            block,
            settings.seed,
            settings.resamples,
        ),
    )


def _pairs(first: BagEvaluation, second: BagEvaluation) -> list[tuple[JudgedBag, JudgedBag]]:
    others = {bag.path.resolve(): bag for bag in second.bags}
    pairs = []
    for bag in first.bags:
        other = others.get(bag.path.resolve())
        if other is None:
            continue
        same = np.array_equal(bag.scored.stamp, other.scored.stamp)
        if not same or not np.array_equal(bag.label, other.label):
            msg = f'paired differences need the same frames and labels of both: {bag.path}'
            raise ParameterError(msg)
        pairs.append((bag, other))
    if not pairs:
        msg = 'paired differences need a bag that both bundles could score, got none'
        raise ParameterError(msg)
    return pairs


def _metric_differences(
    one: Table, two: Table, block: int, seed: int, resamples: int
) -> dict[str, Difference]:
    label = np.where(two.judged, one.judged_label, np.int8(-1))  # (n,), what both judged
    is_known, is_foreign = label == 0, label == 1
    if not is_known.any() or not is_foreign.any():
        return dict.fromkeys(FRAME_METRICS, Difference())
    values = [
        [metric(table.raw_score[is_known], table.raw_score[is_foreign]) for metric in METRICS]
        for table in (one, two)
    ]
    drawn = draw_metrics(
        [one.raw_score, two.raw_score], label, block=block, seed=seed, resamples=resamples
    )
    intervals = intervals_of(drawn[:, 0] - drawn[:, 1])
    return {
        name: Difference(a - b, intervals[name], a, b)
        for name, a, b in zip(FRAME_METRICS, *values, strict=True)
    }


def _sooner(events: list[tuple[Event, Event]], seed: int, resamples: int) -> Difference:
    times = np.array([(a.time_to_alert, b.time_to_alert) for a, b in events]).reshape(-1, 2)
    times = times[np.isfinite(times).all(axis=1)]  # (k, 2)
    if not len(times):
        return Difference()
    later = times[:, 0] - times[:, 1]  # (k,)
    means = times.mean(axis=0).tolist()
    if later.size == 1:
        return Difference(float(later[0]), None, *means)
    rng = np.random.default_rng(seed)
    drawn = rng.choice(later, (resamples, later.size)).mean(axis=1)  # (resamples,)
    return Difference(float(later.mean()), middle(drawn, 0.95), *means)


def _false_alerts(
    one: Table, two: Table, hours: Sequence[float], block: int, seed: int, resamples: int
) -> Difference:
    if not min(hours) > 0.0:
        return Difference()
    is_known = one.label == 0
    rng = np.random.default_rng(seed)
    # each by the time that it watched: one may have been in FAULT where the other was not
    step = one.false_start / hours[0] - two.false_start / hours[1]  # (n,)
    rates = np.full(resamples, math.nan)
    for k in range(resamples):
        weight = draw_weights(step.size, block, rng)
        share = float(weight[is_known].sum()) / float(is_known.sum())
        if share > 0.0:
            rates[k] = float(np.dot(weight, step)) / share
    drawn: npt.NDArray[np.float64] = rates[np.isfinite(rates)]
    first, second = (
        float(np.count_nonzero(table.false_start)) / watched
        for table, watched in zip((one, two), hours, strict=True)
    )
    interval = middle(drawn, 0.95) if drawn.size else None
    return Difference(first - second, interval, first, second)
