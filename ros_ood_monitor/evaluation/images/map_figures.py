"""What a robot's map would show of evaluated pictures: regions over its calibrated threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ros_ood_monitor.calibration import MapCalibration
from ros_ood_monitor.evaluation.images.folders import ScoredFolder
from ros_ood_monitor.evaluation.images.truth import Truth
from ros_ood_monitor.maps.mapper import Mapper
from ros_ood_monitor.metrics.boxes import box_hits, BoxHits
from ros_ood_monitor.preprocess import Preprocessor

__all__ = ['MapFigures', 'MapRow', 'measure_maps']


@dataclass(frozen=True)
class MapRow:
    """
    What the map shows of one folder, or of several as one.

    Parameters
    ----------
    name : str
        The folder.
    count : int
        Its pictures.
    with_region : float
        Share of them with a region.
    boxes : BoxHits or None
        Boxes found at the map's threshold, where there are boxes.

    """

    name: str
    count: int
    with_region: float
    boxes: BoxHits | None = None


@dataclass(frozen=True)
class MapFigures:
    """
    What `measure_maps` found: nothing in it is set by the evaluated pictures.

    Parameters
    ----------
    calibration : MapCalibration
        The bundle's.
    known : MapRow
        The in-distribution folder.
    overall : MapRow
        The others as one.
    rows : tuple of MapRow
        A row for each of the others.

    """

    calibration: MapCalibration
    known: MapRow
    overall: MapRow
    rows: tuple[MapRow, ...]


def measure_maps(
    id_folder: ScoredFolder,
    ood_folders: Sequence[ScoredFolder],
    truths: Sequence[Truth | None],
    preprocess: Preprocessor,
    calibration: MapCalibration,
) -> MapFigures:
    """
    Count the pictures with a region, and the boxes that the map finds, as a robot would see them.

    Parameters
    ----------
    id_folder : ScoredFolder
        In-distribution pictures with their ``patch_score``.
    ood_folders : sequence of ScoredFolder
        The others.
    truths : sequence of Truth or None
        What is known about the places of the anomalies in each of the others.
    preprocess : Preprocessor
        How pictures became network inputs.
    calibration : MapCalibration
        The bundle's: what is over its threshold is a region.

    Returns
    -------
    MapFigures
        A row for each folder.

    Raises
    ------
    ParameterError
        If a box file does not fit its picture, or boxes are given and there is none in a folder.

    """
    mapper, plain = Mapper(preprocess, calibration), Mapper(preprocess)

    def row(name: str, which: Sequence[tuple[ScoredFolder, Truth | None]]) -> MapRow:
        with_region = [
            bool(mapper.regions(grid, size, at_most=1))
            for folder, _ in which
            for grid, size in zip(folder.patch_score, folder.shapes, strict=True)
        ]
        boxed = [
            (folder, truth)
            for folder, truth in which
            if truth is not None and truth.what == 'boxes'
        ]
        pictures = (
            (plain(grid, size), truth.boxes(file, *size))
            for folder, truth in boxed
            for file, size, grid in zip(
                folder.files, folder.shapes, folder.patch_score, strict=True
            )
        )
        return MapRow(
            name=name,
            count=len(with_region),
            with_region=sum(with_region) / len(with_region),
            boxes=box_hits(pictures, calibration.threshold) if boxed else None,
        )

    parts = list(zip(ood_folders, truths, strict=True))
    return MapFigures(
        calibration=calibration,
        known=row(id_folder.name, [(id_folder, None)]),
        overall=row('all', parts),
        rows=tuple(row(folder.name, [(folder, truth)]) for folder, truth in parts),
    )
