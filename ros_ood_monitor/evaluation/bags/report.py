"""An evaluation on bags for people: text for a terminal, and Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ros_ood_monitor.evaluation.bags.blocks import FRAME_METRICS
from ros_ood_monitor.evaluation.bags.compare import Comparison, Difference
from ros_ood_monitor.evaluation.bags.evaluate import BagEvaluation
from ros_ood_monitor.evaluation.bags.event_figures import EventFigures
from ros_ood_monitor.evaluation.bags.failures import failures
from ros_ood_monitor.evaluation.bags.frame_figures import FrameFigures
from ros_ood_monitor.evaluation.bags.rows import Row
from ros_ood_monitor.evaluation.tables import markdown_table, text_table
from ros_ood_monitor.evaluation.words import duration, rate, SHORT_HOURS, span_of
from ros_ood_monitor.metrics import Interval

__all__ = [
    'difference_rows',
    'markdown',
    'notes',
    'side_by_side_words',
    'tables',
    'title',
    'to_text',
]

_FRAME_HEAD = (
    'frames', 'ID', 'OOD', 'AUROC', '95 % interval', 'AUPR', 'fpr95_id_positive',
    'fpr95_ood_positive', 'ID over', 'OOD over',
)  # fmt: skip
_EVENT_HEAD = (
    'events', 'found', '95 % interval', 'time to alert', 'longest', 'time to clear',
    'false alerts', 'watched', 'per hour', '95 % bound',
)  # fmt: skip
_DASH = '-'
_NAMED = 5  # problems of a bag
_MOST = 30  # rows of a kind; the JSON has them all


def to_text(evaluation: BagEvaluation, comparisons: Sequence[Comparison] = ()) -> str:
    """
    Return an evaluation as text for a terminal.

    Parameters
    ----------
    evaluation : BagEvaluation
        What `evaluate_bags` found.
    comparisons : sequence of Comparison
        Other bundles beside it.

    Returns
    -------
    str
        A head, tables of frames and of events, one for each other bundle, and notes.

    """
    parts = ['\n'.join(_summary(evaluation))]
    parts += [text_table(table) for table in tables(evaluation)]
    for one in comparisons:
        parts.append('\n'.join([title(one), text_table(difference_rows(one))]))
    told = [*notes(evaluation, comparisons), *map(str, failures(evaluation, comparisons))]
    return '\n\n'.join([*parts, '\n'.join(told)]) + '\n'


def markdown(evaluation: BagEvaluation, comparisons: Sequence[Comparison] = ()) -> str:
    """
    Return an evaluation as Markdown.

    Parameters
    ----------
    evaluation : BagEvaluation
        What `evaluate_bags` found.
    comparisons : sequence of Comparison
        Other bundles beside it.

    Returns
    -------
    str
        A heading, the tables and the notes.

    """
    parts = [
        f'# Evaluation of {evaluation.bundle.manifest.name}',
        _list(_summary(evaluation)),
        *(markdown_table(table) for table in tables(evaluation)),
    ]
    for one in comparisons:
        parts += [f'## {title(one)}', markdown_table(difference_rows(one))]
    told = [*notes(evaluation, comparisons), *map(str, failures(evaluation, comparisons))]
    return '\n\n'.join([*parts, _list(told)]) + '\n'


def _list(lines: Iterable[str]) -> str:
    return '\n'.join(f'- {line}' for line in lines)


def _summary(evaluation: BagEvaluation) -> list[str]:
    bundle, engine = evaluation.bundle, evaluation.engine
    point = evaluation.calibration.operating_point
    frames = sum(len(bag.scored) for bag in evaluation.bags)
    kept = f', scores of {evaluation.kept} kept from before' if evaluation.kept else ''
    bags = f'{len(evaluation.bags)} bag{"s" if len(evaluation.bags) > 1 else ""}'
    return [
        f'bundle {bundle.manifest.name}, digest {bundle.digest[:12]}, '
        f'{engine["engine"]} {engine["version"]}, {engine["precision"]}',
        f'{bags}, {frames:,} frames{kept}; threshold {evaluation.threshold:.4g} '
        f'{bundle.manifest.unit}'.rstrip(),
        f'false alerts per hour, by the bundle: {point.rate_text}',
    ]


def tables(evaluation: BagEvaluation) -> list[list[Sequence[str]]]:
    """Return the tables of frames and of events, each with its head as the first row."""
    named = [('all', evaluation.rows.together)]
    named += [
        (f'{what} {row.name}', row)
        for what, group in _groups(evaluation)
        if len(group) > 1
        for row in group[:_MOST]
    ]
    return [
        [_FRAME_HEAD, *(_frame_cells(name, row.frames) for name, row in named)],
        [_EVENT_HEAD, *(_event_cells(name, row.events) for name, row in named)],
    ]


def _groups(evaluation: BagEvaluation) -> tuple[tuple[str, tuple[Row, ...]], ...]:
    rows = evaluation.rows
    return ('kind', rows.kinds), ('camera', rows.cameras), ('bag', rows.bags)


def _frame_cells(name: str, figures: FrameFigures) -> list[str]:
    metrics = figures.metrics
    return [
        name,
        str(figures.id_frames),
        str(figures.ood_frames),
        _text(metrics['auroc'], '.4f'),
        _range(figures.intervals['auroc'], '.4f'),
        _text(metrics['aupr'], '.4f'),
        _text(metrics['fpr95_id_positive'], '.3f'),
        _text(metrics['fpr95_ood_positive'], '.3f'),
        _text(figures.id_over_threshold, '.1%'),
        _text(figures.ood_over_threshold, '.1%'),
    ]


def _event_cells(name: str, figures: EventFigures) -> list[str]:
    return [
        name,
        f'{figures.found} of {figures.events}',
        _range(figures.found_share_95, '.2f'),
        _text(figures.time_to_alert.median, '.2f', ' s'),
        _text(figures.time_to_alert.longest, '.2f', ' s'),
        _text(figures.time_to_clear.median, '.2f', ' s'),
        _text(figures.false_alerts, 'd'),
        _DASH if figures.hours is None else duration(figures.hours),
        rate(figures.false_alerts_per_hour, figures.hours) or _DASH,
        rate(figures.false_alerts_per_hour_upper95, figures.hours) or _DASH,
    ]


def difference_rows(one: Comparison) -> list[Sequence[str]]:
    """Return the table of a comparison, its head as the first row."""
    first, second = one.first.bundle.manifest.name, one.second.bundle.manifest.name
    if first == second:
        first, second = (
            f'{both.bundle.manifest.name}@{both.bundle.digest[:12]}'
            for both in (one.first, one.second)
        )
    found = ('events found', one.both + one.only_first, one.both + one.only_second)
    return [
        ('', first, second, 'first less second', '95 % interval', 'the first is'),
        *(
            (
                name,
                _text(difference.first, form),
                _text(difference.second, form),
                _text(difference.value, f'+{form}'),
                _range(difference.interval, f'+{form}'),
                _word(difference, sign),
            )
            for name, difference, form, sign in _differences(one)
        ),
        (found[0], f'{found[1]} of {one.events}', f'{found[2]} of {one.events}',
         f'{found[1] - found[2]:+d}', _DASH, ''),
    ]  # fmt: skip


def _differences(one: Comparison) -> list[tuple[str, Difference, str, int]]:
    """Return figures by name, how they are written, and whether more (1) or less is better."""
    named = [
        (name, one.metrics[name], '.4f', 1 if name in ('auroc', 'aupr') else -1)
        for name in FRAME_METRICS
    ]
    named.append(('time to alert, s', one.time_to_alert, '.2f', -1))
    if (one.first.rows.together.events.hours or 0.0) >= SHORT_HOURS:
        named.append(('false alerts per hour', one.false_alerts_per_hour, '.2f', -1))
    return named


def _word(difference: Difference, sign: int) -> str:
    if not difference.is_clear or not difference.value:
        return 'within chance' if difference.interval else ''
    return 'better' if sign * difference.value > 0.0 else 'worse'


def side_by_side_words(one: Comparison) -> str:
    """Return what a comparison found in one sentence."""
    words: dict[str, list[str]] = {'better': [], 'worse': []}
    for name, difference, _, sign in _differences(one):
        words.get(_word(difference, sign), []).append(name.removesuffix(', s'))
    told = [f'{word} in {", ".join(names)}' for word, names in words.items() if names]
    clear = f'clearly {" and clearly ".join(told)}' if told else 'nowhere different beyond chance'
    other = one.second.bundle
    text = f'Against {other.manifest.name} ({other.digest[:12]}) it is {clear}'
    if one.events:
        mine, others = one.both + one.only_first, one.both + one.only_second
        text += f'; it found {mine} of {one.events} events, the other {others}'
    return f'{text}.'


def title(one: Comparison) -> str:
    """Return which bundle is compared with which."""
    first, second = one.first.bundle, one.second.bundle
    return (
        f'{first.manifest.name} ({first.digest[:12]}) against {second.manifest.name} '
        f'({second.digest[:12]})'
    )


def _text(value: float | None, form: str, unit: str = '') -> str:
    return _DASH if value is None else f'{value:{form}}{unit}'


def _range(interval: Interval | None, form: str) -> str:
    return span_of(interval, form) or _DASH


def notes(evaluation: BagEvaluation, comparisons: Sequence[Comparison] = ()) -> list[str]:
    """Return what is to be known beside the figures, a sentence each."""
    bootstrap, settings = evaluation.bootstrap, evaluation.settings
    events, frames = evaluation.rows.together.events, evaluation.rows.together.frames
    told = [
        f'intervals of frames draw blocks of {bootstrap.block} frames ({bootstrap.seconds:.3g} s) '
        'of each camera, as long as the scores remember',
        f'{frames.ignored_frames} frames within {settings.ignore_margin:g} s of a label count as '
        'neither; hours are of in-distribution time, each camera for itself',
    ]
    if frames.metrics['auroc'] is not None and frames.intervals['auroc'] is None:
        blocks = -(-(frames.id_frames + frames.ood_frames) // bootstrap.block)
        told.append(
            'no overlap between the classes was seen; '
            f'{blocks} blocks of frames are too few for an interval of AUROC'
            if frames.metrics['auroc'] in (0.0, 1.0)
            else 'no interval: too few stretches of either class to tell chance'
        )
    if frames.not_judged_frames:
        told.append(
            f'{frames.not_judged_frames} frames were no usable pictures, or got no finite '
            f'score, so that the monitor did not judge them ({frames.not_judged_ood_frames} of '
            'them in events): they are in no figure of frames'
        )
    if events.was_on:
        told.append(
            'events under an alert that was on already in in-distribution time, which finds '
            f'nothing: {events.was_on}'
        )
    if events.outlasted:
        told.append(
            'events whose alert lasted to the next event or the end of the bag, without a time to '
            f'clear: {events.outlasted}'
        )
    if events.missed_in_fault:
        told.append(
            'events missed while the monitor was in FAULT, so that it said that it could not '
            f'tell: {events.missed_in_fault}'
        )
    if events.normal_time_in_alert:
        share = events.normal_time_in_alert
        told.append(f'{share:.2%} of in-distribution frames were in ALERT')
    for one in comparisons:
        told.append(
            f'{title(one)}: events found by the first alone: {one.only_first} of {one.events}, '
            f'by the second alone: {one.only_second}'
        )
    told += [
        f'{what}s after the first {_MOST} are in --json'
        for what, group in _groups(evaluation)
        if len(group) > _MOST
    ]
    for bag in evaluation.bags:
        told += [f'{bag.name}: {problem}' for problem in bag.problems[:_NAMED]]
        if len(bag.problems) > _NAMED:
            told.append(f'{bag.name}: {len(bag.problems) - _NAMED} more problems are in --json')
    return told
