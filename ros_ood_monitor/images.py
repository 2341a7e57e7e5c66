"""
Folders of image files: what is in them, one file as a picture, and a picture as a file.

Trainer and evaluation list and read through here, and the pixels come from the decoder that the
node uses, so that a file and a compressed message of the same bytes are the same picture.
"""

from __future__ import annotations

import os
from pathlib import Path
import re
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.decode import decode_compressed
from ros_ood_monitor.errors import DecodeError, ParameterError

__all__ = ['IMAGE_SUFFIXES', 'encode_jpeg', 'image_files', 'natural_key', 'read_image']

IMAGE_SUFFIXES: Final = ('.jpeg', '.jpg', '.png')
"""File names that count as images, compared without regard to case."""

_DIGITS: Final = re.compile(r'([0-9]+)')


def natural_key(path: Path) -> tuple[tuple[tuple[str | int, ...], str], ...]:
    """
    Return a sort key that puts ``img2`` before ``img10``.

    Parameters
    ----------
    path : Path
        A path; each of its parts is compared on its own.

    Returns
    -------
    tuple
        Text and numbers in turn for every part, then the part itself, so that the order of
        different names never depends on the file system.

    """
    return tuple((_natural(part), part) for part in path.parts)


def _natural(text: str) -> tuple[str | int, ...]:
    # split() with a group alternates text and digits, so equal places hold equal types
    pieces = _DIGITS.split(text.casefold())
    return tuple(int(piece) if i % 2 else piece for i, piece in enumerate(pieces))


def image_files(folder: str | Path) -> list[Path]:
    """
    List the images of a folder and of all folders in it.

    Hidden files and folders are left out, links to folders are not followed.

    Parameters
    ----------
    folder : str or Path
        Where to look.

    Returns
    -------
    list of Path
        Files whose suffix is one of ``IMAGE_SUFFIXES``, in natural order; at least one. Whether
        they hold a picture shows when they are read.

    Raises
    ------
    ParameterError
        If there is no such folder, a part of it cannot be listed, or it holds no image.

    """
    root = Path(folder)
    if not root.is_dir():
        found = 'a file' if root.is_file() else 'nothing there'
        msg = f'image folder not found: expected a folder, got {found}: {root}'
        raise ParameterError(msg)
    files: list[Path] = []
    others = 0
    for place, folders, names in os.walk(root, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith('.')]
        for name in names:
            path = Path(place, name)
            if name.startswith('.'):
                continue
            if path.suffix.lower() in IMAGE_SUFFIXES:
                files.append(path)
            else:
                others += 1
    if not files:
        wanted = ' '.join(IMAGE_SUFFIXES)
        msg = f'folder holds no image: expected {wanted}, got {others} other files: {root}'
        raise ParameterError(msg)
    return sorted(files, key=lambda path: natural_key(path.relative_to(root)))


def _refuse(error: OSError) -> None:
    msg = f'image folder cannot be listed ({error.strerror or error}): {error.filename}'
    raise ParameterError(msg) from error


def read_image(path: str | Path) -> npt.NDArray[np.uint8]:
    """
    Read an image file the way the node decodes a compressed message.

    Parameters
    ----------
    path : str or Path
        A JPEG or PNG file; what it is is read from its bytes, not from its name.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        Pixels in RGB order.

    Raises
    ------
    DecodeError
        If the file cannot be read or holds no whole picture; the message ends with the path.

    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        msg = f'image file cannot be read ({error.strerror or error}): {path}'
        raise DecodeError(msg) from error
    try:
        return decode_compressed(content, format=path.suffix.lstrip('.').lower())
    except DecodeError as error:
        msg = f'{error}: {path}'
        raise DecodeError(msg) from error


def encode_jpeg(rgb: npt.NDArray[np.uint8], quality: int) -> bytes:
    """
    Return a picture as a JPEG file.

    Parameters
    ----------
    rgb : ndarray of shape (height, width, 3), uint8
        The picture.
    quality : int
        Of JPEG, 1 to 100.

    Returns
    -------
    bytes
        The file.

    Raises
    ------
    DecodeError
        If it is too large for one.

    """
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    done, file = cv2.imencode('.jpg', bgr, (cv2.IMWRITE_JPEG_QUALITY, quality))
    if not done:
        size = f'{rgb.shape[1]}x{rgb.shape[0]}'
        msg = f'picture is too large for a JPEG: expected at most 65500 px a side, got {size}'
        raise DecodeError(msg)
    return file.tobytes()
