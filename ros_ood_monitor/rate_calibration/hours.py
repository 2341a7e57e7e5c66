"""The hours of a calibration: who chooses, who states, and what these can state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ros_ood_monitor.errors import CalibrationError
from ros_ood_monitor.rate_calibration.score_streams import (
    ScoreStream,
    sequence_hours,
    split_streams,
)
from ros_ood_monitor.rates import (
    affordable_episodes,
    hours_needed,
    most_in_alert,
    poisson_upper,
    rounded_up,
)

__all__ = ['check_hours', 'least_sequences', 'quiet_rate_to_aim_at', 'rate_to_aim_at']

_SURE: Final = 0.9
"""Probability with which the stating hours confirm the rate that is aimed at."""

_FARTHEST: Final = 10.0
"""Times the hours that there are, how many hours a tail may stand for."""

_LEAST_SEQUENCES: Final = {'cusum': 10, 'martingale': 10}
"""Logics that forget nothing while a day is a little odder than held-out scores: one day has no
alert, the next one endless ones, and so few days as may all be of one kind state no rate."""


def least_sequences(logic: str) -> int:
    """
    Return how many sequences state a rate of an alert logic at least.

    Parameters
    ----------
    logic : str
        Its name.

    Returns
    -------
    int
        1 for most.

    """
    return _LEAST_SEQUENCES.get(logic, 1)


def rate_to_aim_at(per_hour: float, hours: float) -> float:
    """
    Return the rate to choose a limit for, so that some hours are likely to confirm another.

    Parameters
    ----------
    per_hour : float
        The rate that is wanted at most.
    hours : float
        Hours that state it.

    Returns
    -------
    float
        Per hour. At this rate, the alerts in these hours are few enough to bound ``per_hour`` with
        probability 0.9; a tenth of ``per_hour`` where no number of alerts is.

    """
    affordable = affordable_episodes(per_hour, hours)
    if affordable < 0:
        return 0.1 * per_hour
    return poisson_upper(affordable, 1.0 - _SURE) / hours


def quiet_rate_to_aim_at(per_hour: float, hours: float, sequences: int) -> float:
    """
    Return `rate_to_aim_at` for the part of some hours that bounds a rate over sequences.

    That is what alerts at most leave quiet, of all sequences but one, as the bootstrap draws
    them, where so many hours stand an alert.

    Parameters
    ----------
    per_hour : float
        The rate that is wanted at most.
    hours : float
        Hours watched that state it.
    sequences : int
        Sequences in them.

    Returns
    -------
    float
        Per hour.

    """
    # alerts leave fewer quiet hours, which matters where many are asked for
    quiet = hours * (1.0 - min(0.5, most_in_alert(per_hour)))
    counted = quiet if affordable_episodes(per_hour, quiet) >= 0 else hours
    drawn = quiet * (1.0 - 1.0 / sequences)
    if affordable_episodes(per_hour, drawn) < 1:  # without an alert no sequence differs
        return rate_to_aim_at(per_hour, counted)
    return min(rate_to_aim_at(per_hour, part) for part in (drawn, counted))


def check_hours(
    streams: Sequence[ScoreStream],
    *,
    per_hour: float,
    seed: int = 0,
    extrapolate: bool = False,
    logic: str = '',
) -> tuple[list[ScoreStream], list[ScoreStream], str]:
    """
    Divide streams into those that choose a limit and those that state its rate, if they can.

    Parameters
    ----------
    streams : sequence of ScoreStream
        All of them; scores do not matter.
    per_hour, seed, extrapolate
        As for `calibrate_rate`.
    logic : str, default ''
        Alert logic whose `least_sequences` are asked for; none by default.

    Returns
    -------
    choosing, stating : list of ScoreStream
        No frame is in both.
    rule : {'sequence', 'block'}
        As of `split_streams`.

    Raises
    ------
    CalibrationError
        If there are too few hours, or sequences.

    """
    total = sum(sequence_hours(streams).values())
    share = min(0.75, max(0.5, 1.2 * hours_needed(per_hour) / total)) if total else 0.5
    choosing, stating, rule = split_streams(streams, share=share, seed=seed)
    hours = sum(sequence_hours(stating).values())
    farthest = (_FARTHEST if extrapolate else 1.0) * hours
    if not (hours and any(stream.hours for stream in choosing)) or (
        affordable_episodes(per_hour, farthest) < 0
    ):
        raise CalibrationError(_too_short(per_hour, hours, total, extrapolate=extrapolate))
    least, found = least_sequences(logic), len(sequence_hours(stating))
    if found < least:
        everything = len(sequence_hours(streams))
        msg = (
            f'too few sequences for the alert logic {logic}: stating its rate takes at least '
            f'{least}, got {found} of {everything} (the others choose the setting); record about '
            f'{2 * least} in all, on different days, or take another alert logic, such as ewma'
        )
        raise CalibrationError(msg)
    return choosing, stating, rule


def _too_short(per_hour: float, hours: float, total: float, *, extrapolate: bool) -> str:
    needed = hours_needed(per_hour)
    instead = ''
    if hours:
        stated = hours_needed(1.0) / hours
        instead = f', ask for {rounded_up(stated):g} or more'
        if extrapolate:
            instead += f' ({rounded_up(stated / _FARTHEST):g} by a tail, and no less)'
        elif needed <= _FARTHEST * hours:
            instead += ', or pass --extrapolate'
    return (
        f'too few hours for {per_hour:g} false alerts per hour: stating it takes at least '
        f'{needed:.3g} quiet hours, got {hours:.3g} of {total:.3g} (the others choose the '
        f'setting); record about {2.0 * needed:.3g} h in all{instead}'
    )
