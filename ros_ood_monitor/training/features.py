"""
Features of every frame, computed by the exported backbone in the runtime that the robot uses.

Rows are spooled to an unnamed temporary file, so memory does not grow with the number of frames
and nothing is left behind however the process ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
import contextlib
from dataclasses import dataclass
import hashlib
import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.training.backbones import BackboneTap
from ros_ood_monitor.training.datasets import SequenceFrame

__all__ = ['FeatureTable', 'extract', 'normalize']

_KEPT_IMAGES = 64


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """
    The pooled features of n frames.

    Parameters
    ----------
    taps : sequence of BackboneTap
        What the columns are.
    rows : ndarray of shape (n, sum of channels), float32
        Features of all taps side by side, as the backbone gives them; a read-only memory map.
    sequence : ndarray of shape (n,), int64
        Index of each frame's sequence.
    stamp : ndarray of shape (n,), float64
        Time of each image in s; NaN where it has none.
    images : dict of int to ndarray of shape (h, w, 3), uint8
        Network inputs of some frames spread over the stream, by row.
    data_sha256 : str
        Digest of all network inputs, in order.

    """

    taps: Sequence[BackboneTap]
    rows: npt.NDArray[np.float32]
    sequence: npt.NDArray[np.int64]
    stamp: npt.NDArray[np.float64]
    images: dict[int, npt.NDArray[np.uint8]]
    data_sha256: str

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
        start = 0
        for other in self.taps:
            if other.name == tap.name:
                break
            start += other.channels
        return np.ascontiguousarray(self.rows[index, start : start + tap.channels])

    def frame_rate_hz(self) -> float:
        """
        Return the median frame rate inside the sequences.

        Returns
        -------
        float
            In Hz; NaN where frames have no time.

        """
        same = np.diff(self.sequence) == 0
        steps = np.diff(self.stamp)[same]
        steps = steps[np.isfinite(steps) & (steps > 0.0)]
        return float(1.0 / np.median(steps)) if steps.size else float('nan')


def normalize(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """
    Scale every row to unit length, as the scorer does.

    Parameters
    ----------
    features : ndarray of shape (n, D), float32
        Features; rows of zeros stay zero.

    Returns
    -------
    ndarray of shape (n, D), float32
        Directions.

    """
    length = np.linalg.norm(features, axis=1, keepdims=True)  # (n, 1)
    directions: npt.NDArray[np.float32] = (features / np.maximum(length, 1e-12)).astype(np.float32)
    return directions


class _ImageKeeper:
    """Keeps at most 64 images, evenly spread over a stream of unknown length."""

    def __init__(self) -> None:
        self.images: dict[int, npt.NDArray[np.uint8]] = {}
        self._step = 1

    def offer(self, row: int, image: npt.NDArray[np.uint8]) -> None:
        if row % self._step:
            return
        self.images[row] = image.copy()
        if len(self.images) > _KEPT_IMAGES:
            self._step *= 2
            self.images = {k: kept for k, kept in self.images.items() if k % self._step == 0}


class _Spool:
    """Rows on disk, in a file without a name."""

    def __init__(self) -> None:
        with _explained():
            self._file = tempfile.TemporaryFile(prefix='ood_monitor_features.')  # noqa: SIM115

    def append(self, row: npt.NDArray[np.float32]) -> None:
        with _explained():
            self._file.write(row.astype(np.float32).tobytes())

    def mapped(self, shape: tuple[int, int]) -> np.memmap[tuple[int, int], np.dtype[np.float32]]:
        with _explained():
            self._file.flush()
            return np.memmap(self._file, np.float32, 'r', shape=shape)

    def close(self) -> None:
        # the map outlives the file's handle; an error while flushing was told by then
        with contextlib.suppress(OSError):
            self._file.close()


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = (
            f'features could not be spooled ({error.strerror or error}); '
            f'set TMPDIR to a folder with room: {tempfile.gettempdir()}'
        )
        raise TrainingError(msg) from error


def extract(
    frames: Iterable[SequenceFrame],
    session: Any,
    preprocess: Preprocessor,
    taps: Sequence[BackboneTap],
) -> FeatureTable:
    """
    Run the exported backbone over all frames, one at a time.

    Parameters
    ----------
    frames : iterable of SequenceFrame
        Frames of any size.
    session : onnxruntime.InferenceSession
        The exported backbone.
    preprocess : Preprocessor
        Resize to its input size.
    taps : sequence of BackboneTap
        Its outputs.

    Returns
    -------
    FeatureTable
        One row a frame.

    Raises
    ------
    TrainingError
        If there is no frame, a feature is not finite, or the temporary folder is full.

    """
    outputs = [tap.output for tap in taps]
    width = sum(tap.channels for tap in taps)
    digest = hashlib.sha256()
    keeper = _ImageKeeper()
    sequence: list[int] = []
    stamp: list[float] = []
    with contextlib.closing(_Spool()) as spool:
        for frame in frames:
            image = preprocess(frame.rgb)  # (1, h, w, 3)
            digest.update(image.tobytes())
            keeper.offer(len(sequence), image[0])
            row = np.concatenate(session.run(outputs, {'image': image}), axis=1)  # (1, width)
            if not np.all(np.isfinite(row)):
                msg = f'features of frame {len(sequence)} are not finite: check its picture'
                raise TrainingError(msg)
            spool.append(row)
            sequence.append(frame.sequence)
            stamp.append(float('nan') if frame.stamp is None else frame.stamp)
        if not sequence:
            msg = 'no frame could be decoded: expected at least one, got none'
            raise TrainingError(msg)
        rows = spool.mapped((len(sequence), width))
    return FeatureTable(
        taps=taps,
        rows=rows,
        sequence=np.array(sequence, dtype=np.int64),
        stamp=np.array(stamp, dtype=np.float64),
        images=keeper.images,
        data_sha256=digest.hexdigest(),
    )
