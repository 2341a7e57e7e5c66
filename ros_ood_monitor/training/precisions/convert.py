"""One backbone in every precision: from the bytes of its float32 ONNX file, whoever wrote that."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.precisions.fp16 import to_fp16
from ros_ood_monitor.training.precisions.int8 import to_cpu_int8, to_trt_int8

__all__ = ['PRECISIONS', 'check_precision', 'convert']

PRECISIONS = ('fp32', 'fp16', 'cpu-int8', 'trt-int8')
"""Names that `convert` takes."""

_FEWEST_IMAGES = 16


def convert(
    backbone: bytes,
    precision: str,
    *,
    calibration_images: npt.NDArray[np.uint8] | None = None,
) -> bytes:
    """
    Return a backbone in another precision; equal arguments give equal bytes on one machine.

    Parameters
    ----------
    backbone : bytes
        ONNX file in float32: ``image`` (N, h, w, 3) uint8 to pooled features (N, channels).
    precision : {'fp32', 'fp16', 'cpu-int8', 'trt-int8'}
        The wanted one; ``fp32`` returns the file as it is.
    calibration_images : ndarray of shape (k, h, w, 3), uint8, optional
        In-distribution network inputs for the ranges of int8; k at least 16, about 100 are enough.

    Returns
    -------
    bytes
        ONNX file with the same inputs and outputs, features in float32.

    Raises
    ------
    TrainingError
        If the precision is unknown, images are missing, or the backbone cannot be converted.

    """
    check_precision(precision)
    if precision == 'fp32':
        return backbone
    try:
        if precision == 'fp16':
            return to_fp16(backbone)
        images = _checked_images(calibration_images, precision)
        return (to_cpu_int8 if precision == 'cpu-int8' else to_trt_int8)(backbone, images)
    except TrainingError:
        raise
    except Exception as error:  # the converters of ONNX Runtime raise what happens to them
        msg = (
            f'backbone could not be converted to {precision!r}: '
            f'{type(error).__name__}: {error}; leave this precision out'
        )
        raise TrainingError(msg) from error


def check_precision(precision: str) -> None:
    """Refuse a name that is no precision."""
    if precision not in PRECISIONS:
        msg = f'precision is unknown: expected one of {list(PRECISIONS)}, got {precision!r}'
        raise TrainingError(msg)


def _checked_images(images: Any, precision: str) -> npt.NDArray[np.uint8]:
    shape = None if images is None else images.shape
    if shape is None or len(shape) != 4 or shape[3] != 3 or images.dtype != np.uint8:
        got = None if images is None else f'{shape} {images.dtype}'
        msg = f'{precision!r} needs calibration images (k, h, w, 3) uint8, got {got}'
        raise TrainingError(msg)
    if shape[0] < _FEWEST_IMAGES:
        msg = (
            f'too few calibration images for {precision!r}: expected at least {_FEWEST_IMAGES}, '
            f'got {shape[0]}; give more frames or leave this precision out'
        )
        raise TrainingError(msg)
    checked: npt.NDArray[np.uint8] = images
    return checked
