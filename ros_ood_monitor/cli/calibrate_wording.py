"""What ``ood_monitor calibrate`` says of what it chose, and of how far that can be trusted."""

from __future__ import annotations

import math
from typing import Final

from ros_ood_monitor.cli.wording import count
from ros_ood_monitor.rate_calibration import RateCalibration
from ros_ood_monitor.rates import RateBound

__all__ = ['choice_lines', 'doubts', 'unsupported']

_NAMED: Final = 4
"""Sequences named for the limit that they ask for."""

_DECIDED: Final = {
    'alerts': 'the lowest that keeps them to the rate',
    'tail': 'where the tail of their alerts keeps to the rate',
    'margin': 'a quarter over their highest alert',
}
_LEAST: Final = {'cusum': 'a deviation for a second', 'martingale': 'a capital of 20'}


def choice_lines(precision: str, found: RateCalibration) -> list[str]:
    """
    Say what was chosen, on what, and which rate it has.

    Parameters
    ----------
    precision : str
        Its name.
    found : RateCalibration
        What was found for it.

    Returns
    -------
    list of str
        Lines.

    """
    point, chosen = found.point, found.chosen_on
    limit = (
        f'trigger {point.trigger:.4g}, release {point.release:.4g}'
        if point.logic == 'consecutive'
        else ', '.join(f'{name} {value:.4g}' for name, value in point.settings.items())
    )
    before = 'none' if math.isnan(found.limit_before) else f'{found.limit_before:.4g}'
    return [
        f'{precision}: {point.logic}, {limit}, at {point.frame_rate_hz:.3g} Hz',
        f'  limit {point.limit:.4g}, before: {before}; chosen on '
        f'{chosen.hours:.3g} h with {count(chosen.episodes, "alert")}: '
        f'{_decided(found)}',
        *(
            f'    {name}: {count(episodes, "alert")}, quiet from {quiet:.4g} on'
            for k, (name, (episodes, quiet)) in enumerate(found.choosing.items())
            if k < _NAMED or episodes
        ),
        f'  {found.bound}',
    ]


def _decided(found: RateCalibration) -> str:
    least = _LEAST.get(found.point.logic, 'upper quartile of the held-out scores')
    return _DECIDED.get(found.decided_by, f'the least that is evidence: {least}')


def doubts(precision: str, found: RateCalibration) -> list[str]:
    """
    Say what a reader must look at before he trusts the limit and its rate.

    Parameters
    ----------
    precision : str
        Its name.
    found : RateCalibration
        What was found for it.

    Returns
    -------
    list of str
        Warnings.

    """
    bound, lines = found.bound, []
    if found.doubtful:
        lines.append(
            f'{precision}: the limit is heard only if {" and ".join(found.doubtful)} are normal: '
            'they reach far over the other sequences that choose and the held-out scores of the '
            'bundle, and only each other show that it is no fault; look at them'
        )
    if bound.has_few_sequences and not bound.has_too_few_sequences:
        lines.append(
            f'{precision}: stated on {count(bound.sequences, "sequence")}: where days differ, so '
            'few bound the rate less surely than 95 %; record on more days'
        )
    return lines


def unsupported(precision: str, bound: RateBound) -> str:
    """
    Say why the rate cannot be stated, and what to do.

    Parameters
    ----------
    precision : str
        Its name.
    bound : RateBound
        What the recordings say of the rate.

    Returns
    -------
    str
        Empty where it can be stated.

    """
    if not (bound.odd or bound.has_too_few_sequences or bound.bound > bound.per_hour):
        return ''
    advice = (
        'record more sequences, on different days, or take another alert logic, such as ewma'
        if bound.has_too_few_sequences
        else 'record more hours in more of the conditions that you run in, or ask for a '
        'higher rate'
    )
    return (
        f'{precision}: the recordings do not support {bound.per_hour:g} false alerts per '
        f'hour: {bound}; {advice}. Nothing was written'
    )
