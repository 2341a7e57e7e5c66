"""The features of all frames: where they lie on disk, and how to get at them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
import hashlib
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.training.backbones import BackboneTap, tap_columns
from ros_ood_monitor.training.cache import Shard

__all__ = ['FeatureTable']

_KEPT_IMAGES: Final = 128
_OPEN_MAPS: Final = 256


class FeatureTable:
    """
    The pooled features of n frames, on disk.

    Parameters
    ----------
    taps : sequence of BackboneTap
        What the features are.
    shards : sequence of Shard
        One a sequence, complete.
    cell_width : int, default 0
        Values of some cells of a map behind each frame's pooled features.

    """

    def __init__(
        self, taps: Sequence[BackboneTap], shards: Sequence[Shard], *, cell_width: int = 0
    ) -> None:
        self.taps = taps
        self.cell_width = cell_width
        self.shards = shards
        self._places = tap_columns(taps)
        counts = [shard.state.count for shard in self.shards]
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        # a map holds a file open, and there may be thousands of sequences
        self._map = lru_cache(maxsize=_OPEN_MAPS)(self._open)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def _open(self, k: int) -> npt.NDArray[Any]:
        rows = self.shards[k].rows()
        assert rows is not None  # no row of an empty shard is ever asked for
        return rows

    def _column(self, name: str) -> npt.NDArray[Any]:
        maps = [shard.rows() for shard in self.shards]
        return np.concatenate([np.asarray(rows[name]) for rows in maps if rows is not None])

    @property
    def sequence(self) -> npt.NDArray[np.int64]:
        """Return the index of each frame's sequence, (n,)."""
        return np.repeat(np.arange(len(self.shards)), np.diff(self._starts))

    @property
    def position(self) -> npt.NDArray[np.int64]:
        """Return each frame's place in its sequence, (n,)."""
        return self._column('position')

    @property
    def stamp(self) -> npt.NDArray[np.float64]:
        """Return the time of each image in s, (n,); NaN where it has none."""
        return self._column('stamp')

    @property
    def digest(self) -> npt.NDArray[np.uint8]:
        """Return the SHA-256 of each network input, (n, 32)."""
        return self._column('digest')

    @property
    def thumb(self) -> npt.NDArray[np.uint8]:
        """Return a grey thumbnail of each frame, (n, 16, 16)."""
        return self._column('thumb')

    @property
    def size(self) -> npt.NDArray[np.uint32]:
        """Return width and height of each frame as it came, in px, (n, 2)."""
        return self._column('size')

    @property
    def health(self) -> npt.NDArray[np.float32]:
        """Return what `health.measure` says about each frame, (n, 9)."""
        return self._column('health')

    @property
    def data_sha256(self) -> str:
        """Return the digest of all network inputs, in order."""
        return hashlib.sha256(self.digest.tobytes()).hexdigest()

    @property
    def images(self) -> dict[int, npt.NDArray[np.uint8]]:
        """Return network inputs (h, w, 3) of at most 128 frames spread over the stream, by row."""
        kept = [
            (int(start) + row, shard, row)
            for start, shard in zip(self._starts, self.shards, strict=False)
            for row in shard.kept
        ]
        if len(kept) > _KEPT_IMAGES:
            rows = np.array([row for row, _, _ in kept])
            wanted = np.linspace(0, len(self) - 1, _KEPT_IMAGES)
            nearest = {int(np.abs(rows - place).argmin()) for place in wanted}
            kept = [kept[k] for k in sorted(nearest)]
        return {row: shard.image(local) for row, shard, local in kept}

    def columns(self, tap: BackboneTap) -> slice:
        """Return where the features of one of ``taps`` lie in a row."""
        return self._places[tap.name]

    def of(self, tap: BackboneTap, index: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """
        Return the features of one tap.

        Parameters
        ----------
        tap : BackboneTap
            One of ``taps``.
        index : ndarray of shape (m,), int64
            Rows.

        Returns
        -------
        ndarray of shape (m, channels), float32
            As the backbone gives them.

        """
        return self[index, self.columns(tap)]

    def cells(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return what is kept of some frames' maps, (m, cell_width)."""
        width = sum(tap.channels for tap in self.taps)
        return self[index, slice(width, width + self.cell_width)]

    def __getitem__(self, key: tuple[npt.NDArray[np.int64], slice]) -> npt.NDArray[np.float32]:
        index, columns = key
        shard = np.searchsorted(self._starts, index, side='right') - 1  # (m,)
        features = np.empty((len(index), columns.stop - columns.start), np.float32)
        for k in np.unique(shard):
            here = np.flatnonzero(shard == k)
            rows = self._map(int(k))['features'][:, columns]
            features[here] = rows[index[here] - self._starts[k]]
        return features

    def frame_rate_hz(self) -> float:
        """
        Return the median frame rate inside the sequences.

        Returns
        -------
        float
            In Hz; NaN where frames have no time.

        """
        steps = self._steps()
        steps = steps[steps > 0.0]
        return float(1.0 / np.median(steps)) if steps.size else float('nan')

    def longest_still(self) -> float:
        """
        Return the longest time for which the network input stayed the same.

        Returns
        -------
        float
            In s; 0 where it never did, or frames have no time.

        """
        digest, sequence, stamp = self.digest, self.sequence, self.stamp
        is_new = np.ones(len(self), np.bool_)
        is_new[1:] = (digest[1:] != digest[:-1]).any(axis=1) | (sequence[1:] != sequence[:-1])
        starts = np.flatnonzero(is_new)  # of runs of equal frames, (k,)
        ends = np.append(starts[1:], len(self)) - 1
        lasted = stamp[ends] - stamp[starts]
        return float(np.max(lasted, initial=0.0, where=np.isfinite(lasted)))

    def backward_steps(self) -> int:
        """Return how often time runs backwards inside a sequence."""
        return int(np.count_nonzero(self._steps() < 0.0))

    def _steps(self) -> npt.NDArray[np.float64]:
        steps: npt.NDArray[np.float64] = np.diff(self.stamp)[np.diff(self.sequence) == 0]
        finite: npt.NDArray[np.bool_] = np.isfinite(steps)
        return steps[finite]
