"""Uncompressed frames: encodings of RGB, grey and Bayer without OpenCV's help; refusals."""

from __future__ import annotations

import array
import itertools
from pathlib import Path
import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ros_ood_monitor.decode import decode_image, ENCODINGS
from ros_ood_monitor.errors import DecodeError

H, W = 5, 7  # neither square nor even
Bytes = npt.NDArray[np.uint8]


def random_image(channels: int, dtype: Any = np.uint8) -> npt.NDArray[Any]:
    rng = np.random.default_rng(channels)
    return rng.integers(0, np.iinfo(dtype).max, (H, W, channels), dtype, endpoint=True)


def message(pixels: npt.NDArray[Any], padding: int = 0) -> tuple[bytes, int]:
    """Rows as they are sent, with rubbish after each of them; (data, step)."""
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(pixels.shape[0], -1)
    rubbish = np.full((pixels.shape[0], padding), 0xAB, np.uint8)
    rows = np.hstack([rows, rubbish])
    return rows.tobytes(), rows.shape[1]


@pytest.mark.parametrize('padding', [0, 1, 13])
@pytest.mark.parametrize(
    ('encoding', 'channels', 'order'),
    [
        ('rgb8', 3, (0, 1, 2)),
        ('bgr8', 3, (2, 1, 0)),
        ('8UC3', 3, (2, 1, 0)),
        ('rgba8', 4, (0, 1, 2)),
        ('bgra8', 4, (2, 1, 0)),
        ('8UC4', 4, (2, 1, 0)),
        ('mono8', 1, (0, 0, 0)),
        ('8UC1', 1, (0, 0, 0)),
    ],
)
def test_eight_bit_encodings_put_the_channels_in_rgb_order(
    encoding: str, channels: int, order: tuple[int, ...], padding: int
) -> None:
    pixels = random_image(channels)
    data, step = message(pixels, padding)
    rgb = decode_image(data, encoding=encoding, height=H, width=W, step=step)
    assert rgb.shape == (H, W, 3)
    assert rgb.dtype == np.uint8
    assert rgb.flags.c_contiguous
    np.testing.assert_array_equal(rgb, pixels[..., list(order)])


