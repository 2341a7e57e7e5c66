"""
Image bytes as they travel over ROS, turned into pictures, without any ROS type.

The same two functions read messages of a live topic and of a bag, so that a replay sees the
pixels that the robot saw.
"""

from __future__ import annotations

from collections.abc import Callable
import re
from typing import Any, Final, NamedTuple, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import DecodeError

__all__ = ['COMPRESSIONS', 'ENCODINGS', 'decode_compressed', 'decode_image']

Pixels: TypeAlias = npt.NDArray[np.uint8]


class _Layout(NamedTuple):
    channels: int
    depth: int  # bytes a channel
    to_rgb: int | None  # OpenCV conversion code; None where the bytes are RGB already


# OpenCV names a Bayer pattern after its second row's second and third pixel, ROS after the first
# 2x2 block; the COLOR_Bayer<4 letters> aliases follow ROS.
_LAYOUTS: Final = {
    'rgb8': _Layout(3, 1, None),
    'bgr8': _Layout(3, 1, cv2.COLOR_BGR2RGB),
    'rgba8': _Layout(4, 1, cv2.COLOR_RGBA2RGB),
    'bgra8': _Layout(4, 1, cv2.COLOR_BGRA2RGB),
    'mono8': _Layout(1, 1, cv2.COLOR_GRAY2RGB),
    'mono16': _Layout(1, 2, cv2.COLOR_GRAY2RGB),
    '8UC1': _Layout(1, 1, cv2.COLOR_GRAY2RGB),
    '8UC3': _Layout(3, 1, cv2.COLOR_BGR2RGB),
    '16UC1': _Layout(1, 2, cv2.COLOR_GRAY2RGB),
    'bayer_rggb8': _Layout(1, 1, cv2.COLOR_BayerRGGB2RGB),
    'bayer_bggr8': _Layout(1, 1, cv2.COLOR_BayerBGGR2RGB),
    'bayer_gbrg8': _Layout(1, 1, cv2.COLOR_BayerGBRG2RGB),
    'bayer_grbg8': _Layout(1, 1, cv2.COLOR_BayerGRBG2RGB),
    'bayer_rggb16': _Layout(1, 2, cv2.COLOR_BayerRGGB2RGB),
    'bayer_bggr16': _Layout(1, 2, cv2.COLOR_BayerBGGR2RGB),
    'bayer_gbrg16': _Layout(1, 2, cv2.COLOR_BayerGBRG2RGB),
    'bayer_grbg16': _Layout(1, 2, cv2.COLOR_BayerGRBG2RGB),
}
ENCODINGS: Final = tuple(_LAYOUTS)
COMPRESSIONS: Final = ('jpeg', 'png')

_BAYER_MIN_PX: Final = 3  # OpenCV's demosaicing answers black below this
_PNG_MAGIC: Final = b'\x89PNG\r\n\x1a\n'
_JPEG_SOI: Final = b'\xff\xd8'
_JPEG_EOI: Final = b'\xff\xd9'
_JPEG_SOS: Final = 0xDA
# markers that stand alone, without a length: TEM and RST0 to RST7
_JPEG_BARE: Final = frozenset({0x01, *range(0xD0, 0xD8)})


def decode_image(
    data: Any,
    *,
    encoding: str,
    height: int,
    width: int,
    step: int,
    is_bigendian: bool = False,
) -> Pixels:
    """
    Turn the bytes of an uncompressed image message into an RGB picture.

    Sixteen-bit encodings keep their high byte: full scale 65535 becomes 255, whatever the
    picture holds. (Stretching each frame to its own extremes would let a single hot pixel change
    the score of all others.) Alpha is dropped. ``8UC3`` is read as ``bgr8``, ``8UC1`` as
    ``mono8`` and ``16UC1`` as ``mono16``, which is what OpenCV's users mean by them.

    Parameters
    ----------
    data : buffer
        Rows of pixels: bytes, memoryview, array.array or ndarray; ``height * step`` bytes.
    encoding : str
        One of ``ENCODINGS``, spelt as in sensor_msgs.
    height, width : int
        Size of the picture, in px.
    step : int
        Length of a row, in bytes; bytes after the last pixel of a row are padding.
    is_bigendian : bool
        Byte order of sixteen-bit encodings.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        Pixels in RGB order, C-contiguous. For ``rgb8`` without padding a read-only view of
        ``data``, valid as long as its owner leaves ``data`` alone; a copy in every other case.

    Raises
    ------
    DecodeError
        If the encoding is unknown, the size is zero, or the bytes cannot be that picture.

    """
    layout = _LAYOUTS.get(encoding)
    if layout is None:
        msg = f'unknown encoding: expected one of {", ".join(ENCODINGS)}, got {encoding!r}'
        raise DecodeError(msg)
    if height <= 0 or width <= 0:
        msg = f'image is empty: expected at least 1x1 pixels, got {width}x{height}'
        raise DecodeError(msg)
    row = width * layout.channels * layout.depth
    if step < row:
        msg = f'step too small: {encoding!r} {width} px wide needs {row} bytes a row, got {step}'
        raise DecodeError(msg)
    raw = _as_bytes_array(data)
    if raw.size != height * step:
        problem = 'truncated' if raw.size < height * step else 'too long'
        msg = (
            f'image data {problem}: {height} rows of {step} bytes are {height * step} bytes, '
            f'got {raw.size}'
        )
        raise DecodeError(msg)
    if encoding.startswith('bayer_') and min(height, width) < _BAYER_MIN_PX:
        least = f'{_BAYER_MIN_PX}x{_BAYER_MIN_PX}'
        msg = f'image too small for {encoding!r}: expected at least {least}, got {width}x{height}'
        raise DecodeError(msg)

    rows = raw.reshape(height, step)[:, :row]  # (H, W * C * depth)
    if layout.depth == 2:
        rows = rows[:, 0 if is_bigendian else 1 :: 2]  # (H, W * C), the high bytes
    if layout.to_rgb is None:
        rgb = np.ascontiguousarray(rows).reshape(height, width, 3)  # (H, W, 3)
        rgb.flags.writeable = False
        return rgb
    image = np.ascontiguousarray(rows).reshape(height, width, layout.channels)  # (H, W, C)
    return _with_opencv(lambda: cv2.cvtColor(image, layout.to_rgb or 0), f'{encoding!r} image')


