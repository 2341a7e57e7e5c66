"""
A shard: the features of one sequence on disk, appended to while its frames are read.

It holds fixed-size records in ``rows.bin`` and says in ``state.json``, which is replaced as a
whole, how many of them count. Whatever ends a training, the next one goes on behind the last
record that counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
import contextlib
from dataclasses import asdict, dataclass, field
import fcntl
from functools import lru_cache
import hashlib
import json
import math
import os
from pathlib import Path
import time
from typing import Any, BinaryIO, Final

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.atomic import new_file
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.health import MEASURES
from ros_ood_monitor.training.features.cache import explained

__all__ = ['KEPT_IMAGES', 'THUMB', 'Shard', 'ShardState', 'record_type']

THUMB: Final = 16
"""Height and width of the grey thumbnail in a record, in px."""

KEPT_IMAGES: Final = 64
"""Network inputs that a shard keeps at most, unless told otherwise."""

_CHECKPOINT_S: Final = 5.0
_IMAGES: Final = 'images'


def record_type(width: int) -> np.dtype[Any]:
    """
    Return the type of one frame's record.

    Parameters
    ----------
    width : int
        Features of all taps together.

    Returns
    -------
    dtype
        ``position`` in its sequence, ``stamp`` in s (NaN where there is none), ``digest`` (SHA-256
        of the network input), ``size`` (width and height as the frame came, in px), ``camera``
        (its place in `ShardState.cameras`), ``health`` (its `MEASURES`), ``repeats`` (share of
        rows, from one edge on, that are those of its camera's record before; NaN where nothing can
        be compared), ``thumb`` and ``features``.

    """
    return np.dtype(
        [
            ('position', '<i8'),
            ('stamp', '<f8'),
            ('digest', 'u1', (32,)),
            ('size', '<u4', (2,)),
            ('camera', '<u4'),
            ('health', '<f4', (len(MEASURES),)),
            ('repeats', '<f4'),
            ('thumb', 'u1', (THUMB, THUMB)),
            ('features', '<f4', (width,)),
        ]
    )


@dataclass
class ShardState:
    """
    How far a shard is.

    Parameters
    ----------
    count : int
        Records that are there.
    position : int
        First position of the sequence that was not looked at.
    complete : bool
        Whether the sequence was read to its end.
    cameras : list of str
        Topics that the frames are of, in the order in which they came; one empty name for images.
    near_duplicates : int
        Frames left out because they look like one of the last taken.
    skipped : list of (str, str)
        Frames that did not decode: name and reason.
    missing : list of str
        Files that the sequence lacks, and damaged ones.
    about : str
        What the shard was made from, for people.

    """

    count: int = 0
    position: int = 0
    complete: bool = False
    cameras: list[str] = field(default_factory=list)
    near_duplicates: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    about: str = ''


class Shard:
    """
    The features of one sequence on disk.

    Parameters
    ----------
    folder : Path
        Made where it is missing; only one process may have it open for writing.
    width : int
        Features of all taps together.
    about : str
        What the shard is made from, for people who look into the folder.
    most_images : int
        Network inputs that are kept at most.

    Raises
    ------
    TrainingError
        If the folder cannot be used, or another process writes it.

    """

    def __init__(
        self, folder: Path, width: int, *, about: str = '', most_images: int = KEPT_IMAGES
    ) -> None:
        self.folder = folder
        self._most_images = most_images
        self._type = record_type(width)
        self._open = contextlib.ExitStack()
        self._file: BinaryIO | None = None
        self._saved = time.monotonic()
        with explained(folder):
            (folder / _IMAGES).mkdir(parents=True, exist_ok=True)
            self.state = self._load()
            if not self.state.complete:
                self._lock()
                self.state = self._load()  # as whoever held the lock left it
                self.state.about = about
                self._file = self._open.enter_context((folder / 'rows.bin').open('ab'))
                self._file.truncate(self.state.count * self._type.itemsize)
                self._file.seek(0, os.SEEK_END)
        stored = sorted(int(path.stem) for path in self._pictures())
        rows = self.rows()
        # row -> camera
        self._kept = {
            row: int(rows[row]['camera'])
            for row in stored
            if rows is not None and row < self.state.count
        }
        self._thin()  # what a crash, or a file that could not be deleted, left

    def _lock(self) -> None:
        lock = self._open.enter_context((self.folder / 'lock').open('w'))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._open.close()
            msg = (
                'features of the same frames are being written by another training; '
                f'wait for it or choose another --cache: {self.folder}'
            )
            raise TrainingError(msg) from error

    def last_thumbs(self, most: int) -> npt.NDArray[np.uint8]:
        """Return the thumbnails of the last records, (k, 16, 16), at most so many."""
        rows = self.rows()
        if rows is None:
            return np.empty((0, THUMB, THUMB), np.uint8)
        return np.array(rows[-most:]['thumb'])

    def append(
        self,
        *,
        position: int,
        stamp: float | None,
        digest: bytes,
        size: tuple[int, int],
        camera: str = '',
        health: npt.NDArray[np.float32],
        repeats: float = math.nan,
        thumb: npt.NDArray[np.uint8],
        features: npt.NDArray[np.float32],
    ) -> int:
        """
        Add a frame.

        Parameters
        ----------
        position : int
            Its place in the sequence.
        stamp : float or None
            Its time in s.
        digest : bytes
            SHA-256 of its network input.
        size : tuple of int
            Width and height of the frame as it came, in px.
        camera : str, default ''
            What the frame is of.
        health : ndarray of shape (9,), float32
            What `measure` says about it.
        repeats : float, optional
            Share of its rows, from one edge on, that are those of its camera's record before.
        thumb : ndarray of shape (16, 16), uint8
            Its thumbnail.
        features : ndarray of shape (width,), float32
            Of all taps.

        Returns
        -------
        int
            Its row.

        """
        record = np.zeros(1, self._type)
        record['position'] = position
        record['stamp'] = np.nan if stamp is None else stamp
        record['digest'] = np.frombuffer(digest, np.uint8)
        record['size'] = size
        if camera not in self.state.cameras:
            self.state.cameras.append(camera)
        record['camera'] = self.state.cameras.index(camera)
        record['health'] = health
        record['repeats'] = repeats
        record['thumb'] = thumb
        record['features'] = features
        assert self._file is not None  # nothing is added to what is complete
        with explained(self.folder):
            self._file.write(record.tobytes())
        row = self.state.count
        self.state.count += 1
        self.state.position = position + 1
        if time.monotonic() - self._saved > _CHECKPOINT_S:
            self.checkpoint()
        return row

    def wants_image(self, row: int, camera: str = '') -> bool:
        """
        Tell whether a row's picture is kept, as far as rows have come.

        Drawn by a hash of the row, each camera the same number: an even stride would meet the
        turns of the cameras, or of the parts of a split, and see one of them only.
        """
        kept = {**self._kept, row: self.state.cameras.index(camera)}
        return len(kept) <= self._most_images or _to_drop(kept) != row

    def keep_image(self, row: int, image: npt.NDArray[np.uint8], camera: str = '') -> None:
        """Keep a picture, and drop another one where there are too many."""
        with explained(self.folder):
            done = cv2.imwrite(
                str(self.folder / _IMAGES / f'{row}.png'), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
            )
            if not done:
                raise OSError(f'picture could not be written: {row}.png')  # noqa: EM102
        self._kept[row] = self.state.cameras.index(camera)
        self._thin()

    def checkpoint(self) -> None:
        """Make what was appended so far count, whatever happens next."""
        assert self._file is not None
        with explained(self.folder):
            self._file.flush()
            os.fsync(self._file.fileno())
            with new_file(self.folder / 'state.json') as aside:
                aside.write_text(json.dumps(asdict(self.state), indent=1), encoding='utf-8')
        self._saved = time.monotonic()

    def finish(self, missing: Sequence[str]) -> None:
        """Say that the sequence was read to its end, and what it lacks."""
        self.state.missing = list(missing)
        self.state.complete = True
        self.checkpoint()
        self.close()

    def close(self) -> None:
        """Let go of the files; what was checkpointed stays."""
        self._file = None
        with contextlib.suppress(OSError):
            self._open.close()

    def rows(self) -> np.memmap[Any, np.dtype[Any]] | None:
        """Return the records as a read-only map; None where there are none."""
        if not self.state.count:
            return None
        with explained(self.folder):
            if self._file is not None:
                self._file.flush()
            return np.memmap(self.folder / 'rows.bin', self._type, 'r', shape=(self.state.count,))

    def image(self, row: int) -> npt.NDArray[np.uint8]:
        """Return a kept picture (h, w, 3) uint8."""
        bgr = cv2.imread(str(self.folder / _IMAGES / f'{row}.png'), cv2.IMREAD_COLOR)
        if bgr is None:
            msg = f'cached picture {row}.png is gone; delete the shard: {self.folder}'
            raise TrainingError(msg)
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]

    @property
    def kept(self) -> list[int]:
        """Return the rows whose pictures are kept, ascending."""
        return sorted(self._kept)

    def _pictures(self) -> list[Path]:
        return [path for path in (self.folder / _IMAGES).glob('*.png') if path.stem.isdigit()]

    def _thin(self) -> None:
        # a picture that goes now would go, too, where an older state is gone on from
        while len(self._kept) > self._most_images:
            row = _to_drop(self._kept)
            del self._kept[row]
            if self._file is None:
                continue  # only who writes deletes
            with contextlib.suppress(OSError):
                (self.folder / _IMAGES / f'{row}.png').unlink()

    def _load(self) -> ShardState:
        try:
            raw = json.loads((self.folder / 'state.json').read_text(encoding='utf-8'))
            state = ShardState(**raw)
            state.skipped = [(str(name), str(why)) for name, why in state.skipped]
            held = (self.folder / 'rows.bin').stat().st_size // self._type.itemsize
        except (OSError, ValueError, TypeError):
            return ShardState()  # nothing that counts: begin anew
        return state if held >= state.count else ShardState()


def _to_drop(kept: Mapping[int, int]) -> int:
    """Return a row, given cameras by row: of the camera that has most, by a hash of the row."""
    rows: dict[int, list[int]] = defaultdict(list)
    for row, camera in kept.items():
        rows[camera].append(row)
    most = max(rows, key=lambda camera: (len(rows[camera]), camera))
    return max(rows[most], key=_order)


@lru_cache(maxsize=4096)
def _order(row: int) -> bytes:
    """Return what sorts rows at random, the same in every run."""
    return hashlib.blake2b(row.to_bytes(8, 'little'), digest_size=8).digest()
