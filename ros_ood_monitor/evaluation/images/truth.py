"""Files that say where the anomalies of pictures are: which one belongs to which picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.metrics.boxes import Box

__all__ = ['Truth', 'part_of', 'truth_files']


class Truth(Protocol):
    """What is known about the places of anomalies in the pictures of one folder."""

    what: str
    """Name of its kind, in the plural."""

    def boxes(self, file: str, height: int, width: int) -> tuple[Box, ...]:
        """
        Return the boxes of a picture.

        Parameters
        ----------
        file : str
            The picture, relative to its folder.
        height, width : int
            Its size, in px.

        Returns
        -------
        tuple of Box
            None where the kind has no boxes.

        Raises
        ------
        ParameterError
            If the file cannot be read or does not fit the picture.

        """
        ...

    def mask(self, file: str, height: int, width: int) -> npt.NDArray[np.bool_]:
        """
        Return the mask of a picture.

        Parameters
        ----------
        file : str
            The picture, relative to its folder.
        height, width : int
            Its size, in px.

        Returns
        -------
        ndarray of shape (height, width), bool
            True where anomalous.

        Raises
        ------
        ParameterError
            If the file cannot be read or does not fit the picture.

        """
        ...


def part_of(root: Path, folder: Path) -> Path:
    """
    Return where the files of one folder of pictures lie.

    Parameters
    ----------
    root : Path
        Folder of masks or boxes.
    folder : Path
        Folder of pictures.

    Returns
    -------
    Path
        The folder of that name in ``root``, or ``root`` itself where it has none.

    Raises
    ------
    ParameterError
        If ``root`` is no folder.

    """
    if not root.is_dir():
        found = 'a file' if root.is_file() else 'nothing there'
        msg = f'folder of masks or boxes not found: expected a folder, got {found}: {root}'
        raise ParameterError(msg)
    own = root / folder.resolve().name
    return own if own.is_dir() else root


def truth_files(
    folder: Path, pictures: Sequence[str], *, endings: Sequence[str], cut: bool = False
) -> dict[str, Path]:
    """
    Find the file of every picture.

    Parameters
    ----------
    folder : Path
        Where the files lie, in the same subfolders as the pictures.
    pictures : sequence of str
        Pictures, relative to their own folder.
    endings : sequence of str
        What may stand in the place of a picture's suffix; the first that is there counts.
    cut : bool, default False
        Also look without what stands behind the last ``_`` of a picture's name.

    Returns
    -------
    dict of str to Path
        File by picture.

    Raises
    ------
    ParameterError
        If a picture has none.

    """
    found: dict[str, Path] = {}
    missing = []
    for picture in pictures:
        at = PurePath(picture)
        stems = [at.stem, at.stem.rpartition('_')[0]] if cut else [at.stem]
        names = [stem + ending for stem in stems if stem for ending in endings]
        files = [file for name in names if (file := folder / at.parent / name).is_file()]
        if files:
            found[picture] = files[0]
        else:
            missing.append(f'{picture!r} (looked for {", ".join(names)})')
    if missing:
        msg = (
            f'{len(missing)} of {len(pictures)} pictures have no mask or box file, the first is '
            f'{missing[0]}; a picture without an anomaly needs an empty one: {folder}'
        )
        raise ParameterError(msg)
    return found
