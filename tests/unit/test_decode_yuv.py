"""YUV frames against BT.601 computed here, in every layout of planes and rows, and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ros_ood_monitor.decode import decode_image
from ros_ood_monitor.errors import DecodeError

H, W = 6, 10
Bytes = npt.NDArray[np.uint8]

PACKED = {'uyvy': 'UYVY', 'yuv422': 'UYVY', 'yuyv': 'YUYV', 'yuv422_yuy2': 'YUYV'}
PLANAR = {'nv12': 'UV', 'nv21': 'VU', 'nv24': 'UV'}


def planes(height: int = H, width: int = W) -> dict[str, Bytes]:
    """Random Y, U and V of all values, out of range too."""
    rng = np.random.default_rng(31)
    return {name: rng.integers(0, 256, (height, width), np.uint8) for name in 'YUV'}


def bt601(y: Bytes, u: Bytes, v: Bytes) -> npt.NDArray[np.float64]:
    """Return RGB by the recommendation's own constants: Kr 0.299, Kb 0.114, Y 16..235."""
    luma = 255 / 219 * (np.maximum(y, 16.0) - 16)
    blue, red = 255 / 224 * (u - 128.0), 255 / 224 * (v - 128.0)
    r, b = luma + 2 * (1 - 0.299) * red, luma + 2 * (1 - 0.114) * blue
    g = (luma - 0.299 * r - 0.114 * b) / (1 - 0.299 - 0.114)
    return np.clip(np.stack([r, g, b], axis=-1), 0, 255)  # (H, W, 3)


def padded(rows: Bytes, padding: int) -> bytes:
    return np.pad(rows, ((0, 0), (0, padding)), constant_values=0xAB).tobytes()


def frame(encoding: str, padding: int = 0) -> tuple[bytes, int, npt.NDArray[np.float64]]:
    """Return data, step and the picture that they must become."""
    yuv = planes()
    if encoding in PACKED:
        half = {'U': yuv['U'][:, ::2], 'V': yuv['V'][:, ::2]}
        luma = iter([yuv['Y'][:, 0::2], yuv['Y'][:, 1::2]])
        sent = [next(luma) if name == 'Y' else half[name] for name in PACKED[encoding]]
        rows = np.stack(sent, axis=-1).reshape(H, 2 * W)
        rgb = bt601(yuv['Y'], half['U'].repeat(2, 1), half['V'].repeat(2, 1))
        return padded(rows, padding), 2 * W + padding, rgb
    every = 1 if encoding == 'nv24' else 2
    few = {name: yuv[name][::every, ::every] for name in 'UV'}
    chroma = np.stack([few[name] for name in PLANAR[encoding]], axis=-1)
    chroma = chroma.reshape(len(chroma), -1)
    data = padded(yuv['Y'], padding) + padded(chroma, padding * (2 if every == 1 else 1))
    full = [few[name].repeat(every, 0).repeat(every, 1) for name in 'UV']
    return data, W + padding, bt601(yuv['Y'], *full)


@pytest.mark.parametrize('padding', [0, 1, 22])
@pytest.mark.parametrize('encoding', [*PACKED, *PLANAR])
def test_yuv_becomes_rgb_by_bt601_within_a_grey_level(encoding: str, padding: int) -> None:
    data, step, expected = frame(encoding, padding)
    rgb = decode_image(data, encoding=encoding, height=H, width=W, step=step)
    assert rgb.shape == (H, W, 3)
    assert rgb.dtype == np.uint8
    assert rgb.flags.c_contiguous
    assert np.abs(rgb - expected).max() < 1.0


