"""
Folders of pictures for a study: which picture is of which class, and which part it is in.

A folder of classes holds one folder per class (``ImageFolder``); a folder of pictures without
folders in it has no labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import DecodeError, ParameterError
from ros_ood_monitor.images import image_files, read_image
from ros_ood_monitor.training.rows import spread

__all__ = ['Pictures', 'list_pictures', 'refuse_shared', 'split_parts']


@dataclass(frozen=True, eq=False)
class Pictures:
    """
    The pictures of one folder.

    Parameters
    ----------
    folder : Path
        Where they lie.
    files : tuple of Path, length n
        Readable ones, each content once, in natural order.
    digests : tuple of str, length n
        SHA-256 of each file.
    labels : ndarray of shape (n,), int64
        Class of each; of a flat folder -1.
    classes : tuple of str
        Names of the classes; none of a flat folder.
    repeated : tuple of str
        Files left out as their content had come before.
    skipped : tuple of str
        Files left out as they hold no readable picture, each with the reason.
    sizes : dict of str to int
        How many have which size, as ``'640x480'``; commonest first.

    """

    folder: Path
    files: tuple[Path, ...]
    digests: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    repeated: tuple[str, ...]
    skipped: tuple[str, ...]
    sizes: dict[str, int]

    @property
    def paired(self) -> int:
        """Return the number of classes with at least two pictures."""
        known = self.labels[self.labels >= 0]
        return int(np.count_nonzero(np.bincount(known) > 1)) if known.size else 0


def list_pictures(folder: Path | str, *, limit: int = 0, labelled: bool = False) -> Pictures:
    """
    List the pictures of a folder, and leave out repeated and unreadable ones.

    Parameters
    ----------
    folder : Path or str
        Pictures, with or without a folder for each class.
    limit : int, default 0
        Take so many at most, evenly spread over the folder, or over the pictures of each class;
        with less than two for each class, evenly spread classes. 0 takes all.
    labelled : bool, default False
        Whether folders in it are classes; else labels are not looked for.

    Returns
    -------
    Pictures
        At least one.

    Raises
    ------
    ParameterError
        If there is no readable picture, or folders of classes do not hold at least 2 classes of
        at least 2 pictures.

    """
    folder = Path(folder)
    found = image_files(folder)
    if limit:
        groups = _by_place(folder, found) if labelled else [found]
        found = _thinned(groups, limit)
    files: dict[str, Path] = {}
    repeated, skipped = [], []
    sizes: Counter[str] = Counter()
    for file in found:
        name = str(file.relative_to(folder))
        try:
            height, width, _ = read_image(file).shape
        except DecodeError as error:
            skipped.append(f'{name} ({str(error).removesuffix(f": {file}")})')
            continue
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if digest in files:
            repeated.append(name)
        else:
            files[digest] = file
            sizes[f'{width}x{height}'] += 1
    if not files:
        msg = f'no picture of {len(found)} could be read: first {skipped[0]}: {folder}'
        raise ParameterError(msg)
    kept = tuple(files.values())
    classes, labels = _classes(folder, kept) if labelled else ((), _none(len(kept)))
    pictures = Pictures(
        folder=folder,
        files=kept,
        digests=tuple(files),
        labels=labels,
        classes=classes,
        repeated=tuple(repeated),
        skipped=tuple(skipped),
        sizes=dict(sizes.most_common()),
    )
    if classes and pictures.paired < 2:
        after = ' after the limit' if limit else ''
        msg = (
            'folder of classes is too small: expected one folder per class, at least 2 classes of '
            f'at least 2 different pictures, got {len(kept)} pictures in {len(classes)} classes, '
            f'{pictures.paired} of them with 2 or more{after}; '
            f'give more pictures, or a folder without folders in it: {folder}'
        )
        raise ParameterError(msg)
    return pictures


def _by_place(folder: Path, files: Sequence[Path]) -> list[list[Path]]:
    groups: dict[str, list[Path]] = {}
    for file in files:
        first, *rest = file.relative_to(folder).parts
        groups.setdefault(first if rest else '', []).append(file)
    return list(groups.values())


def _thinned(groups: Sequence[Sequence[Path]], limit: int) -> list[Path]:
    """Take pictures of as many groups as can have two."""
    chosen = [groups[k] for k in spread(len(groups), max(limit // 2, 1))]
    each = limit // len(chosen)
    return [group[k] for group in chosen for k in spread(len(group), each)]


def _none(count: int) -> npt.NDArray[np.int64]:
    return np.full(count, -1, dtype=np.int64)


def _classes(folder: Path, files: Sequence[Path]) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    places = [file.relative_to(folder).parts for file in files]
    bare = sum(len(parts) == 1 for parts in places)
    if bare == len(files):
        return (), _none(len(files))
    if bare:
        msg = (
            'folder of classes is mixed: expected every picture in the folder of its class, '
            f'got {bare} of {len(files)} beside the folders; move them: {folder}'
        )
        raise ParameterError(msg)
    classes = tuple(dict.fromkeys(parts[0] for parts in places))
    index = {name: k for k, name in enumerate(classes)}
    return classes, np.array([index[parts[0]] for parts in places], dtype=np.int64)


def refuse_shared(known: Pictures, other: Pictures) -> None:
    """
    Refuse two folders that hold one picture.

    Parameters
    ----------
    known, other : Pictures
        Of two roles in a study.

    Raises
    ------
    ParameterError
        If a file of one has the content of a file of the other.

    """
    shared = set(known.digests) & set(other.digests)
    if shared:
        first = known.files[known.digests.index(min(shared))].name
        msg = (
            f'{len(shared)} pictures are in two folders at once, first {first!r}; give folders '
            f'that share none: {known.folder} and {other.folder}'
        )
        raise ParameterError(msg)


def split_parts(
    labels: npt.NDArray[np.int64], *, share: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """
    Split pictures into a part to fit to and one to test on, class by class.

    Every class of at least two pictures is in both parts; classes of one are drawn together.

    Parameters
    ----------
    labels : ndarray of shape (n,), int64
        Class of each picture, n at least 2.
    share : float
        Of each class in the fit part, in (0, 1).
    seed : int
        Of the drawing.

    Returns
    -------
    fit, test : ndarray of int64
        Ascending indices; no index in both, none left out.

    Raises
    ------
    ParameterError
        If there are fewer than two pictures.

    """
    if len(labels) < 2:
        msg = f'a fit and a test part need at least 2 pictures, got {len(labels)}'
        raise ParameterError(msg)
    classes, counts = np.unique(labels, return_counts=True)
    alone = np.isin(labels, classes[counts == 1])
    groups = [np.flatnonzero(labels == k) for k in classes[counts > 1]]
    groups += [np.flatnonzero(alone)] if alone.any() else []
    rng = np.random.default_rng(seed)
    fit: list[npt.NDArray[np.int64]] = []
    for group in groups:
        # half a picture goes to the fit part; one picture alone does, too
        taken = min(max(int(share * len(group) + 0.5), 1), max(len(group) - 1, 1))
        fit.append(rng.permutation(group)[:taken])
    chosen = np.sort(np.concatenate(fit))
    return chosen, np.setdiff1d(np.arange(len(labels)), chosen)
