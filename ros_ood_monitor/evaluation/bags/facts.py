"""An evaluation on bags for programs: everything but the frames, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
import json
from typing import Any, Final

from ros_ood_monitor.evaluation.bags.blocks import FRAME_METRICS
from ros_ood_monitor.evaluation.bags.compare import Comparison, Difference
from ros_ood_monitor.evaluation.bags.evaluate import BagEvaluation
from ros_ood_monitor.evaluation.bags.event_figures import EventFigures, Times
from ros_ood_monitor.evaluation.bags.events import Event
from ros_ood_monitor.evaluation.bags.frame_figures import FrameFigures
from ros_ood_monitor.evaluation.bags.judged import Alert, JudgedBag
from ros_ood_monitor.evaluation.bags.rows import Row
from ros_ood_monitor.json_values import finite
from ros_ood_monitor.metrics import Interval

__all__ = ['SCHEMA', 'facts', 'to_json']

SCHEMA: Final = 1
"""Goes up where a figure changes its name or meaning; new ones may come at any time."""


def facts(evaluation: BagEvaluation, comparisons: Sequence[Comparison] = ()) -> dict[str, Any]:
    """
    Return everything an evaluation found but the frames, as plain values.

    Parameters
    ----------
    evaluation : BagEvaluation
        What `evaluate_bags` found.
    comparisons : sequence of Comparison
        Other bundles beside it.

    Returns
    -------
    dict
        Serialisable as JSON; None where a figure could not be measured.

    """
    rows, scoring, settings = evaluation.rows, evaluation.scoring, evaluation.settings
    point = evaluation.calibration.operating_point
    of_bags = {row.name: row for row in rows.bags}
    return {
        'schema': SCHEMA,
        'bundle': _bundle(evaluation),
        'engine': evaluation.engine,
        'operating_point': {
            'threshold': evaluation.threshold,
            'alpha': finite(point.alpha),
            'logic': point.logic,
            **point.rate_card,
        },
        'settings': {
            'topics': None if scoring.topics is None else list(scoring.topics),
            'every': scoring.every,
            'ignore_margin': settings.ignore_margin,
            'refractory': settings.refractory,
        },
        'bootstrap': vars(evaluation.bootstrap),
        'together': _row(rows.together),
        'kinds': [_row(row) for row in rows.kinds],
        'cameras': [_row(row) for row in rows.cameras],
        'bags': [{**_row(of_bags[bag.name]), **_bag(bag)} for bag in evaluation.bags],
        'failed': [{'name': bag.name, 'error': bag.error} for bag in evaluation.failed],
        'events': [_event(event) for bag in evaluation.bags for event in bag.events],
        'alerts': [_alert(alert) for bag in evaluation.bags for alert in bag.alerts],
        'against': _against(comparisons),
    }


def to_json(found: dict[str, Any]) -> str:
    """Return what `facts` gave as JSON text."""
    return json.dumps(found, indent=1, allow_nan=False) + '\n'


def _bundle(evaluation: BagEvaluation) -> dict[str, str]:
    manifest = evaluation.bundle.manifest
    return {'name': manifest.name, 'digest': evaluation.bundle.digest, 'unit': manifest.unit}


def _row(row: Row) -> dict[str, Any]:
    return {'name': row.name, 'frames': _frames(row.frames), 'events': _events(row.events)}


def _frames(figures: FrameFigures) -> dict[str, Any]:
    found = {
        name: getattr(figures, name)
        for name in (
            'id_frames',
            'ood_frames',
            'ignored_frames',
            'not_judged_frames',
            'not_judged_ood_frames',
            'id_over_threshold',
            'ood_over_threshold',
        )
    }
    for name in FRAME_METRICS:
        found[name] = figures.metrics[name]
        found[f'{name}_95'] = _ends(figures.intervals[name])
    return found


def _events(figures: EventFigures) -> dict[str, Any]:
    plain = {
        name: _times(value) if isinstance(value, Times) else value
        for name, value in vars(figures).items()
    }
    return {**plain, 'found_share_95': _ends(figures.found_share_95)}


def _times(times: Times) -> dict[str, Any]:
    return {**vars(times), 'median_95': _ends(times.median_95)}


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else list(interval)


def _bag(bag: JudgedBag) -> dict[str, Any]:
    scored = bag.scored
    return {
        'cameras': dict(zip(scored.facts.cameras, scored.facts.topics, strict=True)),
        'origin': finite(scored.facts.origin),
        'start': float(scored.stamp.min()),
        'end': float(scored.stamp.max()),
        'skipped': scored.facts.skipped,
        'health': scored.facts.health,
        'problems': list(bag.problems),
        'scored_in': scored.facts.wall,
    }


def _event(event: Event) -> dict[str, Any]:
    told: dict[str, Any] = finite(vars(event))
    del told['rows']
    return told


def _alert(alert: Alert) -> dict[str, Any]:
    return {'bag': alert.bag, **finite(vars(alert.episode)), 'is_false': alert.is_false}


def _against(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Return comparisons by the names of the bundles, with the digest where several have one."""
    names = [one.second.bundle.manifest.name for one in comparisons]
    return [
        _comparison(
            one, name if names.count(name) == 1 else f'{name}@{one.second.bundle.digest[:12]}'
        )
        for name, one in zip(names, comparisons, strict=True)
    ]


def _comparison(one: Comparison, name: str) -> dict[str, Any]:
    second = one.second
    return {
        'name': name,
        'bundle': _bundle(second),
        'engine': second.engine,
        'bags': list(one.bags),
        'together': _row(second.rows.together),
        'differences': {
            **{name: _difference(one.metrics[name]) for name in FRAME_METRICS},
            'events': one.events,
            'only_first': one.only_first,
            'only_second': one.only_second,
            'both': one.both,
            'time_to_alert': _difference(one.time_to_alert),
            'false_alerts_per_hour': _difference(one.false_alerts_per_hour),
        },
        'failed': [{'name': bag.name, 'error': bag.error} for bag in second.failed],
    }


def _difference(difference: Difference) -> dict[str, Any]:
    return {
        'value': difference.value,
        'value_95': _ends(difference.interval),
        'first': difference.first,
        'second': difference.second,
    }
