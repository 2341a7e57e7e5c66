"""The one resize: whole frame, right kernel, exact geometry."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from ros_ood_monitor.errors import DecodeError
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.records import Frame


def test_non_square_frames_come_out_as_one_batch_of_the_input_size() -> None:
    batch = Preprocessor(24, 32)(np.zeros((480, 640, 3), np.uint8))
    assert batch.shape == (1, 24, 32, 3)
    assert batch.dtype == np.uint8


def test_a_frame_of_the_input_size_is_not_copied() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    batch = Preprocessor(24, 32)(rgb)
    assert np.shares_memory(batch, rgb)
    assert np.array_equal(batch[0], rgb)


def test_shrinking_by_whole_factors_is_the_mean_of_the_covered_pixels() -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    got = Preprocessor(10, 20)(rgb)[0].astype(float)
    mean = rgb.reshape(10, 4, 20, 3, 3).astype(float).mean(axis=(1, 3))
    assert np.max(np.abs(got - mean)) <= 0.5 + 1e-9


def test_nothing_is_cropped() -> None:
    rgb = np.zeros((480, 640, 3), np.uint8)
    rgb[:, :20, 0] = 255  # a red stripe at the very left
    batch = Preprocessor(24, 24)(rgb)
    assert batch[0, :, 0, 0].min() > 150


@pytest.mark.parametrize(('height', 'width'), [(3, 4), (24, 4), (24, 64), (100, 32), (99, 131)])
def test_a_picture_that_only_shrinks_or_only_grows_is_resized_in_one_call(
    height: int, width: int
) -> None:
    rgb = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    kernel = cv2.INTER_AREA if height >= 24 and width >= 32 else cv2.INTER_LINEAR
    assert np.array_equal(
        Preprocessor(24, 32)(rgb)[0], cv2.resize(rgb, (32, 24), interpolation=kernel)
    )


@pytest.mark.parametrize('is_wide', [True, False])
def test_nothing_falls_between_samples_where_one_side_shrinks_and_the_other_grows(
    is_wide: bool,
) -> None:
    preprocess = Preprocessor(56, 56)
    for place in range(0, 475, 5):
        rgb = np.zeros((55, 480, 3), np.uint8)
        rgb[:, place : place + 2] = 255
        seen = preprocess(rgb if is_wide else rgb.transpose(1, 0, 2).copy())[0, ..., 0]
        line = seen.sum(axis=0 if is_wide else 1, dtype=float) / 56
        assert line.sum() == pytest.approx(2 * 255 * 56 / 480, rel=0.05)
        assert (line @ np.arange(56) / line.sum() + 0.5) * 480 / 56 == pytest.approx(
            place + 1, abs=4.5
        )


@pytest.mark.parametrize('shape', [(1, 1), (1, 300), (300, 1)])
def test_a_single_pixel_or_line_fills_the_input(shape: tuple[int, int]) -> None:
    picture = np.full((*shape, 3), [7, 80, 255], np.uint8)
    for size in ((24, 32), (24, 1), (1, 32)):
        batch = Preprocessor(*size)(picture)
        assert np.array_equal(batch, np.broadcast_to([7, 80, 255], (1, *size, 3)))


def test_an_input_made_ahead_is_taken_where_its_size_fits() -> None:
    rgb = np.random.default_rng(2).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    preprocess = Preprocessor(24, 32)
    frame = preprocess.ahead(Frame(rgb, 5.0, 'left', 'jpeg'))
    assert (frame.stamp, frame.camera, frame.encoding, frame.rgb is rgb) == (5, 'left', 'jpeg', 1)
    made = frame.network_input
    assert made is not None
    assert made.seconds > 0.0
    assert preprocess.input_of(frame) is made
    assert np.array_equal(made.image, preprocess(rgb))
    other = Preprocessor(16, 32)
    assert other.input_of(frame).seconds == 0.0
    assert np.array_equal(other.input_of(frame).image, other(rgb))
    black = replace(frame, rgb=np.zeros_like(rgb))
    assert not preprocess.input_of(black).image.any()


def test_image_from_input_maps_corners_to_corners() -> None:
    matrix = Preprocessor(24, 32).image_from_input(480, 640)
    # pixel centres are integers, so the outer border of the first pixel is at -0.5
    assert np.allclose(matrix @ [-0.5, -0.5, 1.0], [-0.5, -0.5, 1.0])
    assert np.allclose(matrix @ [31.5, 23.5, 1.0], [639.5, 479.5, 1.0])


def test_image_from_input_finds_a_blob_again() -> None:
    rgb = np.zeros((300, 500, 3), np.uint8)
    rgb[200:220, 400:440] = 255
    preprocess = Preprocessor(60, 50)
    weight = preprocess(rgb)[0, :, :, 0].astype(float)
    y, x = (float((axis * weight).sum() / weight.sum()) for axis in np.indices(weight.shape))
    found = preprocess.image_from_input(300, 500) @ [x, y, 1.0]
    assert found[0] == pytest.approx(419.5, abs=0.6)
    assert found[1] == pytest.approx(209.5, abs=0.6)


def test_an_empty_input_size_is_refused() -> None:
    with pytest.raises(DecodeError, match='at least 1x1'):
        Preprocessor(0, 10)
