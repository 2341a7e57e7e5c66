"""What both decoders share: bytes of any owner, and OpenCV's failures as our own."""

from __future__ import annotations

from collections.abc import Callable
import re
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import DecodeError

__all__ = ['Pixels', 'as_bytes_array', 'with_opencv']

Pixels: TypeAlias = npt.NDArray[np.uint8]


def as_bytes_array(data: Any) -> Pixels:
    """
    View any buffer as bytes; copies only where the buffer is not contiguous.

    Parameters
    ----------
    data : buffer
        Bytes, memoryview, array.array or ndarray; read-only ones too.

    Returns
    -------
    ndarray of shape (n,), uint8
        Its bytes in the order of its elements.

    Raises
    ------
    DecodeError
        If it is no buffer.

    """
    try:
        if isinstance(data, np.ndarray):
            return np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        view = memoryview(data)
        if view.nbytes == 0:
            return np.empty(0, np.uint8)
        return np.frombuffer(view if view.c_contiguous else view.tobytes(), np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        msg = f'image data is no buffer: expected bytes, got {type(data).__name__}: {error}'
        raise DecodeError(msg) from error


def with_opencv(convert: Callable[[], Any], what: str) -> Pixels:
    """
    Call OpenCV, which reports failure as its own exception or as None.

    Parameters
    ----------
    convert : callable
        Calls OpenCV.
    what : str
        What is being converted, for the message.

    Returns
    -------
    ndarray
        What ``convert`` returned.

    Raises
    ------
    DecodeError
        If OpenCV refuses or finds nothing.

    """
    try:
        image = convert()
    except cv2.error as error:
        reason = re.sub(r'\s+', ' ', str(error.err or error)).strip()
        msg = f'cannot decode: OpenCV refuses this {what}: {reason}'
        raise DecodeError(msg) from error
    if image is None or image.size == 0:
        msg = f'cannot decode: OpenCV finds no picture in this {what}; it is damaged'
        raise DecodeError(msg)
    pixels: Pixels = image
    return pixels
