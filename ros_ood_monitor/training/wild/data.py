"""Wild frames: what a robot recorded with nobody looking, and whether it can be learnt from."""

from __future__ import annotations

from dataclasses import dataclass
import os
from pathlib import Path
from typing import Final, TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.frames.datasets import Dataset
from ros_ood_monitor.training.held_out.leaks import check_distinct, repeated, share_of_twins
from ros_ood_monitor.training.settings.train_settings import TrainSettings

if TYPE_CHECKING:  # it brings torch
    from ros_ood_monitor.training.features.table import FeatureTable

__all__ = ['LEAST_WILD', 'WildFrames', 'check_wild', 'find_wild', 'hold_out']

LEAST_WILD: Final = 50
"""Different wild frames without which none is learnt from."""

_SHARED: Final = 0.1  # of the wild frames; less may be black frames
_BLOCKS: Final = 40  # of the stream
_EVERY: Final = 4  # one sequence or block in so many is held out


@dataclass(frozen=True)
class WildFrames:
    """
    What there is.

    Parameters
    ----------
    sequences : tuple of str
        Their names.
    frames, distinct : int
        All, and how many of them differ.
    shared : int
        Those whose picture is a training frame's, pixel by pixel.
    twins : float
        Share of them that look like some training frame (thumbnails within 2 grey levels).
    skipped : int
        Frames that did not decode.
    data_sha256 : str
        Digest of all network inputs.

    """

    sequences: tuple[str, ...]
    frames: int
    distinct: int
    shared: int
    twins: float
    skipped: int
    data_sha256: str


def find_wild(settings: TrainSettings) -> Dataset | None:
    """
    Find the wild frames; none is read yet.

    Parameters
    ----------
    settings : TrainSettings
        Their places, and which frames are taken.

    Returns
    -------
    Dataset or None
        None where none are given.

    Raises
    ------
    TrainingError
        If a place is one of the training data, too, or does not exist, or there are too few.
    BagError, ParameterError
        If a bag or a topic cannot be read.

    """
    if not settings.wild:
        return None
    known = {os.path.realpath(path) for path in settings.data}
    for path in settings.wild:
        if os.path.realpath(path) in known:
            msg = f'wild data is training data, too; give it as one of them: {Path(path)}'
            raise TrainingError(msg)
    dataset = Dataset(settings.wild, settings.selection)
    _check_count(dataset.count())
    return dataset


def check_wild(wild: FeatureTable, known: FeatureTable, sequences: list[str]) -> WildFrames:
    """
    Refuse wild frames from which nothing can be learnt.

    Parameters
    ----------
    wild, known : FeatureTable
        Wild and training frames.
    sequences : list of str
        Names of the wild ones.

    Returns
    -------
    WildFrames
        What there is.

    Raises
    ------
    TrainingError
        If too few differ, or more than a tenth are training frames pixel by pixel.

    """
    distinct = check_distinct(wild)
    _check_count(distinct)
    shared = repeated(wild, known)
    if shared > _SHARED * len(wild):
        msg = (
            f'wild data repeats the training data: {shared} of {len(wild)} wild frames are '
            f'training frames pixel by pixel, expected at most {_SHARED:.0%}; '
            'give recordings that are not in --data'
        )
        raise TrainingError(msg)
    return WildFrames(
        tuple(sequences),
        len(wild),
        distinct,
        shared,
        share_of_twins(wild.thumb, known.thumb),
        sum(len(shard.state.skipped) for shard in wild.shards),
        wild.data_sha256,
    )


def hold_out(
    sequence: npt.NDArray[np.int64],
) -> tuple[str, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """
    Return which wild frames are fitted and which choose.

    Every fourth sequence is held out where there are four: a head that has only learnt what a
    recording looks like finds nothing in another one. Of fewer it is every fourth of 40 blocks.

    Parameters
    ----------
    sequence : ndarray of shape (n,), int64
        Each frame's sequence, ascending; n at least 50.

    Returns
    -------
    rule : str
        ``sequence`` or ``block``.
    fit, held_out : ndarray of shape (k,), int64
        Rows, ascending.

    """
    _, number = np.unique(sequence, return_inverse=True)
    rule = 'sequence' if number[-1] + 1 >= _EVERY else 'block'
    if rule == 'block':
        number = np.arange(len(sequence)) * _BLOCKS // len(sequence)
    held = number % _EVERY == _EVERY - 1
    return rule, np.flatnonzero(~held), np.flatnonzero(held)


def _check_count(count: int) -> None:
    if count < LEAST_WILD:
        msg = (
            f'too few wild frames: expected at least {LEAST_WILD} different ones, got {count}; '
            'give more recordings, or leave --wild out'
        )
        raise TrainingError(msg)
