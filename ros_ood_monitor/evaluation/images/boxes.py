"""
Boxes around anomalies: a text file for every picture.

A line is a box: ``left top right bottom`` and, if wanted, its kind, parted by blanks or commas.
Numbers are whole pixels of the picture, right and bottom being the first column and row outside.
What follows ``#`` and empty lines do not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.evaluation.images.truth import truth_files
from ros_ood_monitor.metrics.boxes import Box, check_box, mask_of_boxes

__all__ = ['BoxFolder', 'read_boxes']


class BoxFolder:
    """
    The boxes of a folder of pictures.

    For ``board_test.jpg`` that is ``board_test.txt``, or ``board.txt`` where there is none.

    Parameters
    ----------
    folder : Path
        Where they lie, in the same subfolders as the pictures.
    pictures : sequence of str
        Pictures, relative to their own folder.

    Raises
    ------
    ParameterError
        If a picture has none.

    """

    what = 'boxes'

    def __init__(self, folder: Path, pictures: Sequence[str]) -> None:
        self._files = truth_files(folder, pictures, endings=('.txt',), cut=True)

    def boxes(self, file: str, height: int, width: int) -> tuple[Box, ...]:
        """Return the boxes of a picture; see `Truth.boxes`."""
        return read_boxes(self._files[file], height, width)

    def mask(self, file: str, height: int, width: int) -> npt.NDArray[np.bool_]:
        """Return all that is inside a box; see `Truth.mask`."""
        return mask_of_boxes(self.boxes(file, height, width), height, width)


def read_boxes(path: Path, height: int, width: int) -> tuple[Box, ...]:
    """
    Read a file of boxes.

    Parameters
    ----------
    path : Path
        A text file; an empty one has no box.
    height, width : int
        Size of its picture, in px.

    Returns
    -------
    tuple of Box
        In the order of the file.

    Raises
    ------
    ParameterError
        If it cannot be read, or a line is no box inside the picture.

    """
    try:
        text = path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        msg = f'box file cannot be read ({error}): {path}'
        raise ParameterError(msg) from error
    boxes = []
    for number, line in enumerate(text.splitlines(), start=1):
        cells = line.partition('#')[0].replace(',', ' ').split()
        if not cells:
            continue
        try:
            left, top, right, bottom = map(int, cells[:4])
            box = Box(left, top, right, bottom, ' '.join(cells[4:]))
        except ValueError as error:
            msg = (
                'box file holds a line that is no box: expected left, top, right and bottom in '
                f'whole pixels, got {line.strip()!r} in line {number}: {path}'
            )
            raise ParameterError(msg) from error
        try:
            check_box(box, height, width)
        except ParameterError as error:
            msg = f'{error}, in line {number}: {path}'
            raise ParameterError(msg) from error
        boxes.append(box)
    return tuple(boxes)
