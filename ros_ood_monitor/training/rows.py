"""Features that need not be in memory: read in chunks, or a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import TrainingError

__all__ = ['Rows', 'Table', 'TapRows', 'check_count', 'check_finite', 'chunks', 'spread']

_CHUNK = 4096

_Features: TypeAlias = npt.NDArray[np.float32]


class Rows(Protocol):
    """
    n rows of D features; any array of shape (n, D), a memory map included, is one.

    Reading them with an array of k indices gives k rows, float32.
    """

    def __len__(self) -> int:
        """Return n."""

    def __getitem__(self, index: npt.NDArray[np.int64], /) -> _Features:
        """Return some rows (k, D)."""


class Table(Protocol):
    """Features of all frames, of which some rows and neighbouring columns are read at once."""

    def __getitem__(self, key: tuple[npt.NDArray[np.int64], slice], /) -> _Features:
        """Return some columns of some rows."""


class TapRows:
    """
    The normalised features of one tap in one part of the data, read when they are asked for.

    Parameters
    ----------
    table : FeatureTable, or ndarray of shape (all frames, all channels), float32
        Features as the backbone gives them.
    index : ndarray of shape (n,), int64
        Frames of the part.
    columns : slice
        Channels of the tap.
    normalization : callable
        `ros_ood_monitor.training.detectors.normalization.Normalization`, applied to what is read.

    """

    def __init__(
        self,
        table: Table,
        index: npt.NDArray[np.int64],
        columns: slice,
        normalization: Callable[[_Features], _Features],
    ) -> None:
        self._table = table
        self._index = index
        self._columns = columns
        self._normalization = normalization

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._index)

    def __getitem__(self, index: npt.NDArray[np.int64], /) -> _Features:
        """Return some rows (k, channels), normalised."""
        features = np.ascontiguousarray(self._table[self._index[index], self._columns])
        return self._normalization(features)


def check_count(rows: Rows) -> int:
    """
    Return how many rows there are to fit to.

    Parameters
    ----------
    rows : Rows
        Features to fit to.

    Returns
    -------
    int
        At least 2.

    Raises
    ------
    TrainingError
        If there are fewer.

    """
    count = len(rows)
    if count < 2:
        msg = f'a detector needs at least 2 frames, got {count}; give more frames'
        raise TrainingError(msg)
    return count


def check_finite(values: npt.NDArray[np.float64]) -> None:
    """
    Refuse features, or sums of them, that are not finite.

    Parameters
    ----------
    values : ndarray
        Of features to fit to.

    Raises
    ------
    TrainingError
        If one is not finite.

    """
    if not np.all(np.isfinite(values)):
        msg = 'features to fit to are not finite; check the pictures and the backbone'
        raise TrainingError(msg)


def chunks(rows: Rows, size: int = _CHUNK) -> Iterator[_Features]:
    """
    Yield all rows, some thousands at a time.

    Parameters
    ----------
    rows : Rows
        n rows of D features.
    size : int, default 4096
        Rows in a chunk.

    Yields
    ------
    ndarray of shape (k, D), float32
        In order.

    """
    for start in range(0, len(rows), size):
        yield rows[np.arange(start, min(start + size, len(rows)))]


def spread(count: int, most: int) -> npt.NDArray[np.int64]:
    """
    Return indices that are evenly spread.

    Parameters
    ----------
    count : int
        Number of rows to choose from.
    most : int
        Largest number of indices.

    Returns
    -------
    ndarray of shape (min(count, most),), int64
        Ascending.

    """
    return np.arange(min(count, most), dtype=np.int64) * count // min(count, most)
