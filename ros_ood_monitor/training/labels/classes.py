"""Which class each frame is of: the first folder below what ``--data`` names."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.frames.datasets import Dataset
from ros_ood_monitor.training.frames.sources import few

__all__ = ['FEWEST_A_CLASS', 'Classes', 'find_classes']

FEWEST_A_CLASS: Final = 8
"""Different fitted frames without which a class is not learnt."""


@dataclass(frozen=True)
class Classes:
    """
    The classes of a dataset.

    Parameters
    ----------
    names : tuple of str
        At least two, in the order of the frames.
    of_sequence : tuple of int
        Class of each sequence.

    """

    names: tuple[str, ...]
    of_sequence: tuple[int, ...]

    def of(self, sequence: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """
        Return the class of each frame.

        Parameters
        ----------
        sequence : ndarray of shape (n,), int64
            The frame's sequence.

        Returns
        -------
        ndarray of shape (n,), int64
            From 0.

        """
        return np.array(self.of_sequence, dtype=np.int64)[sequence]

    def check(self, labels: npt.NDArray[np.int64]) -> None:
        """
        Refuse classes of which there is too little to learn.

        Parameters
        ----------
        labels : ndarray of shape (n,), int64
            Of all fitted frames.

        Raises
        ------
        TrainingError
            If a class has fewer than 8.

        """
        counts = np.bincount(labels, minlength=len(self.names)).tolist()
        small = [
            f'{name!r} {count}'
            for name, count in zip(self.names, counts, strict=True)
            if count < FEWEST_A_CLASS
        ]
        if small:
            msg = (
                f'too few frames of a class: expected at least {FEWEST_A_CLASS} fitted ones of '
                f'each, got of {few(small)}; give more, leave the class out, or train without '
                '--unmask'
            )
            raise TrainingError(msg)


def find_classes(dataset: Dataset) -> Classes:
    """
    Find the classes of frames.

    Parameters
    ----------
    dataset : Dataset
        The frames; none is read.

    Returns
    -------
    Classes
        The first folder below the argument that a sequence came with is its class.

    Raises
    ------
    TrainingError
        If a sequence has no class, or there are fewer than two classes.

    """
    found = [dataset.folder(index) for index in range(len(dataset.sequences))]
    bare = [name for name, folder in zip(dataset.sequences, found, strict=True) if folder is None]
    if bare:
        msg = (
            'unmask needs labels: expected folders of images, one folder per class in each place '
            f'of --data, got {few(bare)} without a class; sort the images into folders, or '
            'train without --unmask'
        )
        raise TrainingError(msg)
    counts = Counter(folder for folder in found if folder is not None)
    if len(counts) < 2:
        msg = (
            'unmask needs at least 2 classes: expected one folder per class, got '
            f'{few([*counts])} only; name the folder that holds the classes, or leave out --unmask'
        )
        raise TrainingError(msg)
    names = tuple(counts)
    index = {name: k for k, name in enumerate(names)}
    return Classes(names, tuple(index[folder] for folder in found if folder is not None))
