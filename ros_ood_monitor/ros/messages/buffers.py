"""
An image publisher that fills its message in place.

rclpy's setter of ``Image.data`` copies whatever it is given, an ndarray element by element: 80 ms
for a picture of 640x480. Here the message gets an array of the picture's size once, and later
pictures are copied into that array. Publishing serialises before it returns, so the message may
be filled anew at once.
"""

from __future__ import annotations

import array
import sys
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rclpy.publisher import Publisher
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from ros_ood_monitor.errors import DecodeError

__all__ = ['ImagePublisher']

_LAYOUTS: Final[dict[str, tuple[type[Any], int]]] = {
    'rgb8': (np.uint8, 3),
    'bgr8': (np.uint8, 3),
    '8UC3': (np.uint8, 3),
    'rgba8': (np.uint8, 4),
    'bgra8': (np.uint8, 4),
    'mono8': (np.uint8, 1),
    '8UC1': (np.uint8, 1),
    'mono16': (np.uint16, 1),
    '16UC1': (np.uint16, 1),
    '32FC1': (np.float32, 1),
}
"""Type and channels of a pixel, for what we publish."""


class ImagePublisher:
    """
    Publishes pictures with one message, whose memory is allocated anew only for another size.

    Parameters
    ----------
    publisher : rclpy.publisher.Publisher
        A publisher of sensor_msgs.msg.Image. It is used from one thread at a time.

    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._message = Image()
        self._view: npt.NDArray[Any] = np.empty(0, np.uint8)

    def publish(
        self, picture: npt.NDArray[Any], *, encoding: str, header: Header | None = None
    ) -> None:
        """
        Publish a picture.

        Parameters
        ----------
        picture : ndarray of shape (H, W) or (H, W, C)
            Pixels in the encoding's type and channel order, of any strides. It is copied.
        encoding : str
            How the pixels are meant, such as ``rgb8``, ``mono8`` or ``32FC1``.
        header : std_msgs.msg.Header, optional
            The message's header; an empty one where not given.

        Raises
        ------
        DecodeError
            If the picture is not of that encoding.

        """
        _check(picture, encoding)
        if picture.shape != self._view.shape or picture.dtype != self._view.dtype:
            self._resize(picture)
        np.copyto(self._view, picture)
        message = self._message
        message.header = header if header is not None else Header()
        message.encoding = encoding
        message.is_bigendian = int(sys.byteorder == 'big')
        self._publisher.publish(message)

    def _resize(self, picture: npt.NDArray[Any]) -> None:
        message = self._message
        message.height, message.width = picture.shape[:2]
        message.step = picture.nbytes // message.height
        message.data = array.array('B', bytes(picture.nbytes))
        # a view of the array that the setter made; the one that it was given is not in the message
        self._view = np.frombuffer(message.data, picture.dtype).reshape(picture.shape)


def _check(picture: npt.NDArray[Any], encoding: str) -> None:
    if encoding not in _LAYOUTS:
        msg = f'unknown encoding: expected one of {", ".join(_LAYOUTS)}, got {encoding!r}'
        raise DecodeError(msg)
    kind, channels = _LAYOUTS[encoding]
    got = picture.shape[2] if picture.ndim == 3 else 1
    if picture.dtype != kind or picture.ndim not in (2, 3) or got != channels or not picture.size:
        wanted = f'(H, W, {channels})' if channels > 1 else '(H, W)'
        msg = (
            f'picture is no {encoding}: expected {wanted} {np.dtype(kind)}, '
            f'got {picture.shape} {picture.dtype}'
        )
        raise DecodeError(msg)
