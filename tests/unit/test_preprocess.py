"""The one resize: whole frame, right kernel, exact geometry."""

from __future__ import annotations

import numpy as np
import pytest

from ros_ood_monitor.errors import DecodeError
from ros_ood_monitor.preprocess import Preprocessor


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


def test_a_single_pixel_fills_the_input() -> None:
    batch = Preprocessor(24, 32)(np.array([[[7, 80, 255]]], np.uint8))
    assert np.array_equal(batch, np.broadcast_to([7, 80, 255], (1, 24, 32, 3)))


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
