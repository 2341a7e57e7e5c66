"""Listing image folders and reading image files."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from ros_ood_monitor.decode import decode_compressed
from ros_ood_monitor.errors import DecodeError, ParameterError
from ros_ood_monitor.images import encode_jpeg, image_files, read_image


def _write(path: Path, *, seed: int = 0, size: tuple[int, int] = (6, 8)) -> np.ndarray:
    rgb = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb[..., ::-1])
    return rgb


def test_files_come_in_natural_order_across_folders(tmp_path: Path) -> None:
    names = ['a/img10.png', 'a/img2.png', 'a/IMG3.png', 'b10/x.png', 'b9/x2.png', 'b9/x10.JPG']
    for name in names:
        _write(tmp_path / name)
    listed = [str(path.relative_to(tmp_path)) for path in image_files(tmp_path)]
    assert listed == [
        'a/img2.png', 'a/IMG3.png', 'a/img10.png', 'b9/x2.png', 'b9/x10.JPG', 'b10/x.png',
    ]  # fmt: skip


def test_names_that_differ_only_in_leading_zeros_keep_one_order(tmp_path: Path) -> None:
    for name in ('f1.png', 'f01.png', 'f001.png', 'F1.png'):
        _write(tmp_path / name)
    listed = [path.name for path in image_files(tmp_path)]
    assert listed == ['F1.png', 'f001.png', 'f01.png', 'f1.png']


def test_hidden_and_foreign_files_are_left_out(tmp_path: Path) -> None:
    _write(tmp_path / 'kept.png')
    _write(tmp_path / '.hidden.png')
    _write(tmp_path / '.thumbnails/small.png')
    (tmp_path / 'labels.csv').write_text('a,b\n')
    assert image_files(tmp_path) == [tmp_path / 'kept.png']


def test_folder_without_an_image_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / 'labels.csv').write_text('a,b\n')
    with pytest.raises(ParameterError, match=r'expected .*\.png, got 1 other files'):
        image_files(tmp_path)


def test_missing_folder_and_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match='got nothing there'):
        image_files(tmp_path / 'absent')
    _write(tmp_path / 'one.png')
    with pytest.raises(ParameterError, match='got a file'):
        image_files(tmp_path / 'one.png')


@pytest.mark.skipif(os.geteuid() == 0, reason='root may list every folder')
def test_folder_that_may_not_be_listed_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / 'open/one.png')
    closed = tmp_path / 'closed'
    closed.mkdir(mode=0o000)
    try:
        with pytest.raises(ParameterError, match='cannot be listed'):
            image_files(tmp_path)
    finally:
        closed.chmod(0o700)


def test_png_is_read_as_rgb_exactly(tmp_path: Path) -> None:
    rgb = _write(tmp_path / 'one.png', seed=3)
    np.testing.assert_array_equal(read_image(tmp_path / 'one.png'), rgb)


def test_truncated_file_is_refused_with_its_path_last(tmp_path: Path) -> None:
    path = tmp_path / 'cut.jpg'
    _write(path, size=(64, 64))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DecodeError, match=r'truncated.*cut\.jpg$'):
        read_image(path)


def test_absent_file_is_a_decode_error(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match=r'No such file.*absent\.png$'):
        read_image(tmp_path / 'absent.png')


def test_picture_becomes_a_jpeg_of_the_same_size_and_one_too_large_is_refused() -> None:
    rgb = np.full((20, 30, 3), (200, 40, 90), np.uint8)
    again = decode_compressed(encode_jpeg(rgb, 90), format='jpeg')
    assert again.shape == rgb.shape
    assert np.abs(again.astype(int) - rgb).max() <= 4  # red is red, not blue
    with pytest.raises(DecodeError, match='expected at most 65500 px a side, got 70000x1'):
        encode_jpeg(np.zeros((1, 70000, 3), np.uint8), 90)
