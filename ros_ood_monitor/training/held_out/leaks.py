"""
Frames that would make held-out parts dishonest: the same picture fitted and held out.

Equal pictures of *one* sequence are a scene at rest, which a robot sees, too. Equal pictures of
two sequences are a recording that was given twice, whole or in part, under other names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.frames.datasets import Dataset
from ros_ood_monitor.training.frames.split import check_count, Split
from ros_ood_monitor.training.settings.train_settings import TrainSettings

if TYPE_CHECKING:  # it brings torch
    from ros_ood_monitor.training.features.table import FeatureTable

__all__ = [
    'Repetition',
    'check_distinct',
    'check_enough',
    'check_leaks',
    'repeated',
    'share_of_twins',
]

_TWIN_RMS: Final = 2.0  # grey levels of the thumbnails: below it, people see one picture
_SHARED: Final = 0.1  # of a sequence's held-out frames; less may be black frames
_ROWS_AT_ONCE: Final = 256
_NAMED: Final = 3


@dataclass(frozen=True)
class Repetition:
    """
    How much of the data repeats itself.

    Parameters
    ----------
    distinct : int
        Different pictures.
    frames : int
        All frames.
    shared : int
        Frames whose picture is in an earlier sequence, too.
    twins : float
        Share of held-out frames that look like some frame that was fitted (thumbnails differ by
        less than 2 grey levels): where it is high, held-out scores are those of seen pictures.

    """

    distinct: int
    frames: int
    shared: int
    twins: float


def check_distinct(table: FeatureTable) -> int:
    """
    Refuse data that shows one picture only.

    Parameters
    ----------
    table : FeatureTable
        All frames.

    Returns
    -------
    int
        Different pictures.

    Raises
    ------
    TrainingError
        If all pictures are equal.

    """
    return _distinct(_keys(table))


def check_enough(table: FeatureTable, dataset: Dataset, settings: TrainSettings) -> None:
    """
    Refuse too few different pictures: a copy says nothing that its original does not.

    Parameters
    ----------
    table : FeatureTable
        All frames.
    dataset : Dataset
        Where they come from.
    settings : TrainSettings
        What they are for, and what left some out.

    Raises
    ------
    TrainingError
        If all pictures are equal, or too few differ; the message says what took frames away.

    """
    distinct = check_distinct(table)
    states = [shard.state for shard in table.shards]
    skipped = [f'{name} ({why})' for state in states for name, why in state.skipped]
    selection = str(settings.selection)
    passed_over = dataset.counts.stored - sum(state.position for state in states)
    taken = (
        (passed_over if selection else 0, f'by {selection}'),
        (sum(state.near_duplicates for state in states), 'near-duplicates'),
        (len(skipped), f'that did not decode: {_named(skipped)}'),
        (len(table) - distinct, 'equal to another one'),
    )
    check_count(
        distinct,
        settings.alpha,
        left_out=[f'{number} {why}' for number, why in taken if number > 0],
    )


def _named(lines: Sequence[str]) -> str:
    more = f' and {len(lines) - _NAMED} more' if len(lines) > _NAMED else ''
    return ', '.join(lines[:_NAMED]) + more


def _distinct(keys: npt.NDArray[np.void]) -> int:
    distinct = len(np.unique(keys))
    if distinct == 1 and len(keys) > 1:
        msg = (
            f'all {len(keys)} frames show the same picture: expected different ones, got 1; '
            'check that the camera was running'
        )
        raise TrainingError(msg)
    return distinct


def check_leaks(table: FeatureTable, split: Split, sequences: Sequence[str]) -> Repetition:
    """
    Refuse a split in which a sequence's held-out frames are another sequence's fitted ones.

    Parameters
    ----------
    table : FeatureTable
        All frames.
    split : Split
        The three parts.
    sequences : sequence of str
        Their names.

    Returns
    -------
    Repetition
        How much repeats itself inside of what is allowed.

    Raises
    ------
    TrainingError
        If more than a tenth of a sequence's held-out frames are fitted in another one.

    """
    keys, sequence = _keys(table), table.sequence
    distinct = _distinct(keys)
    held_out = np.concatenate([split.validation, split.calibration])
    first_fit: dict[bytes, int] = {}
    for row in split.fit:
        first_fit.setdefault(keys[row].tobytes(), int(sequence[row]))
    shared: Counter[tuple[int, int]] = Counter()
    for row in held_out:
        other = first_fit.get(keys[row].tobytes())
        if other is not None and other != sequence[row]:
            shared[int(sequence[row]), other] += 1
    sizes = np.bincount(sequence[held_out], minlength=len(sequences))
    for (mine, other), count in shared.most_common():
        if count > _SHARED * sizes[mine]:
            msg = (
                f'the same pictures would be fitted and held out: {count} of {sizes[mine]} '
                f'held-out frames of {sequences[mine]!r} are also in {sequences[other]!r}; '
                'if that is one recording twice, give it once; if different scenes look equal '
                'there (an empty corner), leave those pictures out, or put all into one folder'
            )
            raise TrainingError(msg)
    return Repetition(
        distinct,
        len(table),
        _shared(keys, sequence),
        share_of_twins(table.thumb[held_out], table.thumb[split.fit]),
    )


def _keys(table: FeatureTable) -> npt.NDArray[np.void]:
    digest = np.ascontiguousarray(table.digest)  # (n, 32)
    return digest.view(np.dtype((np.void, digest.shape[1])))[:, 0]  # (n,)


def _shared(keys: npt.NDArray[np.void], sequence: npt.NDArray[np.int64]) -> int:
    first: dict[bytes, int] = {}
    shared = 0
    for key, k in zip(keys, sequence.tolist(), strict=True):
        shared += first.setdefault(key.tobytes(), k) != k
    return shared


def repeated(table: FeatureTable, other: FeatureTable) -> int:
    """Return how many frames of a table are frames of another one, pixel by pixel."""
    return int(np.isin(_keys(table), _keys(other)).sum())


def share_of_twins(asked: npt.NDArray[np.uint8], known: npt.NDArray[np.uint8]) -> float:
    """
    Return the share of frames that look like some known one.

    Parameters
    ----------
    asked, known : ndarray of shape (n, 16, 16) and (m, 16, 16), uint8
        Thumbnails.

    Returns
    -------
    float
        Of those asked, in [0, 1]; 0 where there are none.

    """
    points = known.reshape(len(known), -1).astype(np.float32)  # (m, p)
    squares = np.square(points).sum(axis=1)  # (m,)
    limit = _TWIN_RMS**2 * points.shape[1]
    count = 0
    for start in range(0, len(asked), _ROWS_AT_ONCE):
        some = asked[start : start + _ROWS_AT_ONCE]
        rows = some.reshape(len(some), -1).astype(np.float32)  # (k, p)
        distance = np.square(rows).sum(axis=1)[:, np.newaxis] - 2.0 * rows @ points.T + squares
        count += int(np.count_nonzero(distance.min(axis=1) < limit))
    return count / max(1, len(asked))