def decode_compressed(data: Any, *, format: str = '') -> Pixels:  # noqa: A002, the field's name
    """
    Turn the bytes of a compressed image message into an RGB picture.

    What the bytes are is read from the bytes: drivers disagree on how to spell ``format``, which
    only serves messages and the refusal of depth images. The pixels come as they are stored: an
    EXIF orientation does *not* rotate them, because the camera's geometry belongs to the sensor
    and a tag must not turn the picture under a trained monitor. Alpha is dropped, sixteen-bit
    PNGs keep their high byte, grey becomes three equal channels.

    Damage that leaves a file complete (a flipped byte inside a JPEG's scan) is not detected: JPEG
    has no checksum.

    Parameters
    ----------
    data : buffer
        A JPEG or PNG file: bytes, memoryview, array.array or ndarray.
    format : str
        The message's ``format`` field.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        Pixels in RGB order, C-contiguous.

    Raises
    ------
    DecodeError
        If the bytes are empty, truncated, damaged, or neither JPEG nor PNG.

    """
    if 'compresseddepth' in format.lower():
        msg = f'depth images are not pictures: expected jpeg or png, got format {format!r}'
        raise DecodeError(msg)
    raw = _as_bytes_array(data)
    file = raw.tobytes() if not isinstance(data, bytes) else data
    if not file:
        msg = f'compressed image is empty: expected a jpeg or png, got 0 bytes (format {format!r})'
        raise DecodeError(msg)
    if file.startswith(_JPEG_SOI):
        if file[2:3] not in (b'', b'\xff'):
            msg = f'jpeg damaged: expected ff after ff d8, got bytes {file[:8].hex(" ")}'
            raise DecodeError(msg)
        name, complete = 'jpeg', _is_jpeg_complete(file)
    elif file.startswith(_PNG_MAGIC):
        name, complete = 'png', _is_png_complete(file)
    else:
        head = file[:8].hex(' ')
        msg = (
            f'unknown compression: expected {" or ".join(COMPRESSIONS)}, '
            f'got bytes {head} (format {format!r})'
        )
        raise DecodeError(msg)
    if not complete:
        msg = f'{name} truncated: no end of image in {len(file)} bytes'
        raise DecodeError(msg)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    bgr = _with_opencv(lambda: cv2.imdecode(raw, flags), f'{name} of {len(file)} bytes')
    cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr)
    return bgr


def _as_bytes_array(data: Any) -> Pixels:
    """View any buffer as bytes, (n,) uint8; copies only where the buffer is not contiguous."""
    try:
        if isinstance(data, np.ndarray):
            return np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        view = memoryview(data)
        if view.nbytes == 0:
            return np.empty(0, np.uint8)
        return np.frombuffer(view if view.contiguous else view.tobytes(), np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        msg = f'image data is no buffer: expected bytes, got {type(data).__name__}: {error}'
        raise DecodeError(msg) from error


def _with_opencv(convert: Callable[[], Any], what: str) -> Pixels:
    """Call OpenCV, which reports failure as its own exception or as None."""
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


def _is_jpeg_complete(file: bytes) -> bool:
    """
    Tell whether an end-of-image marker follows the first scan.

    The headers are walked, not searched, because an EXIF thumbnail is a whole JPEG with its own
    end marker. Inside a scan 0xFF is stuffed, so there the marker cannot be data. Bytes after it
    (webcams pad with zeros) are allowed.
    """
    at = 2
    while at + 4 <= len(file):
        if file[at] != 0xFF:
            return False
        marker = file[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _JPEG_BARE:
            at += 2
        elif marker == _JPEG_SOS:
            return file.find(_JPEG_EOI, at + 2) >= 0
        else:
            at += 2 + int.from_bytes(file[at + 2 : at + 4], 'big')
    return False


def _is_png_complete(file: bytes) -> bool:
    """Tell whether the chain of chunks reaches IEND."""
    at = len(_PNG_MAGIC)
    while at + 12 <= len(file):
        if file[at + 4 : at + 8] == b'IEND':
            return True
        at += 12 + int.from_bytes(file[at : at + 4], 'big')
    return False
