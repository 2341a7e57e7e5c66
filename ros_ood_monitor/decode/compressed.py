"""Pictures of sensor_msgs/CompressedImage: JPEG and PNG files."""

from __future__ import annotations

import re
import sys
from typing import Any, Final

import cv2

from ros_ood_monitor.decode.buffers import as_bytes_array, Pixels, with_opencv
from ros_ood_monitor.decode.uncompressed import decode_image
from ros_ood_monitor.errors import DecodeError

__all__ = ['COMPRESSIONS', 'decode_compressed']

COMPRESSIONS: Final = ('jpeg', 'png')

# image_transport writes '<encoding of the raw image>; <compression> compressed <stored encoding>'
# and leaves the last one out where it stored the raw image as it was
_MOSAIC: Final = re.compile(
    r'(bayer_(?:rggb|bggr|gbrg|grbg))(?:8|16); *(?:jpeg|png) compressed *(?:bayer_\w+)?'
)
_PNG_MAGIC: Final = b'\x89PNG\r\n\x1a\n'
_JPEG_SOI: Final = b'\xff\xd8'
_JPEG_EOI: Final = b'\xff\xd9'
_JPEG_SOS: Final = 0xDA
# newer than Ubuntu's OpenCV; it spares a pass over the picture, whose pixels are the same
_READ_RGB: Final[int | None] = getattr(cv2, 'IMREAD_COLOR_RGB', None)
# markers that stand alone, without a length: TEM and RST0 to RST7
_JPEG_BARE: Final = frozenset({0x01, *range(0xD0, 0xD8)})
# markers that tell the size: SOF0 to SOF15 without DHT, JPG and DAC
_JPEG_SOF: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MOST_PIXELS: Final = 50 * 2**20  # 8192x6400, 150 MiB as RGB


def decode_compressed(data: Any, *, format: str = '') -> Pixels:  # noqa: A002, the field's name
    """
    Turn the bytes of a compressed image message into an RGB picture.

    What the bytes are is read from the bytes, because drivers disagree on how to spell
    ``format``. It serves messages, the refusal of depth images, and mosaics: image_transport
    stores a Bayer picture as a grey file of its mosaic and names the pattern in ``format`` alone
    (``bayer_rggb8; png compressed ``), so such a file is demosaiced here.

    The pixels come as they are stored: an EXIF orientation does *not* rotate them, because the
    camera's geometry belongs to the sensor and a tag must not turn the picture under a trained
    monitor. Alpha is dropped, sixteen-bit PNGs keep their high byte, grey becomes three equal
    channels.

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
        If the bytes are empty, truncated, damaged, or neither JPEG nor PNG, or the picture has
        more than 52 million pixels: a few bytes may ask for any memory.

    """
    if 'compresseddepth' in format.lower():
        msg = f'depth images are not pictures: expected jpeg or png, got format {format!r}'
        raise DecodeError(msg)
    raw = as_bytes_array(data)
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
    what = f'{name} of {len(file)} bytes'
    width, height = _jpeg_size(file) if name == 'jpeg' else _png_size(file)
    if width * height > _MOST_PIXELS:
        msg = (
            f'{name} is too large: expected at most {_MOST_PIXELS} pixels, got {width}x{height} '
            f'in {len(file)} bytes; let the camera publish smaller pictures'
        )
        raise DecodeError(msg)
    mosaic = _MOSAIC.fullmatch(format.strip())
    if mosaic:
        stored = with_opencv(lambda: cv2.imdecode(raw, cv2.IMREAD_UNCHANGED), what)
        if stored.ndim == 2:  # (H, W)
            return _demosaic(stored, mosaic[1])
    if _READ_RGB is not None:
        flags = _READ_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        return with_opencv(lambda: cv2.imdecode(raw, flags), what)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    bgr = with_opencv(lambda: cv2.imdecode(raw, flags), what)
    cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr)
    return bgr


def _demosaic(stored: Any, pattern: str) -> Pixels:
    height, width = stored.shape
    return decode_image(
        stored,
        encoding=f'{pattern}{8 * stored.itemsize}',
        height=height,
        width=width,
        step=stored.itemsize * width,
        is_bigendian=sys.byteorder == 'big',
    )


def _png_size(file: bytes) -> tuple[int, int]:
    """Return width and height as the header, the first chunk, has them."""
    return int.from_bytes(file[16:20], 'big'), int.from_bytes(file[20:24], 'big')


def _jpeg_size(file: bytes) -> tuple[int, int]:
    """Return width and height as the header of the frame has them; zeros without one."""
    at = 2
    while at + 9 <= len(file) and file[at] == 0xFF:
        marker = file[at + 1]
        if marker in _JPEG_SOF:
            height, width = (int.from_bytes(file[k : k + 2], 'big') for k in (at + 5, at + 7))
            return width, height
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _JPEG_BARE:
            at += 2
        else:
            at += 2 + int.from_bytes(file[at + 2 : at + 4], 'big')
    return 0, 0


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
            return file.rfind(_JPEG_EOI, at + 2) >= 0
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
