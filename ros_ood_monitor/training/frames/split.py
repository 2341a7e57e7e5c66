"""
Which frames are fitted, which choose (validation), which calibrate: 70, 10 and 20 %.

Neighbouring frames of a stream are nearly the same picture, so parts are cut as whole sequences
or as contiguous blocks, never frame by frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.calibration import frames_needed
from ros_ood_monitor.errors import TrainingError

__all__ = ['SPLITS', 'Split', 'check_count', 'split_frames']

SPLITS = ('auto', 'sequence', 'block')
"""Rules: ``auto`` is by sequence for bags where there are enough of them, else by block."""

_SHARES = (7, 1, 2)  # tenths: fit, validation, calibration
_LEAST_FRAMES = 50
_FRAMES_A_CYCLE = 50
_MOST_CYCLES = 10


@dataclass(frozen=True, eq=False)
class Split:
    """
    Rows of the three parts.

    Parameters
    ----------
    rule : str
        ``sequence`` or ``block``.
    fit, validation, calibration : ndarray of shape (k,), int64
        Rows, ascending; no row is in two parts.

    """

    rule: str
    fit: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    calibration: npt.NDArray[np.int64]


def check_count(count: int, alpha: float, *, left_out: Sequence[str] = ()) -> None:
    """
    Refuse data that cannot support alpha, before anything is computed.

    Parameters
    ----------
    count : int
        Different frames in all.
    alpha : float
        Share of frames that calibration allows over the threshold.
    left_out : sequence of str
        What took frames away, each with its number, for the message.

    Raises
    ------
    TrainingError
        If there are too few frames; the message says how many are needed, and which alpha fits.
    CalibrationError
        If alpha is outside (0, 1).

    """
    held_out = frames_needed(alpha)
    needed = max(_LEAST_FRAMES, 10 * held_out // _SHARES[2])
    if count >= needed:
        return
    cure = f'give at least {needed}'
    if needed > _LEAST_FRAMES:
        enough = max(count, _LEAST_FRAMES)
        how = f'{enough} with' if enough > count else 'use'
        cure += f', or {how} --alpha {smallest_alpha(enough * _SHARES[2] // 10):g}'
    without = f' (left out: {", ".join(left_out)})' if left_out else ''
    msg = (
        f'too few frames for alpha = {alpha:g}: expected at least {needed} '
        f'({held_out} of them held out for calibration), got {count}{without}; {cure}'
    )
    raise TrainingError(msg)


def smallest_alpha(held_out: int) -> float:
    """
    Return the smallest alpha of three digits that so many held-out frames support.

    Parameters
    ----------
    held_out : int
        Frames for calibration, at least 1.

    Returns
    -------
    float
        ``frames_needed(alpha) <= held_out``.

    """
    exact = 1.0 / (held_out + 1)
    digits = 2 - math.floor(math.log10(exact))
    alpha: float = math.ceil(exact * 10**digits - 1e-9) / 10**digits
    while frames_needed(alpha) > held_out:
        alpha += 10**-digits
    return round(alpha, digits)


def split_frames(
    sequence: npt.NDArray[np.int64],
    *,
    rule: str,
    alpha: float,
    by_sequence: bool,
    seed: int,
) -> Split:
    """
    Divide frames into the three parts.

    Parameters
    ----------
    sequence : ndarray of shape (n,), int64
        Each frame's sequence, in the order of the stream.
    rule : {'auto', 'sequence', 'block'}
        How.
    alpha : float
        Share of frames that calibration allows over the threshold: sets how many it needs.
    by_sequence : bool
        What ``auto`` tries first.
    seed : int
        Order in which sequences are dealt out.

    Returns
    -------
    Split
        The parts.

    Raises
    ------
    TrainingError
        If the rule is unknown, there are too few frames, or whole sequences cannot be dealt out
        so that every part has its share.

    """
    if rule not in SPLITS:
        msg = f'split is unknown: expected one of {list(SPLITS)}, got {rule!r}'
        raise TrainingError(msg)
    check_count(len(sequence), alpha)
    if rule == 'sequence' or (rule == 'auto' and by_sequence):
        parts = _deal(sequence, seed)
        problem = _problem(parts, len(sequence), alpha)
        if not problem:
            return Split('sequence', *parts)
        if rule == 'sequence':
            sequences = len(np.unique(sequence))
            msg = (
                f'cannot split {sequences} sequences into parts of 70, 10 and 20 %: {problem}; '
                'give more sequences or --split block'
            )
            raise TrainingError(msg)
    return Split('block', *_blocks(len(sequence)))


def _blocks(count: int) -> tuple[npt.NDArray[np.int64], ...]:
    """Cut the stream into cycles of fit, validation, fit, calibration; totals are exact."""
    cycles = min(_MOST_CYCLES, max(1, count // _FRAMES_A_CYCLE))
    validation_total, calibration_total = (count * share // 10 for share in _SHARES[1:])
    part = np.zeros(count, dtype=np.int64)
    for cycle in range(cycles):
        start, stop = (count * k // cycles for k in (cycle, cycle + 1))
        validation, calibration = (
            total * (cycle + 1) // cycles - total * cycle // cycles
            for total in (validation_total, calibration_total)
        )
        middle = start + (stop - start - validation - calibration) // 2
        part[middle : middle + validation] = 1
        part[stop - calibration : stop] = 2
    return tuple(np.flatnonzero(part == k) for k in range(3))


def _deal(sequence: npt.NDArray[np.int64], seed: int) -> tuple[npt.NDArray[np.int64], ...]:
    """Give each sequence, longest first, to the part that lacks most of its share."""
    ids, lengths = np.unique(sequence, return_counts=True)
    shuffled = np.random.default_rng(seed).permutation(len(ids))
    order = shuffled[np.argsort(-lengths[shuffled], kind='stable')]
    lacking = [share * len(sequence) / 10 for share in _SHARES]
    part_of = dict.fromkeys(ids.tolist(), 0)
    for k in order:
        neediest = int(np.argmax(lacking))
        part_of[int(ids[k])] = neediest
        lacking[neediest] -= int(lengths[k])
    part = np.array([part_of[int(k)] for k in sequence])
    return tuple(np.flatnonzero(part == k) for k in range(3))


def _problem(parts: tuple[npt.NDArray[np.int64], ...], count: int, alpha: float) -> str:
    fit, validation, calibration = (len(part) for part in parts)
    needed = frames_needed(alpha)
    if fit < 0.5 * count:
        return f'{fit} of {count} frames would be fitted'
    if validation < max(5, 0.03 * count):
        return f'{validation} of {count} frames would validate'
    if calibration < needed:
        return f'{calibration} frames would calibrate, alpha = {alpha:g} needs {needed}'
    return ''