@pytest.mark.parametrize('padding', [0, 3])
@pytest.mark.parametrize('big', [False, True])
@pytest.mark.parametrize(
    ('encoding', 'channels', 'order'),
    [
        ('mono16', 1, (0, 0, 0)),
        ('16UC1', 1, (0, 0, 0)),
        ('rgb16', 3, (0, 1, 2)),
        ('bgr16', 3, (2, 1, 0)),
        ('16UC3', 3, (2, 1, 0)),
        ('rgba16', 4, (0, 1, 2)),
        ('bgra16', 4, (2, 1, 0)),
        ('16UC4', 4, (2, 1, 0)),
    ],
)
def test_sixteen_bits_keep_the_high_byte_in_either_byte_order(
    encoding: str, channels: int, order: tuple[int, ...], big: bool, padding: int
) -> None:
    values = random_image(channels, np.uint16)
    data, step = message(values.astype('>u2' if big else '<u2'), padding)
    rgb = decode_image(data, encoding=encoding, height=H, width=W, step=step, is_bigendian=big)
    assert rgb.dtype == np.uint8
    assert rgb.flags.c_contiguous
    np.testing.assert_array_equal(rgb, (values // 256)[..., list(order)])


def test_full_scale_of_sixteen_bits_is_white_and_does_not_depend_on_the_picture() -> None:
    dim = np.full((H, W), 0x1234, '<u2')
    with_hot_pixel = dim.copy()
    with_hot_pixel[2, 3] = 0xFFFF
    for values in (dim, with_hot_pixel):
        data, step = message(values)
        rgb = decode_image(data, encoding='mono16', height=H, width=W, step=step)
        assert rgb[0, 0].tolist() == [0x12] * 3
    assert rgb[2, 3].tolist() == [255] * 3


def mosaic(rgb: npt.NDArray[Any], pattern: str) -> npt.NDArray[Any]:
    """Keep of every pixel the colour that its filter lets through; pattern as ROS spells it."""
    raw = np.zeros(rgb.shape[:2], rgb.dtype)
    for place, letter in enumerate(pattern):
        y, x = divmod(place, 2)
        raw[y::2, x::2] = rgb[y::2, x::2, 'rgb'.index(letter)]
    return raw


@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_bayer_patterns_give_back_a_known_colour_everywhere(pattern: str, padding: int) -> None:
    rgb = np.broadcast_to(np.uint8([200, 100, 50]), (H, W, 3))
    data, step = message(mosaic(rgb, pattern), padding)
    out = decode_image(data, encoding=f'bayer_{pattern}8', height=H, width=W, step=step)
    np.testing.assert_array_equal(out, rgb)


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_bayer_patterns_give_back_a_colour_ramp_inside(pattern: str) -> None:
    # bilinear demosaicing is exact on a plane, one pixel away from the border
    y, x = np.mgrid[0:8, 0:10]
    rgb = np.stack([10 + 8 * x, 20 + 8 * y, 230 - 8 * x - 4 * y], axis=-1).astype(np.uint8)
    data, step = message(mosaic(rgb, pattern))
    out = decode_image(data, encoding=f'bayer_{pattern}8', height=8, width=10, step=step)
    np.testing.assert_array_equal(out[1:-1, 1:-1], rgb[1:-1, 1:-1])


@pytest.mark.parametrize('big', [False, True])
@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_sixteen_bit_bayer_gives_back_a_colour_ramp_inside(pattern: str, big: bool) -> None:
    y, x = np.mgrid[0:8, 0:10]
    rgb = np.stack([10 + 8 * x, 20 + 8 * y, 230 - 8 * x - 4 * y], axis=-1).astype(np.uint16)
    raw = mosaic(rgb * 256 + 255, pattern).astype('>u2' if big else '<u2')
    data, step = message(raw)
    out = decode_image(
        data, encoding=f'bayer_{pattern}16', height=8, width=10, step=step, is_bigendian=big
    )
    np.testing.assert_array_equal(out[1:-1, 1:-1], rgb[1:-1, 1:-1])


@pytest.mark.parametrize('big', [False, True])
@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_sixteen_bit_bayer_gives_back_the_high_bytes(pattern: str, big: bool) -> None:
    rgb = np.broadcast_to(np.uint16([0xC8FF, 0x6401, 0x3280]), (H, W, 3))
    data, step = message(mosaic(rgb, pattern).astype('>u2' if big else '<u2'), 4)
    out = decode_image(
        data, encoding=f'bayer_{pattern}16', height=H, width=W, step=step, is_bigendian=big
    )
    np.testing.assert_array_equal(out, np.broadcast_to(np.uint8([0xC8, 0x64, 0x32]), (H, W, 3)))


@pytest.mark.parametrize(
    'buffer',
    [
        bytes,
        bytearray,
        memoryview,
        lambda data: array.array('B', data),
        lambda data: np.frombuffer(data, np.uint8),
        lambda data: np.frombuffer(data, np.uint8).reshape(H, -1),
    ],
)
def test_any_buffer_is_taken(buffer: Any) -> None:
    data, step = message(random_image(3))
    given = buffer(data)
    rgb = decode_image(given, encoding='bgr8', height=H, width=W, step=step)
    expected = np.frombuffer(bytes(given), np.uint8).reshape(H, W, 3)[..., ::-1]
    np.testing.assert_array_equal(rgb, expected)


def test_a_buffer_with_gaps_is_read_by_its_elements() -> None:
    data, step = message(random_image(3))
    spread = np.zeros(2 * len(data), np.uint8)
    spread[::2] = np.frombuffer(data, np.uint8)
    columns_first = np.asfortranarray(np.frombuffer(data, np.uint8).reshape(H, step))
    for gappy in (
        *(spread[::2], memoryview(spread)[::2]),
        *(columns_first, memoryview(columns_first)),
    ):
        rgb = decode_image(gappy, encoding='rgb8', height=H, width=W, step=step)
        np.testing.assert_array_equal(rgb, random_image(3))


def test_rgb8_without_padding_is_a_view_that_cannot_be_written() -> None:
    data = array.array('B', message(random_image(3))[0])
    rgb = decode_image(data, encoding='rgb8', height=H, width=W, step=W * 3)
    assert np.shares_memory(rgb, np.frombuffer(data, np.uint8))
    assert not rgb.flags.writeable


@pytest.mark.parametrize(
    ('encoding', 'near'),
    [
        ('yuv9', 'yuyv'),
        ('RGB8', 'rgb8'),
        ('', 'rgb8, bgr8, mono8'),
        ('jpeg', 'rgb8, bgr8, mono8'),
        ('CV_8UC3', '8UC3'),
        ('x8UC2', '8UC'),
        ('rgb8; ', 'rgb8'),
    ],
)
def test_an_unknown_encoding_names_up_to_three_near_ones(encoding: str, near: str) -> None:
    with pytest.raises(DecodeError, match=r'^unknown encoding') as error:
        decode_image(bytes(8), encoding=encoding, height=1, width=1, step=3)
    assert repr(encoding) in str(error.value)
    named = str(error.value).split('such as ')[1].split(', got')[0].split(', ')
    assert near in ', '.join(named)
    assert set(named) <= set(ENCODINGS)
    assert len(named) <= 3
    assert str(error.value).endswith('; docs/node.md lists all')


@pytest.mark.parametrize(
    'encoding', ['32FC1', '64FC1', '32FC3', '32SC1', '16SC1', '8SC3', '8UC2', '16UC2', '8UC']
)
def test_numbers_that_are_no_colours_are_refused_as_such(encoding: str) -> None:
    with pytest.raises(DecodeError, match=f"no camera picture: '{encoding}' is numbers") as error:
        decode_image(bytes(96), encoding=encoding, height=1, width=1, step=96)
    assert 'such as depth' in str(error.value)
    assert "choose the camera's image topic" in str(error.value)


@pytest.mark.parametrize(('height', 'width'), [(0, 4), (4, 0), (0, 0), (-1, 4)])
def test_an_image_without_pixels_is_refused(height: int, width: int) -> None:
    with pytest.raises(DecodeError, match=f'image is empty.*got {width}x{height}'):
        decode_image(b'', encoding='rgb8', height=height, width=width, step=12)


def test_a_step_shorter_than_the_row_is_refused_with_both_numbers() -> None:
    with pytest.raises(DecodeError, match=r'step too small.*needs 21 bytes a row, got 20'):
        decode_image(bytes(100), encoding='rgb8', height=H, width=W, step=20)
    with pytest.raises(DecodeError, match='needs 14 bytes a row, got 7'):
        decode_image(bytes(35), encoding='mono16', height=H, width=W, step=7)


@pytest.mark.parametrize(('extra', 'word'), [(-1, 'truncated'), (-105, 'truncated'), (1, 'long')])
def test_data_of_another_length_than_rows_times_step_is_refused(extra: int, word: str) -> None:
    with pytest.raises(DecodeError, match=f'{word}.*are 105 bytes, got {105 + extra}'):
        decode_image(bytes(105 + extra), encoding='rgb8', height=H, width=W, step=21)


@pytest.mark.parametrize(('height', 'width'), [(2, 9), (9, 2), (1, 1)])
def test_a_bayer_image_too_small_to_demosaic_is_refused(height: int, width: int) -> None:
    with pytest.raises(DecodeError, match='too small'):
        decode_image(
            bytes(height * width), encoding='bayer_rggb8', height=height, width=width, step=width
        )


@pytest.mark.parametrize('data', [None, 'text', [1, 2, 3], 7])
def test_what_is_no_buffer_is_refused(data: Any) -> None:
    with pytest.raises(DecodeError, match='no buffer'):
        decode_image(data, encoding='rgb8', height=1, width=1, step=3)


def test_the_page_of_the_node_names_every_encoding() -> None:
    readme = (Path(__file__).resolve().parents[2] / 'docs/node.md').read_text(encoding='utf-8')
    (row,) = re.findall(r'^\| `image` \(remap.*$', readme, re.MULTILINE)
    named = set()
    for word in re.findall(r'[\w{},]*\w{2}[\w{},]*', row):
        parts = re.split(r'\{(.*?)\}', word)  # {a,b}c: alternatives at odd places
        choices = [part.split(',') if k % 2 else [part] for k, part in enumerate(parts)]
        named |= {''.join(choice) for choice in itertools.product(*choices)}
    assert set(ENCODINGS) <= named
