"""Pictures of sensor_msgs/Image: the bytes of every encoding that cameras publish."""

from __future__ import annotations

import difflib
import functools
import re
from typing import Any, Final, NamedTuple

import cv2
import numpy as np

from ros_ood_monitor.decode.buffers import as_bytes_array, Pixels, with_opencv
from ros_ood_monitor.errors import DecodeError

__all__ = ['ENCODINGS', 'decode_image']


class _Layout(NamedTuple):
    channels: int  # of the first plane, which ``step`` is about
    depth: int  # bytes a channel
    to_rgb: int | None  # OpenCV conversion code; None where the channels are RGB already
    half_planes: int = 2  # size of all planes together, in halves of the first one
    shared: tuple[int, int] = (1, 1)  # rows and columns that share one pair of colour values


# ROS names a Bayer pattern after its first 2x2 block, OpenCV after its second row's second and
# third pixel; OpenCV's aliases that follow ROS are missing from Ubuntu 22.04's 4.5.4
_BAYER: Final = {
    'rggb': cv2.COLOR_BayerBG2RGB,
    'bggr': cv2.COLOR_BayerRG2RGB,
    'gbrg': cv2.COLOR_BayerGR2RGB,
    'grbg': cv2.COLOR_BayerGB2RGB,
}
_UYVY: Final = _Layout(2, 1, cv2.COLOR_YUV2RGB_UYVY, shared=(1, 2))
_YUYV: Final = _Layout(2, 1, cv2.COLOR_YUV2RGB_YUYV, shared=(1, 2))
_LAYOUTS: Final = {
    'rgb8': _Layout(3, 1, None),
    'bgr8': _Layout(3, 1, cv2.COLOR_BGR2RGB),
    'rgba8': _Layout(4, 1, cv2.COLOR_RGBA2RGB),
    'bgra8': _Layout(4, 1, cv2.COLOR_BGRA2RGB),
    'rgb16': _Layout(3, 2, None),
    'bgr16': _Layout(3, 2, cv2.COLOR_BGR2RGB),
    'rgba16': _Layout(4, 2, cv2.COLOR_RGBA2RGB),
    'bgra16': _Layout(4, 2, cv2.COLOR_BGRA2RGB),
    'mono8': _Layout(1, 1, cv2.COLOR_GRAY2RGB),
    'mono16': _Layout(1, 2, cv2.COLOR_GRAY2RGB),
    '8UC1': _Layout(1, 1, cv2.COLOR_GRAY2RGB),
    '8UC3': _Layout(3, 1, cv2.COLOR_BGR2RGB),
    '8UC4': _Layout(4, 1, cv2.COLOR_BGRA2RGB),
    '16UC1': _Layout(1, 2, cv2.COLOR_GRAY2RGB),
    '16UC3': _Layout(3, 2, cv2.COLOR_BGR2RGB),
    '16UC4': _Layout(4, 2, cv2.COLOR_BGRA2RGB),
    **{f'bayer_{pattern}8': _Layout(1, 1, code) for pattern, code in _BAYER.items()},
    **{f'bayer_{pattern}16': _Layout(1, 2, code) for pattern, code in _BAYER.items()},
    'uyvy': _UYVY,
    'yuv422': _UYVY,
    'yuyv': _YUYV,
    'yuv422_yuy2': _YUYV,
    'nv12': _Layout(1, 1, cv2.COLOR_YUV2RGB_NV12, half_planes=3, shared=(2, 2)),
    'nv21': _Layout(1, 1, cv2.COLOR_YUV2RGB_NV21, half_planes=3, shared=(2, 2)),
    'nv24': _Layout(1, 1, None, half_planes=6),
}
ENCODINGS: Final = tuple(_LAYOUTS)