@pytest.mark.parametrize(
    ('yuv', 'rgb'),
    [
        ((16, 128, 128), (0, 0, 0)),
        ((235, 128, 128), (255, 255, 255)),
        ((126, 128, 128), (128, 128, 128)),
        ((81, 90, 240), (255, 0, 0)),
        ((145, 54, 34), (0, 255, 0)),
        ((41, 240, 110), (0, 0, 255)),
    ],
    ids=['black', 'white', 'grey', 'red', 'green', 'blue'],
)
@pytest.mark.parametrize('encoding', [*PACKED, *PLANAR])
def test_colours_of_the_colour_bar_are_right(
    encoding: str, yuv: tuple[int, int, int], rgb: tuple[int, int, int]
) -> None:
    values = dict(zip('YUV', yuv, strict=True))
    if encoding in PACKED:
        data = bytes(values[name] for name in PACKED[encoding]) * (W // 2 * H)
        step = 2 * W
    else:
        pairs = H * W if encoding == 'nv24' else H * W // 4
        data = bytes([yuv[0]]) * (H * W) + bytes(values[n] for n in PLANAR[encoding]) * pairs
        step = W
    out = decode_image(data, encoding=encoding, height=H, width=W, step=step)
    assert np.abs(out.astype(int) - rgb).max() <= 1


@pytest.mark.parametrize('encoding', PACKED)
def test_packed_chroma_of_an_odd_width_is_refused(encoding: str) -> None:
    with pytest.raises(DecodeError, match=rf"odd size: '{encoding}'.* 2x1 .*width .*got 5x4"):
        decode_image(bytes(48), encoding=encoding, height=4, width=5, step=12)
    # the height may be odd
    assert decode_image(bytes(12), encoding=encoding, height=1, width=6, step=12).shape[0] == 1


@pytest.mark.parametrize('encoding', ['nv12', 'nv21'])
@pytest.mark.parametrize(('height', 'width'), [(4, 5), (5, 4), (3, 3), (1, 2)])
def test_planar_chroma_of_an_odd_size_is_refused(encoding: str, height: int, width: int) -> None:
    match = rf'odd size: .* 2x2 .*width and height of even numbers, got {width}x{height}'
    with pytest.raises(DecodeError, match=match):
        decode_image(bytes(99), encoding=encoding, height=height, width=width, step=width)


def test_nv24_takes_any_size() -> None:
    out = decode_image(bytes([16] * 3 + [128] * 6), encoding='nv24', height=3, width=1, step=1)
    np.testing.assert_array_equal(out, np.zeros((3, 1, 3), np.uint8))


@pytest.mark.parametrize('encoding', PLANAR)
def test_planes_of_another_length_are_refused_with_what_was_expected(encoding: str) -> None:
    data, step, _ = frame(encoding, 2)
    match = rf'truncated: 6 rows of 12 bytes and their chroma are {len(data)} bytes, got '
    with pytest.raises(DecodeError, match=rf'{match}{len(data) - 1}$'):
        decode_image(data[:-1], encoding=encoding, height=H, width=W, step=step)
    with pytest.raises(DecodeError, match=rf'too long.*got {len(data) + 12}$'):
        decode_image(data + bytes(12), encoding=encoding, height=H, width=W, step=step)


@pytest.mark.parametrize('encoding', PLANAR)
def test_height_rows_of_data_are_refused_because_the_chroma_may_be_lost_or_counted(
    encoding: str,
) -> None:
    for height in (H, H * 3):
        with pytest.raises(DecodeError, match=r'truncated.*height must count the rows'):
            decode_image(bytes(height * W), encoding=encoding, height=height, width=W, step=W)


def test_padded_planes_are_not_sheared() -> None:
    """A row of padding that were taken for pixels would shift every later row."""
    luma = (40 + 20 * np.mgrid[0:H, 0:W][1]).astype(np.uint8)
    grey = np.full((H // 2, W), 128, np.uint8)
    for encoding in ('nv12', 'nv21'):
        data = padded(luma, 7) + padded(grey, 7)
        out: Any = decode_image(data, encoding=encoding, height=H, width=W, step=W + 7)
        np.testing.assert_array_equal(out, np.broadcast_to(out[:1], out.shape))
        assert (np.diff(out[0, :, 0].astype(int)) > 0).all()
