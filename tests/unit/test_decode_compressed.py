"""Decoding of compressed messages: pixels, what image_transport writes, and every refusal."""

from __future__ import annotations

import struct
from typing import Any
import zlib

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from ros_ood_monitor.decode import compressed, decode_compressed
from ros_ood_monitor.errors import DecodeError

H, W = 5, 7  # neither square nor even


def random_image(channels: int, dtype: Any = np.uint8) -> npt.NDArray[Any]:
    rng = np.random.default_rng(channels)
    return rng.integers(0, np.iinfo(dtype).max, (H, W, channels), dtype, endpoint=True)


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


@pytest.mark.parametrize('channels', [1, 3, 4])
@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_an_opencv_that_reads_bgr_only_gives_the_same_picture(
    monkeypatch: pytest.MonkeyPatch, suffix: str, channels: int
) -> None:
    files = [packed(suffix, random_image(channels)[..., : 3 if suffix == '.jpg' else 4])]
    files += [packed(suffix, random_image(channels, np.uint16))] if suffix == '.png' else []
    here = [decode_compressed(file) for file in files]
    monkeypatch.setattr(compressed, '_READ_RGB', None)  # as on Ubuntu 22.04 and 24.04
    for file, expected in zip(files, here, strict=True):
        np.testing.assert_array_equal(decode_compressed(file), expected)


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


@pytest.mark.parametrize(
    ('suffix', 'format_'),
    [
        ('.jpg', 'rgb8; jpeg compressed bgr8'),
        ('.jpg', 'bgr8; jpeg compressed bgr8'),
        ('.jpg', 'yuv422_yuy2; jpeg compressed bgr8'),
        ('.jpg', 'bayer_rggb8; jpeg compressed bgr8'),
        ('.jpg', 'bayer_rggb8; jpeg compressed '),
        ('.jpg', 'jpeg'),
        ('.jpg', 'JPG'),
        ('.jpg', 'png'),
        ('.jpg', ''),
        ('.png', 'rgb8; png compressed bgr8'),
        ('.png', 'bgr8; png compressed '),
        ('.png', 'bgra8; png compressed bgra8'),
        ('.png', 'jpeg'),
    ],
)
def test_no_spelling_of_the_format_changes_the_picture(suffix: str, format_: str) -> None:
    file = packed(suffix, smooth())
    plain = decode_compressed(file)
    assert np.abs(plain.astype(int) - smooth()[..., ::-1].astype(int)).mean() < 3.0
    np.testing.assert_array_equal(decode_compressed(file, format=format_), plain)


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
@pytest.mark.parametrize('bits', [8, 16])
def test_png_of_a_bayer_mosaic_gives_back_its_colours(pattern: str, bits: int) -> None:
    # image_transport stores a bayer picture as it is and names the pattern in the format only
    rgb = np.array([200, 100, 50])
    mosaic = np.empty((6, 8), np.uint16)
    for place, letter in enumerate(pattern):
        mosaic[place // 2 :: 2, place % 2 :: 2] = rgb['rgb'.index(letter)]
    stored = mosaic.astype(np.uint8) if bits == 8 else mosaic * 256 + 255
    file = packed('.png', stored)
    for tail in ('', f'bayer_{pattern}{bits}'):
        out = decode_compressed(file, format=f'bayer_{pattern}{bits}; png compressed {tail}')
        np.testing.assert_array_equal(out, np.broadcast_to(rgb, (6, 8, 3)))


def test_jpeg_of_a_bayer_mosaic_gives_back_its_colours_and_one_of_grey_stays_grey() -> None:
    plane = np.empty((16, 16), np.uint8)
    plane[0::2, 0::2], plane[1::2, 1::2] = 180, 60
    plane[0::2, 1::2] = plane[1::2, 0::2] = 120
    file = packed('.jpg', plane, cv2.IMWRITE_JPEG_QUALITY, 100)
    for tail in ('', 'bayer_rggb8'):
        out = decode_compressed(file, format=f'bayer_rggb8; jpeg compressed {tail}')
        assert np.abs(out.astype(int) - [180, 120, 60]).max() <= 4
    out = decode_compressed(file, format='bayer_rggb8; jpeg compressed mono8')
    np.testing.assert_array_equal(out, np.broadcast_to(out[..., :1], out.shape))


def test_a_mosaic_too_small_to_demosaic_is_refused() -> None:
    file = packed('.png', np.zeros((2, 8), np.uint8))
    with pytest.raises(DecodeError, match="too small for 'bayer_rggb8'"):
        decode_compressed(file, format='bayer_rggb8; png compressed ')


def png_chunk(kind: bytes, body: bytes) -> bytes:
    check = zlib.crc32(kind + body)
    return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', check)


def png(width: int, height: int, bits: int, kind: int, rows: list[bytes], *extra: bytes) -> bytes:
    """Write a PNG by hand, for the kinds that OpenCV reads and does not write."""
    header = png_chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, bits, kind, 0, 0, 0))
    body = png_chunk(b'IDAT', zlib.compress(b''.join(b'\0' + row for row in rows)))
    return b'\x89PNG\r\n\x1a\n' + header + b''.join(extra) + body + png_chunk(b'IEND', b'')


