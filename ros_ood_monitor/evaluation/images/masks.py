"""Masks of anomalous pixels: a PNG for every picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.evaluation.images.truth import truth_files
from ros_ood_monitor.metrics.boxes import Box

__all__ = ['MaskFolder', 'read_mask']


class MaskFolder:
    """
    The masks of a folder of pictures: ``<name>_mask.png`` or ``<name>.png`` each.

    Parameters
    ----------
    folder : Path
        Where they lie, in the same subfolders as the pictures.
    pictures : sequence of str
        Pictures, relative to their own folder.

    Raises
    ------
    ParameterError
        If a picture has none.

    """

    what = 'masks'

    def __init__(self, folder: Path, pictures: Sequence[str]) -> None:
        self._files = truth_files(folder, pictures, endings=('_mask.png', '.png'))

    def boxes(self, file: str, height: int, width: int) -> tuple[Box, ...]:
        """Return no boxes; see `Truth.boxes`."""
        del file, height, width
        return ()

    def mask(self, file: str, height: int, width: int) -> npt.NDArray[np.bool_]:
        """Return the mask of a picture; see `Truth.mask`."""
        return read_mask(self._files[file], height, width)


def read_mask(path: Path, height: int, width: int) -> npt.NDArray[np.bool_]:
    """
    Read a mask.

    Parameters
    ----------
    path : Path
        A PNG; JPEG would smear the edges.
    height, width : int
        Size of its picture, in px.

    Returns
    -------
    ndarray of shape (height, width), bool
        True where a pixel is not black; transparency does not count.

    Raises
    ------
    ParameterError
        If it cannot be read, is no PNG, or has another size.

    """
    try:
        content = path.read_bytes()
    except OSError as error:
        msg = f'mask cannot be read ({error.strerror or error}): {path}'
        raise ParameterError(msg) from error
    whole = content[:8] == b'\x89PNG\r\n\x1a\n' and b'IEND' in content[-12:]
    pixels = (
        cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
        if whole
        else None
    )
    if pixels is None:
        msg = f'mask is no whole PNG, got {len(content)} bytes of something else: {path}'
        raise ParameterError(msg)
    if pixels.shape[:2] != (height, width):
        msg = (
            f'mask size mismatch: expected {width}x{height} as the picture has, '
            f'got {pixels.shape[1]}x{pixels.shape[0]}; masks are not resized: {path}'
        )
        raise ParameterError(msg)
    if pixels.ndim == 2:
        return np.asarray(pixels > 0)
    return np.asarray((pixels[..., :3] > 0).any(axis=2))
