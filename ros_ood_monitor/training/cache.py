"""
Features on disk: one shard a sequence, appended to while frames are read, found again by digest.

A shard holds fixed-size records in ``rows.bin`` and says in ``state.json``, which is replaced as a
whole, how many of them count. Whatever ends a training, the next one goes on behind the last
record that counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import contextlib
from dataclasses import asdict, dataclass, field
import fcntl
import hashlib
import json
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

__all__ = [
    'KEPT_IMAGES',
    'THUMB',
    'Shard',
    'ShardState',
    'cache_key',
    'default_cache',
    'record_type',
]

THUMB: Final = 16
"""Height and width of the grey thumbnail in a record, in px."""

_FORMAT: Final = 2
_CHECKPOINT_S: Final = 5.0
KEPT_IMAGES: Final = 64
"""Network inputs that a shard keeps at most, unless told otherwise."""

_IMAGES: Final = 'images'


def default_cache() -> Path:
    """Return the folder of the user's cached features."""
    base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(base) / 'ood_monitor' / 'features'


def cache_key(**facts: Any) -> str:
    """
    Return the name of what is kept under exactly these facts.

    Parameters
    ----------
    **facts
        Plain values: everything that it depends on.

    Returns
    -------
    str
        Hex digits.

    """
    text = json.dumps({'format': _FORMAT, **facts}, sort_keys=True, separators=(',', ':'))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


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
        of the network input), ``size`` (width and height as the frame came, in px), ``health``
        (its `MEASURES`), ``thumb`` and ``features``.

    """
    return np.dtype(
        [
            ('position', '<i8'),
            ('stamp', '<f8'),
            ('digest', 'u1', (32,)),
            ('size', '<u4', (2,)),
            ('health', '<f4', (len(MEASURES),)),
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
    image_step : int
        Every so many rows a picture is kept.
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
    image_step: int = 1
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
        stored = {int(path.stem) for path in self._pictures()}
        self._kept = {row for row in stored if row < self.state.count and self.wants_image(row)}

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
        health: npt.NDArray[np.float32],
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
        health : ndarray of shape (9,), float32
            What `measure` says about it.
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
        record['health'] = health
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

    def wants_image(self, row: int) -> bool:
        """Tell whether a row's picture is one of those evenly spread ones that are kept."""
        return row % self.state.image_step == 0

    def keep_image(self, row: int, image: npt.NDArray[np.uint8]) -> None:
        """Keep a picture, and drop every other one where there are too many."""
        with explained(self.folder):
            done = cv2.imwrite(
                str(self.folder / _IMAGES / f'{row}.png'), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
            )
            if not done:
                raise OSError(f'picture could not be written: {row}.png')  # noqa: EM102
        self._kept.add(row)
        if len(self._kept) > self._most_images:
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
        self.state.image_step *= 2
        self.checkpoint()  # before pictures go that an older state would want
        for row in [row for row in self._kept if not self.wants_image(row)]:
            self._kept.discard(row)
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


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn an OSError into a TrainingError that names the cache."""
    try:
        yield
    except OSError as error:
        msg = (
            f'features could not be stored ({error.strerror or error}); '
            f'choose a folder with room by --cache: {folder}'
        )
        raise TrainingError(msg) from error
