"""
Which frames a bundle was trained on, in a few bytes each.

Figures on frames that a bundle knows say nothing about new ones, so a bundle carries the digests
of its network inputs, cut to 8 bytes. Of many, it keeps the smallest ones: digests are as good as
random, so these are an even sample, and whether a frame would be among them can be told.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import BundleError

__all__ = ['FrameSketch', 'FrameTally', 'frame_digest']

_MOST: Final = 16384
_KEY: Final = np.dtype('<u8')


def frame_digest(image: npt.NDArray[np.uint8]) -> bytes:
    """
    Return the SHA-256 of a network input's pixels.

    Parameters
    ----------
    image : ndarray of shape (h, w, 3), uint8
        As `Preprocessor` gives it.

    Returns
    -------
    bytes
        32 of them.

    """
    return hashlib.sha256(np.ascontiguousarray(image).data).digest()


class FrameSketch:
    """
    A sample of the frames that a bundle was trained on.

    Parameters
    ----------
    keys : ndarray of shape (k,), uint64
        First 8 bytes of digests, ascending, each once; the smallest ones where there are 16384.

    """

    def __init__(self, keys: npt.NDArray[np.uint64]) -> None:
        self.keys = keys
        self._known = frozenset(keys.tolist())
        self._last = int(keys[-1]) if len(keys) >= _MOST else np.iinfo(_KEY).max

    @classmethod
    def of(cls, digest: npt.NDArray[np.uint8]) -> FrameSketch:
        """
        Sketch some frames; equal sets of them give equal sketches.

        Parameters
        ----------
        digest : ndarray of shape (n, 32), uint8
            From `frame_digest`.

        Returns
        -------
        FrameSketch
            At most 16384 keys.

        """
        keys = np.ascontiguousarray(digest[:, : _KEY.itemsize]).view(_KEY)[:, 0]  # (n,)
        return cls(np.unique(keys)[:_MOST])

    def to_bytes(self) -> bytes:
        """Return the keys as they are stored, little-endian."""
        return self.keys.astype(_KEY).tobytes()

    @classmethod
    def from_bytes(cls, content: bytes) -> FrameSketch:
        """
        Read what `to_bytes` wrote.

        Parameters
        ----------
        content : bytes
            Of the file.

        Returns
        -------
        FrameSketch
            The sketch.

        Raises
        ------
        BundleError
            If these are no ascending keys of 8 bytes.

        """
        if len(content) % _KEY.itemsize == 0 and len(content) <= _MOST * _KEY.itemsize:
            keys = np.frombuffer(content, _KEY)
            if np.all(keys[:-1] < keys[1:]):
                return cls(keys)
        msg = (
            f'sketch of the training frames is damaged: expected at most {_MOST} ascending keys '
            f'of {_KEY.itemsize} bytes, got {len(content)} bytes; copy the bundle again'
        )
        raise BundleError(msg)

    def look_up(self, image: npt.NDArray[np.uint8]) -> bool | None:
        """
        Tell whether a frame was trained on.

        Parameters
        ----------
        image : ndarray of shape (h, w, 3), uint8
            Network input.

        Returns
        -------
        bool or None
            None where the sketch would not hold it in either case.

        """
        key = int.from_bytes(frame_digest(image)[: _KEY.itemsize], 'little')
        return key in self._known if key <= self._last else None


class FrameTally:
    """
    Counts how many frames a bundle was trained on.

    Parameters
    ----------
    sketch : FrameSketch or None
        Of the bundle; None for one without, and then nothing is counted.

    """

    def __init__(self, sketch: FrameSketch | None) -> None:
        self._sketch = sketch
        self._frames = self._told = self._known = 0

    def add(self, image: npt.NDArray[np.uint8]) -> None:
        """Look at a network input (h, w, 3) uint8."""
        if self._sketch is None:
            return
        found = self._sketch.look_up(image)
        self._frames += 1
        self._told += found is not None
        self._known += found is True

    @property
    def known(self) -> int:
        """Return how many of them the bundle was trained on; scaled up from the sample."""
        return round(self._frames * self._known / self._told) if self._told else 0

    def __str__(self) -> str:
        """Return a sentence where some are known, else nothing."""
        if not self._known:
            return ''
        about = '' if self._told == self._frames else 'about '
        return (
            f'{about}{self.known} of {self._frames} frames are among those that the bundle was '
            'trained on: what it says of them tells nothing about new ones'
        )