_BAYER_MIN_PX: Final = 3  # OpenCV's demosaicing answers black below this
_NUMBERS: Final = re.compile(r'(8|16|32|64)[USF]C\d*')
# BT.601 with Y in 16..235 and chroma in 16..240, as OpenCV converts the packed encodings
_RGB_FROM_YUV: Final = np.array(
    [
        [1.164384, 0.0, 1.596027, -222.9216],
        [1.164384, -0.391762, -0.812968, 135.5753],
        [1.164384, 2.017232, 0.0, -276.8359],
    ]
)


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
    the score of all others.) Alpha is dropped. Encodings that only count channels are read as
    OpenCV's users mean them: ``8UC3`` as ``bgr8``, ``8UC4`` as ``bgra8``, ``8UC1`` as ``mono8``,
    and alike with sixteen bits.

    YUV is read as BT.601 with Y in 16..235, which is what cv_bridge and OpenCV do; no message
    says which of its variants a camera sends. Its chroma belongs to 1x2 pixels (``uyvy``,
    ``yuyv``), 2x2 (``nv12``, ``nv21``) or one (``nv24``). The planes of the last three follow
    each other without a gap, as V4L2, libcamera and sensor_msgs' ``getHeightScaling`` have it:
    ``height`` and ``step`` are those of the luma plane, then come ``height / 2`` chroma rows of
    ``step`` bytes, for ``nv24`` ``height`` rows of ``2 * step``. Data of ``height * step`` bytes
    is refused, because it may be a picture that lost its chroma as well as one whose ``height``
    counts the chroma rows.

    Parameters
    ----------
    data : buffer
        Rows of pixels: bytes, memoryview, array.array or ndarray; ``height * step`` bytes, and
        the chroma planes.
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
        If the encoding is unknown or no camera's, the size is zero or splits the pixels that
        share a colour, or the bytes cannot be that picture.

    References
    ----------
    ITU-R Recommendation BT.601-7, 2011.

    """
    layout = _layout_of(encoding)
    if height <= 0 or width <= 0:
        msg = f'image is empty: expected at least 1x1 pixels, got {width}x{height}'
        raise DecodeError(msg)
    row = width * layout.channels * layout.depth
    if step < row:
        msg = f'step too small: {encoding!r} {width} px wide needs {row} bytes a row, got {step}'
        raise DecodeError(msg)
    _check_size(encoding, layout, height, width)
    raw = as_bytes_array(data)
    _check_length(raw.size, layout, height, step)

    if encoding == 'nv24':
        return with_opencv(lambda: _rgb_from_nv24(raw, height, width, step), "'nv24' image")
    if layout.depth == 2:
        # little-endian words whatever the message's order: one of the two bytes is kept
        words = np.ndarray((height, row // 2), '<u2', raw, strides=(step, 2))  # (H, W * C)
        rows = (words if is_bigendian else words >> 8).astype(np.uint8)  # the high bytes
    else:
        rows = raw.reshape(-1, step)[:, :row]  # (H, W * C), for nv12 and nv21 (H * 3 / 2, W)
    image = rows.reshape(len(rows), width, layout.channels)  # (H, W, C)
    if layout.to_rgb is None:
        rgb = np.ascontiguousarray(image)
        rgb.flags.writeable = False
        return rgb
    return with_opencv(lambda: cv2.cvtColor(image, layout.to_rgb or 0), f'{encoding!r} image')


def _layout_of(encoding: str) -> _Layout:
    layout = _LAYOUTS.get(encoding)
    if layout is None:
        problem = (
            f'unknown encoding: expected such as {_near(encoding)}, got {encoding[:40]!r}; '
            'docs/node.md lists all'
        )
        if _NUMBERS.fullmatch(encoding):
            problem = (
                f'no camera picture: {encoding!r} is numbers without colors, such as depth; '
                "expected such as rgb8, mono8 or bayer_rggb8; choose the camera's image topic"
            )
        raise DecodeError(problem)
    return layout


@functools.lru_cache(maxsize=16)  # a camera sends the same one again and again
def _near(encoding: str) -> str:
    names = {name.lower(): name for name in ENCODINGS}
    near = difflib.get_close_matches(encoding[:40].lower(), names, n=3, cutoff=0.6)
    return ', '.join(names[name] for name in near) or 'rgb8, bgr8, mono8'


def _check_size(encoding: str, layout: _Layout, height: int, width: int) -> None:
    """Refuse sizes that the encoding cannot have, or that OpenCV would get wrong."""
    rows, columns = layout.shared
    if height % rows or width % columns:
        msg = (
            f'odd size: {encoding!r} has one color for {columns}x{rows} pixels, expected a '
            f'{"width and height" if rows > 1 else "width"} of even numbers, got {width}x{height}'
        )
        raise DecodeError(msg)
    if encoding.startswith('bayer_') and min(height, width) < _BAYER_MIN_PX:
        least = f'{_BAYER_MIN_PX}x{_BAYER_MIN_PX}'
        msg = f'image too small for {encoding!r}: expected at least {least}, got {width}x{height}'
        raise DecodeError(msg)


def _check_length(size: int, layout: _Layout, height: int, step: int) -> None:
    expected = height * step * layout.half_planes // 2
    if size == expected:
        return
    problem = 'truncated' if size < expected else 'too long'
    planes = '' if layout.half_planes == 2 else ' and their chroma'
    msg = (
        f'image data {problem}: {height} rows of {step} bytes{planes} are {expected} bytes, '
        f'got {size}'
    )
    if planes and size == height * step:
        msg += '; height must count the rows of the picture, and chroma must follow them'
    raise DecodeError(msg)


def _rgb_from_nv24(raw: Pixels, height: int, width: int, step: int) -> Pixels:
    """Convert a plane of Y and one of (U, V) pairs, which OpenCV has no code for."""
    luma = raw[: height * step].reshape(height, step)[:, :width]  # (H, W)
    luma = np.maximum(luma, 16)  # blacker than black is black, as in OpenCV's own conversions
    chroma = raw[height * step :].reshape(height, 2 * step)[:, : 2 * width]  # (H, W * 2)
    yuv = np.empty((height, width, 3), np.uint8)
    cv2.mixChannels([luma, chroma.reshape(height, width, 2)], [yuv], [0, 0, 1, 1, 2, 2])
    rgb = cv2.transform(yuv, _RGB_FROM_YUV)  # (H, W, 3), rounded and clipped
    return np.asarray(rgb, np.uint8)
