"""Folders of rendered sequences: one folder a sequence, and a table of what is odd where."""

from __future__ import annotations

from collections.abc import Callable
import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ros_ood_monitor import images
from ros_ood_monitor.atomic import new_folder
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.lunar.sequence import render_sequence

__all__ = ['LABELS', 'encode_jpeg', 'write_sequences']

LABELS = 'labels.csv'
"""Table beside the sequences: sequence, seed, frame, stamp, anomaly, anomaly_px."""

JPEG_QUALITY = 88


def encode_jpeg(rgb: npt.NDArray[np.uint8]) -> bytes:
    """
    Compress a picture as the example's camera does.

    Parameters
    ----------
    rgb : ndarray of shape (height, width, 3), uint8
        The picture.

    Returns
    -------
    bytes
        A JPEG file.

    """
    return images.encode_jpeg(rgb, JPEG_QUALITY)


def write_sequences(
    out: Path,
    *,
    sequences: int,
    frames: int,
    seed: int = 0,
    rate_hz: float = 1.0,
    anomaly: str | None = None,
    size: tuple[int, int] = (320, 240),
    on_frame: Callable[[], None] = lambda: None,
) -> Path:
    """
    Render sequences into ``seq_<seed>/frame_<number>.jpg``.

    Parameters
    ----------
    out : Path
        Folder to make; it appears when all is rendered.
    sequences, frames : int
        How many, and pictures in each; see `render_sequence`.
    seed : int, default 0
        Seed of the first sequence; the next ones count up.
    rate_hz : float, default 1.0
        Pictures a second.
    anomaly : str, optional
        What comes into view for the whole sequence; see `render_sequence`.
    size : tuple of int, default (320, 240)
        Width and height, in px.
    on_frame : callable
        Called after each picture.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ParameterError
        If the folder exists and is not empty, or a value is outside its range.

    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        msg = f'output exists already and is not empty; choose another name: {out}'
        raise ParameterError(msg)
    if sequences < 1:
        msg = f'sequences must be at least 1, got {sequences}'
        raise ParameterError(msg)
    try:
        with new_folder(out) as folder, (folder / LABELS).open('w', newline='') as file:
            table = csv.writer(file)
            table.writerow(['sequence', 'seed', 'frame', 'stamp', 'anomaly', 'anomaly_px'])
            for number in range(seed, seed + sequences):
                target = folder / f'seq_{number:04d}'
                target.mkdir()
                rendered = render_sequence(
                    number, frames=frames, rate_hz=rate_hz, anomaly=anomaly, size=size
                )
                for k, frame in enumerate(rendered):
                    name = f'frame_{k:06d}.jpg'
                    (target / name).write_bytes(encode_jpeg(frame.rgb))
                    pixels = int(frame.mask.sum())
                    stamp = f'{frame.stamp:.3f}'
                    table.writerow([target.name, number, name, stamp, frame.anomaly, pixels])
                    on_frame()
    except OSError as error:
        msg = f'sequences could not be written ({error.strerror or error}): {out}'
        raise ParameterError(msg) from error
    return out