def test_png_with_grey_and_alpha_with_a_palette_and_with_single_bits_are_read() -> None:
    grey_alpha = png(2, 1, 8, 4, [bytes([90, 0, 200, 255])])
    assert decode_compressed(grey_alpha).tolist() == [[[90] * 3, [200] * 3]]
    palette = png_chunk(b'PLTE', bytes([10, 20, 30, 200, 100, 50]))
    indexed = png(2, 1, 8, 3, [bytes([1, 0])], palette)
    assert decode_compressed(indexed).tolist() == [[[200, 100, 50], [10, 20, 30]]]
    bits = png(2, 1, 1, 0, [bytes([0b01000000])])
    assert decode_compressed(bits).tolist() == [[[0] * 3, [255] * 3]]


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
    with pytest.raises(DecodeError, match=r'damaged|OpenCV'):
        decode_compressed(png(0, 4, 8, 2, []))


def test_a_picture_larger_than_any_camera_is_refused_before_memory_is_taken_for_it() -> None:
    white = png(8200, 6400, 8, 2, [])  # without rows, which are not looked at
    with pytest.raises(DecodeError, match=r'png is too large: .* 52428800 pixels, got 8200x6400'):
        decode_compressed(white)
    whole = packed('.jpg', smooth())
    at = whole.index(b'\xff\xc0') + 5
    assert whole[at : at + 4] == struct.pack('>HH', 24, 40)
    for size in ((6400, 8200), (65535, 65535)):
        large = whole[:at] + struct.pack('>HH', *size) + whole[at + 4 :]
        thumbnail = exif_segment(packed('.jpg', smooth()[:8, :8]))
        for data in (large, large[:2] + thumbnail + large[2:]):
            with pytest.raises(
                DecodeError,
                match=rf'jpeg is too large: .*, got {size[1]}x{size[0]} in \d+ bytes; let',
            ):
                decode_compressed(data)
    progressive = packed('.jpg', smooth(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    at = progressive.index(b'\xff\xc2') + 5
    with pytest.raises(DecodeError, match='too large'):
        decode_compressed(progressive[:at] + b'\xff' * 4 + progressive[at + 4 :])


@pytest.mark.parametrize(
    'format_',
    ['16UC1; compressedDepth png', '32FC1; compressedDepth', '16UC1; compressedDepth rvl'],
)
def test_depth_images_are_refused_by_their_format(format_: str) -> None:
    data = bytes(12) + packed('.png', random_image(1, np.uint16))
    with pytest.raises(
        DecodeError, match=f"depth images are not pictures.*got format '{format_}'"
    ):
        decode_compressed(data, format=format_)


@pytest.mark.parametrize('data', [None, 'text', [1, 2, 3], 7])
def test_what_is_no_buffer_is_refused(data: Any) -> None:
    with pytest.raises(DecodeError, match='no buffer'):
        decode_compressed(data)
