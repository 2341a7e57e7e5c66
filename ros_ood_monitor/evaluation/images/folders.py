"""
The scores of a folder of images.

Every image takes the way of a robot's frame up to its raw_score: same decoder, same resize, same
engine, one at a time. Alert logic stays out: images of a folder have no order in time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
import math
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.bags.files import STORAGE_SUFFIXES
from ros_ood_monitor.bundle.sketch import FrameSketch, FrameTally
from ros_ood_monitor.engines import Engine
from ros_ood_monitor.errors import DecodeError, ParameterError
from ros_ood_monitor.images import image_files, read_image
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.records import NO_ANSWER

__all__ = ['LEAST_PICTURES', 'Progress', 'ScoredFolder', 'Skipped', 'list_folder', 'score_folder']

Progress = Callable[[str, int, int], None]
"""Takes a folder's name, images done, images in all."""

LEAST_PICTURES: Final = 10
"""Pictures of a class below which a bootstrap interval would tell of luck: there is none."""

_BAG_SUFFIXES = (*STORAGE_SUFFIXES, '.bag')  # and those of ROS 1


class Skipped(NamedTuple):
    """An image file that could not be read, and why."""

    file: str
    reason: str


@dataclass(frozen=True, eq=False)
class ScoredFolder:
    """
    The scores of one folder of images.

    Parameters
    ----------
    name : str
        What reports call it.
    path : Path
        The folder.
    files : tuple of str, length n
        The scored files, relative to the folder, in natural order.
    raw_score : ndarray of shape (n,), float64
        Their scores, higher = more anomalous.
    file_bytes : ndarray of shape (n,), int64
        Their file sizes: a baseline that looks at no picture.
    sizes : dict of str to int
        How many of them have which size, as ``'640x480'``; commonest first.
    skipped : tuple of Skipped
        The files that hold no readable picture.
    known : FrameTally
        How many of the pictures the bundle was trained on.
    shapes : tuple of tuple of int, length n
        Height and width of each of them, in px.
    patch_score : tuple of ndarray of shape (grid_height, grid_width), float32
        Scores of the cells of each of them; empty where the bundle has no map.

    """

    name: str
    path: Path
    files: tuple[str, ...]
    raw_score: npt.NDArray[np.float64]
    file_bytes: npt.NDArray[np.int64]
    sizes: dict[str, int] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    known: FrameTally = field(default_factory=lambda: FrameTally(None))
    shapes: tuple[tuple[int, int], ...] = ()
    patch_score: tuple[npt.NDArray[np.float32], ...] = ()


def list_folder(folder: Path) -> list[Path]:
    """
    List the images of a folder, and refuse a bag by name.

    Parameters
    ----------
    folder : Path
        A folder of image files.

    Returns
    -------
    list of Path
        As `image_files` lists them.

    Raises
    ------
    ParameterError
        If it is a bag, is missing, or holds no image.

    """
    held = folder.glob('*') if folder.is_dir() else [folder]
    if any(path.name.endswith(_BAG_SUFFIXES) for path in held):
        msg = (
            'expected a folder of image files, got a bag; '
            f"'ood_monitor evaluate BUNDLE BAG' judges a bag: {folder}"
        )
        raise ParameterError(msg)
    return image_files(folder)


def score_folder(
    folder: Path,
    files: Sequence[Path],
    preprocess: Preprocessor,
    engine: Engine,
    *,
    name: str,
    sketch: FrameSketch | None = None,
    progress: Progress | None = None,
) -> ScoredFolder:
    """
    Score image files one by one; those that hold no picture are skipped and named.

    Parameters
    ----------
    folder : Path
        Folder that the files lie in.
    files : sequence of Path
        The files, as `image_files` lists them.
    preprocess : Preprocessor
        Resize to the engine's input size.
    engine : Engine
        What scores.
    name : str
        What reports call the folder.
    sketch : FrameSketch, optional
        Of the frames that the bundle was trained on.
    progress : callable, optional
        Called with the name, images done and images in all, after each image.

    Returns
    -------
    ScoredFolder
        At least one score.

    Raises
    ------
    ParameterError
        If none of the files holds a picture that is read and scored.
    EngineError
        If the engine fails.

    """
    scored: list[tuple[str, float, int]] = []
    skipped: list[Skipped] = []
    known = FrameTally(sketch)
    sizes: Counter[str] = Counter()
    shapes: list[tuple[int, int]] = []
    grids: list[npt.NDArray[np.float32]] = []
    for done, file in enumerate(files, start=1):
        relative = str(file.relative_to(folder))
        try:
            rgb = read_image(file)  # (H, W, 3)
        except DecodeError as error:
            skipped.append(Skipped(relative, str(error).removesuffix(f': {file}')))
        else:
            batch = preprocess(rgb)  # (1, h, w, 3)
            known.add(batch[0])
            reading = engine.infer(batch)
            raw_score = float(reading.raw_score[0])
            if math.isfinite(raw_score):
                scored.append((relative, raw_score, file.stat().st_size))
                if reading.patch_score is not None:
                    grids.append(reading.patch_score[0])  # (gh, gw)
                height, width = rgb.shape[:2]
                shapes.append((height, width))
                sizes[f'{width}x{height}'] += 1
            else:
                skipped.append(Skipped(relative, NO_ANSWER))
        if progress is not None:
            progress(name, done, len(files))
    if not scored:
        first = skipped[0].reason if skipped else 'there is none'
        msg = f'no image of {len(files)} could be read and scored ({first}): {folder}'
        raise ParameterError(msg)
    names, scores, file_bytes = zip(*scored, strict=True)
    return ScoredFolder(
        name=name,
        path=folder,
        files=names,
        raw_score=np.array(scores, dtype=np.float64),  # (n,)
        file_bytes=np.array(file_bytes, dtype=np.int64),  # (n,)
        sizes=dict(sizes.most_common()),
        skipped=tuple(skipped),
        known=known,
        shapes=tuple(shapes),
        patch_score=tuple(grids),
    )
