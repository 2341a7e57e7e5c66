"""Decoding: every encoding against values computed without OpenCV, and every refusal."""

from __future__ import annotations

import array
import struct
from typing import Any
import zlib

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from ros_ood_monitor.decode import decode_compressed, decode_image, ENCODINGS
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


def grey(values: npt.NDArray[Any]) -> Bytes:
    return np.stack([values.astype(np.uint8)] * 3, axis=-1)  # (H, W, 3)


@pytest.mark.parametrize('padding', [0, 1, 13])
@pytest.mark.parametrize(
    ('encoding', 'channels', 'order'),
    [
        ('rgb8', 3, (0, 1, 2)),
        ('bgr8', 3, (2, 1, 0)),
        ('8UC3', 3, (2, 1, 0)),
        ('rgba8', 4, (0, 1, 2)),
        ('bgra8', 4, (2, 1, 0)),
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
@pytest.mark.parametrize('encoding', ['mono16', '16UC1'])
def test_sixteen_bits_keep_the_high_byte_in_either_byte_order(
    encoding: str, big: bool, padding: int
) -> None:
    values = random_image(1, np.uint16)[..., 0]
    data, step = message(values.astype('>u2' if big else '<u2'), padding)
    rgb = decode_image(data, encoding=encoding, height=H, width=W, step=step, is_bigendian=big)
    np.testing.assert_array_equal(rgb, grey(values // 256))


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
def test_sixteen_bit_bayer_gives_back_the_high_bytes(pattern: str, big: bool) -> None:
    rgb = np.broadcast_to(np.uint16([0xC8FF, 0x6401, 0x3280]), (H, W, 3))
    data, step = message(mosaic(rgb, pattern).astype('>u2' if big else '<u2'), 4)
    out = decode_image(
        data, encoding=f'bayer_{pattern}16', height=H, width=W, step=step, is_bigendian=big
    )
    np.testing.assert_array_equal(out, np.broadcast_to(np.uint8([0xC8, 0x64, 0x32]), (H, W, 3)))


def test_every_listed_encoding_decodes() -> None:
    for encoding in ENCODINGS:
        data = bytes(4 * 6 * 8)
        wide = decode_image(data, encoding=encoding, height=4, width=6, step=48)
        assert wide.shape == (4, 6, 3)


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
    for gappy in (spread[::2], memoryview(spread)[::2]):
        rgb = decode_image(gappy, encoding='rgb8', height=H, width=W, step=step)
        np.testing.assert_array_equal(rgb, random_image(3))


def test_rgb8_without_padding_is_a_view_that_cannot_be_written() -> None:
    data = array.array('B', message(random_image(3))[0])
    rgb = decode_image(data, encoding='rgb8', height=H, width=W, step=W * 3)
    assert np.shares_memory(rgb, np.frombuffer(data, np.uint8))
    assert not rgb.flags.writeable


@pytest.mark.parametrize('encoding', ['yuv422', 'RGB8', '', 'jpeg'])
def test_an_unknown_encoding_lists_the_known_ones(encoding: str) -> None:
    with pytest.raises(DecodeError) as error:
        decode_image(bytes(8), encoding=encoding, height=1, width=1, step=3)
    assert repr(encoding) in str(error.value)
    assert all(known in str(error.value) for known in ENCODINGS)


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
    with pytest.raises(DecodeError, match='no buffer'):
        decode_compressed(data)


# --- compressed ----------------------------------------------------------------------------------


def smooth(channels: int = 3, dtype: Any = np.uint8) -> npt.NDArray[Any]:
    """Return a ramp that JPEG keeps; BGR or BGRA, (24, 40, channels)."""
    y, x = np.mgrid[0:24, 0:40]
    scale = np.iinfo(dtype).max / 255
    planes = [40 + 4 * x, 200 - 5 * y, 60 + 2 * x + 2 * y, 255 - 6 * x][:channels]
    return (np.stack(planes, axis=-1) * scale).astype(dtype)


def packed(suffix: str, image: npt.NDArray[Any], *options: int) -> bytes:
    ok, data = cv2.imencode(suffix, image, options)
    assert ok
    return bytes(data.tobytes())


def test_jpeg_comes_out_in_rgb_order() -> None:
    bgr = smooth()
    rgb = decode_compressed(packed('.jpg', bgr, cv2.IMWRITE_JPEG_QUALITY, 98), format='jpeg')
    assert rgb.shape == (24, 40, 3)
    assert rgb.flags.c_contiguous
    assert np.abs(rgb.astype(int) - bgr[..., ::-1].astype(int)).mean() < 2.0


def test_grey_jpeg_has_three_equal_channels() -> None:
    plane = smooth(1)[..., 0]
    rgb = decode_compressed(packed('.jpg', plane, cv2.IMWRITE_JPEG_QUALITY, 100))
    assert rgb.shape == (24, 40, 3)
    assert (rgb == rgb[..., :1]).all()
    assert np.abs(rgb[..., 0].astype(int) - plane).max() <= 2


def test_progressive_jpeg_is_the_same_picture() -> None:
    baseline = decode_compressed(packed('.jpg', smooth()))
    progressive = decode_compressed(packed('.jpg', smooth(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1))
    np.testing.assert_array_equal(progressive, baseline)


def test_png_is_exact_and_its_alpha_is_dropped() -> None:
    bgra = smooth(4)
    for image in (bgra[..., :3], bgra):
        rgb = decode_compressed(packed('.png', image), format='png')
        np.testing.assert_array_equal(rgb, bgra[..., 2::-1])


@pytest.mark.parametrize('channels', [1, 3])
def test_sixteen_bit_png_keeps_the_high_byte(channels: int) -> None:
    values = random_image(channels, np.uint16)
    rgb = decode_compressed(packed('.png', values), format='mono16; png compressed mono16')
    expected = (values >> 8).astype(np.uint8)[..., ::-1]
    np.testing.assert_array_equal(rgb, np.broadcast_to(expected, (H, W, 3)))


def exif_segment(payload: bytes) -> bytes:
    return b'\xff\xe1' + struct.pack('>H', 2 + len(payload)) + payload


def orientation(value: int) -> bytes:
    entry = struct.pack('>HHIHH', 0x0112, 3, 1, value, 0)
    tiff = b'MM\0*' + struct.pack('>I', 8) + struct.pack('>H', 1) + entry + bytes(4)
    return exif_segment(b'Exif\0\0' + tiff)


def test_exif_orientation_does_not_turn_the_picture() -> None:
    plain = packed('.jpg', smooth())
    turned = plain[:2] + orientation(6) + plain[2:]
    # the tag is a real one: OpenCV turns by it when it is let
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (40, 24, 3)
    np.testing.assert_array_equal(decode_compressed(turned), decode_compressed(plain))


@pytest.mark.parametrize('share', [0.98, 0.7, 0.3])
@pytest.mark.parametrize('options', [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)])
def test_a_truncated_jpeg_is_refused_and_not_half_decoded(
    share: float, options: tuple[int, ...]
) -> None:
    whole = packed('.jpg', smooth(), *options)
    with pytest.raises(DecodeError, match='jpeg truncated'):
        decode_compressed(whole[: int(share * len(whole))])
    with pytest.raises(DecodeError, match='jpeg truncated'):
        decode_compressed(whole[:-2])


def test_a_truncated_jpeg_is_not_taken_for_whole_because_of_its_thumbnail() -> None:
    thumbnail = packed('.jpg', smooth()[:8, :8])
    assert thumbnail.endswith(b'\xff\xd9')
    whole = packed('.jpg', smooth())
    tagged = whole[:2] + exif_segment(b'Exif\0\0' + thumbnail) + whole[2:]
    assert decode_compressed(tagged).shape == (24, 40, 3)
    with pytest.raises(DecodeError, match='truncated'):
        decode_compressed(tagged[:-20])


def test_bytes_after_the_end_of_a_jpeg_are_padding() -> None:
    whole = packed('.jpg', smooth())
    np.testing.assert_array_equal(decode_compressed(whole + bytes(512)), decode_compressed(whole))


@pytest.mark.parametrize('cut', [4, 12, 30, 200])
def test_a_truncated_png_is_refused(cut: int) -> None:
    whole = packed('.png', random_image(3))
    with pytest.raises(DecodeError, match='png truncated'):
        decode_compressed(whole[:-cut] if cut < len(whole) else whole[:9])


def test_a_png_with_a_flipped_byte_is_refused() -> None:
    whole = bytearray(packed('.png', random_image(3)))
    whole[whole.index(b'IDAT') + 20] ^= 0x55
    with pytest.raises(DecodeError, match='damaged'):
        decode_compressed(bytes(whole))


@pytest.mark.parametrize(
    ('data', 'match'),
    [
        (b'', 'is empty.*0 bytes'),
        (b'not a picture', 'unknown compression: expected jpeg or png, got bytes 6e 6f 74'),
        (b'GIF89a' + bytes(20), 'expected jpeg or png'),
        (b'\xff\xd8', 'jpeg truncated'),
        (
            b'\xff\xd8\x00\xe0' + bytes(30),
            'jpeg damaged: expected ff after ff d8, got bytes ff d8 00',
        ),
        (b'\xff\xd8\xff', 'jpeg truncated'),
        (b'\xff\xd8\xff\xe0\x00\x02' + bytes(30), 'jpeg truncated'),
        (b'\xff\xd8\xff\xda\x00\x02\xff\xd9', 'damaged'),
        (b'\x89PNG\r\n\x1a\n', 'png truncated'),
    ],
)
def test_garbage_is_refused_with_what_it_is(data: bytes, match: str) -> None:
    with pytest.raises(DecodeError, match=match):
        decode_compressed(data, format='jpeg')


def test_a_png_that_claims_no_pixels_is_refused() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        check = zlib.crc32(kind + body)
        return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', check)

    header = chunk(b'IHDR', struct.pack('>IIBBBBB', 0, 4, 8, 2, 0, 0, 0))
    body = chunk(b'IDAT', zlib.compress(b'')) + chunk(b'IEND', b'')
    with pytest.raises(DecodeError, match=r'damaged|OpenCV'):
        decode_compressed(b'\x89PNG\r\n\x1a\n' + header + body)


def test_depth_images_are_refused_by_their_format() -> None:
    data = bytes(12) + packed('.png', random_image(1, np.uint16))
    with pytest.raises(DecodeError, match='depth'):
        decode_compressed(data, format='16UC1; compressedDepth png')


def test_random_damage_gives_a_picture_or_a_decode_error_and_nothing_else() -> None:
    rng = np.random.default_rng(5)
    refused = 0
    for suffix in ('.jpg', '.png'):
        whole = np.frombuffer(packed(suffix, smooth()), np.uint8)
        for _ in range(60):
            damaged = whole.copy()
            at = rng.integers(0, whole.size, 4)
            damaged[at] = rng.integers(0, 256, at.size)
            try:
                rgb = decode_compressed(damaged[: rng.integers(1, whole.size + 1)])
            except DecodeError:
                refused += 1
            else:
                assert rgb.ndim == 3
                assert rgb.shape[2] == 3
    assert refused > 60
