"""Small sets of frames to train on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

SIZES = ((48, 64), (40, 40), (72, 60))  # rows, columns: frames of one set may differ


def scene(index: int, size: tuple[int, int] = SIZES[0]) -> npt.NDArray[np.uint8]:
    """Return a picture of a slowly moving blob on a gradient with noise, (rows, columns, 3)."""
    rng = np.random.default_rng(index)
    rows, columns = size
    y, x = np.mgrid[0:rows, 0:columns] / max(size)
    blob = np.exp(-((x - 0.3 - 0.3 * np.sin(index / 40)) ** 2 + (y - 0.4) ** 2) / 0.02)
    light = 60 + 80 * x + 70 * blob + rng.normal(0, 8, size)
    tint = np.array([1.0, 0.9, 0.7]) + rng.normal(0, 0.02, 3)
    return np.clip(light[..., None] * tint, 0, 255).astype(np.uint8)


def write_scenes(folder: Path, count: int, *, first: int = 0, suffix: str = '.png') -> Path:
    """Write pictures of different sizes and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(first, first + count):
        rgb = scene(index, SIZES[index % len(SIZES)])
        assert cv2.imwrite(str(folder / f'frame_{index}{suffix}'), rgb[..., ::-1])
    return folder
