"""Whatever a driver sends: a picture of the size it claims, or a DecodeError, and nothing else."""

from __future__ import annotations

import itertools
from typing import Any

import cv2
import numpy as np
import pytest

from ros_ood_monitor.decode import decode_compressed, decode_image, ENCODINGS
from ros_ood_monitor.errors import DecodeError

BYTES_OF_A_PIXEL = {
    **dict.fromkeys(['mono8', '8UC1', 'nv12', 'nv21', 'nv24'], 1),
    **dict.fromkeys(['mono16', '16UC1', 'uyvy', 'yuyv', 'yuv422', 'yuv422_yuy2'], 2),
    **dict.fromkeys(['rgb8', 'bgr8', '8UC3'], 3),
    **dict.fromkeys(['rgba8', 'bgra8', '8UC4'], 4),
    **dict.fromkeys(['rgb16', 'bgr16', '16UC3'], 6),
    **dict.fromkeys(['rgba16', 'bgra16', '16UC4'], 8),
    **{
        f'bayer_{p}{bits}': bits // 8 for p in ('rggb', 'bggr', 'gbrg', 'grbg') for bits in (8, 16)
    },
}
PLANES = {'nv12': 1.5, 'nv21': 1.5, 'nv24': 3.0}
SHARED = {  # rows and columns of pixels with one colour; Bayer pictures are 3x3 at least
    **dict.fromkeys(['uyvy', 'yuyv', 'yuv422', 'yuv422_yuy2'], (1, 2)),
    **dict.fromkeys(['nv12', 'nv21'], (2, 2)),
}
# without 1x1, which OpenCV 4.5.4 (Ubuntu 22.04) takes for a scalar and refuses
SIZES = [size for size in itertools.product(range(1, 9), repeat=2) if size != (1, 1)]


def decoded(data: Any, **layout: Any) -> bool:
    """Decode and tell whether a picture came out; it has the size that was claimed."""
    try:
        rgb = decode_image(data, **layout)
    except DecodeError:
        return False
    assert rgb.shape == (layout['height'], layout['width'], 3)
    assert rgb.dtype == np.uint8
    assert rgb.flags.c_contiguous
    return True


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_data_of_the_right_length_decodes_at_every_size_and_any_other_length_is_refused(
    encoding: str,
) -> None:
    rng = np.random.default_rng(len(encoding))
    refused = set()
    for height, width in SIZES:
        padding = int(rng.integers(0, 5))
        step = width * BYTES_OF_A_PIXEL[encoding] + padding
        size = height * step * PLANES.get(encoding, 1.0)
        layout = {'encoding': encoding, 'height': height, 'width': width, 'step': step}
        data = rng.integers(0, 256, int(size), np.uint8)
        if not decoded(data, **layout, is_bigendian=bool(rng.integers(2))):
            refused.add((height, width))
        for other in (data[:-1], data[: rng.integers(data.size)], np.append(data, data[:1])):
            assert not decoded(other, **layout)
    rows, columns = SHARED.get(encoding, (1, 1))
    least = 3 if encoding.startswith('bayer') else 1
    assert refused == {
        (height, width)
        for height, width in SIZES
        if height % rows or width % columns or min(height, width) < least
    }


def test_random_messages_give_a_picture_of_the_claimed_size_or_a_decode_error() -> None:
    rng = np.random.default_rng(8)
    names = [*ENCODINGS, '', '32FC1', '8UC2', 'nv16', 'rgb8 ', 'bayer_rggb12', '\x00', 'é']
    numbers = [-1, 0, 1, 2, 3, 4, 7, 8, 64, 2**31, 2**32 - 1]
    came_out = 0
    for _ in range(3000):
        encoding = names[rng.integers(len(names))]
        height, width, step = (int(rng.choice(numbers)) for _ in range(3))
        if rng.random() < 0.7:
            height, width = int(rng.integers(1, 12)), int(rng.integers(1, 12))
            step = width * BYTES_OF_A_PIXEL.get(encoding, 3) + int(rng.integers(-2, 4))
        size = int(rng.integers(0, 400))
        if rng.random() < 0.8:
            size = int(min(max(height * step, 0) * PLANES.get(encoding, 1.0), 4000))
        came_out += decoded(
            rng.bytes(size),
            encoding=encoding,
            height=height,
            width=width,
            step=step,
            is_bigendian=bool(rng.integers(2)),
        )
    assert 500 < came_out < 2500


def test_random_damage_to_files_gives_a_picture_or_a_decode_error() -> None:
    rng = np.random.default_rng(5)
    picture = rng.integers(0, 256, (24, 40, 3), np.uint8)
    formats = ['', 'jpeg', 'bayer_rggb8; png compressed ', 'rgb8; jpeg compressed bgr8']
    refused = 0
    for suffix, image in (
        ('.jpg', picture),
        ('.png', picture),
        ('.png', picture[..., 0]),
        ('.png', picture.astype(np.uint16)[..., 0] * 257),
    ):
        whole = cv2.imencode(suffix, image)[1]
        for turn in range(60):
            damaged = whole.copy()
            at = rng.integers(0, whole.size, 4)
            damaged[at] = rng.integers(0, 256, at.size)
            cut = rng.integers(1, whole.size + 1) if turn % 2 else whole.size
            try:
                rgb = decode_compressed(damaged[:cut], format=formats[turn % 4])
            except DecodeError:
                refused += 1
            else:
                assert rgb.ndim == 3
                assert rgb.shape[2] == 3
    assert 120 < refused < 240
