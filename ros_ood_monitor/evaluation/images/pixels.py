"""How well a bundle's maps find the anomalous pixels: masks or boxes against heat-maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.evaluation.images.folders import LEAST_PICTURES, ScoredFolder
from ros_ood_monitor.evaluation.images.truth import Truth
from ros_ood_monitor.maps.mapper import Mapper
from ros_ood_monitor.metrics.boxes import box_hits, BoxHits
from ros_ood_monitor.metrics.pixels import (
    PixelIntervals,
    PixelMetrics,
    PixelScores,
)

__all__ = ['NORMAL_SHARE', 'PixelEvaluation', 'PixelRow', 'evaluate_pixels']

NORMAL_SHARE: Final = 0.01
"""Share of normal pixels over the threshold of box hits, one that the pictures themselves set."""

_PIXELS_AT_MOST: Final = 500_000_000  # 4 bytes each, about thrice while they are sorted


@dataclass(frozen=True)
class PixelRow:
    """
    Figures of one folder of anomalous pictures, or of all together.

    Parameters
    ----------
    name : str
        The folder.
    images : int
        Its pictures; the in-distribution ones count in the figures, too, with normal pixels only.
    regions : int
        Anomalous regions.
    anomalous_share : float
        Share of anomalous pixels among all: what ``ap`` is by chance.
    metrics : PixelMetrics
        The figures.
    intervals : PixelIntervals or None
        Their 95 % bootstrap intervals, whole pictures drawn; none of fewer pictures than
        `LEAST_PICTURES` of a class.
    boxes : BoxHits or None
        Boxes found at the threshold, where there are boxes.

    """

    name: str
    images: int
    regions: int
    anomalous_share: float
    metrics: PixelMetrics
    intervals: PixelIntervals | None
    boxes: BoxHits | None


@dataclass(frozen=True)
class PixelEvaluation:
    """
    What `evaluate_pixels` found.

    Parameters
    ----------
    truth : str
        What the maps were compared with: ``masks`` or ``boxes``.
    threshold : float
        Value of a map, in the unit of ``patch_score``, that `NORMAL_SHARE` of the normal pixels
        exceed. It is not the robot's; see `MapFigures`.
    overall : PixelRow
        All folders together.
    rows : tuple of PixelRow
        A row for each.

    """

    truth: str
    threshold: float
    overall: PixelRow
    rows: tuple[PixelRow, ...]


def evaluate_pixels(
    id_folder: ScoredFolder,
    ood_folders: Sequence[ScoredFolder],
    truths: Sequence[Truth],
    mapper: Mapper,
    *,
    seed: int,
    resamples: int,
) -> PixelEvaluation:
    """
    Compare maps with what is known about the places of anomalies.

    Parameters
    ----------
    id_folder : ScoredFolder
        In-distribution pictures with their ``patch_score``: all their pixels are normal.
    ood_folders : sequence of ScoredFolder
        The others.
    truths : sequence of Truth
        Masks or boxes of each of the others.
    mapper : Mapper
        From cells to pixels.
    seed, resamples : int
        Of the bootstrap.

    Returns
    -------
    PixelEvaluation
        Figures in all and for each folder.

    Raises
    ------
    ParameterError
        If a mask or box does not fit its picture, a folder has no anomalous pixel, or the
        pictures are too large to be compared at once.

    """
    pixels = sum(h * w for folder in (id_folder, *ood_folders) for h, w in folder.shapes)
    if pixels > _PIXELS_AT_MOST:
        msg = (
            f'too many pixels to compare at once: expected at most {_PIXELS_AT_MOST:,}, '
            f'got {pixels:,}; give fewer or smaller pictures: {id_folder.path}'
        )
        raise ParameterError(msg)
    normal = PixelScores()
    for _, _, heat in _maps(id_folder, mapper):
        normal.add(heat)
    parts = []
    for folder, truth in zip(ood_folders, truths, strict=True):
        part = PixelScores()
        for file, size, heat in _maps(folder, mapper):
            part.add(heat, truth.mask(file, *size))
        if not part.regions:
            msg = f'all {truth.what} of a folder of anomalous pictures are empty: {folder.path}'
            raise ParameterError(msg)
        parts.append(part)
    everything = PixelScores([normal, *parts])
    threshold = everything.threshold_at(NORMAL_SHARE)

    def row(name: str, scores: PixelScores, which: Sequence[int]) -> PixelRow:
        boxes = (
            (heat, truths[k].boxes(file, *size))
            for k in which
            for file, size, heat in _maps(ood_folders[k], mapper)
        )
        images = scores.images - normal.images
        enough = min(images, normal.images) >= LEAST_PICTURES
        return PixelRow(
            name=name,
            images=images,
            regions=scores.regions,
            anomalous_share=scores.anomalous_share,
            metrics=scores.metrics(),
            intervals=scores.intervals(seed=seed, resamples=resamples) if enough else None,
            boxes=box_hits(boxes, threshold) if truths[0].what == 'boxes' else None,
        )

    overall = row('all', everything, range(len(parts)))
    rows = [
        row(folder.name, PixelScores([normal, part]), [k])
        if len(parts) > 1
        else replace(overall, name=folder.name)
        for k, (folder, part) in enumerate(zip(ood_folders, parts, strict=True))
    ]
    return PixelEvaluation(
        truth=truths[0].what,
        threshold=threshold,
        overall=overall,
        rows=tuple(rows),
    )


def _maps(
    folder: ScoredFolder, mapper: Mapper
) -> Iterator[tuple[str, tuple[int, int], npt.NDArray[np.float32]]]:
    """Yield every picture's file, size and map, made anew each time: maps need much memory."""
    for file, size, grid in zip(folder.files, folder.shapes, folder.patch_score, strict=True):
        yield file, size, mapper(grid, size)
