"""The features of all frames: where they lie on disk, and how to get at them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
import hashlib
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.health.measures import WATCHED_STEP_S
from ros_ood_monitor.training.backbones import BackboneTap, tap_columns
from ros_ood_monitor.training.features.shard import Shard

__all__ = ['FeatureTable']

_KEPT_IMAGES: Final = 128
_OPEN_MAPS: Final = 256
_MOSTLY: Final = 0.9  # of frames: the others begin to move, or a clock in the bar has changed


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
    def camera(self) -> npt.NDArray[np.int64]:
        """Return the index of each frame's camera, (n,): by topic, whatever the sequence."""
        numbers: dict[str, int] = {}
        parts = []
        for shard in self.shards:
            rows = shard.rows()
            if rows is not None:
                known = [numbers.setdefault(name, len(numbers)) for name in shard.state.cameras]
                parts.append(np.array(known, np.int64)[rows['camera']])
        return np.concatenate(parts)

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
        Return the median frame rate inside the sequences, of the slowest camera.

        Returns
        -------
        float
            In Hz; NaN where frames have no time.

        """
        steps, camera = self._steps()
        steps, camera = steps[steps > 0.0], camera[steps > 0.0]
        medians = [float(np.median(steps[camera == one])) for one in np.unique(camera)]
        return 1.0 / max(medians) if medians else float('nan')

    def longest_still(self) -> float:
        """
        Return the longest time for which a camera's network input stayed the same.

        Returns
        -------
        float
            In s, as the check of frozen pictures counts it: a gap is no time that was watched. 0
            where it never did, or frames have no time.

        """
        order = self._by_camera()
        digest, stream, stamp = self.digest[order], self._stream[order], self.stamp[order]
        is_new = np.ones(len(self), np.bool_)
        is_new[1:] = (digest[1:] != digest[:-1]).any(axis=1) | (stream[1:] != stream[:-1])
        starts = np.flatnonzero(is_new)  # of runs of equal frames, (k,)
        ends = np.append(starts[1:], len(self)) - 1
        steps = np.diff(stamp, prepend=stamp[:1])  # (n,)
        watched = np.cumsum(np.where(steps > 0.0, np.minimum(steps, WATCHED_STEP_S), 0.0))
        return float(np.max(watched[ends] - watched[starts], initial=0.0))

    def constant_bar(self) -> float:
        """
        Return how much of the pictures a bar takes that stays the same, such as a logo.

        Returns
        -------
        float
            Share of rows, from one edge on, that nine tenths of the frames of a sequence's camera
            repeat at most; of the camera that has most.

        """
        order = self._by_camera()
        stream, repeats = self._stream[order], self._column('repeats')[order]
        parts = np.split(repeats, np.flatnonzero(np.diff(stream)) + 1)
        known = [part[np.isfinite(part)] for part in parts]
        return max((float(np.quantile(one, _MOSTLY)) for one in known if one.size), default=0.0)

    def backward_steps(self) -> int:
        """Return how often a camera's time runs backwards inside a sequence."""
        return int(np.count_nonzero(self._steps()[0] < 0.0))

    @property
    def _stream(self) -> npt.NDArray[np.int64]:
        """Return a number for each frame's sequence and camera, (n,)."""
        camera = self.camera
        return self.sequence * (int(camera.max(initial=0)) + 1) + camera

    def _by_camera(self) -> npt.NDArray[np.int64]:
        """Return all rows, the cameras of a sequence one after the other."""
        return np.argsort(self._stream, kind='stable')

    def _steps(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Return the times between a camera's frames, and whose they are."""
        order = self._by_camera()
        steps = np.diff(self.stamp[order])
        counts = (np.diff(self._stream[order]) == 0) & np.isfinite(steps)
        return steps[counts], self.camera[order][1:][counts]
