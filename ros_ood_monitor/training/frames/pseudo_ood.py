"""
Pictures that are surely not the training condition, made from in-distribution frames alone.

They stand in for the anomalies that nobody has seen yet: as the second axis of the training
report, as the far side when two precisions are compared, and, where a training is asked to choose
by evidence, the near kinds choose detector and taps. No threshold and no chosen step may depend on
them, because a real anomaly need not look like any of them.

============ =================================================== ==============================
kind         made by                                             what it takes away
============ =================================================== ==============================
``patch``    pasting a turned part of another frame (CutPaste)   one region
``jigsaw``   shuffling a 4 x 4 grid of the frame's tiles         the layout, not the texture
``negative`` inverting the grey levels                           light and colour, not the edges
``blur``     a Gaussian blur of 1/28 of the width                detail, not the layout
``texture``  mirroring one tile of the frame over the picture    objects and layout
``phase``    random phases under the frame's own spectrum        every edge
``scar``     pasting a thin strip of the frame elsewhere in it   hardly anything
             (CutPaste-Scar)
============ =================================================== ==============================

``scar`` is made only where it is asked for.

References
----------
Li, Sohn, Yoon, Pfister (2021), CutPaste, arXiv:2104.04015.
Noroozi, Favaro (2016), Unsupervised learning of visual representations by solving jigsaw puzzles,
arXiv:1603.09246 (whose puzzle is a task there, an anomaly here).
Oppenheim, Lim (1981), The importance of phase in signals.

"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import TrainingError

__all__ = ['KINDS', 'NEAR', 'pseudo_ood']

Image = npt.NDArray[np.uint8]

_SHORTEST_SIDE: Final = 32
_GRID: Final = 4


def pseudo_ood(
    images: npt.NDArray[np.uint8], *, seed: int, kinds: Sequence[str] | None = None
) -> dict[str, npt.NDArray[np.uint8]]:
    """
    Make pictures outside of the training condition from pictures inside of it.

    Parameters
    ----------
    images : ndarray of shape (k, h, w, 3), uint8
        In-distribution pictures, such as kept network inputs; k at least 1.
    seed : int
        Of everything random; equal pictures and seeds give equal bytes.
    kinds : sequence of str, optional
        `KINDS` by default; ``scar`` may be one, too. A kind's pictures do not depend on which
        others are made.

    Returns
    -------
    dict of str to ndarray of shape (k, h, w, 3), uint8
        The pictures of every kind, in that order; row i is made from picture i.

    Raises
    ------
    TrainingError
        If the pictures have another shape or dtype, are too small, or a kind is unknown.

    """
    _check(images)
    wanted = list(KINDS) if kinds is None else list(kinds)
    for kind in wanted:
        if kind not in _MAKERS:
            msg = f'pseudo-OOD kind is unknown: expected some of {list(_MAKERS)}, got {kind!r}'
            raise TrainingError(msg)
    return {
        kind: _make(images, kind, np.random.default_rng([seed, number]))
        for number, kind in enumerate(_MAKERS)
        if kind in wanted
    }


def _check(images: npt.NDArray[np.uint8]) -> None:
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or not len(images):
        msg = (
            'pictures must have shape (k, h, w, 3) and dtype uint8 with k at least 1, '
            f'got {images.shape} and {images.dtype}'
        )
        raise TrainingError(msg)
    if min(images.shape[1:3]) < _SHORTEST_SIDE:
        got = f'{images.shape[2]}x{images.shape[1]}'
        msg = f'pictures are too small: expected at least {_SHORTEST_SIDE} px a side, got {got}'
        raise TrainingError(msg)


def _make(
    images: npt.NDArray[np.uint8], kind: str, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    made = np.empty_like(images)
    for row, image in enumerate(images):
        # another frame, far away in the stream where the pictures are in its order
        other = images[(row + int(rng.integers(1, max(2, len(images))))) % len(images)]
        made[row] = _MAKERS[kind](image, other, rng)
    return made


def _patch(image: Image, other: Image, rng: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    rows, columns = (int(side * rng.uniform(0.15, 0.35)) for side in (height, width))
    top, left = int(rng.integers(height - rows)), int(rng.integers(width - columns))
    source_top = int(rng.integers(height - rows))
    source_left = int(rng.integers(width - columns))
    piece = other[source_top : source_top + rows, source_left : source_left + columns]
    # upside down, as a part of the scene itself never is
    turned = piece[::-1, :: int(rng.choice([-1, 1]))]
    made: Image = image.copy()
    made[top : top + rows, left : left + columns] = turned
    return made


def _jigsaw(image: Image, _other: Image, rng: np.random.Generator) -> Image:
    height, width = (side // _GRID * _GRID for side in image.shape[:2])
    tiles = image[:height, :width].reshape(_GRID, height // _GRID, _GRID, width // _GRID, 3)
    tiles = tiles.swapaxes(1, 2).reshape(_GRID**2, height // _GRID, width // _GRID, 3)
    # one long cycle: no tile stays where it was
    cycle = rng.permutation(_GRID**2)
    order = np.empty(_GRID**2, np.int64)
    order[cycle] = np.roll(cycle, 1)
    shuffled = tiles[order].reshape(_GRID, _GRID, height // _GRID, width // _GRID, 3)
    made: Image = image.copy()
    made[:height, :width] = shuffled.swapaxes(1, 2).reshape(height, width, 3)
    return made


def _negative(image: Image, _other: Image, _rng: np.random.Generator) -> Image:
    return np.asarray(255 - image, np.uint8)


def _blur(image: Image, _other: Image, _rng: np.random.Generator) -> Image:
    sigma = image.shape[1] / 28
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def _texture(image: Image, _other: Image, rng: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    rows, columns = height // _GRID, width // _GRID
    top, left = int(rng.integers(height - rows)), int(rng.integers(width - columns))
    tile = image[top : top + rows, left : left + columns]
    below, right = height - rows, width - columns
    return np.asarray(np.pad(tile, ((0, below), (0, right), (0, 0)), mode='symmetric'))


def _phase(image: Image, _other: Image, rng: np.random.Generator) -> Image:
    noise = rng.standard_normal(image.shape[:2])
    # the same turn in every channel keeps the colours together
    turn = np.exp(1j * np.angle(np.fft.rfft2(noise)))[..., np.newaxis]  # (h, w / 2 + 1, 1)
    turn[0, 0] = 1.0  # the mean stays
    spectrum = np.fft.rfft2(image.astype(np.float64), axes=(0, 1))  # (h, w / 2 + 1, 3)
    made = np.fft.irfft2(spectrum * turn, s=image.shape[:2], axes=(0, 1))  # (h, w, 3)
    return np.clip(np.rint(made), 0, 255).astype(np.uint8)


def _scar(image: Image, _other: Image, rng: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    size = width * rng.uniform(0.10, 0.25), width * rng.uniform(0.02, 0.07)
    centre = width * rng.uniform(0.15, 0.85), height * rng.uniform(0.15, 0.85)
    corners = cv2.boxPoints((centre, size, rng.uniform(0.0, 180.0)))
    mask = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(mask, corners.astype(np.int32), 1)
    away = [int(rng.integers(side // 4, side - side // 4)) for side in (height, width)]
    made: Image = np.where(mask[..., np.newaxis] > 0, np.roll(image, away, (0, 1)), image)
    return made


_MAKERS: Final[dict[str, Callable[[Image, Image, np.random.Generator], Image]]] = {
    'patch': _patch,
    'jigsaw': _jigsaw,
    'negative': _negative,
    'blur': _blur,
    'texture': _texture,
    'phase': _phase,
    'scar': _scar,
}

KINDS: Final = ('patch', 'jigsaw', 'negative', 'blur', 'texture', 'phase')
"""Kinds of pseudo-OOD pictures that are made unless others are named, about from near to far."""

NEAR: Final = ('patch', 'scar')
"""Kinds that change a part of the frame, and nothing that all of it has."""
